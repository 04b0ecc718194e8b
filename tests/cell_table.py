"""ONE table of all cells, for the contract tests; adding a variant is adding a row.

Every row gives a cell for a threshold, so that `case` can look for an input on which no decision
is near: spikes must not change when all thresholds move by one part in 10 000.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import flax_snn as snn

B, T, F, N = 3, 24, 5, 7


def _lif(**arguments: Any) -> Callable[[float], snn.LIFCell]:
    cell_arguments = arguments.pop("cell", {})
    return lambda threshold: snn.LIFCell(
        N, dynamics=snn.LIFDynamics(threshold=threshold, dt=2e-3, **arguments), **cell_arguments
    )


def _recurrent(dynamics: Callable[..., snn.LIFDynamics], name: str, **arguments: Any) -> Any:
    return lambda threshold: snn.RecurrentLIFCell(
        N, dynamics=dynamics(**{name: threshold}, **arguments)
    )


def _zenke(threshold: float, **arguments: Any) -> snn.LIFDynamics:
    dynamics = snn.conventions.zenke(**arguments)
    parameters = dynamics.parameters.replace(threshold=threshold)
    return snn.LIFDynamics.from_parts(parameters, dynamics.dt, dynamics.rule)


def _chain(threshold: float) -> snn.Chain:
    dynamics = snn.LIFDynamics(tau_syn=5e-3, dt=2e-3, threshold=threshold)
    return snn.Chain(
        [
            snn.RecurrentLIFCell(9, dynamics=dynamics),
            snn.LIFCell(N, dynamics=dynamics),
            snn.LeakyIntegratorReadout(4),
        ]
    )


LIF = snn.LIFDynamics
CELLS: dict[str, Callable[[float], nn.RNNCellBase]] = {
    "default": _lif(),
    "synapse": _lif(tau_syn=5e-3, cell={"use_bias": True}),
    "soft": _lif(reset="soft", reset_gradient="flow"),
    "refractory": _lif(tau_syn=10e-3, refractory=4e-3, v_reset=-0.2, v_rest=0.1),
    "next_step": _lif(reset_time="next", reset_site="sum", fire=">="),
    "several_spikes": _lif(reset="soft", fire="floor", v_min=-1.0),
    "channels": _lif(tau_syn=(4e-3, 15e-3), discretization="euler"),
    "learned": _lif(tau_syn=5e-3, cell={"learn": ("tau_mem", "tau_syn", "threshold", "v_reset")}),
    "weightless": lambda threshold: snn.LIFCell(dynamics=LIF(threshold=threshold)),
    "recurrent": _recurrent(LIF, "threshold", tau_syn=5e-3, dt=2e-3),
    "recurrent_learned": lambda threshold: snn.RecurrentLIFCell(
        N, dynamics=LIF(threshold=threshold, dt=2e-3), learn=("tau_mem",)
    ),
    "two_currents": _recurrent(snn.conventions.tutorial, "theta"),
    "old_spikes": _recurrent(_zenke, "threshold"),
    "old_spikes_lag": _recurrent(_zenke, "threshold", rec_lag=True),
    "recurrent_channels": _recurrent(LIF, "threshold", tau_syn=(4e-3, 15e-3), dt=2e-3),
    "readout": lambda _: snn.LeakyIntegratorReadout(N, use_bias=True),
    "readout_synapse": lambda _: snn.LeakyIntegratorReadout(
        N, dynamics=snn.LIDynamics(tau_syn=5e-3), learn=("tau_mem", "tau_syn")
    ),
    "chain": _chain,
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A cell with parameters, and an input ``(B, T, F)`` on which no decision is near."""

    name: str
    cell: nn.RNNCellBase
    variables: dict[str, Any]
    x: jax.Array

    @property
    def inner(self) -> dict[str, Any]:
        """Variables of the cell alone."""
        return {"params": self.variables.get("params", {}).get("cell", {})}

    @property
    def fires(self) -> bool:
        """Whether the output of the cell is spikes."""
        return not self.name.startswith(("readout", "chain"))


@functools.cache
def case(name: str) -> Case:
    """Return the case of a row: the first random input that keeps a margin from all decisions."""
    make = CELLS[name]
    with jax.numpy_dtype_promotion("strict"):
        for seed in range(20):
            key_x, key_w = jax.random.split(jax.random.key(seed))
            if name == "weightless":
                x = 6.0 * jax.random.normal(key_x, (B, T, F))
            else:
                x = (jax.random.uniform(key_x, (B, T, F)) < 0.3).astype(jnp.float32)
            variables = nn.RNN(make(1.0)).init(key_w, x)
            if name == "chain":
                variables = jax.tree.map(lambda w: 1.5 * w, variables)
            spikes = [
                spikes_of(make(theta), _with_threshold(variables, theta), x)
                for theta in (1.0, 1 - 1e-4, 1 + 1e-4)
            ]
            same = all(
                np.array_equal(a, b)
                for moved in spikes[1:]
                for a, b in zip(spikes[0], moved, strict=True)
            )
            active = all(0.02 <= layer.mean() <= 0.5 for layer in spikes[0])
            if same and active:
                return Case(name, make(1.0), variables, x)
    raise AssertionError(f"no input for {name} keeps its margin at 2-50 % activity")


def _with_threshold(variables: Any, theta: float) -> Any:
    """Move learned thresholds, which overrule those of the dynamics."""

    def move(path: Any, leaf: jax.Array) -> jax.Array:
        learned = "log_threshold" in jax.tree_util.keystr(path)
        return jnp.full_like(leaf, np.log(theta)) if learned else leaf

    return jax.tree_util.tree_map_with_path(move, variables)


def spikes_of(cell: nn.RNNCellBase, variables: Any, x: jax.Array) -> list[np.ndarray]:
    """Return the spikes of every population of a cell."""
    runner = nn.RNN(cell, variable_axes={"intermediates": 1})
    _, state = jax.jit(lambda v, x: runner.apply(v, x, mutable=["intermediates"]))(variables, x)
    paths = jax.tree_util.tree_leaves_with_path(state)
    return [np.asarray(leaf) for path, leaf in paths if "spikes" in jax.tree_util.keystr(path)]


def assert_same(case: Case, actual: Any, expected: Any) -> None:
    """Spikes identical, membranes within 2e-5."""
    tolerance = 0.0 if case.fires else 2e-5
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def assert_same_carry(actual: Any, expected: Any) -> None:
    """States of the same structure, within 2e-5."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5)


def assert_same_gradients(actual: Any, expected: Any) -> None:
    """Finite, not all zero, and equal to 1e-4 of the largest entry."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        scale = float(jnp.abs(b).max())
        assert np.isfinite(scale) and scale > 0.0
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * scale)
