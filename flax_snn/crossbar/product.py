"""A product in the circuit of a crossbar: converters, noise, wires, tiles."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from flax_snn.crossbar import tiles
from flax_snn.crossbar.chip import Reading
from flax_snn.crossbar.device import Device
from flax_snn.crossbar.noise import quick_normal
from flax_snn.typing import Array, Float, PRNGKey, Shape

MOST_HALVINGS = 1000.0
"""Factor of the inputs beyond which bound management stops in any case."""


@functools.partial(jax.jit, static_argnums=0)
def product(
    device: Device,
    reading: Reading,
    x: Float[Array, "*B n"],
    key: PRNGKey | None,
) -> Float[Array, "*B m"]:
    """Returns the product of inputs and a matrix on a crossbar.

    Args:
      device: the crossbar.
      reading: the matrix on it.
      x: inputs.
      key: random key of the noise of this product; ``None`` where there is none.

    Returns:
      Outputs in units of weight times input.
    """
    total: Array = jnp.zeros((), x.dtype)
    row_tiles = tiles.splits(x.shape[-1], device.limits(reading.matrix.shape)[0])
    keys = [None] * len(row_tiles) if key is None else list(jax.random.split(key, len(row_tiles)))
    for k, (part, tile_key) in enumerate(zip(row_tiles, keys, strict=True)):
        inputs, matrix = x[..., part], reading.matrix[part]
        if device.linear:
            y = inputs @ matrix
        else:
            y = _tile(device, matrix, inputs, tile_key)
        total = total + y * reading.scale[k].reshape((1,) * (x.ndim - 1) + (-1,))
    return total


def _tile(
    device: Device,
    matrix: Float[Array, "n m"],
    x: Float[Array, "*B n"],
    key: PRNGKey | None,
) -> Float[Array, "*B m"]:
    """Returns the output of one tile in units of its full scale."""
    noise = _Noise(device, key, x.shape, (*x.shape[:-1], matrix.shape[1]), x.dtype)
    # Spikes are pulses of one height: no converter is needed for them.
    binary = jnp.all((x == 0) | (x == 1), axis=-1, keepdims=True)
    inverse = _largest(device, x)

    def analog(x: Array, matrix: Array, halved: Array | float) -> Array:
        """Returns the input of the ADC, for inputs of the crossbar divided by ``halved``."""
        a = jnp.where(inverse > 0, 1.0 / jnp.where(inverse > 0, inverse, 1.0), 0.0) / halved
        scaled = x if device.input_scaling is None and device.bound_management is None else a * x
        if device.dac is not None:
            scaled = jnp.where(binary, scaled, device.dac.convert(scaled))
        driven = noise.on_inputs(scaled)
        y = driven @ matrix
        if device.ir_drop is not None:
            y = y - device.ir_drop.loss(driven, matrix)
        return noise.on_outputs(y, driven)

    halved: Array | float = 1.0
    if device.bound_management is not None:
        halved = _halvings(device, analog, *jax.lax.stop_gradient((x, matrix)))
    y = analog(x, matrix, halved)
    if device.adc is not None:
        y = device.adc.convert(y)
    if device.input_scaling is None and device.bound_management is None:
        return y
    return y * (inverse * halved)


def _largest(device: Device, x: Float[Array, "*B n"]) -> Float[Array, "*#B 1"]:
    """Returns 1 / a of each input vector; 0 for one that is all zero."""
    if device.input_scaling == "abs_max":
        return jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    theta = 1.0 if device.input_scaling is None else float(device.input_scaling)
    return jnp.full((1,) * x.ndim, theta, x.dtype)


def _halvings(
    device: Device, analog: Any, x: Float[Array, "*B n"], matrix: Float[Array, "n m"]
) -> Array:
    """Returns the power of 2 by which inputs are divided so that the ADC does not clip."""
    assert device.adc is not None
    most = MOST_HALVINGS
    if device.dac is not None:
        most = min(most, 0.25 / device.dac.step)
    axes = (-1,) if device.bound_management == "vector" else tuple(range(x.ndim))

    def too_large(halved: Array) -> Array:
        beyond = device.adc.clips(analog(x, matrix, halved))  # type: ignore[union-attr]
        return jnp.any(beyond, axis=axes, keepdims=True) & (halved <= most)

    def again(loop: tuple[Array, Array]) -> tuple[Array, Array]:
        halved, large = loop
        halved = jnp.where(large, 2.0 * halved, halved)
        return halved, too_large(halved)

    shape = jnp.any(x > 0, axis=axes, keepdims=True).shape
    first = jnp.ones(shape, x.dtype)
    start = (first, too_large(first))
    halved, _ = jax.lax.while_loop(lambda loop: jnp.any(loop[1]), again, start)
    return halved


class _Noise:
    """Noise of one product, drawn once, so that a second try with smaller inputs has the same."""

    def __init__(
        self,
        device: Device,
        key: PRNGKey | None,
        inputs: Shape,
        outputs: Shape,
        dtype: Any,
    ) -> None:
        self._device = device
        self._inputs = self._outputs = None
        if key is None:
            return
        in_key, out_key = jax.random.split(key)
        if device.input_noise:
            self._inputs = device.input_noise * quick_normal(in_key, inputs, dtype)
        if device.output_noise or device.weight_read_noise:
            self._outputs = quick_normal(out_key, outputs, dtype)

    def on_inputs(self, x: Array) -> Array:
        return x if self._inputs is None else x + self._inputs

    def on_outputs(self, y: Array, x: Array) -> Array:
        if self._outputs is None:
            return y
        circuit, devices = self._device.output_noise, self._device.weight_read_noise
        if not devices:
            return y + circuit * self._outputs
        energy = jax.lax.stop_gradient(jnp.sum(x * x, axis=-1, keepdims=True))
        return y + jnp.sqrt(circuit**2 + devices**2 * energy) * self._outputs
