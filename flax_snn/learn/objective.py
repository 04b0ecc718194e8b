"""Losses that online rules can follow: sums over time steps of what the outputs of a step say.

    E = SUM_t SUM_b mask_bt loss(y_b[t], target_b[t])

A loss is a function ``loss(outputs, targets)`` of the outputs ``(B, C)`` of ONE step and the
targets of that step. It returns one value for each sample, ``(B,)``, or one for the step, ``()``.
What takes a maximum, a mean or the last value over time first needs the whole sequence, and is
refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn import checks
from flax_snn.sequence_mask import step_mask
from flax_snn.typing import Array, Float

StepLoss = Callable[[Any, Any], Any]
"""``loss(outputs, targets)`` of one step: one value for each sample, or one for the step."""


def squared_error(outputs: Float[Array, "B C"], targets: Float[Array, "B C"]) -> Float[Array, "B"]:
    """Returns half the squared distance of each sample: ``1/2 SUM_c (y_c - target_c)^2``.

    >>> import jax.numpy as jnp
    >>> squared_error(jnp.ones((1, 2)), jnp.array([[1.0, 3.0]])).tolist()
    [2.0]

    Args:
      outputs: outputs of one step.
      targets: what they are to be.

    Raises:
      ValueError: targets of another shape.
    """
    remedy = "give one target for each output of each step, (B, T, C)"
    checks.shape("squared_error: targets of a step", targets, outputs.shape, remedy=remedy)
    return 0.5 * jnp.sum((outputs - jnp.asarray(targets, outputs.dtype)) ** 2, axis=-1)


def cross_entropy(outputs: Float[Array, "B C"], labels: Any) -> Float[Array, "B"]:
    """Returns the cross-entropy of each sample: ``-log softmax(y)_label``.

    >>> import jax.numpy as jnp
    >>> round(float(cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))[0]), 3)
    1.386

    Args:
      outputs: logits of one step.
      labels: class of each sample, integers ``(B,)``.

    Raises:
      TypeError: labels that are not integers.
      ValueError: labels of another shape.
    """
    checks.integers("cross_entropy: labels", labels, remedy="give the number of each class")
    checks.shape("cross_entropy: labels of a step", labels, outputs.shape[:1])
    chosen = jnp.take_along_axis(outputs, jnp.asarray(labels)[:, None], axis=-1)[:, 0]
    return jax.nn.logsumexp(outputs, axis=-1) - chosen


def check_loss(name: str, loss: StepLoss) -> None:
    """Checks that a loss may be one of single steps.

    Raises:
      TypeError: no function.
      ValueError: a loss of whole sequences.
    """
    remedy = "such as snn.learn.squared_error or snn.learn.cross_entropy"
    if not callable(loss):
        what = "a function of the outputs and targets of one step"
        raise TypeError(checks.error_text(f"{name}: loss", what, checks.shown(loss), remedy))
    wrapped = getattr(loss, "func", loss)
    if str(getattr(wrapped, "__module__", "")).startswith("flax_snn.losses"):
        raise ValueError(
            f"{name}: loss: expected a loss of single steps, of which the loss of a sequence is the"
            f" sum, got {wrapped.__name__}, which reduces whole sequences over time first: its"
            f" gradient is not known before the last step; give one {remedy}"
        )


def check_targets(name: str, targets: Any, batch: int, steps: int) -> Any:
    """Returns targets as arrays, each with a time axis or one value for each sample.

    Args:
      name: name of the rule, for errors.
      targets: a pytree of arrays ``(B, T, ...)``, or ``(B,)`` for what is the same in all steps.
      batch: samples B.
      steps: time steps T.

    Raises:
      ValueError: an array of another shape.
    """

    def checked(path: Any, leaf: Any) -> Array:
        array = jnp.asarray(leaf)
        where = f"{name}: targets{jax.tree_util.keystr(path)}"
        if array.shape != (batch,) and array.shape[:2] != (batch, steps):
            what = f"shape ({batch}, {steps}, ...), or ({batch},) for one target in all steps"
            remedy = "repeat what does not change: jnp.broadcast_to(target[:, None], (B, T, C))"
            raise ValueError(checks.error_text(where, what, f"shape {array.shape}", remedy))
        return array

    return jax.tree_util.tree_map_with_path(checked, targets)


def targets_of(targets: Any, start: Any, length: int) -> Any:
    """Returns the targets of a chunk with time first; those without a time axis as they are."""

    def cut(leaf: Array) -> Array:
        if leaf.ndim == 1:
            return leaf
        return jnp.moveaxis(lax.dynamic_slice_in_dim(leaf, start, length, 1), 1, 0)

    return jax.tree.map(cut, targets)


def window(
    name: str, batch: int, steps: int, *, mask: Any = None, seq_lengths: Any = None
) -> Array | None:
    """Returns which steps count, bool ``(B, T)``, or None if all do.

    Raises:
      ValueError: a mask or lengths that do not fit; see `flax_snn.sequence_mask`.
    """
    del name
    return step_mask((batch,), steps, seq_lengths=seq_lengths, mask=mask)


def loss_and_errors(
    loss: StepLoss, outputs: Float[Array, "T B C"], targets: Any, counted: Array | None
) -> tuple[Array, Array]:
    """Returns the loss of a chunk, and its derivative by the outputs, ``(T, B, C)``."""
    value, errors = jax.value_and_grad(lambda y: loss_of_chunk(loss, y, targets, counted))(outputs)
    return value, errors


def loss_of_chunk(
    loss: StepLoss, outputs: Float[Array, "T B C"], targets: Any, counted: Array | None
) -> Array:
    """Returns the loss of a chunk of steps.

    Args:
      loss: the loss of a step.
      outputs: outputs of the chunk, time first.
      targets: what `targets_of` returned.
      counted: which steps count, bool ``(B, T)`` of the chunk, or None for all.

    Raises:
      ValueError: a loss that returns something else than one value or one for each sample.
    """
    axes = jax.tree.map(lambda leaf: None if leaf.ndim == 1 else 0, targets)
    values = jax.vmap(loss, in_axes=(0, axes))(outputs, targets)
    batch = outputs.shape[1]
    per_sample = getattr(values, "shape", None) == (outputs.shape[0], batch)
    if not per_sample and getattr(values, "shape", None) != (outputs.shape[0],):
        came = checks.shown(jax.eval_shape(lambda: values)) if values is not None else "None"
        raise ValueError(
            "loss: expected one value for each sample of a step, of shape"
            f" ({batch},), or one for the step, of shape (), got {came} for {outputs.shape[0]}"
            " steps; sum over the outputs"
        )
    if counted is not None:
        if not per_sample:
            raise ValueError(
                f"loss: expected one value for each sample of a step, of shape ({batch},), since a"
                " mask or lengths leave out samples, got one value for the step; do not sum over"
                " the samples"
            )
        values = jnp.where(counted.T, values, 0)
    return jnp.sum(values)
