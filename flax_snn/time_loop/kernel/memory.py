"""How a program of the device reaches its tile of neurons in memory."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.typing import Array, Shape


class Memory:
    """How a program reaches its tile; entries of the tile that are no neurons are masked."""

    def __init__(self, shape: Shape, tile: Shape, *, interpret: bool) -> None:
        """Finds the tile of the program that is running.

        Args:
          shape: shape of all neurons.
          tile: shape of the neurons of a program.
          interpret: whether the program is interpreted.
        """
        # Imported where it is used: it takes half a second, and only this loop needs it.
        import jax.experimental.pallas as pl
        from jax.experimental.pallas import triton

        self._load, self._store, self._barrier = triton.load, triton.store, triton.debug_barrier
        self._interpret = interpret
        self._tile = tile
        self._one_neuron = shape == (1,)
        self._slice = pl.ds
        self._at: tuple[Any, ...] = ()
        self.mask: Array | None = None
        for axis, (size, part) in enumerate(zip(shape, tile, strict=True)):
            begin = pl.program_id(axis) * part
            self._at += (pl.ds(begin, part),)
            if size % part != 0:
                inside = begin + lax.broadcasted_iota(jnp.int32, tile, axis) < size
                self.mask = inside if self.mask is None else self.mask & inside

    def flat(self, ref: Any) -> Array:
        """Returns the tile of an array of one number for each neuron."""
        return self._read(ref.at[self._at], ref.dtype, self.mask)

    def row(self, ref: Any, index: Any) -> Array:
        """Returns the tile of a step of an array over time."""
        return self._read(ref.at[(jnp.asarray(index, jnp.int32), *self._at)], ref.dtype, self.mask)

    def rows(self, refs: Any, index: Any) -> Any:
        """Returns the tiles of a step of several arrays."""
        return jax.tree.map(lambda ref: self.row(ref, index), refs)

    def numbers(self, ref: Any) -> Array:
        """Returns a coefficient: one number, or one for each neuron of the tile."""
        return ref[0] if ref.shape == (1,) and not self._one_neuron else self.flat(ref)

    def whole(self, ref: Any) -> Array:
        """Returns an array that all tiles read."""
        return self._load(ref.at[tuple(self._slice(0, size) for size in ref.shape)])

    def put_flat(self, ref: Any, value: Array) -> None:
        """Writes the tile of an array of one number for each neuron."""
        self._store(ref.at[self._at], value, mask=self.mask)

    def put(self, ref: Any, index: Any, value: Array, when: Any = None) -> None:
        """Writes the tile of a step of an array over time, where a condition holds."""
        mask = self.mask
        if when is not None:
            every = jnp.broadcast_to(when, self._tile)
            mask = every if mask is None else mask & every
        at = (jnp.asarray(index, jnp.int32), *self._at)
        self._store(ref.at[at], value.astype(ref.dtype), mask=mask)

    def wait(self) -> None:
        """Waits until what the tile has written can be read."""
        if not self._interpret:
            self._barrier()

    def _read(self, ref: Any, dtype: Any, mask: Array | None) -> Array:
        if mask is None:
            return self._load(ref)
        return self._load(ref, mask=mask, other=jnp.zeros((), dtype))
