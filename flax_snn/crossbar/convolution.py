"""A crossbar in the place of ``lax.conv_general_dilated``, for ``nn.Conv``."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from flax_snn.crossbar.dot_general import Analog
from flax_snn.typing import Array, Float


class ConvGeneralDilated(Analog):
    """A convolution on a crossbar, as the ``conv_general_dilated_cls`` of ``nn.Conv``.

        make = functools.partial(snn.crossbar.ConvGeneralDilated, device)
        nn.Conv(32, (3, 3), conv_general_dilated_cls=make)

    A column holds a filter; its rows are driven by one patch of the input after the other, in the
    order channel, then window. Each group of a grouped convolution has a crossbar of its own.

    Raises:
      ValueError: as `flax_snn.crossbar.DotGeneral`; other layouts than those of ``nn.Conv``.
    """

    @nn.compact
    def __call__(
        self,
        lhs: Float[Array, "..."],
        rhs: Float[Array, "..."],
        window_strides: Any,
        padding: Any,
        lhs_dilation: Any = None,
        rhs_dilation: Any = None,
        dimension_numbers: Any = None,
        feature_group_count: int = 1,
        batch_group_count: int = 1,
        precision: Any = None,
        preferred_element_type: Any = None,
        **options: Any,
    ) -> Float[Array, "..."]:
        """Convolves, as ``lax.conv_general_dilated`` does.

        Args:
          lhs: inputs ``(B, *space, C)``.
          rhs: kernel ``(*window, C / groups, O)``.
          window_strides: steps of the window.
          padding: as ``lax.conv_general_dilated`` takes it.
          lhs_dilation: dilation of the inputs.
          rhs_dilation: dilation of the window.
          dimension_numbers: that of ``nn.Conv``.
          feature_group_count: groups of channels.
          batch_group_count: 1.
          precision: ignored, an analog product has its own.
          preferred_element_type: dtype of the result; by default that of the operands.
          **options: others of ``lax.conv_general_dilated``, ignored.

        Returns:
          Outputs ``(B, *space, O)``.
        """
        del precision, options
        last = lhs.ndim - 1
        numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
        spatial = tuple(range(1, last))
        layout = ((0, last, *spatial), (last, last - 1, *range(last - 1)))
        if (numbers.lhs_spec, numbers.rhs_spec) != layout or numbers.out_spec != layout[0]:
            raise ValueError(
                f"{self._where()}: expected inputs (B, *space, channels) and kernels (*window,"
                f" inputs, outputs), as nn.Conv has them, got {numbers}"
            )
        if batch_group_count != 1:
            raise ValueError(
                f"{self._where()}: expected batch_group_count=1, got {batch_group_count}"
            )
        groups, outputs = feature_group_count, rhs.shape[-1]
        patches = lax.conv_general_dilated_patches(
            lhs,
            rhs.shape[:-2],
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers=numbers,
        )
        kernel = jnp.moveaxis(rhs, -2, 0).reshape(-1, outputs)
        if groups > 1:
            patches = patches.reshape(*patches.shape[:-1], groups, -1)
            kernel = jnp.moveaxis(kernel.reshape(-1, groups, outputs // groups), 1, 0)
        out = self.multiply(patches, self.prepare(kernel))
        dtype = preferred_element_type or jnp.result_type(lhs, rhs)
        return out.reshape(*patches.shape[: lhs.ndim - 1], outputs).astype(dtype)
