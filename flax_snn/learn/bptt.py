"""Backpropagation through time behind the interface of the online rules, to compare them with."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from flax_snn.learn.network import as_batch
from flax_snn.learn.objective import (
    StepLoss,
    check_loss,
    check_targets,
    loss_of_chunk,
    targets_of,
    window,
)
from flax_snn.learn.sequence import check_variables
from flax_snn.typing import Array


def bptt(
    model: nn.Module,
    variables: Any,
    batch: Any,
    loss: StepLoss,
    *,
    mask: Any = None,
    seq_lengths: Any = None,
) -> tuple[Array, Any]:
    """Returns loss and full gradient by backpropagation through time.

    It is ``jax.value_and_grad`` of the sum of the losses of all steps, and keeps what the model
    keeps of the whole sequence.

    Args:
      model: a module over sequences with outputs ``(B, T, C)``.
      variables: its variables.
      batch: inputs ``(B, T, ...)`` and targets: arrays ``(B, T, ...)``, or ``(B,)`` for labels that
        are the same in all steps.
      loss: loss of a step, as `squared_error` and `cross_entropy`; the loss is the sum over steps
        and samples.
      mask: which steps count, bool ``(B, T)``.
      seq_lengths: steps of each sample that count, ``(B,)``, instead of a mask.

    Returns:
      The loss, and its gradient with respect to ``variables["params"]``.

    Raises:
      TypeError: no batch of inputs and targets.
      ValueError: losses that are not sums over steps; a model without outputs ``(B, T, C)``.
    """
    check_loss("bptt", loss)
    check_variables("bptt", variables)
    inputs, targets = as_batch("bptt", model, batch, feature_axes=None)
    samples, steps = inputs.shape[:2]
    targets = targets_of(check_targets("bptt", targets, samples, steps), 0, steps)
    counted = window("bptt", samples, steps, mask=mask, seq_lengths=seq_lengths)
    time_major = bool(getattr(model, "time_major", False))
    given = jnp.moveaxis(inputs, 1, 0) if time_major else inputs

    def total(params: Any) -> Array:
        outputs: Any = model.apply({**variables, "params": params}, given)
        outputs = outputs if time_major else jnp.moveaxis(outputs, 1, 0)
        if outputs.ndim != 3 or outputs.shape[:2] != (steps, samples):
            raise ValueError(
                f"bptt: model: expected outputs (B, T, C), one for each step, got shape"
                f" {outputs.shape} with time first for {steps} steps of {samples} samples"
            )
        return loss_of_chunk(loss, outputs, targets, counted)

    value, gradient = jax.value_and_grad(total)(variables["params"])
    return value, gradient
