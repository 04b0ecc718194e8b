"""How a sequence is cut: tiles of the batch, chunks of time steps that stay in cache."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.typing import Array

TILE = 2**13
"""Most values of a state, neurons times samples, that a tile of the batch should hold."""

CHUNK = 2**18
"""Most values of a chunk, neurons times samples times steps: a MiB in float32."""

ROWS, FED_BACK_ROWS = 2**9, 2**6
"""Rows, samples times steps, with which a chunk is long enough for a kernel of any size, which it
reads and whose gradient it reads and writes once; and samples that a recurrent product should have,
which reads its kernel in each step. A kernel that stays in cache wants no more of them than make a
chunk as large as itself."""

SHORTEST, LONGEST = 8, 64
"""Bounds of the steps of a chunk: one product of a few rows wastes time, as do many steps of few
neurons that no cache is needed for."""


class Window(NamedTuple):
    """Which part of the arrays a chunk works on.

    Attributes:
      tile: which tile of the batch.
      start: first step that is cut out.
      low: first step, counted from ``start``, that belongs to the chunk. The last chunk of a
        sequence overlaps the one before it, so that all chunks have one shape.
      high: the step after the last one, counted from ``start``.
    """

    tile: Any
    start: Any
    low: Any
    high: Any


@dataclasses.dataclass(frozen=True)
class Chunks:
    """A cut of arrays ``(B, T, ...)``, or ``(T, B, ...)``, into tiles and chunks.

    Tile k holds the samples k, k + tiles, k + 2 tiles, ...: the axis along which tiles are cut is
    the minor one of the batch, so that a batch that is spread over devices stays where it is.

    Attributes:
      steps: time steps T of the sequence.
      length: time steps of a chunk; the time axis of the arrays is at least as long.
      tile: samples that are worked on together, a divisor of the batch.
      batch: samples B.
      axis: axis of the time steps, 0 or 1.
      exact: whether the chunks of all sequences run the same instructions, so that a sequence may
        be cut where a chunk ends and change no bit; else bounds of loops are known to XLA.
      shards: devices over which the batch may be spread, each with an equal part of a tile.
    """

    steps: int
    length: int
    tile: int
    batch: int
    axis: int
    exact: bool = False
    shards: int = 1

    @property
    def count(self) -> int:
        """Chunks of the sequence."""
        return -(-self.steps // self.length)

    @property
    def tiles(self) -> int:
        """Tiles of the batch."""
        return self.batch // self.tile

    @property
    def even(self) -> bool:
        """Whether the chunks are the sequence without an overlap."""
        return self.steps % self.length == 0

    def window(self, tile: Any, chunk: Any) -> Window:
        """Returns where a chunk of a tile lies."""
        tile, chunk = jnp.asarray(tile, jnp.int32), jnp.asarray(chunk, jnp.int32)
        begin = chunk * self.length
        start = jnp.minimum(begin, max(self.steps - self.length, 0))
        low = begin - start
        return Window(tile, start, low, low + jnp.minimum(self.length, self.steps - begin))

    def split(self, array: Array, axis: int | None = None) -> Array:
        """Returns an array whose batch axis is cut into ``(tile, tiles)``, the tiles last.

        Args:
          array: ``(B, T, ...)``, or ``(T, B, ...)``, or with its batch along ``axis``.
          axis: the batch axis, where it is not that of sequences.

        Returns:
          The array, as it is if there is one tile only. `joined` undoes it.
        """
        if self.tiles == 1:
            return array
        at = 1 - self.axis if axis is None else axis
        return array.reshape((*array.shape[:at], self.tile, self.tiles, *array.shape[at + 1 :]))

    def joined(self, array: Array, axis: int | None = None) -> Array:
        """Returns an array that was `split`, whole."""
        if self.tiles == 1:
            return array
        at = 1 - self.axis if axis is None else axis
        return array.reshape((*array.shape[:at], self.batch, *array.shape[at + 2 :]))

    def cut(self, array: Array, window: Window) -> Array:
        """Cuts the chunk ``(length, tile, ...)`` out of a split sequence."""
        if self.tiles == 1:
            chunk = lax.dynamic_slice_in_dim(array, window.start, self.length, self.axis)
        else:
            corner, of_tile, of_time = self._corner(array, window)
            sizes = list(array.shape)
            sizes[of_tile], sizes[of_time] = 1, self.length
            chunk = lax.dynamic_slice(array, corner, sizes).squeeze(of_tile)
        return chunk if self.axis == 0 else jnp.swapaxes(chunk, 0, 1)

    def paste(self, array: Array, chunk: Array, window: Window) -> Array:
        """Puts a chunk ``(length, tile, ...)`` back where it was cut out."""
        chunk = chunk if self.axis == 0 else jnp.swapaxes(chunk, 0, 1)
        if self.tiles == 1:
            return lax.dynamic_update_slice_in_dim(array, chunk, window.start, self.axis)
        corner, of_tile, _ = self._corner(array, window)
        return lax.dynamic_update_slice(array, jnp.expand_dims(chunk, of_tile), corner)

    def _corner(self, array: Array, window: Window) -> tuple[list[Any], int, int]:
        """Returns where a chunk begins in a split sequence, and the axes of tiles and time."""
        of_tile, of_time = (2, 0) if self.axis == 0 else (1, 2)
        corner: list[Any] = [jnp.zeros((), jnp.int32)] * array.ndim
        corner[of_tile], corner[of_time] = window.tile, window.start
        return corner, of_tile, of_time

    def masked(self, chunk: Array, window: Window) -> Array:
        """Returns a chunk with zeros in steps that belong to another chunk."""
        if self.even:
            return chunk
        step = lax.broadcasted_iota(jnp.int32, (self.length, *(1,) * (chunk.ndim - 1)), 0)
        mine = (step >= window.low) & (step < window.high)
        return jnp.where(mine, chunk, jnp.zeros((), chunk.dtype))

    def empty(self, one: Any) -> Array:
        """Returns zeros for a chunk of values of one step of a tile."""
        return jnp.zeros((self.length, *one.shape), one.dtype)

    def back(self, window: Window, step: Any) -> Any:
        """Returns the step that `each_step` would be at if it ran backwards."""
        if self.even and not self.exact:
            return self.length - 1 - step
        return window.high - 1 - (step - window.low)

    def each_step(self, window: Window, body: Any, loop: Any) -> Any:
        """Runs ``loop = body(step, loop)`` over the steps that belong to a chunk."""
        if self.even and not self.exact:
            return lax.fori_loop(0, self.length, body, loop)
        return lax.fori_loop(window.low, window.high, body, loop)


def plan(
    steps: int,
    batch: int,
    widest: int,
    *,
    recurrent: bool,
    axis: int,
    length: int | None,
    devices: int = 1,
    arrays: int = 1,
    kernel: int = 0,
) -> Chunks:
    """Chooses tiles and chunks such that the arrays of a chunk stay in cache.

    Args:
      steps: time steps of the sequence.
      batch: samples.
      widest: features of one sample in the widest layer.
      recurrent: whether a layer is recurrent; its products in each step want more rows.
      axis: axis of the time steps.
      length: steps of a chunk where the user says so.
      devices: devices over which the batch may be spread. Each then holds an equal part of every
        tile, and it is this part that should stay in its cache.
      arrays: floating arrays of the largest state.
      kernel: entries of the largest kernel.

    Returns:
      The cut. Where the length is not given, one that divides the steps is preferred.
    """
    exact, scale = length is not None, 2 if recurrent else 1
    shards = math.gcd(batch, devices)
    share = batch // shards
    # The state of a tile stays in the nearest cache. Recurrent products want rows more than that.
    wide = max(widest, 1) * (1 if recurrent else arrays)
    rows = min(kernel // max(widest, 1), ROWS)
    asked = min(rows, FED_BACK_ROWS) if recurrent else rows // LONGEST
    most = max(scale * TILE // wide, asked, 1)
    fitting = max(n for n in range(1, min(most, share) + 1) if share % n == 0)
    # A prime batch of narrow layers is not worth a loop over single samples.
    part = fitting if 4 * fitting * wide >= TILE else share
    if length is None:
        room = max(CHUNK // max(part * widest, 1), rows // part)
        longest = min(max(room, SHORTEST), LONGEST)
        # A quarter more than fits costs less than chunks of half the length.
        most = min(longest + longest // 4, LONGEST)
        whole = [n for n in range(most, longest // 2, -1) if steps % n == 0]
        length = steps if steps <= longest else whole[0] if whole else longest
    return Chunks(steps, length, part * shards, batch, axis, exact, shards)


def tree_at(tree: Any, index: Any) -> Any:
    """Returns the entry of each leaf along its first axis."""
    return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, index, 0, False), tree)


def tree_put(tree: Any, values: Any, index: Any) -> Any:
    """Returns leaves with one entry along their first axis replaced."""
    return jax.tree.map(
        lambda leaf, value: lax.dynamic_update_index_in_dim(leaf, value, index, 0), tree, values
    )


def tile_of(tree: Any, chunks: Chunks, tile: Any) -> Any:
    """Returns the samples of one tile of split leaves ``(tile, tiles, ...)``."""
    if chunks.tiles == 1:
        return tree
    return jax.tree.map(lambda leaf: lax.dynamic_index_in_dim(leaf, tile, 1, False), tree)


def with_tile(tree: Any, part: Any, chunks: Chunks, tile: Any) -> Any:
    """Returns split leaves with the samples of one tile replaced."""
    if chunks.tiles == 1:
        return part
    return jax.tree.map(
        lambda leaf, values: lax.dynamic_update_index_in_dim(leaf, values, tile, 1), tree, part
    )
