"""Changes of events: cuts and pooling, and random ones that make more of few samples.

Every function takes `Events` and returns new ones; random ones draw from a generator of NumPy that
they are given. `sample_generator` makes one from seed, epoch and sample, so that what a sample
becomes depends on nothing else: not on the batch it is in, nor on the number of workers.

Events that a change moves out of the array of units, or before time 0, are left out, as published.

Letters: K events of a recording.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from flax_snn import checks
from flax_snn.datasets.events.recording import Events
from flax_snn.typing import Int


def sample_generator(seed: int, epoch: int, row: int) -> np.random.Generator:
    """Returns the generator of what happens to one sample in one epoch.

    Args:
      seed: seed of the run, from 0.
      epoch: number of the epoch, from 0.
      row: number of the sample in its data set, from 0.
    """
    for name, value in (("seed", seed), ("epoch", epoch), ("row", row)):
        checks.whole_number(name, value, 0)
    return np.random.default_rng([int(seed), int(epoch), int(row)])


def crop(events: Events, start: float, stop: float) -> Events:
    """Returns the events with ``start <= t < stop``, with times that count from the start.

    Args:
      events: the events.
      start: in seconds; of times in whole ticks, it must be a whole number of ticks.
      stop: in seconds, after the start; likewise.

    Raises:
      ValueError: a stop that is not after the start, or no whole number of ticks.

    Example:
      >>> import numpy as np
      >>> from flax_snn.datasets import Events, crop
      >>> events = Events(np.array([0.0, 1.0, 2.5]), np.array([0, 1, 2]), (3,))
      >>> crop(events, 1.0, 2.0).times.tolist()
      [0.0]
    """
    first, last = _ticks(events, "start", start), _ticks(events, "stop", stop)
    if first >= last:
        raise ValueError(checks.error_text("stop", f"a time after start={start!r}", repr(stop)))
    kept = events.take(slice(*np.searchsorted(events.times, (first, last))))
    if kept.times.dtype.kind == "u" and first < 0:
        kept = dataclasses.replace(kept, times=kept.times.astype(np.int64))
    return dataclasses.replace(kept, times=kept.times - kept.times.dtype.type(first))


def pool(events: Events, factors: tuple[int, ...]) -> Events:
    """Joins neighbouring units: unit u of an axis becomes ``u // factor``.

    Args:
      events: the events.
      factors: one for each axis of the shape: ``(5,)`` makes 140 of 700 channels, ``(2, 2, 1)``
        joins squares of four pixels and keeps polarities apart.

    Raises:
      ValueError: not one factor for each axis, or one that does not divide its axis.

    Example:
      >>> import numpy as np
      >>> from flax_snn.datasets import Events, pool
      >>> pool(Events(np.zeros(2), np.array([4, 5]), (700,)), (5,)).units.tolist()
      [0, 1]
    """
    checks.shape("factors", np.asarray(factors), (len(events.shape),), remedy="one for each axis")
    for factor, size in zip(factors, events.shape, strict=True):
        if size % checks.whole_number("factors", factor):
            raise ValueError(
                checks.error_text(
                    "factors", f"factors of the shape {events.shape}", factors, "choose others"
                )
            )
    shape = tuple(size // factor for size, factor in zip(events.shape, factors, strict=True))
    pooled = [c // factor for c, factor in zip(events.coordinates(), factors, strict=True)]
    return Events(events.times, np.ravel_multi_index(pooled, shape), shape, events.tick)


def jitter_times(events: Events, deviation: float, generator: np.random.Generator) -> Events:
    """Moves each event in time by a normal number, and sorts them anew.

    Args:
      events: the events.
      deviation: standard deviation in seconds; times in whole ticks move by whole ticks.
      generator: of the random numbers.
    """
    deviation = checks.non_negative("deviation", deviation, unit="seconds") / events.tick
    moves = generator.normal(0.0, deviation, len(events))
    if events.times.dtype.kind in "iu":
        times = events.times.astype(np.int64) + np.rint(moves).astype(np.int64)
    else:
        times = events.times + moves.astype(events.times.dtype)
    return _sorted(events, times, times >= 0)


def dilate(events: Events, most: float, generator: np.random.Generator) -> Events:
    """Stretches or compresses time by one factor, log-uniform between 1 / most and most.

    Source: Nowotny, Turner, Knight, Loss shaping enhances exact gradient learning with Eventprop in
    spiking neural networks, Neuromorphic Computing and Engineering 5, 2025.
    """
    bound = np.log(checks.in_range("most", most, 1.0, None))
    factor = np.exp(generator.uniform(-bound, bound))
    times = events.times * factor
    if events.times.dtype.kind in "iu":
        times = np.rint(times)
    return dataclasses.replace(events, times=times.astype(events.times.dtype))


def shift(events: Events, most: int, generator: np.random.Generator, axis: int = 0) -> Events:
    """Moves all events by one number of units along an axis, uniform among -most, ..., most.

    For SHD this is another pitch, for a camera another place.

    Source: Cramer et al. 2022; Nowotny et al. 2025 (see `dilate`).
    """
    most = checks.whole_number("most", most, 0)
    move = np.full(len(events), generator.integers(-most, most + 1))
    return _moved(events, move, axis)


def jitter_units(
    events: Events, deviation: float, generator: np.random.Generator, axis: int = 0
) -> Events:
    """Moves each event along an axis by a normal number, rounded to whole units.

    Args:
      events: the events.
      deviation: standard deviation in units.
      generator: of the random numbers.
      axis: axis of the shape, 0 by default.
    """
    deviation = checks.non_negative("deviation", deviation, unit="units")
    moves = np.rint(generator.normal(0.0, deviation, len(events))).astype(np.int64)
    return _moved(events, moves, axis)


def drop(events: Events, probability: float, generator: np.random.Generator) -> Events:
    """Leaves out each event with a probability."""
    probability = checks.in_range("probability", probability, 0.0, 1.0)
    return events.take(generator.random(len(events)) >= probability)


def blend(
    first: Events, second: Events, generator: np.random.Generator, share: float = 0.5
) -> Events:
    """Mixes two samples of a class into a new one.

    Both are moved half the way to each other, so that their mean times and mean units agree; then
    each event of the first is kept with probability ``share``, each of the second with
    ``1 - share``, and what is kept is put together.

    Args:
      first: events of shape (N,).
      second: events of the same shape and unit of time.
      generator: of the random numbers.
      share: 0.5 by default.

    Raises:
      ValueError: events of other shapes or units of time.

    Source: Nowotny et al. 2025 (see `dilate`).
    """
    if len(first.shape) != 1 or (first.shape, first.tick) != (second.shape, second.tick):
        raise ValueError(
            checks.error_text(
                "second",
                "events of one axis, of one shape and tick",
                f"shapes {first.shape}, {second.shape}, ticks {first.tick:g}, {second.tick:g}",
                "blend samples of one data set",
            )
        )
    share = checks.in_range("share", share, 0.0, 1.0)
    kept = [
        drop(first, 1.0 - share, generator),
        drop(second, share, generator),
    ]
    if len(first) and len(second):
        kept = [
            _towards(part, whole, other)
            for part, whole, other in zip(kept, (first, second), (second, first), strict=True)
        ]
    times = np.concatenate([part.times for part in kept])
    units = np.concatenate([part.units for part in kept])
    order = np.argsort(times, kind="stable")
    return Events(times[order], units[order], first.shape, first.tick)


@dataclasses.dataclass(frozen=True)
class Augment:
    """The usual random changes, each of them off by default, one after the other.

    Called with events and a generator; `event_loader` does it for every sample of every epoch.

    Args:
      shift: most units by which a sample moves along the first axis; see `shift`.
      unit_jitter: standard deviation in units, along the first axis; see `jitter_units`.
      dilate: largest factor of time; see `dilate`.
      time_jitter: standard deviation in seconds; see `jitter_times`.
      drop: probability of leaving an event out; see `drop`.

    Example:
      >>> import numpy as np
      >>> from flax_snn.datasets import Augment, Events, sample_generator
      >>> events = Events(np.array([0.1, 0.2]), np.array([30, 40]), (700,))
      >>> augment = Augment(shift=20, drop=0.1)
      >>> once, again = (augment(events, sample_generator(0, 1, 5)) for _ in range(2))
      >>> once == again
      True
    """

    shift: int = 0
    unit_jitter: float = 0.0
    dilate: float = 1.0
    time_jitter: float = 0.0
    drop: float = 0.0

    def __post_init__(self) -> None:
        checks.fields(self, checks.whole_number, "shift", at_least=0)
        checks.fields(self, checks.non_negative, "unit_jitter", "time_jitter")
        checks.fields(self, checks.in_range, "dilate", low=1.0, high=None)
        checks.fields(self, checks.in_range, "drop", low=0.0, high=1.0)

    def __call__(self, events: Events, generator: np.random.Generator) -> Events:
        """Returns the events changed."""
        if self.shift:
            events = shift(events, self.shift, generator)
        if self.unit_jitter:
            events = jitter_units(events, self.unit_jitter, generator)
        if self.dilate > 1:
            events = dilate(events, self.dilate, generator)
        if self.time_jitter:
            events = jitter_times(events, self.time_jitter, generator)
        return drop(events, self.drop, generator) if self.drop else events


def _ticks(events: Events, name: str, seconds: float) -> float | int:
    """Returns a time in the unit of the events."""
    ticks = checks.number(name, seconds, unit="seconds") / events.tick
    if events.times.dtype.kind not in "iu":
        return ticks
    whole = round(ticks)
    if abs(ticks - whole) > 1e-6:
        raise ValueError(
            checks.error_text(name, f"a whole number of ticks of {events.tick:g} s", seconds)
        )
    return whole


def _moved(events: Events, moves: Int[np.ndarray, "K"], axis: int) -> Events:
    """Returns the events moved along an axis, without those that leave it."""
    checks.index("axis", axis, len(events.shape))
    places = list(events.coordinates())
    places[axis] = places[axis] + moves
    inside = (places[axis] >= 0) & (places[axis] < events.shape[axis])
    units = np.ravel_multi_index([place[inside] for place in places], events.shape)
    return dataclasses.replace(events, times=events.times[inside], units=units)


def _sorted(events: Events, times: np.ndarray, kept: np.ndarray) -> Events:
    """Returns the events at other times, in their order."""
    times, units = times[kept], events.units[kept]
    order = np.argsort(times, kind="stable")
    return dataclasses.replace(events, times=_narrow(times[order], events), units=units[order])


def _narrow(times: np.ndarray, events: Events) -> np.ndarray:
    """Returns sorted times in the type that those of the events have, if it holds them."""
    narrow = times.astype(events.times.dtype)
    return narrow if not times.size or narrow[-1] == times[-1] else times


def _towards(part: Events, whole: Events, other: Events) -> Events:
    """Returns events moved half the way from the mean time and unit of `whole` to `other`'s."""
    later = (other.times.mean(dtype=np.float64) - whole.times.mean(dtype=np.float64)) / 2
    higher = (other.units.mean(dtype=np.float64) - whole.units.mean(dtype=np.float64)) / 2
    if part.times.dtype.kind in "iu":
        times = part.times.astype(np.int64) + round(later)
    else:
        times = part.times + part.times.dtype.type(later)
    late = times >= 0
    moved = dataclasses.replace(part, times=_narrow(times[late], part), units=part.units[late])
    return _moved(moved, np.full(len(moved), round(higher)), axis=0)
