"""How much each slot of batch and time counts where sequences have different lengths.

A slot is one time step of one sample. Padding has the weight 0; a step with data has the weight

    w_bt = 1 / (samples with data * steps with data of sample b)

so that each sample is averaged over its steps, and then the samples, as `flax_snn.sequence_mask`
says.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.initializers.recording import NeuronLayer, check_inputs
from flax_snn.sequence_mask import SequenceLengths, StepMask, TimeSteps, step_mask
from flax_snn.typing import Array, Float

__all__ = ["mean_and_spread", "slot_weights", "split_padding", "weighted_mean"]


def split_padding(
    inputs: Any,
    seq_lengths: SequenceLengths | None,
    mask: StepMask | None,
    *,
    time_major: bool,
) -> tuple[Any, Array | None]:
    """Returns inputs with zeros for padding, and which steps are data.

    Args:
      inputs: a batch, ``(*B, T, ...)``, or ``(T, *B, ...)`` with ``time_major``.
      seq_lengths: number of steps of each sample, ``(*B,)``, or None.
      mask: which steps are data, ``(*B, T)``, or None.
      time_major: whether time is the first axis of the inputs.

    Returns:
      The inputs, checked, and bool ``(*B, T)``, or None if all steps are data.

    Raises:
      TypeError: inputs that are no numbers, lengths that are not integers, a mask that is not bool.
      ValueError: inputs, lengths or a mask of another shape, lengths out of range, no data at all,
        data that is not finite.
    """
    checks.boolean("time_major", time_major)
    if seq_lengths is not None:
        batch_axes = np.ndim(seq_lengths)
    elif mask is not None:
        batch_axes = np.ndim(mask) - 1
    else:
        check_inputs(inputs)
        return inputs, None
    if np.ndim(inputs) <= batch_axes:
        what, came = f"{batch_axes} axes of batch and one of time", f"shape {np.shape(inputs)}"
        remedy = "seq_lengths have the batch axes of the inputs, a mask those and time"
        raise ValueError(checks.error_text("inputs", what, came, remedy))
    batch_major = jnp.moveaxis(jnp.asarray(inputs), 0 if time_major else batch_axes, batch_axes)
    *batch, steps = batch_major.shape[: batch_axes + 1]
    is_data = step_mask(tuple(batch), steps, seq_lengths=seq_lengths, mask=mask)
    if is_data is not None and not bool(is_data.any()):
        remedy = "leave out batches that are all padding"
        came = "none"
        raise ValueError(
            checks.error_text("seq_lengths, mask", "at least one step with data", came, remedy)
        )
    cleaned = TimeSteps(batch_axes, is_data).without_padding(batch_major)
    check_inputs(cleaned)
    return jnp.moveaxis(cleaned, batch_axes, 0 if time_major else batch_axes), is_data


def slot_weights(
    layer: NeuronLayer, slots: int, mask: Array | None
) -> Float[Array, "slots"] | None:
    """Returns the weight of each slot of a layer's traces, or None if all weigh the same.

    Args:
      layer: the layer.
      slots: number of slots in its traces: time steps times batch, for each run of the cell.
      mask: which steps are data, ``(*B, T)``, or None for all.

    Raises:
      ValueError: the layer runs over other axes of batch and time than the mask has.
    """
    if mask is None:
        return None
    batch = layer.current.shape[: -layer.cell.feature_axes]
    if mask.shape[:-1] != batch or slots % mask.size:
        what = f"{layer.name} to run over batch and time {mask.shape}, the axes of the mask"
        came = f"batch {batch} and {slots} slots in all"
        remedy = "layers that merge batch and time, or change the number of steps, have no lengths"
        raise ValueError(checks.error_text("seq_lengths, mask", what, came, remedy))
    steps = jnp.sum(mask, axis=-1, keepdims=True, dtype=jnp.int32)
    samples = jnp.sum(steps > 0, dtype=jnp.int32)
    runs = slots // mask.size
    total = (jnp.maximum(steps, 1) * samples * runs).astype(jnp.float32)
    weights = jnp.where(mask, 1.0 / total, 0.0)
    # Traces have time first, and the runs of one cell lie one behind the other.
    return jnp.tile(jnp.moveaxis(weights, -1, 0).reshape(-1), runs)


def weighted_mean(values: Array, weights: Array | None) -> Array:
    """Returns the mean over slots, the first axis, whatever slots of weight 0 hold."""
    if weights is None:
        return jnp.mean(values, axis=0)
    weights = weights.reshape(-1, *(1,) * (values.ndim - 1)).astype(values.dtype)
    return jnp.sum(jnp.where(weights > 0, values * weights, 0.0), axis=0)


def mean_and_spread(values: Array, weights: Array | None) -> tuple[Array, Array]:
    """Returns mean and standard deviation over slots and neurons."""
    if weights is None:
        return jnp.mean(values), jnp.std(values)
    mean = jnp.mean(weighted_mean(values, weights))
    variance = jnp.mean(weighted_mean(jnp.square(values - mean), weights))
    return mean, jnp.sqrt(variance)
