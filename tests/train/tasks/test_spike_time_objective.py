"""First spikes against labels: predictions and losses."""

import jax.numpy as jnp
import numpy as np

from train.tasks.yin_yang.objective import FirstSpikes, spike_time_objective
from train.tasks.yin_yang.settings import SpikeTimeLoss

Z = FirstSpikes(
    times=jnp.array([[0.020, 0.010, jnp.inf], [jnp.inf, jnp.inf, jnp.inf], [0.03, 0.02, 0.02]]),
    continued=jnp.array([[0.020, 0.010, 0.055], [0.058, 0.059, 0.052], [0.03, 0.02, 0.02]]),
)
LABELS = jnp.array([1, 2, 2])


def test_the_earliest_spike_wins_or_else_the_nearest_membrane():
    objective = spike_time_objective(SpikeTimeLoss())
    # Ties go to the lower class.
    assert objective.predict(Z).tolist() == [1, 2, 1]
    assert objective.points(Z, LABELS).tolist() == [1.0, 1.0, 0.0]


def test_a_late_spike_comes_before_silence():
    z = FirstSpikes(jnp.array([[jnp.inf, 0.08]]), jnp.array([[0.06, 0.05]]))
    assert spike_time_objective(SpikeTimeLoss()).predict(z).tolist() == [1]


def test_losses_of_each_sample():
    config = SpikeTimeLoss(loss_tau=5e-3, late_penalty=0.1, late_tau=20e-3)
    t, labels = np.asarray(Z.continued, np.float64), np.asarray(LABELS)
    z = -t / 5e-3
    own = np.take_along_axis(t, labels[:, None], 1)[:, 0]
    expected = np.log(np.exp(z).sum(axis=1)) + own / 5e-3 + 0.1 * (np.exp(own / 20e-3) - 1)
    found = spike_time_objective(config).loss(Z, LABELS, 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    config = SpikeTimeLoss(loss="mse", loss_tau=5e-3, target_early=20e-3, target_late=30e-3)
    target = np.where(np.arange(3) == labels[:, None], 20e-3, 30e-3)
    expected = (((t - target) / 5e-3) ** 2).mean(axis=1)
    found = spike_time_objective(config).loss(Z, LABELS, 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
