"""The model of points: values become times, and one network runs by three methods."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import datasets
from train.data.parts import Part
from train.model import Model
from train.model.encoders import reflect
from train.run.step import create_state, evaluate, train_batches
from train.settings.training import TrainingConfig
from train.tasks.yin_yang.network import build_point_model
from train.tasks.yin_yang.settings import SpikeTimeLoss, YinYangConfig, YinYangNetwork
from train.tasks.yin_yang.task import YinYang

METHODS = ("surrogate", "first_spike", "eventprop")
NETWORK = YinYangNetwork(method="surrogate", hidden=(6,), input_mean=3.0, readout_mean=3.0)


def model(loss: str = "ttfs", **changes) -> Model:
    network = dataclasses.replace(NETWORK, **changes)
    return build_point_model(network, SpikeTimeLoss(loss=loss), values=4, classes=3)


def initial(net: Model):
    """Parameters; under jit, for a layer of events is dear to run op by op."""
    return jax.jit(net.init)(jax.random.key(0))


@functools.cache
def points():
    return datasets.yin_yang(40, 7)


def test_inputs_are_spike_times():
    times = np.asarray(model().encode.times(jnp.asarray(points().x, jnp.float32)))
    expected = np.concatenate([30e-3 * points().x, np.zeros((40, 1))], axis=1)
    np.testing.assert_allclose(times, expected, atol=1e-8)
    assert model(bias=False).encode.times(jnp.zeros((2, 4))).shape == (2, 4)


def test_reflection_at_both_ends():
    values = jnp.array([-1.3, -0.25, 0.0, 0.4, 1.0, 1.25, 2.5])
    np.testing.assert_allclose(reflect(values), [0.7, 0.25, 0.0, 0.4, 1.0, 0.75, 0.5], atol=1e-6)


@pytest.mark.slow
def test_shifts_have_their_deviation_and_stay_inside():
    x = jnp.full((4000, 4), 0.5)
    net = model()
    assert net.encode.augment(x, jax.random.key(0), 0.0) is x
    shifts = 30e-3 * (np.asarray(net.encode.augment(x, jax.random.key(0), 1e-3)) - 0.5)
    # 16000 normal numbers: the deviation is known to 1 / sqrt(32000).
    assert shifts.std() == pytest.approx(1e-3, rel=0.03)
    assert abs(np.corrcoef(shifts[:, 0], shifts[:, 2])[0, 1]) < 0.1
    moved = net.encode.augment(jnp.zeros((100, 4)), jax.random.key(1), 20e-3)
    assert float(moved.min()) >= 0 and float(moved.max()) <= 1


@pytest.mark.slow
def test_methods_have_the_same_parameters():
    trees = [jax.jit(model(method=m).init)(jax.random.key(3)) for m in METHODS]
    shapes = jax.tree.map(jnp.shape, trees[0])
    assert shapes == {
        "cell": {"cells_0": {"kernel": (5, 6)}, "cells_1": {"kernel": (6, 3)}},
    }
    for tree in trees[1:]:
        jax.tree.map(np.testing.assert_array_equal, trees[0], tree)


def test_initial_weights_have_their_mean_and_deviation():
    net = model(hidden=(4000, 10), input_mean=1.5, input_std=0.5, layer_mean=-1.0, layer_std=0.1)
    params = initial(net)
    for name, mean, std in (("cells_0", 1.5, 0.5), ("cells_1", -1.0, 0.1)):
        kernel = np.asarray(params["cell"][name]["kernel"])
        # At least 20000 normal numbers.
        assert kernel.mean() == pytest.approx(mean, abs=5 * std / 20000**0.5)
        assert kernel.std() == pytest.approx(std, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS[1:])
def test_a_fine_grid_gives_the_spikes_of_continuous_time(method):
    """One parameter tree, two simulations that know nothing of each other."""
    # Weights that make most hidden neurons spike once.
    network = {"hidden": (12,), "input_mean": 1.8, "input_std": 0.5, "readout_mean": 2.0}
    exact, grid = model(method=method, **network), model(dt=2e-5, **network)
    params = initial(grid)
    # Outputs that do not all spike at once.
    params["cell"]["cells_1"]["kernel"] *= jnp.array([[0.5, 1.0, 1.5]])
    x = jnp.asarray(points().x, jnp.float32)
    a, b = (jax.jit(net.apply)(params, x, jax.random.key(0)) for net in (exact, grid))
    if method == "first_spike":
        # On a grid nothing keeps a neuron from spiking again.
        once = np.asarray((b.activity[0] <= 1).all(axis=1))
        assert once.mean() > 0.9
        a, b = (jax.tree.map(lambda x: x[once], ran.z) for ran in (a, b))
    else:
        a, b = a.z, b.z
    fired = np.isfinite(a.times)
    assert fired.mean() > 0.5
    # A membrane that all but reaches its threshold may do so in one simulation alone.
    assert (fired == np.isfinite(b.times)).mean() > 0.98
    both = fired & np.isfinite(b.times)
    # The error of a step is of the order of dt, over the slope of the membrane, and a layer is as
    # late as the one before: far larger where the threshold is grazed.
    error = np.abs(np.asarray(a.times - b.times))[both]
    assert (error < 10 * 2e-5).mean() > 0.95
    first, second = np.sort(np.asarray(a.times), axis=1)[:, :2].T
    clear = second - first > 2 * error.max()
    assert clear.mean() > 0.3
    one, other = exact.objective.predict(a), grid.objective.predict(b)
    np.testing.assert_array_equal(one[clear], other[clear])


@pytest.mark.parametrize(
    "method", [pytest.param(m, marks=pytest.mark.slow) for m in ("surrogate", "first_spike")]
)
def test_spikes_of_all_layers_can_be_looked_at(method):
    x, net = jnp.asarray(points().x, jnp.float32), model(method=method)
    params = initial(net)
    source, hidden, output = net.spikes(params, x)
    assert (source.size, hidden.size, output.size) == (5, 6, 3)
    ran = jax.jit(net.apply)(params, x, jax.random.key(0))
    np.testing.assert_array_equal(hidden.counts(), ran.activity[0])
    np.testing.assert_array_equal(output.counts(), ran.activity[1])
    first = np.asarray(output.first_times())
    found = np.asarray(ran.z.times)
    np.testing.assert_allclose(first, found, atol=1e-7)
    np.testing.assert_array_equal(
        net.predict(params, x), np.where(np.isfinite(first), first, 1.0).argmin(axis=1)
    )


@pytest.mark.slow
def test_silent_outputs_come_last_and_pull_on_their_weights():
    net = model(method="first_spike", readout_mean=0.05, readout_std=0.01)
    params, x = initial(net), jnp.asarray(points().x[:8], jnp.float32)
    labels = jnp.asarray(points().labels[:8])

    def loss(params):
        z = net.apply(params, x, jax.random.key(0)).z
        return net.objective.loss(z, labels, 0.0).mean(), z

    grads, z = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert np.isposinf(z.times).all()
    assert (np.asarray(z.continued) > 50e-3).all()
    for grad in jax.tree.leaves(grads):
        assert np.isfinite(grad).all()
    assert (np.asarray(grads["cell"]["cells_1"]["kernel"]) != 0).any()


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ttfs", "max", "mse"])
def test_every_loss_pulls_on_every_layer(loss):
    net = model(loss)
    params, x = initial(net), jnp.asarray(points().x, jnp.float32)

    def mean(params):
        z = net.apply(params, x, jax.random.key(0)).z
        return net.objective.loss(z, jnp.asarray(points().labels), 0.0).mean()

    for grad in jax.tree.leaves(jax.jit(jax.grad(mean))(params)):
        assert np.isfinite(grad).all() and (np.asarray(grad) != 0).any()
    assert net.layers == (("hidden_1",) if loss == "max" else ("hidden_1", "output"))


@pytest.mark.slow
def test_lost_spikes_are_summed():
    roomy, narrow = (model(method="eventprop", budget=b) for b in (4.0, 0.5))
    params = initial(roomy)
    part = Part(jnp.asarray(points().x, jnp.float32), jnp.asarray(points().labels))
    order = np.arange(40, dtype=np.int32).reshape(2, 20)
    _, hidden, output = roomy.spikes(params, part.inputs)
    assert not hidden.lost().any() and not output.lost().any()
    busy = np.asarray(hidden.counts()).sum(axis=1)
    # Three slots for six neurons. A sample ends with the first spike that is lost.
    lost = float(jax.jit(functools.partial(evaluate, narrow))(params, part, order).sums.lost)
    assert 0 < (busy > 3).sum() <= lost <= np.maximum(busy - 3, 0).sum()


@pytest.mark.slow
@pytest.mark.optimizer
@pytest.mark.usefixtures("optimised")
def test_surrogate_gradients_learn():
    """A linear classifier is right on less than two thirds."""
    config = YinYangConfig(
        network=YinYangNetwork(method="surrogate", hidden=(60,), dt=2e-3),
        loss=SpikeTimeLoss(loss="max"),
        training=TrainingConfig(
            epochs=25, batch_size=50, learning_rate=3e-2, label_smoothing=0.0, jitter=0.0
        ),
    )
    net = YinYang().build(config)
    data = datasets.yin_yang(1000, 1)
    part = Part(jnp.asarray(data.x, jnp.float32), jnp.asarray(data.labels))
    state = create_state(net, config.training, 25 * 20, jnp.uint32(0))
    train = jax.jit(functools.partial(train_batches, net, config.training))
    for _ in range(25):
        state, sums = train(state, part, np.arange(1000, dtype=np.int32).reshape(20, 50))
    assert float(sums.points / sums.samples) > 0.85
