"""Which parts of a neuron's state a weight leaves a trace in, and which of these traces are shared.

A weight w_ij moves the state of neuron j: eps_m = dh_m/dw_ij. Read off the program of one step:

- a component m matters if an output of this or of a later step depends on it;
- its trace is shared by all neurons if its own derivatives are constants: eps_m follows from the
  input i alone then, one vector over i in place of a matrix. So it is for the membrane of a LIF
  neuron with a soft reset. A hard reset, an adaptation, a refractory hold make derivatives that
  differ from neuron to neuron.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from flax_snn.dynamics.dependence import dependences
from flax_snn.learn.unit import Unit, UnitArrays, UnitState
from flax_snn.time_loop.states import floating, others, rejoined
from flax_snn.typing import Array


class Components(NamedTuple):
    """Numbers of the floating leaves of the state of a unit.

    Attributes:
      shared: those whose traces are the same for all neurons.
      own: the others that matter.
      reach: pairs of components (source, target) of which the first moves the second, in this or in
        a later step.
      constant: whether all derivatives of a step are constants, those of the outputs among them:
        the unit is a linear filter.
    """

    shared: tuple[int, ...]
    own: tuple[int, ...]
    reach: frozenset[tuple[int, int]]
    constant: bool


def components(unit: Unit, arrays: UnitArrays, state: UnitState, current: Any) -> Components:
    """Returns which components of the state of a unit matter, and which have shared traces.

    Args:
      unit: the unit.
      arrays: its arrays, or their shapes.
      state: its state, or its shapes.
      current: shape of the current of a step.
    """
    leaves = jax.tree.leaves(floating(state))
    count = len(leaves)
    per_neuron = [leaf.size > 1 for leaf in jax.tree.leaves(arrays)]
    found = [
        dependences(tangents(unit, k), arrays, state, current, _tangent(arrays, leaves, k, current))
        for k in range(count + 2)
    ]
    tangent = len(per_neuron) + len(jax.tree.leaves(state)) + 1  # behind arrays, state, current

    def moves(source: int, target: int) -> bool:
        return tangent in found[source][target]

    def constant(source: int, target: int) -> bool:
        return all(k < len(per_neuron) for k in found[source][target] - {tangent})

    def alike(source: int, target: int) -> bool:
        depends = found[source][target] - {tangent}
        return constant(source, target) and not any(per_neuron[k] for k in depends)

    outputs = range(count, len(found[0]))
    matter = {m for m in range(count) if any(moves(m, out) for out in outputs)}
    while new := {m for m in range(count) if m not in matter and any(moves(m, k) for k in matter)}:
        matter |= new
    inputs = (count, count + 1)
    shared = {
        m for m in matter if all(alike(k, m) for k in (*range(count), *inputs) if moves(k, m))
    }
    while wrong := {m for m in shared if any(moves(k, m) for k in range(count) if k not in shared)}:
        shared -= wrong
    linear = all(
        constant(k, m) for k in (*range(count), *inputs) for m in (*matter, *outputs) if moves(k, m)
    )
    reach = {(k, m) for k in matter for m in matter if moves(k, m)}
    while more := {(a, d) for a, b in reach for c, d in reach if b == c} - reach:
        reach |= more
    own = tuple(sorted(matter - shared))
    return Components(tuple(sorted(shared)), own, frozenset(reach), linear)


def tangents(unit: Unit, source: int, fed: Any = None) -> Any:
    """Returns a function: how a step moves with one component of the state, or with a current.

    Args:
      unit: the unit.
      source: number of a floating leaf of the state; the number behind the last for the input
        current, and the next for the recurrent current.
      fed: recurrent current of the step; 0 by default.

    Returns:
      A function of arrays, state, current and a tangent that returns the tangents of the floating
      leaves of the state after the step, and of the outputs.
    """

    def moved(arrays: UnitArrays, state: UnitState, current: Array, tangent: Array) -> list[Array]:
        leaves, structure = jax.tree.flatten(floating(state))
        kernel = arrays.layer.recurrent_kernel
        width = 0 if kernel is None else kernel.shape[1]
        shape = (*current.shape[:-1], width)
        feedback = jnp.zeros(shape, current.dtype) if fed is None else fed

        def step(value: Array) -> Any:
            values, x, caused = list(leaves), current, feedback
            if source < len(leaves):
                values[source] = value
            elif source == len(leaves):
                x = value
            elif kernel is not None:
                caused = value
            whole = rejoined(jax.tree.unflatten(structure, values), others(state))
            given = None if kernel is None else lambda _: caused
            after, outputs, _ = unit.step(arrays, whole, x, given)
            return [*jax.tree.leaves(floating(after)), *outputs]

        value = (*leaves, current, feedback)[source]
        if source == len(leaves) + 1 and kernel is None:
            value = jnp.zeros_like(tangent)
        result: list[Array] = jax.jvp(step, (value,), (tangent,))[1]
        return result

    return moved


def _tangent(
    arrays: UnitArrays, leaves: list[Any], source: int, current: Any
) -> jax.ShapeDtypeStruct:
    like = leaves[source] if source < len(leaves) else current
    kernel = arrays.layer.recurrent_kernel
    if source > len(leaves) and kernel is not None:
        return jax.ShapeDtypeStruct((*current.shape[:-1], kernel.shape[1]), current.dtype)
    return jax.ShapeDtypeStruct(like.shape, like.dtype)
