"""How training samples reach the devices: all at once, or in chunks of batches.

Both give the same batches in the same order, which follows from (seed, epoch) alone. Samples that
lie on the devices lie on each of them as a whole; of a chunk, each device gets its part of every
batch, and each process reads no other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import numpy as np

from flax_snn.typing import Int
from train.data.order import epoch_order
from train.data.parts import Part

if TYPE_CHECKING:
    from train.data.stream import BatchStream

_SHARE = 0.5
"""Share of the memory of a device that training samples may take; the rest is for the network."""


class Placement(Protocol):
    """Where arrays go; `train.run.devices.Devices`."""

    def batch(self, axis: int = 0) -> Any:
        """Returns the placement of arrays whose samples, an axis, are spread."""

    def rows(self, batch_size: int) -> Int[np.ndarray, "_"] | None:
        """Returns which samples of a batch this process reads; None for all."""

    def place(self, tree: Any, sharding: Any = None) -> Any:
        """Returns arrays on the devices, by default the whole on each."""

    def gather(self, tree: Any, axis: int = 0) -> Any:
        """Returns arrays on the devices, made of the samples that each process has read."""


class Chunk(NamedTuple):
    """Batches for one compiled call.

    Attributes:
      batches: their number K.
      samples: samples on the devices: all of them ``(S, ...)``, or these batches ``(K, B, ...)``.
      order: rows of all samples of each batch, int32 ``(K, B)``; None where the samples are these
        batches.
    """

    batches: int
    samples: Part
    order: Int[jax.Array, "K B"] | None


class Feed(Protocol):
    """Where the batches of an epoch come from.

    Attributes:
      unit: what one compiled call is, in words: ``epoch``, ``chunk of 16 batches``.
      samples: number of training samples.
    """

    unit: str
    samples: int

    def chunks(self, epoch: int, first: int) -> Iterator[Chunk]:
        """Yields the batches of an epoch, counted from 1, from batch ``first`` on."""

    def state(self) -> dict[str, Any] | None:
        """Returns where the stream of samples stands, for JSON; ``None`` where there is none."""

    def seek(self, epoch: int, first: int, state: dict[str, Any] | None) -> None:
        """Goes to a batch, before the first call of `chunks`."""

    def close(self) -> None:
        """Ends whatever reads in the background."""


class ResidentFeed:
    """Samples that lie on each device as a whole; an epoch is one chunk.

    Args:
      part: the training samples.
      seed: seed of their order.
      batch_size: samples per batch, of all devices together.
      devices: where they go.
    """

    unit = "epoch"

    def __init__(self, part: Part, seed: int, batch_size: int, devices: Placement):
        self.samples = len(part.labels)
        self._part = devices.place(part)
        self._seed, self._batch_size, self._devices = seed, batch_size, devices

    def chunks(self, epoch: int, first: int) -> Iterator[Chunk]:
        """Yields one chunk: the epoch, from batch ``first`` on."""
        order = epoch_order(self._seed, epoch, self.samples, self._batch_size)[first:]
        yield Chunk(len(order), self._part, self._devices.place(order, self._devices.batch(1)))

    def state(self) -> None:
        """Returns nothing: the order follows from the epoch."""

    def seek(self, epoch: int, first: int, state: dict[str, Any] | None) -> None:
        """Does nothing, for the same reason."""

    def close(self) -> None:
        """Does nothing: all is read."""


class StreamedFeed:
    """Samples that are read while the devices work, in chunks of so many batches.

    Args:
      stream: batches in the order of the epochs, of each what this process reads.
      samples: number of training samples.
      chunk: batches of a chunk; the last one of an epoch may have fewer.
      devices: where they go.
    """

    def __init__(self, stream: BatchStream, samples: int, chunk: int, devices: Placement):
        self.unit = f"chunk of {chunk} batches"
        self.samples = samples
        self._stream, self._chunk, self._devices = stream, chunk, devices

    def chunks(self, epoch: int, first: int) -> Iterator[Chunk]:
        """Yields the chunks of an epoch from batch ``first`` on, which `seek` must have reached."""
        del epoch  # the stream knows
        batches = self._stream.batches_per_epoch
        for start in range(first, batches, self._chunk):
            size = min(self._chunk, batches - start)
            yield Chunk(size, self._devices.gather(self._stream.take(size), axis=1), None)

    def state(self) -> dict[str, Any]:
        """Returns the state of the stream after the chunks that were yielded."""
        return self._stream.get_state()

    def seek(self, epoch: int, first: int, state: dict[str, Any] | None) -> None:
        """Goes to a batch; to where ``state`` says, where the run was streamed before as well."""
        if state is None:
            self._stream.seek(epoch, first)
        else:
            self._stream.set_state(state)
        self._stream.start()

    def close(self) -> None:
        """Ends the threads that read."""
        self._stream.close()


def make_feed(
    train: Any, seed: int, batch_size: int, chunk: int | None, devices: Placement
) -> Feed:
    """Returns the feed of a run.

    Args:
      train: the training samples: a `Part`, or a source of samples, see `Dataset`.
      seed: seed of their order.
      batch_size: samples per batch, of all devices together.
      chunk: batches of a chunk; ``None`` for samples that lie on each device as a whole.
      devices: where they go.

    Returns:
      The feed.
    """
    if chunk is None:
        return ResidentFeed(train, seed, batch_size, devices)
    from train.data.stream import ArraySource, BatchStream

    source = ArraySource(train) if isinstance(train, Part) else train
    rows = devices.rows(batch_size)
    stream = BatchStream(source, seed=seed, batch_size=batch_size, rows=rows, ahead=chunk)
    return StreamedFeed(stream, len(source), chunk, devices)


def fits_on_device(size: int, copies: int = 1) -> bool:
    """Returns whether training samples may lie on the device as a whole.

    Args:
      size: their bytes.
      copies: devices of this process, each with all of them.

    Returns:
      Whether they take at most half of the memory of the device; of main memory, which they share,
      on CPUs.
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    limit = statistics.get("bytes_limit")
    if limit is None:
        limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // copies
    return size <= _SHARE * limit
