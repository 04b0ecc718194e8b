"""How well predictions agree with what is true.

Predictions come first, targets second. As a rule there is one of each for each sample. Where there
is one for each time step, ``(S, T)`` or ``(S, T, D)``, ``seq_lengths`` or ``mask`` say which steps
are data.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flax_snn import checks
from flax_snn.metrics.inputs import data_mask, known
from flax_snn.sequence_mask import SequenceLengths, StepMask
from flax_snn.typing import Bool, Float, Int


def accuracy(
    predictions: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> float:
    """Share of samples whose predicted class is the true one.

    >>> round(accuracy([0, 1, 0], [0, 1, 1]), 3)
    0.667
    >>> accuracy([[0, 1], [1, 1]], [[0, 0], [1, 0]], seq_lengths=np.array([2, 1]))
    0.75

    Args:
      predictions: predicted class of each sample, integers ``(S,)``, or of each step, ``(S, T)``.
      labels: true classes, of the same shape.
      seq_lengths: number of steps of each sequence, ``(S,)``, for predictions of each step.
      mask: which steps are data, ``(S, T)``, instead of lengths.

    Returns:
      The share, from 0 to 1; for predictions of each step the mean of those of the sequences.

    Raises:
      TypeError: classes that are not integers.
      ValueError: another rank, no samples, different shapes, lengths or a mask that do not fit or
        that leave no data.
    """
    predicted, true, is_data = _classes(predictions, labels, seq_lengths, mask)
    return _mean_of_sequences(predicted == true, is_data)


def confusion_matrix(
    predictions: npt.ArrayLike,
    labels: npt.ArrayLike,
    classes: int,
    *,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> Int[np.ndarray, "C C"]:
    """Counts the samples of each true class (row) that were given each class (column).

    >>> confusion_matrix([0, 1, 0], [0, 1, 1], 2).tolist()
    [[1, 0], [1, 1]]

    Args:
      predictions: predicted class of each sample, integers ``(S,)``, or of each step, ``(S, T)``.
      labels: true classes, of the same shape.
      classes: number of classes C, those included that no sample has.
      seq_lengths: number of steps of each sequence, ``(S,)``, for predictions of each step.
      mask: which steps are data, ``(S, T)``, instead of lengths.

    Returns:
      Numbers of samples, or of steps with data, int64 ``(C, C)``.

    Raises:
      TypeError: classes that are not integers.
      ValueError: another rank, no samples, different shapes, a class outside 0 to C - 1, lengths or
        a mask that do not fit or that leave no data.
    """
    predicted, true, is_data = _classes(predictions, labels, seq_lengths, mask)
    predicted, true = predicted[is_data], true[is_data]
    for name, values in (("labels", true), ("predictions", predicted)):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= classes:
            what, came = f"classes from 0 to {classes - 1}", f"{low} to {high}"
            remedy = "give the number of all classes"
            raise ValueError(checks.error_text(name, what, came, remedy))
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (true, predicted), 1)
    return counts


def mean_squared_error(
    predictions: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> float:
    """Mean of the squared errors, over samples and coordinates alike.

    >>> mean_squared_error([0.0, 3.0], [0.0, 1.0])
    2.0

    Args:
      predictions: predicted values, ``(S,)`` or ``(S, D)``; of each step, with ``seq_lengths`` or
        ``mask``, ``(S, T)`` or ``(S, T, D)``.
      targets: true values, of the same shape.
      seq_lengths: number of steps of each sequence, ``(S,)``, for predictions of each step.
      mask: which steps are data, ``(S, T)``, instead of lengths.

    Returns:
      The mean, in the square of the unit of the values; for predictions of each step the mean of
      those of the sequences.

    Raises:
      TypeError: values that are not real numbers.
      ValueError: another rank, no values, different shapes, values that are not finite, lengths or
        a mask that do not fit or that leave no data.
    """
    predicted, true, is_data = _values(predictions, targets, seq_lengths, mask)
    return _mean_of_sequences(np.square(predicted - true).mean(axis=-1), is_data)


def r2(
    predictions: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> float:
    """Coefficient of determination, the mean of that of each coordinate d.

        R2_d = 1 - SUM_s (y_sd - p_sd)^2 / SUM_s (y_sd - mean_s y_sd)^2

    1 for perfect predictions, 0 for the mean of the targets, negative for worse than that.

    >>> r2([0.0, 1.0, 1.0], [0.0, 1.0, 2.0])
    0.5

    Args:
      predictions: predicted values p, ``(S,)`` or ``(S, D)``; of each step, with ``seq_lengths`` or
        ``mask``, ``(S, T)`` or ``(S, T, D)``. The sums then run over all steps with data.
      targets: true values y, of the same shape.
      seq_lengths: number of steps of each sequence, ``(S,)``, for predictions of each step.
      mask: which steps are data, ``(S, T)``, instead of lengths.

    Returns:
      The coefficient, at most 1.

    Raises:
      TypeError: values that are not real numbers.
      ValueError: another rank, no values, different shapes, values that are not finite, a
        coordinate whose targets are all equal (it has no variance to explain), lengths or a mask
        that do not fit or that leave no data.
    """
    predicted, true, is_data = _values(predictions, targets, seq_lengths, mask)
    predicted_SxD, true_SxD = predicted[is_data], true[is_data]
    constant = np.flatnonzero(np.ptp(true_SxD, axis=0) == 0.0)
    if constant.size:
        what = "at least two different values of each coordinate"
        came = f"only one of {constant.tolist()}"
        remedy = "R2 is not defined there, take mean_squared_error"
        raise ValueError(checks.error_text("targets", what, came, remedy))
    unexplained_D = np.square(true_SxD - predicted_SxD).sum(axis=0)
    total_D = np.square(true_SxD - true_SxD.mean(axis=0)).sum(axis=0)
    return float(np.mean(1.0 - unexplained_D / total_D))


def smape(
    predictions: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
) -> float:
    """Symmetric mean absolute percentage error, over samples and coordinates alike.

        sMAPE = 200 / n * SUM |y - p| / (|y| + |p|)

    A pair of zeros has no error.

    >>> smape([1.0, 3.0], [1.0, 1.0])
    50.0

    Args:
      predictions: predicted values p, ``(S,)`` or ``(S, D)``; of each step, with ``seq_lengths`` or
        ``mask``, ``(S, T)`` or ``(S, T, D)``.
      targets: true values y, of the same shape.
      seq_lengths: number of steps of each sequence, ``(S,)``, for predictions of each step.
      mask: which steps are data, ``(S, T)``, instead of lengths.

    Returns:
      The error, from 0 to 200; for predictions of each step the mean of those of the sequences.

    Raises:
      TypeError: values that are not real numbers.
      ValueError: another rank, no values, different shapes, values that are not finite, lengths or
        a mask that do not fit or that leave no data.
    """
    predicted, true, is_data = _values(predictions, targets, seq_lengths, mask)
    size = np.abs(true) + np.abs(predicted)
    error = np.abs(true - predicted) / np.where(size == 0.0, 1.0, size)
    return _mean_of_sequences(200.0 * error.mean(axis=-1), is_data)


def _mean_of_sequences(values: np.ndarray, is_data: Bool[np.ndarray, "*S"]) -> float:
    """Returns the mean over samples ``(S,)``, or over the steps ``(S, T)`` of each and then them.

    Sequences without any data are left out.
    """
    if is_data.ndim == 1:
        return float(np.mean(values))
    totals = np.where(is_data, values, 0).sum(axis=1, dtype=np.float64)
    steps = is_data.sum(axis=1)
    return float(np.mean(totals[steps > 0] / steps[steps > 0]))


def _classes(
    predictions: npt.ArrayLike,
    labels: npt.ArrayLike,
    seq_lengths: SequenceLengths | None,
    mask: StepMask | None,
) -> tuple[Int[np.ndarray, "*S"], Int[np.ndarray, "*S"], Bool[np.ndarray, "*S"]]:
    """Returns both in int64, and which entries are data."""
    predicted, true = known("predictions", predictions), known("labels", labels)
    for name, array in (("predictions", predicted), ("labels", true)):
        if array.size:
            remedy = "give class numbers, such as the argmax of the logits"
            checks.integers(name, array, remedy=remedy)
    is_data = data_mask("labels", predicted, true, seq_lengths, mask, coordinates=False)
    return predicted.astype(np.int64), true.astype(np.int64), is_data


def _values(
    predictions: npt.ArrayLike,
    targets: npt.ArrayLike,
    seq_lengths: SequenceLengths | None,
    mask: StepMask | None,
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."], Bool[np.ndarray, "*S"]]:
    """Returns both in float64 with coordinates as their last axis, and which entries are data.

    Padding is replaced by 0.
    """
    given = {"predictions": predictions, "targets": targets}
    arrays = {name: known(name, values) for name, values in given.items()}
    for name, array in arrays.items():
        checks.real_array(name, array)
        if array.dtype == np.bool_:
            raise TypeError(checks.error_text(name, "real numbers", array.dtype))
    is_data = data_mask(
        "targets",
        arrays["predictions"],
        arrays["targets"],
        seq_lengths,
        mask,
        coordinates=True,
    )
    found = []
    for name, array in arrays.items():
        array = array.reshape(*is_data.shape, -1).astype(np.float64)
        found.append(np.where(is_data[..., None], array, 0.0))
        checks.finite_array(name, found[-1])
    return found[0], found[1], is_data
