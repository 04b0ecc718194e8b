"""The decay of a membrane, which is the decay of OTTT's traces."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from flax_snn.dynamics import Neuron, aligned
from flax_snn.learn.components import components, tangents
from flax_snn.learn.unit import Unit, UnitArrays
from flax_snn.surrogate import Surrogate, custom
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.time_loop.states import floating
from flax_snn.typing import Array, Scalar


def membrane_decay(cell: Any, path: str) -> float:
    """Returns what a membrane keeps in a step without a spike.

    Args:
      cell: a cell.
      path: its name, for errors.

    Raises:
      ValueError: recurrent weights; neurons with more memory than a membrane that the input drives;
        values of single neurons.
    """
    if cell.recurrent:
        raise ValueError(
            f"ottt: expected feed-forward layers, got {path} with recurrent weights: OTTT has no"
            " gradient through the spikes of a step before; use snn.learn.eprop or"
            " snn.learn.d_rtrl"
        )
    for option in ("learn", "values", "individual"):
        if getattr(cell, option):
            raise ValueError(
                f"ottt: expected neurons that share their values, got {path} with"
                f" {option}={getattr(cell, option)!r}: there is one trace for each input, which"
                " decays as the membranes of all neurons; use snn.learn.d_rtrl"
            )
    decay, more = _decay(cell.dynamics, cell.spike_derivative())
    if more:
        raise ValueError(
            f"ottt: expected neurons whose only memory is a membrane that the input drives in the"
            f" same step, got {type(cell.dynamics).__name__} in {path}, {more}; leave out synapse"
            " and adaptation, or use snn.learn.d_rtrl"
        )
    return decay


def _silent(v: Array, theta: Scalar) -> Array:
    return 0 * v


@functools.lru_cache(maxsize=256)
def _decay(neuron: Neuron, surrogate: Surrogate | None) -> tuple[float, str]:
    """Returns the decay, and what of the neuron it does not describe."""
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        dtype = jnp.float64
        one = jnp.zeros((1, 1), dtype)
        current = jnp.zeros((1, neuron.blocks), dtype)
        weights = LayerWeights(coefficients=aligned(neuron.coefficients(), 2, dtype))
        found = []
        for derivative in (surrogate, None if surrogate is None else custom(_silent)):
            unit = Unit(Layer(neuron, derivative, None, dtype, dtype))
            state = unit.start(neuron.initial_state(one))
            arrays = UnitArrays(weights)
            leaves = jax.tree.leaves(floating(state))
            v = neuron.membrane(state.neuron)
            at = next(k for k, leaf in enumerate(leaves) if leaf is v)
            parts = components(unit, arrays, state, jax.ShapeDtypeStruct(current.shape, dtype))
            moved = tangents(unit, at)(arrays, state, current, jnp.ones_like(one))
            driven = tangents(unit, len(leaves))(arrays, state, current, jnp.ones_like(current))
            found.append((parts, float(moved[at].reshape(())), float(driven[at].reshape(()))))
        (parts, _, _), (_, decay, gain) = found
        matter = {*parts.shared, *parts.own}
        if neuron.blocks > 1 or gain == 0.0:
            return decay, "whose input reaches the membrane through a synapse"
        if matter - {at}:
            return decay, f"which remembers {len(matter)} numbers"
    return decay, ""
