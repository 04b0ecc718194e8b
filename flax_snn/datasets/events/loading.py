"""Batches of events through grain: shuffled, augmented and binned by workers, resumable.

What a batch holds follows from the arguments and its number alone: the order of an epoch is that
of `flax_snn.datasets.batches`, and what happens to a sample depends on seed, epoch and sample (see
`sample_generator`). The number of workers changes the speed and nothing else, and an iterator that
is set to a stored state goes on with the very batch that would have come.

Needs grain: ``pip install 'flax-snn[data]'``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from flax_snn import checks
from flax_snn.datasets.events.raster import Outside, named_batch
from flax_snn.datasets.events.recording import Events
from flax_snn.datasets.events.transforms import blend as blended
from flax_snn.datasets.events.transforms import sample_generator
from flax_snn.datasets.recorded.sources import Sample, Source

Transform = Callable[[Events, np.random.Generator], Events]


def event_loader(
    source: Source,
    batch_size: int,
    *,
    dt: float,
    steps: int,
    seed: int,
    epoch: int = 1,
    epochs: int = 1,
    shuffle: bool = True,
    drop_last: bool = True,
    outside: Outside = "raise",
    augment: Transform | None = None,
    blend: float = 0.0,
    size: int | None = None,
    workers: int = 0,
) -> Any:
    """Returns a grain dataset of batches: iterate over it, once or many times.

    A batch is a dict: `inputs` an `EventBatch`, whose `raster()` is made on the device; `label`
    (B,) int32; `row` (B,) int64, the number of each sample in the source. Its iterator has
    `get_state` and `set_state`, which `grain.checkpoint` stores with Orbax.

    Args:
      source: samples whose data are `Events` of one shape.
      batch_size: samples of a batch B.
      dt: length of a step in seconds.
      steps: number of steps T.
      seed: seed of order and augmentation.
      epoch: number of the first epoch, 1 by default.
      epochs: number of epochs, 1 by default.
      shuffle: False leaves the samples in their order.
      drop_last: leave out the last S mod B samples of each epoch, as by default; False yields
        them as a smaller batch, which is possible for one epoch only.
      outside: what happens to events outside the T steps; see `event_batch`.
      augment: changes the events of a sample, such as `Augment`; workers get a copy of it.
      blend: probability of mixing a sample with another one of its class; see
        `flax_snn.datasets.blend`.
      size: number of events to pad to; see `event_batch`.
      workers: number of processes that read; 0, the default, reads in threads of this one.

    Raises:
      ImportError: grain is not installed.
      ValueError: an argument outside its range, or more samples in a batch than there are.

    Example:
      >>> import numpy as np
      >>> from flax_snn.datasets import Events, InMemory, event_loader
      >>> events = [Events(np.array([0.001 * k]), np.array([k]), (4,)) for k in range(4)]
      >>> source = InMemory(events, labels=[0, 1, 0, 1])
      >>> for batch in event_loader(source, 2, dt=1e-3, steps=4, seed=0, shuffle=False):
      ...     print(batch["label"].tolist(), batch["inputs"].raster().shape)
      [0, 1] (2, 4, 4)
      [0, 1] (2, 4, 4)
    """
    grain = _grain()
    checks.whole_number("workers", workers, 0)
    order = _Order(source, batch_size, seed, epoch, epochs, shuffle, drop_last)
    rows = grain.MapDataset.source(order)
    change = functools.partial(_sample, source=source, seed=seed, augment=augment, blend=blend)
    collate = functools.partial(_batch, dt=dt, steps=steps, outside=outside, size=size)
    checks.in_range("blend", blend, 0.0, 1.0)
    batches = rows.map(change).batch(batch_size, drop_remainder=drop_last, batch_fn=collate)
    # Threads of NumPy under one interpreter lock: a few are enough.
    found = batches.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4))
    if workers:
        _flags_parsed()
        found = found.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
        found = found.map(_copied)
    return found


@dataclasses.dataclass
class _Order:
    """Which sample is the i-th of all epochs, as a source of grain: (epoch, row)."""

    source: Source
    batch_size: int
    seed: int
    epoch: int
    epochs: int
    shuffle: bool
    drop_last: bool

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs"):
            checks.whole_number(name, getattr(self, name))
        for name in ("seed", "epoch"):
            checks.whole_number(name, getattr(self, name), 0)
        samples = len(self.source)
        if self.batch_size > samples:
            raise ValueError(
                checks.error_text(
                    "batch_size", f"at most {samples}, the samples there are", self.batch_size
                )
            )
        if not self.drop_last and self.epochs > 1:
            raise ValueError(
                checks.error_text(
                    "epochs", "1 with drop_last=False", self.epochs, "make a loader an epoch"
                )
            )
        self._samples = samples
        self._each = samples - samples % self.batch_size if self.drop_last else samples
        self._drawn: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self._each * self.epochs

    def __getitem__(self, index: int) -> tuple[int, int]:
        epoch, position = divmod(int(index), self._each)
        epoch += self.epoch
        if not self.shuffle:
            return epoch, position
        drawn = self._drawn
        if drawn is None or drawn[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self._samples)
            self._drawn = drawn = epoch, order
        return epoch, int(drawn[1][position])

    def __repr__(self) -> str:
        # grain compares it with that of a stored state.
        return (
            f"{len(self)} of {self._samples} samples, seed {self.seed}, from epoch {self.epoch},"
            f" batches of {self.batch_size}, shuffle={self.shuffle}"
        )


def _sample(
    place: tuple[int, int], *, source: Source, seed: int, augment: Transform | None, blend: float
) -> tuple[int, Sample]:
    """Reads a sample and changes it."""
    epoch, row = place
    sample = source[row]
    if augment is None and not blend:
        return row, sample
    generator = sample_generator(seed, epoch, row)
    events = sample.data
    if blend and generator.random() < blend:
        partner = generator.choice(np.flatnonzero(source.labels == sample.label))
        events = blended(events, source[int(partner)].data, generator)
    if augment is not None:
        events = augment(events, generator)
    return row, sample._replace(data=events)


def _batch(
    samples: Sequence[tuple[int, Sample]],
    *,
    dt: float,
    steps: int,
    outside: Outside,
    size: int | None,
) -> dict[str, Any]:
    for row, sample in samples:
        if not isinstance(sample.data, Events):
            raise TypeError(
                checks.error_text(
                    f"sample {row}",
                    "Events",
                    checks.shown(sample.data),
                    "encode the source with `Mapped` first",
                )
            )
    rows = [row for row, _ in samples]
    events = [sample.data for _, sample in samples]
    names = [f"sample {row}" for row in rows]
    return {
        "inputs": named_batch(events, names, dt, steps, outside, size),
        "label": np.array([sample.label for _, sample in samples], np.int32),
        "row": np.array(rows, np.int64),
    }


def _copied(batch: dict[str, Any]) -> dict[str, Any]:
    """Returns a batch in memory of its own; that which grain shares with workers goes back."""
    return jax.tree.map(np.array, batch)


def _flags_parsed() -> None:
    """Gives the flags of grain, which its workers ask for, their defaults.

    A program that runs under absl.app has parsed them already; any other one has none to parse.
    """
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()


def _grain() -> Any:
    try:
        import grain
    except ImportError as error:
        raise ImportError(
            f"expected grain for batches of events, got {error}; install it with pip install"
            " 'flax-snn[data]'"
        ) from error
    return grain
