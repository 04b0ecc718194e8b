"""Dense matrix products of a layer: inputs and spikes with their kernels."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import ArrayLike

from flax_snn.products.convolution import conv_general_dilated
from flax_snn.typing import Array


def project(
    inputs: Array,
    kernel: Array | None,
    bias: Array | None,
    dtype: Any,
    param_dtype: Any,
    dot_general: Any = jax.lax.dot_general,
) -> Array:
    """Turns inputs into currents: ``inputs @ kernel + bias``.

    Args:
      inputs: spikes or analog values ``(*B, F)``.
      kernel: ``(F, M)``, or ``None``: the inputs are the currents.
      bias: ``(M,)`` or ``None``.
      dtype: dtype of the product; ``None``: that of inputs and weights.
      param_dtype: dtype that spikes given as integers take on without ``dtype``.
      dot_general: the product.

    Returns:
      Currents ``(*B, M)``.
    """
    inputs = as_floating(inputs, dtype or param_dtype)
    if kernel is None:
        return inputs
    inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=dtype)
    out = _product(dot_general, inputs, kernel)
    return out if bias is None else out + bias.reshape((1,) * (out.ndim - 1) + (-1,))


def feed_back(
    spikes: Array, kernel: Array, dtype: Any, dot_general: Any = jax.lax.dot_general
) -> Array:
    """Turns the spikes of a layer into the currents they cause in it, in their dtype.

    Args:
      spikes: ``(*B, N)`` in the dtype of the state.
      kernel: ``(N, M)``, pre by post.
      dtype: dtype of the product; ``None``: that of spikes and weights.
      dot_general: the product.

    Returns:
      Currents ``(*B, M)``: one block of N for each synaptic channel that is fed.
    """
    inputs, kernel = promote_dtype(spikes, kernel, dtype=dtype)
    return _product(dot_general, inputs, kernel).astype(spikes.dtype)


def is_kernel(dot_general: Any) -> bool:
    """Whether a product is that with a kernel, its own or the one that `as_kernel` returns."""
    return dot_general is jax.lax.dot_general or getattr(dot_general, "linear", False)


def is_plain(product: Any) -> bool:
    """Whether a product, or what makes one, is the mathematical one, however it is computed.

    That of a crossbar is not. ``None``, Flax's default, is; so is what says it of itself, by an
    attribute ``plain``, as `EventDotGeneral` does.
    """
    product = getattr(product, "func", product)  # functools.partial
    known = (None, jax.lax.dot_general, jax.lax.conv_general_dilated, conv_general_dilated)
    return any(product is each for each in known) or getattr(product, "plain", False)


def as_kernel(dot_general: Any, kernel: Array) -> Array:
    """Returns the kernel with which a plain product is that of ``dot_general``.

    A module such as `flax_snn.crossbar.DotGeneral` says what becomes of a kernel on it
    (``as_kernel``), or what of a product can be done before a loop (``prepare``, ``multiply``).
    """
    changed: Array = dot_general.as_kernel(kernel) if hasattr(dot_general, "linear") else kernel
    return changed


def as_floating(inputs: ArrayLike, dtype: Any) -> Array:
    """Returns inputs as a floating array; bool, int8 and uint8 spikes are converted.

    Raises:
      TypeError: any other dtype.
    """
    inputs = jnp.asarray(inputs)
    if jnp.issubdtype(inputs.dtype, jnp.floating):
        return inputs
    if inputs.dtype in (jnp.bool_, jnp.int8, jnp.uint8):
        return inputs.astype(dtype)
    raise TypeError(
        "expected inputs of a floating dtype, or spikes as bool, int8 or uint8, got"
        f" {inputs.dtype}; convert them with .astype(jnp.float32)"
    )


def _product(dot_general: Any, inputs: Array, kernel: Array) -> Array:
    return dot_general(inputs, kernel, (((inputs.ndim - 1,), (0,)), ((), ())))
