"""The readable reference: one step of all layers for each time step.

`steps` is the specification of every time loop over layers that are data; `cell_scan` runs any cell
of Flax as it is written, by ``nn.scan``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.products import is_explicit
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.time_loop.loop import Result, Run, Traces
from flax_snn.time_loop.mesh import automatic, placement
from flax_snn.time_loop.noted import note_loop
from flax_snn.typing import Array

STEPWISE_BYTES = 2**24
"""Most memory of the membranes of all steps with which a recurrent chain runs step by step."""

NARROW, NARROW_BATCH, NARROW_BYTES = 128, 64, 2**25
"""Layers with fewer neurons than the first, in batches of the second or more, run step by step if
the membranes of all steps take no more memory than the third."""

Body = Callable[[nn.Module, Any, Array], tuple[Any, Array]]


class Scan:
    """Step by step, all layers in each step; keeps all states for the reverse pass."""

    def why_not(self, run: Run) -> str | None:
        """Returns None: it runs anything."""
        del run
        return None

    def worth(self, run: Run) -> bool:
        """Returns whether the plain loop is as fast or faster, and its memory small.

        A lone integrator is linear: it keeps nothing. In a recurrent chain with few inputs the
        products of single steps take most of the time. Narrow layers in a large batch have products
        of single steps that are as fast as those of a chunk, and stay in cache; not so where inputs
        are known to be spikes, and products cost what the spikes cost. The plain loop keeps all
        states: some six times the memory of the membranes. A crossbar would be programmed again in
        each step. This loop has dense products. Measured: ``python -m benchmarks.speed.auto_grid``.
        """
        if not run.sized:
            return True
        if run.chunk is not None or run.asks_for_events:
            return False
        if len(run.layers) == 1 and not run.layers[0].fires:
            return True
        membranes = [la.neuron.membrane(s) for la, s in zip(run.layers, run.states, strict=True)]
        recorded = run.steps * sum(v.size * v.dtype.itemsize for v in membranes)
        events = any(layer.event_driven for layer in run.layers)
        if run.programmed:
            return False
        if max(v.shape[-1] for v in membranes) < NARROW and run.batch >= NARROW_BATCH:
            spikes = not jnp.issubdtype(run.inputs.dtype, jnp.floating)
            return not (events and spikes) and recorded <= NARROW_BYTES
        pairs = zip(run.weights, membranes, strict=True)
        widths = [v.shape[-1] for w, v in pairs if w.recurrent_kernel is not None]
        few = bool(widths) and run.inputs.shape[-1] <= min(widths)
        return few and not events and recorded <= STEPWISE_BYTES

    def run(self, run: Run) -> Result:
        """Runs the layers over the sequence."""

        def loop(weights: Any, states: Any, inputs: Array) -> Result:
            layers = tuple(layer.dense for layer in run.layers)
            return steps(layers, weights, states, inputs, run.axis, run.traced)

        arguments = (run.weights, run.states, run.inputs)
        placed = None
        if is_explicit(run.inputs):
            placed = placement(jax.eval_shape(loop, *arguments))
        result: Result = automatic(loop, placed, *arguments)
        return result


def steps(
    layers: tuple[Layer, ...],
    weights: tuple[LayerWeights, ...],
    states: tuple[Any, ...],
    inputs: Array,
    axis: int,
    traced: bool,
) -> Result:
    """Runs layers over a sequence, one time step after the other.

    Args:
      layers: the layers, from input to output.
      weights: arrays of each layer.
      states: state of each layer before the first step, ``(B, *features)``.
      inputs: ``(B, T, *features)`` with ``axis=1``, ``(T, B, *features)`` with ``axis=0``.
      axis: axis of the time steps.
      traced: whether traces are wanted.

    Returns:
      States after the last step, outputs, and the traces or None.
    """
    # One product for all steps. Whole chains project step by step, in less memory; so does a large
    # batch, whose products of single steps are as fast and stay in cache.
    batch = inputs.shape[1 - axis]
    alone = len(layers) == 1 and not (isinstance(batch, int) and batch >= NARROW_BATCH)
    sequence = jnp.moveaxis(inputs, axis, 0)
    if alone:
        sequence = layers[0].project(sequence, weights[0])

    def step(states: Any, x: Array) -> Any:
        after, outputs, membranes = [], [], []
        for layer, layer_weights, state in zip(layers, weights, states, strict=True):
            current = x if alone else layer.project(x, layer_weights)
            state, x, _ = layer.step(layer_weights, state, current)
            after.append(state)
            outputs.append(x)
            membranes.append(layer.neuron.membrane(state))
        seen = Traces(tuple(outputs[:-1]), tuple(membranes)) if traced else None
        return tuple(after), (x, seen)

    states, seen = lax.scan(step, states, sequence)
    outputs, traces = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, axis), seen)
    return Result(states, outputs, traces)


def cell_scan(
    module: nn.Module,
    body: Body,
    carry: Any,
    inputs: Array,
    *,
    time_axis: int,
    seq_lengths: Array | None = None,
    lift: Mapping[str, Any],
) -> tuple[Any, Array]:
    """Runs ``carry, y = body(module, carry, x)`` over the time axis of the inputs.

    Args:
      module: the bound module that ``body`` calls.
      body: one step.
      carry: state before the first step.
      inputs: ``(*B, T, ...)``, or ``(T, *B, ...)`` with ``time_axis=0``.
      time_axis: axis of the time steps in inputs and outputs.
      seq_lengths: int ``(*B)``: the carry returned is that after so many steps; after all steps
        for length 0, as in ``nn.RNN``. ``None``: after all steps.
      lift: arguments of ``nn.scan`` that say how variables and RNG streams enter the loop.

    Returns:
      The carry, and the outputs with time at ``time_axis``.
    """
    note_loop("scan")
    if seq_lengths is None:
        loop = nn.scan(body, in_axes=time_axis, out_axes=time_axis, **lift)
        return loop(module, carry, inputs)

    steps = inputs.shape[time_axis]
    # What nn.RNN's index length - 1 selects: 0 the last step, more than all steps the last as well.
    lengths = jnp.asarray(seq_lengths)
    lengths = jnp.clip(jnp.where(lengths <= 0, steps + lengths, lengths), 1, steps)

    def selecting(module: nn.Module, carries: Any, x: tuple[Array, Array]) -> tuple[Any, Array]:
        running, last = carries
        value, count = x
        running, y = body(module, running, value)
        return (running, _where(count == lengths, running, last)), y

    counts = jnp.arange(1, steps + 1, dtype=lengths.dtype)
    select = nn.scan(selecting, in_axes=((time_axis, 0),), out_axes=time_axis, **lift)
    (_, last), outputs = select(module, (carry, carry), (inputs, counts))
    return last, outputs


def _where(condition: Array, new: Any, old: Any) -> Any:
    def select(a: Array, b: Array) -> Array:
        mask = condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim))
        return jnp.where(mask, a, b)

    return jax.tree.map(select, new, old)
