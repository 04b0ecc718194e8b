"""Spikes as events: what travels between layers in continuous time."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from flax_snn import checks
from flax_snn.typing import Array, Float, Int

__all__ = ["Spikes", "check_spikes", "from_times", "merge"]


_FEW = 200


@struct.dataclass
class Spikes:
    """Spikes of a layer of sources, sorted by time, in K slots per sample.

    >>> import jax.numpy as jnp
    >>> from flax_snn.event import from_times
    >>> spikes = from_times(jnp.array([[3e-3, jnp.inf, 1e-3]]))  # three sources, the second silent
    >>> spikes.index.tolist()
    [[2, 0, -1]]

    Attributes:
      time: spike times in seconds, ascending, empty slots ``+inf`` at the end, ``(B, K)``.
      index: which source spiked, int32, empty slots -1, ``(B, K)``.
      overflow: spikes that were lost because a layer, this one or one before it, ran out of slots,
        at least so many, int32 ``(B,)``; 0 where nothing was lost. ``None`` counts as 0.
      size: number of sources; static. ``None`` where it is not known.
    """

    time: Array
    index: Array
    overflow: Any = None
    size: int | None = struct.field(pytree_node=False, default=None)

    def first_times(self, size: int | None = None) -> Float[Array, "B N"]:
        """Returns the time of the first spike of each source in seconds, ``+inf`` where silent.

        Differentiable with respect to ``time``.

        Args:
          size: number of sources N, where the spikes do not know it.

        Raises:
          ValueError: the number of sources is not known.
        """
        size = self._size(size, "first_times")
        slots = self.time.shape[1]
        row, numbers = _rows(self.time), jnp.arange(slots, dtype=jnp.int32)[None, :]
        target = jnp.where(self.index < 0, size, self.index)
        first = jnp.full((len(self.time), size), slots, jnp.int32)
        first = first.at[row, target].min(jnp.broadcast_to(numbers, target.shape), mode="drop")
        padded = jnp.pad(self.time, ((0, 0), (0, 1)), constant_values=jnp.inf)
        return jnp.take_along_axis(padded, first, axis=1)

    def counts(self, size: int | None = None) -> Int[Array, "B N"]:
        """Returns the number of spikes of each source.

        Args:
          size: number of sources N, where the spikes do not know it.

        Raises:
          ValueError: the number of sources is not known.
        """
        size = self._size(size, "counts")
        target = jnp.where(self.index < 0, size, self.index)
        counts = jnp.zeros((len(self.time), size), jnp.int32)
        return counts.at[_rows(self.time), target].add(1, mode="drop")

    def lost(self) -> Int[Array, "B"]:
        """Returns `overflow`, or zeros if it is not given."""
        if self.overflow is None:
            return jnp.zeros(self.time.shape[:1], jnp.int32)
        return jnp.asarray(self.overflow, jnp.int32)

    def _size(self, size: int | None, what: str) -> int:
        if size is None:
            size = self.size
        elif self.size is not None and size != self.size:
            raise ValueError(f"{what}: expected size={self.size}, that of the spikes, got {size}")
        if size is None:
            raise ValueError(
                f"{what}: expected the number of sources, got spikes with size=None; give size="
            )
        return size


def from_times(times: Float[Array | np.ndarray, "B N"]) -> Spikes:
    """Returns the spikes of sources that spike at most once.

    Args:
      times: time of the spike of each source in seconds, ``+inf`` for none.

    Returns:
      Spikes with one slot per source, differentiable with respect to the times.

    Raises:
      TypeError: times that are not floating.
      ValueError: another number of axes than two; NaN, -inf or a negative time.
    """
    times = jnp.asarray(times)
    checks.floating("from_times: times", times, remedy="give times in seconds, of a floating dtype")
    remedy = "a single sample needs a batch axis: times[None]"
    checks.rank("from_times: times", times, "(B, N)", remedy=remedy)
    known = checks.known_values(times)
    if known is not None and not (known >= 0).all():
        raise ValueError(
            "from_times: expected times >= 0 in seconds, +inf for no spike, got"
            f" {known[~(known >= 0)][0]}"
        )
    order = time_order(times)
    time = jnp.take_along_axis(times, order, axis=1)
    index = jnp.where(jnp.isposinf(time), -1, order)
    return Spikes(time, index, jnp.zeros(len(times), jnp.int32), times.shape[1])


def merge(*spikes: Spikes) -> Spikes:
    """Merges the spikes of several layers into one set, for skip connections and several inputs.

    The sources of the second follow those of the first, and so on: the kernel of the layer behind
    has their rows in that order.

    Args:
      *spikes: spikes of the same batch, each of which knows its size.

    Returns:
      All spikes, sorted; slots and sources add up.

    Raises:
      ValueError: nothing to merge, batches that differ, an unknown number of sources.
    """
    if not spikes:
        raise ValueError("merge: expected at least one set of spikes, got none")
    sizes = [s.size for s in spikes]
    if None in sizes:
        raise ValueError(
            f"merge: expected spikes that know their number of sources, got sizes {sizes}; set"
            " size= where they are made"
        )
    batches = [s.time.shape[0] for s in spikes]
    if len(set(batches)) > 1:
        raise ValueError(f"merge: expected spikes of one batch, got batches {batches}")
    offsets = np.cumsum([0, *sizes])
    time = jnp.concatenate([s.time for s in spikes], axis=1)
    shifted = [
        jnp.where(s.index < 0, -1, s.index + int(offset))
        for s, offset in zip(spikes, offsets[:-1], strict=True)
    ]
    order = time_order(time)
    return Spikes(
        jnp.take_along_axis(time, order, axis=1),
        jnp.take_along_axis(jnp.concatenate(shifted, axis=1), order, axis=1),
        functools.reduce(jnp.add, [s.lost() for s in spikes]),
        int(offsets[-1]),
    )


def check_spikes(what: str, spikes: Any, size: int | None = None) -> None:
    """Checks that spikes are as `Spikes` says; their values only outside ``jit``.

    Args:
      what: name of the caller, for the error.
      spikes: the spikes.
      size: number of sources that they may have.

    Raises:
      TypeError: not `Spikes`, or arrays of another dtype.
      ValueError: shapes that do not fit, unsorted or non-finite times, an index outside, spikes
        that were lost before.
    """
    remedy = "make them with snn.event.from_times (spike times) or from_raster (time steps)"
    checks.instance(what, spikes, Spikes, what="snn.event.Spikes", remedy=remedy)
    time, index = spikes.time, spikes.index
    if jnp.ndim(time) != 2 or jnp.shape(time) != jnp.shape(index):
        raise ValueError(
            f"{what}: expected time and index of one shape (B, K), got {jnp.shape(time)} and"
            f" {jnp.shape(index)}"
        )
    if not jnp.issubdtype(time.dtype, jnp.floating) or not jnp.issubdtype(
        index.dtype, jnp.signedinteger
    ):
        raise TypeError(
            f"{what}: expected floating times in seconds and a signed integer index, got"
            f" {time.dtype} and {index.dtype}"
        )
    if size is not None and spikes.size not in (None, size):
        raise ValueError(
            f"{what}: expected spikes of {size} sources, as the kernel was made for, got"
            f" {spikes.size}"
        )
    _check_values(what, spikes, spikes.size if size is None else size)
    check_overflow(what, spikes)


def check_overflow(what: str, spikes: Spikes) -> None:
    """Checks, outside ``jit``, that no spikes were lost; inside it, ``overflow`` tells.

    Raises:
      OverflowError: spikes were lost.
    """
    lost = None if spikes.overflow is None else checks.known_values(spikes.overflow)
    if lost is not None and (lost > 0).any():
        raise OverflowError(
            f"{what}: {int((lost > 0).sum())} of {lost.size} samples had more spikes than slots, so"
            f" some are lost; raise budget= of the layer (it has {spikes.time.shape[1]} slots), or"
            " limit the spikes with max_spikes= or duration="
        )


def is_ordered(spikes: Spikes) -> Array:
    """Returns whether the times of each sample are in order, ``(B,)``, for use under ``jit``."""
    time, index = spikes.time, spikes.index
    finite = jnp.isfinite(time)
    right = jnp.all((time[:, 1:] >= time[:, :-1]), axis=1)
    return right & jnp.all((finite & (time >= 0) & (index >= 0)) | (jnp.isposinf(time)), axis=1)


def _check_values(what: str, spikes: Spikes, size: int | None) -> None:
    time, index = checks.known_values(spikes.time), checks.known_values(spikes.index)
    if time is not None:
        if np.isnan(time).any() or (time < 0).any():
            bad = time[np.isnan(time) | (time < 0)][0]
            raise ValueError(
                f"{what}: expected times >= 0 in seconds, +inf for an empty slot, got {bad}"
            )
        if (time[:, 1:] < time[:, :-1]).any():
            row = int(np.argmax((time[:, 1:] < time[:, :-1]).any(axis=1)))
            raise ValueError(
                f"{what}: expected times in ascending order, got unsorted ones in sample {row};"
                " sort them, or make them with snn.event.from_times"
            )
    if index is None or time is None:
        return
    real = np.isfinite(time)
    top = np.inf if size is None else size
    if ((index < 0) & real).any() or (index >= top).any():
        bad = index[((index < 0) & real) | (index >= top)][0]
        raise ValueError(
            f"{what}: expected the index of a source, 0 to {'N - 1' if size is None else size - 1},"
            f" for each finite time, got {bad}"
        )


def time_order(time: Float[Array, "B K"]) -> Int[Array, "B K"]:
    """Returns the stable order of the times of each sample."""
    slots = time.shape[1]
    if slots > _FEW:
        return jnp.argsort(time, axis=1, stable=True).astype(jnp.int32)
    # For few slots counting is several times faster than sorting. NaN goes to the end, as there.
    time = jax.lax.stop_gradient(jnp.where(jnp.isnan(time), jnp.inf, time))
    slot = jnp.arange(slots, dtype=jnp.int32)
    mine, other = time[:, None, :], time[:, :, None]  # sums over the last axis take 1.3 times that
    before = (other < mine) | ((other == mine) & (slot[None, :, None] < slot[None, None, :]))
    rank = jnp.sum(before, axis=1, dtype=jnp.int32)
    return (
        jnp.zeros_like(rank)
        .at[_rows(time), rank]
        .set(jnp.broadcast_to(slot[None], rank.shape), unique_indices=True)
    )


def _rows(time: Array) -> Array:
    return jnp.arange(time.shape[0], dtype=jnp.int32)[:, None]
