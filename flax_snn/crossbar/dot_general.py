"""A crossbar in the place of ``lax.dot_general``: `DotGeneral`, for any Flax layer.

Variables and streams of random numbers say what it does:

    collection ``crossbar`` holds a programmed chip     its weights, as last looked at
    the call has the stream ``programming``             a chip for this call: for training; with
                                                        the faults in ``crossbar``, if any
    neither                                             an error, unless the device draws nothing

The stream ``reading`` is the noise of each product. `flax_snn.crossbar.program` makes the
collection.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from flax_snn.crossbar import chip, tiles
from flax_snn.crossbar.chip import Programmed, Reading
from flax_snn.crossbar.device import Device
from flax_snn.crossbar.product import product
from flax_snn.crossbar.training import Training, straight_through, throw_away
from flax_snn.typing import Array, Float, PRNGKey

COLLECTION = "crossbar"
PROGRAMMING, FAULTS, READING = "programming", "faults", "reading"
"""Streams of random numbers: of a programming, of its faults, of each product."""


class Analog(nn.Module):
    """A matrix on a crossbar, as products and convolutions share it.

    Attributes:
      device: the crossbar.
      training: what the weights are trained against.
    """

    device: Device
    training: Training = Training()

    def __post_init__(self) -> None:
        """Checks the fields when the layer is made."""
        for name, kind in (("device", Device), ("training", Training)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(
                    f"{type(self).__name__}: {name}: expected a {kind.__name__}, got"
                    f" {getattr(self, name)!r}"
                )
        super().__post_init__()

    @property
    def linear(self) -> bool:
        """Whether a product is that of inputs with `as_kernel`, and nothing else."""
        return self.device.linear

    def prepare(self, kernel: Float[Array, "*G n m"]) -> Reading:
        """Returns the matrices that the products of one sequence multiply by.

        Programs the collection ``crossbar`` where it is mutable and the stream ``programming`` is
        given.

        Args:
          kernel: the weights; with one more axis in front, a crossbar for each entry.

        Raises:
          ValueError: no chip and no stream to make one; a chip for another kernel.
        """
        if not kernel.size:
            raise ValueError(
                f"{self._where()}: expected a kernel with at least one input and one output, got"
                f" shape {kernel.shape}"
            )
        weights = kernel.astype(_wider(kernel.dtype, jnp.float32))
        if self.is_initializing():
            return _each(lambda w: _digital(self.device, w), weights)
        if self.is_mutable_collection(COLLECTION) and self.has_rng(PROGRAMMING):
            self._program(weights)
        if self.has_variable(COLLECTION, "chip"):
            found = self._programmed(weights)
            return _each(straight_through, found, found.reading, weights)
        given = self._given_faults()
        random = self.device.scatters or self.training.normal
        if random and not self.has_rng(PROGRAMMING):
            raise ValueError(
                f"{self._where()}: nothing is programmed. To evaluate, make a chip with"
                " snn.crossbar.program(model, variables, key, inputs) and pass on the variables"
                " it returns; to train, pass rngs={'programming': key, 'reading': key}. snn.RNN"
                " lifts both; nn.RNN and nn.scan need variable_broadcast=('params', 'crossbar')"
                " and split_rngs={'params': False, 'programming': False, 'reading': True}"
            )
        key = self._key(PROGRAMMING) if random else jax.random.key(0)
        return _each(
            lambda w, k, f, faults: throw_away(self.device, self.training, w, k, f, faults),
            weights,
            _split(key, weights),
            _split(self._fault_key(), weights),
            given,
        )

    def multiply(self, x: Float[Array, "*B n"], reading: Reading) -> Float[Array, "*B m"]:
        """Multiplies inputs by what `prepare` returned.

        Args:
          x: inputs; ``(*B, G, n)`` where the kernel has an axis in front.
          reading: the matrix.

        Raises:
          ValueError: the circuit has noise, and the stream ``reading`` is missing.
        """
        if self.is_initializing():
            device, key = Device(g_max=self.device.g_max, tiles=self.device.tiles), None
        else:
            device, key = self.device, self._reading_key()
        x = x.astype(_wider(x.dtype, reading.matrix.dtype))
        if reading.matrix.ndim == 2:
            return product(device, reading, x, key)

        def one(reading: Reading, x: Array, key: PRNGKey | None) -> Array:
            return product(device, reading, x, key)

        keys = None if key is None else jax.random.split(key, x.shape[-2])
        axes = (0, -2, None if keys is None else 0)
        return jax.vmap(one, in_axes=axes, out_axes=-2)(reading, x, keys)

    def as_kernel(self, kernel: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """Returns the kernel of a `linear` crossbar."""
        reading = self.prepare(kernel)
        rows = self.device.limits(reading.matrix.shape)[0]
        scale = tiles.spread(reading.scale, kernel.shape[0], rows)
        return (reading.matrix * scale).astype(kernel.dtype)

    def _program(self, weights: Float[Array, "*G n m"]) -> None:
        key, fault_key = self._key(PROGRAMMING), self._fault_key()

        def one(w: Array, key: PRNGKey, fault_key: PRNGKey | None, faults: Any) -> Programmed:
            return chip.program(self.device, w, key, fault_key, faults)

        keys = _split(key, weights), _split(fault_key, weights)
        try:
            made = _each(one, weights, *keys, self._given_faults())
        except (TypeError, ValueError) as error:
            raise type(error)(f"{self._where()}: {error}") from error
        self.put_variable(COLLECTION, "chip", made)

    def _programmed(self, weights: Float[Array, "*G n m"]) -> Programmed:
        found: Any = self.get_variable(COLLECTION, "chip")
        if found.reading.matrix.shape != weights.shape:
            raise ValueError(
                f"{self._where()}: expected a chip for a kernel of shape {weights.shape}, got one"
                f" that was programmed with {found.reading.matrix.shape}; program these weights"
            )
        if found.device != self.device:
            raise ValueError(
                f"{self._where()}: the chip was programmed on another device than this layer has:"
                f" {_difference(found.device, self.device)}; program again, or give the layer the"
                " device of the chip"
            )
        return found

    def _given_faults(self) -> Any:
        exists = self.has_variable(COLLECTION, "faults")
        return self.get_variable(COLLECTION, "faults") if exists else None

    def _fault_key(self) -> PRNGKey | None:
        return self._key(FAULTS) if self.has_rng(FAULTS) else None

    def _key(self, stream: str) -> PRNGKey:
        """Returns the key of a stream for this layer: the same one whenever the layer is called."""
        assert self.scope is not None
        stored: Any = self.scope.rngs[stream]
        key: PRNGKey = stored.as_jax_rng()
        return key

    def _reading_key(self) -> PRNGKey | None:
        if not self.device.noisy:
            return None
        if not self.has_rng(READING):
            raise ValueError(
                f"{self._where()}: the circuit has noise and needs the stream 'reading': pass"
                " rngs={'reading': key} to apply (snn.RNN lifts it; nn.RNN needs split_rngs="
                "{'params': False, 'programming': False, 'reading': True}), or switch the noise"
                " off: device.replace(output_noise=0.0)"
            )
        return self.make_rng(READING)

    def _where(self) -> str:
        path = "/".join(self.scope.path) if self.scope is not None else ""
        return f"{type(self).__name__} {path or '(top level)'}"


class DotGeneral(Analog):
    """A matrix product on a crossbar, as the ``dot_general_cls`` of a layer.

        nn.Dense(10, dot_general_cls=functools.partial(snn.crossbar.DotGeneral, device))

    The second operand, the kernel, lies on the crossbar; the first one drives its rows. While
    parameters are initialised the product is digital. Several contracted axes count as one; the
    layers of Flax have no batch axes, which are refused.

    Raises:
      ValueError: nothing is programmed and no stream given to do so; a missing stream; a chip that
        belongs to other weights; batch axes.
    """

    @nn.compact
    def __call__(
        self,
        lhs: Float[Array, "..."],
        rhs: Float[Array, "..."],
        dimension_numbers: Any,
        precision: Any = None,
        preferred_element_type: Any = None,
        **options: Any,
    ) -> Float[Array, "..."]:
        """Multiplies, as ``lax.dot_general`` does.

        Args:
          lhs: inputs.
          rhs: kernel.
          dimension_numbers: contracted axes of both; batch axes are refused.
          precision: ignored, an analog product has its own.
          preferred_element_type: dtype of the result; by default that of the operands.
          **options: others of ``lax.dot_general``, ignored.
        """
        del precision, options
        (left, right), (left_batch, right_batch) = dimension_numbers
        if left_batch or right_batch:
            raise ValueError(
                f"{self._where()}: expected a product without batch axes, got {dimension_numbers}:"
                " one crossbar holds one matrix"
            )
        left = [axis % lhs.ndim for axis in left]
        right = [axis % rhs.ndim for axis in right]
        rows = [axis for axis in range(lhs.ndim) if axis not in left]
        columns = [axis for axis in range(rhs.ndim) if axis not in right]
        size = math.prod(rhs.shape[axis] for axis in right)
        x = lhs.transpose(*rows, *left).reshape(*(lhs.shape[axis] for axis in rows), size)
        outputs = math.prod(rhs.shape[axis] for axis in columns)
        kernel = rhs.transpose(*right, *columns).reshape(size, outputs)
        out = self.multiply(x, self.prepare(kernel))
        dtype = preferred_element_type or jnp.result_type(lhs, rhs)
        shape = (*(lhs.shape[axis] for axis in rows), *(rhs.shape[axis] for axis in columns))
        return out.reshape(shape).astype(dtype)


def _wider(one: Any, other: Any) -> Any:
    return max(one, other, key=lambda dtype: jnp.finfo(dtype).bits)


def _digital(device: Device, weights: Float[Array, "n m"]) -> Reading:
    rows = len(tiles.splits(weights.shape[0], device.limits(weights.shape)[0]))
    return Reading(weights, jnp.ones((rows, weights.shape[1]), weights.dtype))


def _each(what: Any, first: Any, *rest: Any) -> Any:
    """Applies a function to a matrix or to each of several; None stays None."""
    leaf = jax.tree.leaves(first)[0] if not isinstance(first, Programmed) else first.w_max
    if leaf.ndim == 2:
        return what(first, *rest)
    axes = tuple(None if each is None else 0 for each in (first, *rest))
    return jax.vmap(what, in_axes=axes)(first, *rest)


def _split(key: PRNGKey | None, weights: Float[Array, "*G n m"]) -> Any:
    if key is None or weights.ndim == 2:
        return key
    return jax.random.split(key, weights.shape[0])


def _difference(found: Device, expected: Device) -> str:
    names = [n for n in vars(expected) if getattr(found, n) != getattr(expected, n)]
    return ", ".join(f"{n} {getattr(found, n)!r}, not {getattr(expected, n)!r}" for n in names)
