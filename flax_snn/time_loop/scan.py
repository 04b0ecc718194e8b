"""The readable reference loop: one call of the cell's step for each time step, by ``nn.scan``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from flax_snn.typing import Array

Body = Callable[[nn.Module, Any, Array], tuple[Any, Array]]


def scan(
    module: nn.Module,
    body: Body,
    carry: Any,
    inputs: Array,
    *,
    time_axis: int,
    seq_lengths: Array | None = None,
    lift: Mapping[str, Any],
) -> tuple[Any, Array]:
    """Run ``carry, y = body(module, carry, x)`` over the time axis of the inputs.

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
