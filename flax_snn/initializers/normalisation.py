"""What normalising layers take their statistics from while a model with padding is recorded.

A layer that averages over time, as `nn.BatchNorm` does in training, counts padding as data unless
it is told not to. Where its inputs have the axes of batch and time of the mask, it gets the mask:

    mean = sum of x over steps with data / number of steps with data

Where they have other axes, as in a loop over single steps, the layer is named instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from flax_snn.typing import Array

NORMALISING = (nn.BatchNorm, nn.GroupNorm, nn.InstanceNorm, nn.LayerNorm, nn.RMSNorm)
"""The normalising layers of Linen that take their statistics from their inputs."""


class Normalisations:
    """Calls the normalising layers of a model, and notes what their statistics are made of.

    Attributes:
      batch_norms: name of each ``nn.BatchNorm``, and whether it took its running statistics.
      padding_left_out: names of the layers that were given the mask.
      padding_included: names of the layers whose statistics may include padding.
    """

    def __init__(
        self, use_running_average: bool | None, is_data: Array | None, time_major: bool
    ) -> None:
        self.use_running_average = use_running_average
        self.batch_norms: dict[str, bool] = {}
        self.padding_left_out: dict[str, None] = {}
        self.padding_included: dict[str, None] = {}
        self._time_axis = 0 if time_major or is_data is None else is_data.ndim - 1
        self._is_data = None if is_data is None else jnp.moveaxis(is_data, -1, self._time_axis)

    def call(
        self,
        call: Callable[..., Any],
        module: nn.Module,
        name: str,
        by_step: bool,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Runs a normalising layer without the padding, and a BatchNorm in the mode asked for.

        Args:
          call: runs the layer.
          module: the layer.
          name: its name, for the notes.
          by_step: whether the model is inside a loop over time, so that no axis is time.
          *args: positional arguments of the layer, its inputs first.
          **kwargs: its keyword arguments.
        """
        if isinstance(module, nn.BatchNorm):
            return self._batch_norm(call, module, name, by_step, *args, **kwargs)
        x, *others = args
        return call(x, *others, **self._with_mask(module, name, by_step, x, kwargs))

    def _batch_norm(
        self,
        call: Callable[..., Any],
        module: nn.BatchNorm,
        name: str,
        by_step: bool,
        x: Any,
        use_running_average: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        fixed, asked = module.use_running_average, self.use_running_average
        used = asked
        if used is None:
            used = bool(fixed if use_running_average is None else use_running_average)
        self.batch_norms[name] = used
        if not used:
            kwargs = self._with_mask(module, name, by_step, x, kwargs)
        if asked is None:
            return call(x, use_running_average, **kwargs)
        # A module is frozen, and Flax refuses the switch as an attribute and an argument at once.
        object.__setattr__(module, "use_running_average", None)
        try:
            return call(x, asked, **kwargs)
        finally:
            object.__setattr__(module, "use_running_average", fixed)

    def _with_mask(
        self, module: nn.Module, name: str, by_step: bool, x: Any, kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Returns the keyword arguments of a layer, with the mask if its statistics need it."""
        is_data = self._is_data
        if is_data is None or kwargs.get("mask") is not None:
            return kwargs
        reduced = _reduced_axes(module, x.ndim)
        axes = is_data.ndim
        if not by_step and x.ndim > axes and x.shape[:axes] == is_data.shape:
            if self._time_axis not in reduced:
                return kwargs
            if "mask" in inspect.signature(type(module).__call__).parameters:
                self.padding_left_out[name] = None
                mask = is_data.reshape(*is_data.shape, *(1,) * (x.ndim - axes))
                return {**kwargs, "mask": jnp.broadcast_to(mask, x.shape)}
        elif not isinstance(module, nn.BatchNorm):  # which averages over the batch in any case
            steps = is_data.shape[self._time_axis]
            if by_step or steps not in [x.shape[axis] for axis in reduced]:
                return kwargs
        self.padding_included[name] = None
        return kwargs


def padding_notes(left_out: Sequence[str], included: Sequence[str]) -> list[str]:
    """Returns in words which normalising layers left out padding and which did not."""
    notes = []
    if left_out:
        notes.append(
            f"padding left out of the statistics of {', '.join(left_out)}: in training it is left"
            " out only if the model passes `mask` to them"
        )
    if included:
        notes.append(
            f"padding may be included in the statistics of {', '.join(included)}: their inputs do"
            " not have the axes of batch and time of the mask; pass `mask` to them in the model, or"
            " let a BatchNorm take its running statistics with use_running_average=True"
        )
    return notes


def _reduced_axes(module: nn.Module, ndim: int) -> set[int]:
    """Returns the axes that a normalising layer averages over."""
    everything = set(range(ndim))
    if isinstance(module, nn.BatchNorm):
        return everything - _axes(module.axis, ndim)
    if isinstance(module, nn.InstanceNorm):
        return everything - _axes(module.feature_axes, ndim) - {0}
    given = getattr(module, "reduction_axes", None)
    return everything - {0} if given is None else _axes(given, ndim)


def _axes(given: Any, ndim: int) -> set[int]:
    return {int(axis) % ndim for axis in np.atleast_1d(given)}
