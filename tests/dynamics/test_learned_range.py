"""Learned values stay finite, whatever their logarithm becomes; others are refused."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.dynamics.domain import Learnable, positive, real, time_constant

RAW = [-np.inf, -3e38, -1e4, -745.0, -104.0, -88.0, -87.0, 0.0, 88.0, 89.0, 104.0, 710.0, 1e4, 3e38]


def values() -> dict[str, Learnable]:
    """Learnable values whose domain reaches the ends of float32, and beyond."""
    return {
        "no bounds": Learnable(1.0, log=True),
        "a time constant": time_constant(20e-3, 1e-3),
        "a long time constant": time_constant(1e38, 1e-3, unit="s"),
        "a short one": time_constant(1e-37, 1e-3),
        "a large value": positive(3e37),
        "a small value": positive(1e-37),
        "of the largest numbers": positive(1e306),
        "either sign": real(1e300),
    }


@pytest.mark.parametrize("name", values())
def test_every_raw_parameter_has_a_finite_value(name: str) -> None:
    each = values()[name]
    for raw in [*RAW, np.inf]:
        found = float(each.learned(jnp.float32(raw), {}))
        low, high = each.bounds
        if not each.log:
            # Parameters that are infinite are refused where they are restored or checked.
            assert np.isfinite(found) or not np.isfinite(raw)
            continue
        assert 0.0 < found <= float(jnp.finfo(jnp.float32).max)
        assert found >= np.float32(min(low, 3e38)) * 0.999
        assert found <= min(high, 3.5e38) * 1.001


def test_in_float64_the_range_is_that_of_float64(x64: None) -> None:
    each = Learnable(1.0, log=True)
    assert float(each.learned(jnp.float64(600.0), {})) == pytest.approx(np.exp(600.0))
    for raw in (-1e308, 1e308):
        assert 0.0 < float(each.learned(jnp.float64(raw), {})) < np.inf


def test_inside_the_range_nothing_changes() -> None:
    raw = jnp.linspace(-80.0, 80.0, 401)
    found = Learnable(1.0, log=True).learned(raw, {})
    np.testing.assert_array_equal(found, jnp.exp(raw))


def test_far_outside_there_is_a_way_back() -> None:
    # Reflected at its bound, the value has a gradient that leads back inside.
    each = time_constant(20e-3, 1e-3)
    low, high = np.log(each.bounds)
    slope = jax.grad(lambda raw: jnp.log(each.learned(raw, {})))
    assert float(slope(jnp.float32(high + 0.5))) < 0.0 < float(slope(jnp.float32(low - 0.5)) * -1.0)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tau_mem": 1e39}, "learn: tau_mem: expected a value that float32 can hold.*1e.39 s"),
        ({"tau_mem": 1e-39, "dt": 1e-40}, "learn: tau_mem: .* float32 can hold.*got 1e-39 s"),
        ({"threshold": 1e39}, "learn: threshold: expected a value that float32 can hold"),
    ],
)
def test_a_value_that_its_dtype_cannot_hold_is_refused(fields: dict[str, Any], words: str) -> None:
    learn = ("threshold",) if "threshold" in fields else ("tau_mem",)
    # Without weights, whose initialiser would refuse such neurons first.
    cell = snn.LIFCell(dynamics=snn.LIFDynamics(**fields), learn=learn)
    with pytest.raises(ValueError, match=words):
        snn.RNN(cell).init(jax.random.key(0), jnp.ones((1, 2, 3)))


def test_given_values_that_would_be_moved_into_the_domain_are_refused() -> None:
    given = {"tau_mem": (20e-3, 1e30)}
    cell = snn.LIFCell(2, learn=("tau_mem",), values=given)
    with pytest.raises(ValueError, match="expected a value from .* got"):
        snn.RNN(cell).init(jax.random.key(0), jnp.ones((1, 2, 3)))
    # Values that are not learned are what they are.
    assert snn.RNN(snn.LIFCell(2, values=given)).init(jax.random.key(0), jnp.ones((1, 2, 3)))
