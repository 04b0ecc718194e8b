"""Parallel in time: neurons that are never reset, whose membrane is a linear recurrence.

    z_t = a z_{t-1} + b_t      is      (a, b) o (a', b') = (a a', a' b + b')

an associative product, of which all prefixes take log2(T) parallel passes. The synaptic currents
come first, then the membrane that they drive. Coefficients and offsets are read off the step of
`flax_snn.dynamics`, which is affine in its state as long as nothing resets or bounds the membrane.

Reference: Blelloch, *Prefix sums and their applications*, 1990; Martin & Cundy, *Parallelizing
linear recurrent neural nets over sequence length*, 2018.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.time_loop.loop import Result, Run, Traces
from flax_snn.typing import Array, LIFState


class Associative:
    """All steps at once, for layers whose membrane is a linear recurrence; never chosen by auto."""

    def why_not(self, run: Run) -> str | None:
        """Return why the membrane of a layer is no linear recurrence, or None if it is one."""
        for layer, weights in zip(run.layers, run.weights, strict=True):
            reason = layer.neuron.lacks("parallel")
            if reason is None and weights.recurrent_kernel is not None:
                reason = "recurrent weights make each step wait for the spikes of the one before"
            if reason is not None:
                return f"{type(layer.neuron).__name__}: {reason}"
        return None

    def worth(self, run: Run) -> bool:
        """Return False: on no machine that it was measured on did it win."""
        del run
        return False

    def run(self, run: Run) -> Result:
        """Run one layer after the other, each over all steps at once."""
        after, spikes, membranes = [], [], []
        x = jnp.moveaxis(run.inputs, run.axis, 0)
        for layer, own, state in zip(run.layers, run.weights, run.states, strict=True):
            state, x, v = associative(layer, own, state, x)
            after.append(state)
            spikes.append(jnp.moveaxis(x, 0, run.axis))
            membranes.append(jnp.moveaxis(v, 0, run.axis))
        traces = Traces(tuple(spikes[:-1]), tuple(membranes)) if run.traced else None
        return Result(tuple(after), spikes[-1], traces)


def associative(
    layer: Layer, weights: LayerWeights, state: LIFState, inputs: Array
) -> tuple[LIFState, Array, Array]:
    """Run a layer over a sequence, all steps at once.

    Args:
      layer: the layer, one that `Associative.why_not` has nothing against.
      weights: its arrays.
      state: state before the first step, ``(B, *features)``.
      inputs: ``(T, B, *features)``.

    Returns:
      The state after the last step, the outputs, and the membrane after each step.
    """
    currents = layer.project(inputs, weights)

    def after(state: LIFState, current: Array) -> LIFState:
        return layer.step(weights, state, current)[0]

    nothing = jax.tree.map(jnp.zeros_like, state)
    offsets = jax.vmap(after, (None, 0))(nothing, currents)
    still = jnp.zeros_like(currents[0])

    def response(which: LIFState) -> LIFState:
        """Return what a unit of a part of the state becomes in one step, for each neuron."""
        return jax.jvp(lambda s: after(s, still), (nothing,), (which,))[1]

    channels = state.i if isinstance(state.i, tuple) else (() if state.i is None else (state.i,))
    moved = []
    driven = offsets.v
    for k, (begin, offset) in enumerate(zip(channels, _channels(offsets.i), strict=True)):
        unit = _with_channel(nothing, k, jnp.ones_like(begin))
        gain = response(unit)
        current = _prefixes(_channels(gain.i)[k], offset, begin)
        moved.append(current)
        driven = driven + gain.v[None] * _before(begin, current)
    v = _prefixes(
        response(dataclasses.replace(nothing, v=jnp.ones_like(state.v))).v, driven, state.v
    )

    before = dataclasses.replace(nothing, v=_before(state.v, v))
    for k, (begin, current) in enumerate(zip(channels, moved, strict=True)):
        before = _with_channel(before, k, _before(begin, current))
    outputs = jax.vmap(lambda *now: layer.step(weights, *now)[1])(before, currents)
    last = dataclasses.replace(nothing, v=v[-1])
    for k, current in enumerate(moved):
        last = _with_channel(last, k, current[-1])
    return last, outputs if layer.fires else v.astype(layer.output_dtype), v


def _prefixes(decay: Array, offsets: Array, begin: Array) -> Array:
    """Return ``z_t = decay z_{t-1} + offsets_t`` for all t."""
    offsets = offsets.at[0].add(decay * begin)
    decays = jnp.broadcast_to(decay[None], offsets.shape)

    def compose(first: Any, second: Any) -> Any:
        return first[0] * second[0], second[0] * first[1] + second[1]

    return lax.associative_scan(compose, (decays, offsets))[1]


def _before(begin: Array, values: Array) -> Array:
    """Return the values before each step, given those after each and that before the first."""
    return jnp.concatenate([begin[None], values[:-1]])


def _channels(currents: Any) -> tuple[Array, ...]:
    return currents if isinstance(currents, tuple) else (() if currents is None else (currents,))


def _with_channel(state: LIFState, k: int, value: Array) -> LIFState:
    if not isinstance(state.i, tuple):
        return dataclasses.replace(state, i=value)
    return dataclasses.replace(state, i=(*state.i[:k], value, *state.i[k + 1 :]))
