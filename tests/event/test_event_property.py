"""Random layers against the plain simulator: whatever the numbers, the same spikes."""

from __future__ import annotations

import event_layer as layers
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("x64")

CASES = {
    "seed": st.integers(0, 10_000),
    "ratio": st.sampled_from([0.1, 0.5, 0.9, 1.0, 1.1, 2.0, 3.3, 4.7, 20.0]),
    "refractory": st.sampled_from([0.0, 0.1, 0.5]),
    "delays": st.booleans(),
    "recurrence": st.sampled_from([0.0, 0.5, 2.0]),
    "strength": st.sampled_from([0.3, 0.6, 1.0]),
}
# Networks near a decision are left out: a good share.
LENIENT = [HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def check(gradient: bool, **options: object) -> None:
    case = layers.random_case(**options)
    runs = layers.runs_of(case)
    assume(layers.margin(runs) > (layers.MARGIN if gradient else 1e-6))
    loss = layers.spike_loss(options["seed"])
    (value, (spikes, _)), grads = layers.layer(case, loss)
    layers.assert_same_spikes(spikes, runs)
    assert all(np.isfinite(g).all() for g in grads.values())
    np.testing.assert_allclose(value, loss.of(case, runs), rtol=1e-7, atol=1e-7)
    if gradient:
        names = [n for n in layers.DIFFERENTIABLE if "delay" not in n or options["delays"]]
        names = [n for n in names if n != "refractory" or options["refractory"]]
        layers.assert_gradient(case, loss, grads, ("time", *names))


@settings(max_examples=15, suppress_health_check=LENIENT)
@given(**CASES)
@pytest.mark.slow
def test_spikes(**options: object) -> None:
    check(gradient=False, **options)


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=LENIENT)
@given(gradient=st.booleans(), **CASES)
def test_spikes_and_gradients(**options: object) -> None:
    check(**options)
