"""The derivative of one step of a layer, and which of its arrays differ from step to step.

The reverse pass of a chunk needs the derivatives of all its steps. They follow from the states
before the steps, or they are recorded while the steps run, so that no state has to be. A derivative
is a pytree whose leaves are what JAX keeps of a step: slopes of the spikes, and constants such as
decays. Only the leaves that depend on the state or on the input are worth recording.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal

from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.time_loop.states import floating, others, rejoined
from flax_snn.typing import Array


class Residuals(NamedTuple):
    """Which arrays of the derivative of a step are recorded.

    Attributes:
      structure: pytree structure of the derivative.
      slots: for each leaf the index of the recorded array that it is, or None if it is the same in
        all steps.
      arrays: shapes of the recorded arrays in one step.
      traced: whether the membrane is seen by the loss, too.
    """

    structure: Any
    slots: tuple[int | None, ...]
    arrays: tuple[jax.ShapeDtypeStruct, ...]
    traced: bool

    def recorded(self, derivative: Any) -> tuple[Array, ...]:
        """Returns the arrays of the derivative of a step that differ from step to step."""
        leaves = jax.tree.leaves(derivative)
        return tuple(leaves[self.slots.index(k)] for k in range(len(self.arrays)))

    def derivative(self, fixed: Any, recorded: tuple[Array, ...]) -> Any:
        """Returns the derivative of a step.

        Args:
          fixed: the derivative of any step, for what is the same in all of them.
          recorded: the recorded arrays of the step.
        """
        pairs = zip(jax.tree.leaves(fixed), self.slots, strict=True)
        leaves = [leaf if slot is None else recorded[slot] for leaf, slot in pairs]
        return jax.tree.unflatten(self.structure, leaves)


def pullback(
    layer: Layer, weights: LayerWeights, state: Any, current: Array, feedback: Any, *, traced: bool
) -> tuple[tuple[Any, Array], Any]:
    """Runs a step and returns its derivative.

    Args:
      layer: the layer.
      weights: arrays of the layer.
      state: state before the step.
      current: what the input weights made of the input of the step.
      feedback: recurrent current, or None without recurrent weights.
      traced: whether the membrane is seen by the loss, too.

    Returns:
      The state after the step and the output; and a function that turns cotangents of the floating
      part of that state, of the output and of the membrane (None unless ``traced``) into those of
      the floating part of the state before, of the current and of the recurrent current.
    """
    rest = others(state)

    def outcome(state: Any, current: Array, feedback: Any) -> Any:
        after, output, _ = layer.step(weights, rejoined(state, rest), current, feedback)
        membrane = layer.neuron.membrane(after) if traced else None
        return (floating(after), output, membrane), (after, output)

    _, back, results = jax.vjp(outcome, floating(state), current, feedback, has_aux=True)
    return results, back


def residuals_of_step(
    layer: Layer, weights: LayerWeights, state: Any, current: Any, *, traced: bool
) -> Residuals:
    """Returns which arrays of the derivative of a step differ from step to step.

    Args:
      layer: a layer without recurrent weights.
      weights: arrays of the layer.
      state: state before a step, for its shapes.
      current: shape of the current of a step.
      traced: whether the membrane is seen by the loss, too.
    """

    def derivative(state: Any, current: Array) -> Any:
        return pullback(layer, weights, state, current, None, traced=traced)[1]

    closed, shapes = jax.make_jaxpr(derivative, return_shape=True)(state, current)
    jaxpr = closed.jaxpr
    varying = set(jaxpr.invars)
    for equation in jaxpr.eqns:
        if any(not isinstance(v, Literal) and v in varying for v in equation.invars):
            varying.update(equation.outvars)
    slots: list[int | None] = []
    arrays: list[jax.ShapeDtypeStruct] = []
    known: dict[Any, int] = {}
    for variable, shape in zip(jaxpr.outvars, jax.tree.leaves(shapes), strict=True):
        if isinstance(variable, Literal) or variable not in varying:
            slots.append(None)
            continue
        if variable not in known:
            known[variable] = len(arrays)
            arrays.append(jax.ShapeDtypeStruct(shape.shape, shape.dtype))
        slots.append(known[variable])
    return Residuals(jax.tree.structure(shapes), tuple(slots), tuple(arrays), traced)
