"""From events to rasters: checked and binned on the host, spread out on the device.

    host     Events -> step and unit of each event: `EventBatch`, a few bytes an event
    device   EventBatch -> raster (B, T, *shape), by one scatter-add that may be jitted

Step k holds the events with k dt <= t < (k + 1) dt (`flax_snn.time_grid`); times in whole
ticks are divided as integers where dt is a whole number of ticks, so that they are exact however
large they are.

Letters: B samples, T steps, K most events of a sample, *shape the axes of the array of units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from flax import struct

from flax_snn import checks
from flax_snn.datasets.events.recording import Events, unit_dtype
from flax_snn.datasets.recorded.sources import named
from flax_snn.encode import times_to_raster
from flax_snn.time_grid import steps_of_times
from flax_snn.typing import Array, Num

Outside = Literal["raise", "drop"]


def steps_of_events(events: Events, dt: float) -> Num[np.ndarray, "K"]:
    """Returns the time step that each event belongs to.

    Args:
      events: the events.
      dt: length of a step in seconds.

    Raises:
      ValueError: dt is not positive.
    """
    dt = checks.positive("dt", dt, unit="seconds")
    ratio = dt / events.tick
    whole = round(ratio)
    if events.times.dtype.kind in "iu" and whole >= 1 and abs(ratio - whole) <= 1e-9 * whole:
        return events.times.astype(np.int64) // whole
    return steps_of_times(events.times, ratio)


def length_of_events(events: Events, dt: float) -> int:
    """Returns the number of steps up to and with the last event, 0 if there is none.

    It is what `seq_lengths` of a runner or a loss takes for the sample.

    Example:
      >>> import numpy as np
      >>> from flax_snn.datasets import Events, length_of_events
      >>> length_of_events(Events(np.array([0.0, 0.0042]), np.array([0, 1]), (2,)), dt=1e-3)
      5
    """
    return int(steps_of_events(events.take(slice(-1, None)), dt)[-1]) + 1 if len(events) else 0


def raster(
    events: Events,
    *,
    dt: float,
    steps: int,
    outside: Outside = "raise",
    binary: bool = False,
    dtype: npt.DTypeLike = np.uint8,
) -> np.ndarray:
    """Makes the raster of one recording on the host.

    Args:
      events: the events.
      dt: length of a step in seconds.
      steps: number of steps T.
      outside: what happens to events before step 0 or from step T on: "raise", the default, or
        "drop". Their number is ``len(events) - raster.sum()`` for counts.
      binary: 1 where there is an event or more, instead of their number.
      dtype: type of the entries, uint8 by default.

    Returns:
      Counts (T, *shape), or zeros and ones.

    Raises:
      ValueError: an event outside with "raise", or a count that the type does not hold.

    Example:
      >>> import numpy as np
      >>> from flax_snn.datasets import Events, raster
      >>> events = Events(np.array([0.0, 0.001, 0.0019]), np.array([0, 1, 1]), (2,))
      >>> raster(events, dt=1e-3, steps=3).tolist()
      [[1, 0], [0, 2], [0, 0]]
    """
    step, unit = _binned(events, dt, steps, outside)
    size = math.prod(events.shape)
    if binary:
        step, unit = np.divmod(np.unique(step * size + unit), size)
    counts = times_to_raster(0, step, unit, shape=(1, steps, size), dtype=dtype)
    return counts.reshape(steps, *events.shape)


class EventBatch(struct.PyTreeNode):
    """Events of several samples, binned and padded: what goes to the device.

    Attributes:
      step: step of each event, (B, K), uint16 or int32; T for padding.
      unit: unit of each event, (B, K), in the smallest unsigned type for the shape.
      lengths: steps up to and with the last event, (B,) int32, for `seq_lengths`.
      dropped: events of each sample that lay outside the T steps, (B,) int32.
      steps: number of steps T.
      shape: shape of the array of units.
    """

    step: Num[Array | np.ndarray, "B K"]
    unit: Num[Array | np.ndarray, "B K"]
    lengths: Num[Array | np.ndarray, "B"]
    dropped: Num[Array | np.ndarray, "B"]
    steps: int = struct.field(pytree_node=False)
    shape: tuple[int, ...] = struct.field(pytree_node=False)

    def raster(self, dtype: Any = jnp.float32, binary: bool = False) -> Array:
        """Spreads the events out, on the device that they are on; may be jitted.

        Args:
          dtype: type of the entries, float32 by default.
          binary: 1 where there is an event or more, instead of their number.

        Returns:
          Counts (B, T, *shape), or zeros and ones.
        """
        size = math.prod(self.shape)
        empty = jnp.zeros((self.steps, size), dtype)

        def spread(step: Array, unit: Array) -> Array:
            at = empty.at[step.astype(jnp.int32), unit.astype(jnp.int32)]
            one = jnp.ones((), dtype)
            # Padding has step T, which is outside and dropped.
            return at.set(one, mode="drop") if binary else at.add(one, mode="drop")

        found = jax.vmap(spread)(jnp.asarray(self.step), jnp.asarray(self.unit))
        return found.reshape(-1, self.steps, *self.shape)


def event_batch(
    samples: Sequence[Events],
    *,
    dt: float,
    steps: int,
    outside: Outside = "raise",
    size: int | None = None,
) -> EventBatch:
    """Bins and pads the events of several samples of one sensor.

    Args:
      samples: the events, of one shape.
      dt: length of a step in seconds.
      steps: number of steps T.
      outside: what happens to events before step 0 or from step T on: "raise", the default, or
        "drop", which counts them in `dropped`.
      size: number of events K to pad to. By default the next of 1, 2, 3, 4, 6, 8, 12, ... (2^k and
        3 * 2^k): batches then have few shapes, and a jitted step is compiled a few times only.

    Returns:
      The batch, in NumPy arrays.

    Raises:
      ValueError: no sample, samples of several shapes, an event outside with "raise", or more
        events than `size`; the text names the sample.

    Example:
      >>> import numpy as np
      >>> from flax_snn.datasets import Events, event_batch
      >>> one = Events(np.array([0.0, 0.0014]), np.array([0, 2]), (3,))
      >>> none = Events(np.zeros(0), np.zeros(0, int), (3,))
      >>> batch = event_batch([one, none], dt=1e-3, steps=2)
      >>> batch.lengths.tolist(), batch.raster().tolist()[0]
      ([2, 0], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    """
    names = [f"sample {k}" for k in range(len(samples))]
    return named_batch(samples, names, dt, steps, outside, size)


def named_batch(
    samples: Sequence[Events],
    names: Sequence[str],
    dt: float,
    steps: int,
    outside: Outside,
    size: int | None,
) -> EventBatch:
    """Does what `event_batch` does, and calls the samples by these names in errors."""
    shapes = {events.shape for events in samples}
    if len(shapes) != 1:
        raise ValueError(
            checks.error_text(
                "samples", "one or more of one shape", shapes or "none", "select them"
            )
        )
    (shape,) = shapes
    binned = []
    for name, events in zip(names, samples, strict=True):
        with named(name):
            binned.append(_binned(events, dt, steps, outside))
    most = max(len(step) for step, _ in binned)
    room = _padded(most) if size is None else checks.whole_number("size", size)
    if most > room:
        raise ValueError(checks.error_text("size", f"at least {most} events", room, "raise it"))
    narrow = np.uint16 if steps <= np.iinfo(np.uint16).max else np.int32
    step_BxK = np.full((len(binned), room), steps, narrow)
    unit_BxK = np.zeros((len(binned), room), unit_dtype(shape))
    for row, (step, unit) in enumerate(binned):
        step_BxK[row, : len(step)] = step
        unit_BxK[row, : len(unit)] = unit
    lengths = [int(step[-1]) + 1 if len(step) else 0 for step, _ in binned]
    dropped = [len(events) - len(step) for events, (step, _) in zip(samples, binned, strict=True)]
    return EventBatch(
        step=step_BxK,
        unit=unit_BxK,
        lengths=np.array(lengths, np.int32),
        dropped=np.array(dropped, np.int32),
        steps=steps,
        shape=shape,
    )


def _binned(
    events: Events, dt: float, steps: int, outside: Outside
) -> tuple[Num[np.ndarray, "K"], Num[np.ndarray, "K"]]:
    """Returns step and unit of the events inside [0, T).

    Raises:
      ValueError: an event outside, where that is to raise.
    """
    checks.whole_number("steps", steps)
    checks.choice("outside", outside, ("raise", "drop"))
    step, unit = steps_of_events(events, dt), events.units
    first, last = np.searchsorted(step, (0, steps))  # Times do not fall, so steps do not.
    if first > 0 or last < len(step):
        if outside == "raise":
            k = 0 if first > 0 else int(last)
            raise ValueError(
                checks.error_text(
                    f"event {k}",
                    f"a time in [0, {steps * dt:g}) s, {steps} steps of {dt:g} s",
                    f"{float(events.times[k]) * events.tick:g} s"
                    f" ({first + len(step) - last} of {len(step)} events are outside)",
                    'raise steps, crop the events, or pass outside="drop"',
                )
            )
        step, unit = step[first:last], unit[first:last]
    return step, unit.astype(np.int64)


def _padded(most: int) -> int:
    """Returns the next of 1, 2, 3, 4, 6, 8, 12, 16, ... that is not below a number."""
    power = 1 << max(most - 1, 0).bit_length()
    return 3 * power // 4 if power >= 4 and most <= 3 * power // 4 else power
