"""What spikes do: how regular they are, how far two trains lie apart, how neurons fire together.

Spikes are rasters ``(S, T, *N)`` of counts, samples first. Each sample is looked at over its own
steps: those that ``seq_lengths`` or ``mask`` leave out are cut out of it. Values of neurons are
averaged over each sample, and what results over the samples.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from flax_snn import checks
from flax_snn.metrics.inputs import known
from flax_snn.sequence_mask import SequenceLengths, StepMask, time_steps
from flax_snn.typing import Int, Num


def coefficient_of_variation(
    spikes: Num[Any, "S T *N"],
    *,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> float:
    """Coefficient of variation of the intervals between spikes, of neurons with three or more.

        CV = sqrt(VAR[interval]) / MEAN[interval]

    0 for a clock and 1 for a Poisson process (in steps that are short against the intervals);
    Gabbiani & Koch, Principles of spike train analysis, in Methods in neuronal modeling, 1998.

    >>> clock = np.tile([1, 0, 0, 0], 10).reshape(1, -1, 1)
    >>> coefficient_of_variation(clock)
    0.0

    Args:
      spikes: rasters ``(S, T, *N)``.
      seq_lengths: number of steps of each sequence, ``(S,)``.
      mask: which steps are data, ``(S, T)``, instead of lengths.

    Returns:
      The mean over the neurons of each sample, and then over the samples. Neurons with fewer than
      three spikes have no such number, and are left out; so are samples without any other.

    Raises:
      TypeError: no real numbers.
      ValueError: another rank, counts that are negative or no whole numbers, lengths or a mask that
        do not fit, no neuron with three spikes.
    """
    found = []
    for raster in _rasters("spikes", spikes, seq_lengths, mask):
        values = [_variation(np.diff(times)) for times in _times(raster) if len(times) > 2]
        defined = [value for value in values if value is not None]
        if defined:
            found.append(np.mean(defined))
    return _mean(found, "a neuron with three spikes that are not all in one step")


def van_rossum_distance(
    spikes: Num[Any, "S T *N"],
    targets: Num[Any, "S T *N"],
    *,
    tau: float,
    dt: float,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> float:
    """Distance of van Rossum between spike trains, of neuron n to neuron n.

        D^2 = 1/tau INTEGRAL (f - g)^2 dt,    f(t) = SUM_i exp(-(t - t_i) / tau) for t >= t_i

    over all times, those after the sequence too. A spike that is missing gives D^2 = 1/2; van
    Rossum, A novel spike distance, Neural Computation 13, 2001.

    >>> one, none = np.zeros((2, 1, 50, 1))
    >>> one[0, 10] = 1
    >>> round(van_rossum_distance(one, none, tau=10e-3, dt=1e-3) ** 2, 12)
    0.5

    Args:
      spikes: rasters ``(S, T, *N)``.
      targets: rasters of the same shape.
      tau: time constant in seconds: spikes that lie closer together are alike.
      dt: length of a step in seconds.
      seq_lengths: number of steps of each sequence, ``(S,)``.
      mask: which steps are data, ``(S, T)``, instead of lengths.

    Returns:
      D, the mean over the neurons of each sample, and then over the samples.

    Raises:
      TypeError: no real numbers.
      ValueError: another rank, different shapes, counts that are negative or no whole numbers,
        times that are not positive, lengths or a mask that do not fit or that leave no data.
    """
    tau, dt = checks.positive("tau", tau, unit="seconds"), checks.positive("dt", dt, unit="seconds")
    decay = np.exp(-dt / tau)
    found = []
    for raster, target in _pairs(spikes, targets, seq_lengths, mask):
        # Between two steps the difference of the traces decays; after the last one for ever.
        trace, squares = np.zeros(raster.shape[1]), np.zeros(raster.shape[1])
        for difference in (raster - target).astype(np.float64):
            squares += np.square(trace) * (1.0 - decay**2) / 2.0
            trace = trace * decay + difference
        squares += np.square(trace) / 2.0
        found.append(np.mean(np.sqrt(squares)))
    return _mean(found, "a sequence with data")


def victor_purpura_distance(
    spikes: Num[Any, "S T *N"],
    targets: Num[Any, "S T *N"],
    *,
    cost: float,
    dt: float,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> float:
    """Distance of Victor and Purpura between spike trains, of neuron n to neuron n.

    The least cost of making one train of the other: 1 for a spike that is added or removed, and
    ``cost * |shift|`` for one that is moved. 0 counts spikes, a large cost asks for coincidence;
    Victor & Purpura, Nature and precision of temporal coding in visual cortex: a metric-space
    analysis, Journal of Neurophysiology 76, 1996.

    >>> a, b = np.zeros((2, 1, 50, 1))
    >>> a[0, 10] = b[0, 15] = 1
    >>> round(victor_purpura_distance(a, b, cost=100.0, dt=1e-3), 12)
    0.5

    Args:
      spikes: rasters ``(S, T, *N)``.
      targets: rasters of the same shape.
      cost: cost of moving a spike by one second, in 1/s, from 0 on.
      dt: length of a step in seconds.
      seq_lengths: number of steps of each sequence, ``(S,)``.
      mask: which steps are data, ``(S, T)``, instead of lengths.

    Returns:
      The mean over the neurons of each sample, and then over the samples.

    Raises:
      TypeError: no real numbers.
      ValueError: another rank, different shapes, counts that are negative or no whole numbers, a
        negative cost, lengths or a mask that do not fit or that leave no data.
    """
    cost = checks.non_negative("cost", cost, unit="1/s")
    per_step = cost * checks.positive("dt", dt, unit="seconds")
    found = []
    for raster, target in _pairs(spikes, targets, seq_lengths, mask):
        pairs = zip(_times(raster), _times(target), strict=True)
        found.append(np.mean([_least_cost(a, b, per_step) for a, b in pairs]))
    return _mean(found, "a sequence with data")


def synchrony(
    spikes: Num[Any, "S T *N"],
    *,
    window: float,
    dt: float,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> float:
    """How much the neurons of a layer fire together.

        chi^2 = VAR_t[MEAN_n c_n(t)] / MEAN_n VAR_t[c_n(t)]

    with the counts c_n(t) of spikes of neuron n in a window that slides over time. 1 for neurons
    that all do the same, about 1 / sqrt(N) for neurons that do not know of each other; Golomb &
    Rinzel, Clustering in globally coupled inhibitory neurons, Physica D 72, 1994.

    >>> train = np.random.default_rng(0).integers(0, 2, (1, 100, 1))
    >>> round(synchrony(np.tile(train, 5), window=3e-3, dt=1e-3), 12)
    1.0

    Args:
      spikes: rasters ``(S, T, *N)``.
      window: length of the window in seconds, a whole number of steps.
      dt: length of a step in seconds.
      seq_lengths: number of steps of each sequence, ``(S,)``.
      mask: which steps are data, ``(S, T)``, instead of lengths.

    Returns:
      chi, from 0 to 1, the mean over samples. Samples in which no count ever changes, or which are
      shorter than the window, have no such number, and are left out.

    Raises:
      TypeError: no real numbers.
      ValueError: another rank, counts that are negative or no whole numbers, a window that is no
        whole number of steps, lengths or a mask that do not fit, no sample that has the number.
    """
    width = _steps("window", window, checks.positive("dt", dt, unit="seconds"))
    found = []
    for raster in _rasters("spikes", spikes, seq_lengths, mask):
        if len(raster) < width:
            continue
        sums = np.concatenate([np.zeros((1, raster.shape[1])), np.cumsum(raster, axis=0)])
        counts = sums[width:] - sums[:-width]
        each = np.mean(np.var(counts, axis=0))
        if each > 0.0:
            found.append(np.sqrt(np.var(counts.mean(axis=1)) / each))
    return _mean(found, "a sample whose spikes change from window to window")


def decision_time(
    outputs: Num[Any, "S T C"],
    *,
    dt: float,
    reduce: Literal["sum", "none"] = "sum",
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> float:
    """Time from which on a network gives the answer that it gives in the end.

    The answer at a step is the class with the largest output so far; where several have the
    largest one there is none. It is decided at the end of the first step from which on the answer
    no longer changes.

    >>> outputs = np.array([[[0, 1], [1, 0], [1, 0], [0, 0]]])
    >>> decision_time(outputs, dt=1e-3)  # class 0 leads alone from the third step on
    0.003

    Args:
      outputs: spikes or membranes of the output neurons, ``(S, T, C)`` with C of at least 2.
      dt: length of a step in seconds.
      reduce: ``sum`` (default) counts the outputs so far, such as spikes; ``none`` takes those of
        the step, such as a membrane that is read at the end.
      seq_lengths: number of steps of each sequence, ``(S,)``.
      mask: which steps are data, ``(S, T)``, instead of lengths.

    Returns:
      Seconds, the mean over samples; a sample without an answer at its end counts with its length.

    Raises:
      TypeError: no real numbers.
      ValueError: another rank, fewer than two classes, values that are not finite, lengths or a
        mask that do not fit or that leave no data.
    """
    dt = checks.positive("dt", dt, unit="seconds")
    checks.choice("reduce", reduce, ("sum", "none"))
    found = []
    for values in _cut("outputs", outputs, seq_lengths, mask):
        if values.ndim != 2 or values.shape[1] < 2:
            what = "(S, T, C) with at least two classes"
            raise ValueError(checks.error_text("outputs", what, f"shape {np.shape(outputs)}"))
        values = checks.finite_array("outputs", values)
        values = np.cumsum(values, axis=0) if reduce == "sum" else values
        leads = values == values.max(axis=1, keepdims=True)
        answer = np.where(leads.sum(axis=1) == 1, leads.argmax(axis=1), -1)
        other = np.flatnonzero(answer != answer[-1])
        first = 0 if not other.size else int(other[-1]) + 1
        found.append(dt * (len(answer) if answer[-1] < 0 else first + 1))
    return _mean(found, "a sequence with data")


def _steps(name: str, seconds: float, dt: float) -> int:
    """Returns a time as a whole number of steps, at least one."""
    exact = checks.positive(name, seconds, unit="seconds") / dt
    if round(exact) < 1 or abs(exact - round(exact)) > 1e-6 * exact:
        what = f"a whole number of steps of {dt:g} s"
        raise ValueError(checks.error_text(name, what, f"{seconds:g} s"))
    return round(exact)


def _variation(intervals: np.ndarray) -> float | None:
    mean = float(np.mean(intervals))
    return float(np.std(intervals)) / mean if mean > 0.0 else None


def _least_cost(a: np.ndarray, b: np.ndarray, per_step: float) -> float:
    """Returns the distance of two trains, their times in steps, row by row of the table."""
    ahead = np.arange(len(b) + 1, dtype=np.float64)
    row = ahead
    for time in a:
        moved = row[:-1] + per_step * np.abs(b - time)
        below = np.concatenate([[row[0] + 1.0], np.minimum(row[1:] + 1.0, moved)])
        # A spike may still be added behind any entry of the row.
        row = np.minimum.accumulate(below - ahead) + ahead
    return float(row[-1])


def _times(raster: np.ndarray) -> list[np.ndarray]:
    """Returns the steps of the spikes of each neuron, several in one step as often."""
    steps = np.arange(len(raster))
    return [np.repeat(steps, counts) for counts in raster.T]


def _pairs(
    spikes: Any,
    targets: Any,
    seq_lengths: SequenceLengths | None,
    mask: StepMask | None,
) -> Any:
    """Yields the rasters of each sample and of its target."""
    checks.shape("targets", known("targets", targets), np.shape(known("spikes", spikes)))
    rasters = [
        _rasters(name, x, seq_lengths, mask)
        for name, x in (("spikes", spikes), ("targets", targets))
    ]
    return zip(*rasters, strict=True)


def _rasters(
    name: str, spikes: Any, seq_lengths: SequenceLengths | None, mask: StepMask | None
) -> list[Int[np.ndarray, "_ N"]]:
    """Returns the counts of each sample that has data, int64 ``(T, N)``."""
    rasters = []
    for cut in _cut(name, spikes, seq_lengths, mask):
        raster = checks.finite_array(name, cut.reshape(len(cut), -1))
        counts = raster.astype(np.int64)
        if (counts != raster).any() or (counts < 0).any():
            odd = raster[(counts != raster) | (counts < 0)].flat[0]
            remedy = "give spikes, not rates or membranes"
            what = "counts of spikes, 0, 1, 2, ..."
            raise ValueError(checks.error_text(name, what, odd, remedy))
        rasters.append(counts)
    return rasters


def _cut(
    name: str, x: Any, seq_lengths: SequenceLengths | None, mask: StepMask | None
) -> list[np.ndarray]:
    """Returns the steps with data of each sample that has some, ``(T, ...)``."""
    array = checks.real_array(name, known(name, x))
    checks.rank(name, array, "(S, T, *N)")
    if array.ndim < 3 or array.size == 0:
        what = "shape (S, T, *N) with at least one sample, step and neuron"
        raise ValueError(checks.error_text(name, what, f"shape {array.shape}"))
    steps = time_steps(name, array, time_axis=1, seq_lengths=seq_lengths, mask=mask)
    if steps.mask is None:
        return list(array)
    is_data = known("seq_lengths, mask", steps.mask)
    if not is_data.any():
        what, remedy = "at least one step with data", "leave out batches that are all padding"
        raise ValueError(checks.error_text("seq_lengths, mask", what, "none", remedy))
    return [rows[real] for rows, real in zip(array, is_data, strict=True) if real.any()]


def _mean(found: list[Any], what: str) -> float:
    if not found:
        raise ValueError(checks.error_text("spikes", f"at least {what}", "none"))
    return float(np.mean(found))
