"""Batches of a data set that stays where it is: on disk, or in the host's memory.

Epoch n consists of the batches of `epoch_order(seed, n, samples, batch_size)`, in this order, and
epoch follows epoch without end: a streamed run sees the very batches of one whose data lie on the
device. grain reads ahead in threads, while the device works.

Needs grain: ``pip install -e '.[data]'``.

Letters: S samples, B samples of a batch, K batches.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol

import jax
import numpy as np

from flax_snn import checks
from flax_snn.typing import Int
from train.data.order import epoch_order
from train.data.parts import Part
from train.errors import CheckpointError

try:
    import grain
except ImportError as error:
    raise ImportError(
        f"expected grain for streamed data, got {error}; install it with pip install -e '.[data]'"
    ) from error

STATE_VERSION = 1
"""Version of what `BatchStream.get_state` returns; raised when its fields change their meaning."""


class Source(Protocol):
    """Samples that can be read in any order, by several threads at once.

    Sample k is a dict of arrays: `inputs`, what is to be learnt, and `length` where the samples
    have different numbers of steps. A source that has a
    method `batch(rows)`, which returns the dict of samples stacked along a first axis, is read by
    it: that is faster than one by one.
    """

    def __len__(self) -> int:
        """Number of samples."""

    def __getitem__(self, row: int, /) -> Mapping[str, Any]:
        """Returns one sample."""


class ArraySource:
    """Arrays in the host's memory as a `Source`.

    Args:
      part: the samples.

    Raises:
      ValueError: arrays that do not have the same number of samples.
    """

    def __init__(self, part: Part):
        self._part = jax.tree.map(np.asarray, part)
        sizes = {len(array) for array in jax.tree.leaves(self._part)}
        if len(sizes) > 1:
            raise ValueError(
                "expected inputs, labels and lengths of the same number of samples, got"
                f" {sorted(sizes)}; pass arrays of one part"
            )

    def __len__(self) -> int:
        """Returns the number of samples."""
        return len(self._part.labels)

    def __getitem__(self, row: int, /) -> dict[str, Any]:
        return self.batch(row)

    @property
    def nbytes(self) -> int:
        """Size of all samples in bytes."""
        return sum(array.nbytes for array in jax.tree.leaves(self._part))

    def batch(self, rows: Int[np.ndarray, "B"] | int) -> dict[str, Any]:
        """Returns several samples, stacked."""
        inputs, labels, lengths = self._part.take(rows)
        found = {"inputs": inputs, "label": labels}
        return found if lengths is None else found | {"length": lengths}


class BatchStream(Iterator[Part]):
    """The batches of epoch 1, 2, 3, ... without end; where it stands can be saved.

    Only what was handed out counts: what was read ahead is read again after `set_state`. A read
    that fails raises, and leaves the stream where it was.

    Threads start at the first batch, or at `start`, and end with `close` or the ``with`` block.

    Args:
      source: the samples.
      seed: seed of the order of samples.
      batch_size: samples per batch B.
      rows: which samples of each batch are read, numbers below B, such as those of one of several
        processes; None for all.
      label: field of the source that is to be learnt.
      threads: threads that read; 0 reads when asked, as suits arrays in memory that no one waits
        for.
      ahead: batches that are read ahead. At least as many as `take` is asked for, or the device
        waits for some of them.

    Raises:
      ValueError: fewer samples than one batch, a number outside its range, or a field that the
        source does not have.
    """

    def __init__(
        self,
        source: Source,
        *,
        seed: int,
        batch_size: int,
        rows: Int[np.ndarray, "_"] | None = None,
        label: str = "label",
        threads: int = 1,
        ahead: int = 16,
    ):
        samples = len(source)
        for name, value, low in (
            ("seed", seed, 0),
            ("batch_size", batch_size, 1),
            ("threads", threads, 0),
            ("ahead", ahead, max(threads, 1)),
        ):
            checks.whole_number(name, value, low)
        if batch_size > samples:
            raise ValueError(
                f"batch_size: expected at most the {samples} samples, got {batch_size}; lower it"
            )
        missing = {"inputs", label} - set(source[0])
        if missing:
            raise ValueError(
                f"expected samples with inputs and {label}, got none of {sorted(missing)}; name a"
                f" field of the source: {sorted(source[0])}"
            )
        self._fixed = {"seed": int(seed), "samples": samples, "batch_size": int(batch_size)}
        self.batches_per_epoch = samples // batch_size
        order = grain.MapDataset.source(_Rows(**self._fixed, chosen=rows))
        batches = order.map(functools.partial(_read, source, label))
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        self._iterator = iter(batches.to_iter_dataset(options))

    @property
    def epoch(self) -> int:
        """Epoch of the next batch, from 1."""
        return self._position // self.batches_per_epoch + 1

    @property
    def batch(self) -> int:
        """Number of the next batch within its epoch, from 0."""
        return self._position % self.batches_per_epoch

    def start(self) -> None:
        """Begins to read ahead before the first batch is asked for, such as while XLA compiles."""
        self._iterator.start_prefetch()

    def __next__(self) -> Part:
        position = self._position
        try:
            batch: Part = next(self._iterator)
        except BaseException:
            self._position = position
            raise
        return batch

    def take(self, count: int) -> Part:
        """Returns the next batches stacked, for one compiled call that makes several updates.

        Args:
          count: number of batches K; they may belong to two epochs.

        Returns:
          The samples of all, ``(K, B, ...)``.

        Raises:
          ValueError: a count below 1.
        """
        checks.whole_number("count", count)
        position = self._position
        try:
            batches = [next(self) for _ in range(count)]
        except BaseException:
            self._position = position
            raise
        return Part(*jax.tree.map(lambda *arrays: np.stack(arrays), *batches))

    def get_state(self) -> dict[str, int]:
        """Returns where the stream stands, for JSON: after what was handed out."""
        return {
            "version": STATE_VERSION,
            **self._fixed,
            "epoch": self.epoch,
            "batch": self.batch,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where another stream stood; the next batch is the one that would have come.

        Args:
          state: what its `get_state` returned.

        Raises:
          CheckpointError: it is that of other data, another seed or another size of batches.
        """
        for name, value in {"version": STATE_VERSION, **self._fixed}.items():
            if state.get(name) != value:
                raise CheckpointError(
                    f"position of the data: expected {name} {value}, got {state.get(name)!r};"
                    " resume with the settings and the release of flax_snn that began the run"
                )
        self.seek(state.get("epoch"), state.get("batch"))

    def seek(self, epoch: Any, batch: Any = 0) -> None:
        """Makes a batch the next one.

        Args:
          epoch: its epoch, from 1.
          batch: its number within the epoch, from 0.

        Raises:
          CheckpointError: there is no such batch.
        """
        if not (checks.is_whole_number(epoch) and checks.is_whole_number(batch)) or not (
            1 <= epoch and 0 <= batch < self.batches_per_epoch
        ):
            raise CheckpointError(
                "position of the data: expected an epoch from 1 and a batch in"
                f" [0, {self.batches_per_epoch}), got {epoch!r} and {batch!r}; the checkpoint is"
                " damaged, use another"
            )
        self._position = (epoch - 1) * self.batches_per_epoch + batch

    def close(self) -> None:
        """Ends the threads; the stream still tells its state, but has no more batches."""
        self._iterator.close()

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def _position(self) -> int:
        """Number of the next batch, from 0 at the start of epoch 1."""
        return int(grain.experimental.get_next_index(self._iterator))

    @_position.setter
    def _position(self, position: int) -> None:
        grain.experimental.set_next_index(self._iterator, position)


class _Rows:
    """Rows of samples of each batch, int32 ``(B,)``, as a source for grain."""

    def __init__(self, *, seed: int, samples: int, batch_size: int, chosen: Any):
        self._batches = samples // batch_size
        self._chosen = slice(None) if chosen is None else chosen
        # Two epochs: threads that read ahead cross from one to the next.
        self._order = functools.lru_cache(maxsize=2)(
            lambda epoch: epoch_order(seed, epoch, samples, batch_size)
        )

    def __len__(self) -> int:
        """Returns a number that no run reaches."""
        return sys.maxsize

    def __getitem__(self, position: int) -> Int[np.ndarray, "B"]:
        epoch, batch = divmod(position, self._batches)
        return self._order(epoch + 1)[batch][self._chosen]


def _read(source: Any, label: str, rows: Int[np.ndarray, "B"]) -> Part:
    """Reads one batch."""
    if hasattr(source, "batch"):
        fields = source.batch(rows)
    else:
        items = [source[int(row)] for row in rows]
        fields = jax.tree.map(lambda *arrays: np.stack(arrays), *items)
    return Part(fields["inputs"], fields[label], fields.get("length"))
