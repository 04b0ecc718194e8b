"""Weights on a chip: the conductances as programmed, and as they are read at a later time."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from flax_snn.crossbar import tiles
from flax_snn.crossbar.device import Compensation, Device
from flax_snn.crossbar.faults import check_map, stick
from flax_snn.typing import Array, Float, Int, PRNGKey

LEAST_SCALE = 1e-7
"""Smallest weight at full scale: weights that are all zero stay zero."""

SLACK = 1.0 + 1e-6
"""Part of ``w_max`` that weights may reach: what rounding makes of it."""

LEAST_PROBE = 1e-4
"""Smallest mean response to the probe of the drift compensation."""


@struct.dataclass
class Reading:
    """The matrix that a chip multiplies by at one time.

    Attributes:
      matrix: weights in units of full scale, ``(inputs, outputs)``.
      scale: weight at full scale, times the factor of the drift compensation, ``(R, outputs)`` for
        R tiles along the inputs.
    """

    matrix: Float[Array, "n m"]
    scale: Float[Array, "R m"]


@struct.dataclass
class Programmed:
    """A programmed crossbar and its last reading, as the collection ``crossbar`` stores them.

    Arrays of devices are ``(2, inputs, outputs)``: g+ and g- of each weight.

    Attributes:
      target: conductances that were asked for, in uS.
      written: conductances after programming, in uS.
      draw: what each device keeps for later: drift exponents, or the numbers of `Relaxation`.
      faults: -1 stuck low, 1 stuck high, 0 neither; ``None`` without faults.
      w_max: weight at full scale, ``(R, outputs)``.
      baseline: mean response to the probe after programming, ``(R, outputs)``.
      time: seconds since the end of programming at which the chip was looked at.
      reading: what was found.
      device: the crossbar.
    """

    target: Float[Array, "2 n m"]
    written: Float[Array, "2 n m"]
    draw: Float[Array, "2 n m"] | None
    faults: Int[Array, "2 n m"] | None
    w_max: Float[Array, "R m"]
    baseline: Float[Array, "R m"]
    time: Float[Array, ""]
    reading: Reading
    device: Device = struct.field(pytree_node=False)


def program(
    device: Device,
    weights: Float[Array, "n m"],
    key: PRNGKey,
    fault_key: PRNGKey | None = None,
    faults: Any = None,
) -> Programmed:
    """Programs weights, and reads them for the first time.

    Args:
      device: the crossbar.
      weights: ``(inputs, outputs)``.
      key: random key of the programming.
      fault_key: random key of the faults; follows from ``key`` where not given.
      faults: a map of faults, in the place of drawn ones.

    Returns:
      The programmed crossbar at the first time of the device.

    Raises:
      ValueError: weights that are not finite or beyond ``w_max``; a fault map of another shape.
    """
    check_weights(device, weights)
    if faults is not None:
        faults = check_map(faults, (2, *weights.shape))
    return _program(device, weights, key, fault_key, faults)


def read(chip: Programmed, t: Any, key: PRNGKey, compensation: Compensation | None) -> Programmed:
    """Reads a programmed crossbar at a time.

    Args:
      chip: the crossbar.
      t: seconds since the end of programming.
      key: random key of the read noise.
      compensation: drift compensation.

    Returns:
      The crossbar with what was found.

    Raises:
      ValueError: a time for which the device has no data.
    """
    if chip.device.relaxation is None:
        return _read(chip, jnp.asarray(t, chip.time.dtype), key, compensation)
    measured = chip.device.relaxation.times[chip.device.relaxation.check_time(t)]
    return _read_as_measured(chip, measured, key, compensation)


def check_weights(device: Device, weights: Float[Array, "n m"]) -> None:
    """Checks that weights can be programmed, if their values are known.

    Raises:
      ValueError: weights that are not finite, or beyond the ``w_max`` of the device.
    """
    if isinstance(weights, jax.core.Tracer):
        return
    largest = float(np.max(np.abs(weights)))
    if not np.isfinite(largest):
        raise ValueError("expected finite weights, got inf or NaN; nothing can be programmed")
    if device.w_max is not None and largest > device.w_max * SLACK:
        raise ValueError(
            f"expected weights within w_max={device.w_max:g}, the largest that these conductances"
            f" stand for, got one of {largest:g}; raise w_max, leave it out, or clip the weights"
            " (clip_weights)"
        )


def full_scale(device: Device, weights: Float[Array, "n m"]) -> Float[Array, "R m"]:
    """Returns the weight at full scale of each tile or column, NaN if it is too small."""
    limits = device.limits(weights.shape)
    if device.w_max is None:
        if device.scaling == "column":
            found = tiles.of_rows(jnp.abs(weights), limits[0], "max")
        else:
            found = tiles.of_tiles(jnp.abs(weights), limits, "max")
        return jnp.maximum(found, LEAST_SCALE)
    rows = len(tiles.splits(weights.shape[0], limits[0]))
    # What could not be checked must not be mapped to more than g_max in silence.
    beyond = jnp.max(jnp.abs(weights)) > device.w_max * SLACK
    scale = jnp.where(beyond, jnp.nan, device.w_max).astype(weights.dtype)
    return jnp.broadcast_to(scale, (rows, weights.shape[1]))


def conductances(
    device: Device, weights: Float[Array, "n m"], w_max: Float[Array, "R m"]
) -> Float[Array, "2 n m"]:
    """Returns the target conductances of the pairs, rounded if the device has levels.

    Args:
      device: the crossbar.
      weights: ``(inputs, outputs)``.
      w_max: weight at full scale.
    """
    n = weights.shape[0]
    share = weights / tiles.spread(w_max, n, device.limits(weights.shape)[0])
    span = device.g_max - device.g_min
    g = device.g_min + span * jnp.maximum(jnp.stack([share, -share]), 0.0)
    if device.levels is None:
        return g
    step = span / (device.levels - 1)
    return device.g_min + step * jnp.round((g - device.g_min) / step)


# Compiled as a whole also where nothing around them is: op by op a first call takes seconds.
@functools.partial(jax.jit, static_argnums=0)
def _program(
    device: Device, weights: Array, key: PRNGKey, fault_key: PRNGKey | None, faults: Any
) -> Programmed:
    noise_key, draw_key, own_fault_key, read_key = jax.random.split(key, 4)
    w_max = full_scale(device, weights)
    target = conductances(device, weights, w_max)
    written = target
    if device.programming is not None:
        if device.write_verify is None:
            written = device.programming.write(noise_key, target, device.g_max)
        else:
            written = device.write_verify.write(device.programming, noise_key, target, device.g_max)
    if faults is None and device.faults is not None:
        chosen = own_fault_key if fault_key is None else fault_key
        faults = device.faults.draw(chosen, target.shape)
    if faults is not None:
        written = stick(faults, written, device.g_min, device.g_max)
    draw = None
    if device.drift is not None:
        draw = device.drift.draw(draw_key, target, device.g_max)
    elif device.relaxation is not None:
        draw = device.relaxation.draw(draw_key, target)
    chip = Programmed(
        target=target,
        written=written,
        draw=draw,
        faults=faults,
        w_max=w_max,
        baseline=jnp.ones_like(w_max),
        time=jnp.zeros((), weights.dtype),
        reading=Reading(jnp.zeros_like(weights), w_max),
        device=device,
    )
    matrix = _difference(device, _aged(chip, device.first_time))
    baseline = _response(device, device.drift_compensation or "global", matrix)
    chip = dataclasses.replace(chip, baseline=baseline)
    return _look(chip, device.first_time, read_key, device.drift_compensation)


def _look(chip: Programmed, t: Any, key: PRNGKey, compensation: Compensation | None) -> Programmed:
    device = chip.device
    g = _aged(chip, t)
    if device.read_noise is not None:
        when = jnp.asarray(t, g.dtype)
        g = device.read_noise.read(key, g, chip.written, device.g_max, when)
    matrix, scale = _difference(device, g), chip.w_max
    if compensation is not None:
        baseline = chip.baseline
        if compensation != (device.drift_compensation or "global"):
            first = _difference(device, _aged(chip, device.first_time))
            baseline = _response(device, compensation, first)
        scale = scale * baseline / _response(device, compensation, matrix)
    time = jnp.broadcast_to(jnp.asarray(t, chip.time.dtype), chip.time.shape)
    return dataclasses.replace(chip, time=time, reading=Reading(matrix, scale))


_read = jax.jit(_look, static_argnums=3)
_read_as_measured = jax.jit(_look, static_argnums=(1, 3))


def _aged(chip: Programmed, t: Any) -> Float[Array, "2 n m"]:
    """Returns the conductances at time t, without read noise."""
    device, g = chip.device, chip.written
    if device.drift is not None:
        assert chip.draw is not None
        g = device.drift.at(chip.written, chip.draw, jnp.asarray(t, g.dtype))
    elif device.relaxation is not None:
        assert chip.draw is not None
        g = device.relaxation.at(chip.target, chip.draw, device.g_max, t)
    if chip.faults is None:
        return g
    return stick(chip.faults, g, device.g_min, device.g_max)


def _difference(device: Device, g: Float[Array, "2 n m"]) -> Float[Array, "n m"]:
    return (g[0] - g[1]) / (device.g_max - device.g_min)


def _response(
    device: Device, compensation: Compensation, matrix: Float[Array, "n m"]
) -> Float[Array, "R m"]:
    """Returns the mean response to the rows of the identity."""
    limits = device.limits(matrix.shape)
    if compensation == "column":
        found = tiles.of_rows(jnp.abs(matrix), limits[0], "mean")
    else:
        found = tiles.of_tiles(jnp.abs(matrix), limits, "mean")
    return jnp.maximum(found, LEAST_PROBE)
