"""Metrics of a task: how well predictions agree with what is true.

Counted and summed on the host, counts in int64 and sums in float64, so that a result depends
neither on the batches nor on the device. They take arrays of NumPy or JAX, but not inside ``jit``;
a loss to be differentiated stands in `flax_snn.losses`.

Names as in Yik et al., The neurobench framework for benchmarking neuromorphic computing algorithms
and systems, Nature Communications 16, 2025.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from flax_snn.typing import Float, Int

__all__ = ["accuracy", "confusion_matrix", "mean_squared_error", "r2"]


def accuracy(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Share of samples whose predicted class is the true one.

    >>> round(accuracy([0, 1, 1], [0, 1, 0]), 3)
    0.667

    Args:
      labels: true class of each sample, integers ``(S,)``.
      predictions: predicted class of each sample, integers ``(S,)``.

    Returns:
      The share, from 0 to 1.

    Raises:
      TypeError: classes that are not integers.
      ValueError: another rank, no samples, different lengths.
    """
    true_S, predicted_S = _classes(labels, predictions)
    return float(np.mean(true_S == predicted_S))


def confusion_matrix(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, classes: int
) -> Int[np.ndarray, "C C"]:
    """Count the samples of each true class (row) that were given each class (column).

    >>> confusion_matrix([0, 1, 1], [0, 1, 0], 2).tolist()
    [[1, 0], [1, 1]]

    Args:
      labels: true class of each sample, integers ``(S,)``.
      predictions: predicted class of each sample, integers ``(S,)``.
      classes: number of classes C, those included that no sample has.

    Returns:
      Numbers of samples, int64 ``(C, C)``.

    Raises:
      TypeError: classes that are not integers.
      ValueError: another rank, no samples, different lengths, a class outside 0 to C - 1.
    """
    true_S, predicted_S = _classes(labels, predictions)
    for name, values in (("labels", true_S), ("predictions", predicted_S)):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= classes:
            raise ValueError(
                f"{name}: expected classes from 0 to {classes - 1}, got {low} to {high}; give the"
                " number of all classes"
            )
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (true_S, predicted_S), 1)
    return counts


def mean_squared_error(targets: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Mean of the squared errors, over samples and coordinates alike.

    >>> mean_squared_error([0.0, 1.0], [0.0, 3.0])
    2.0

    Args:
      targets: true values, ``(S,)`` or ``(S, D)``.
      predictions: predicted values, of the same shape.

    Returns:
      The mean, in the square of the unit of the values.

    Raises:
      TypeError: values that are not real numbers.
      ValueError: another rank, no values, different shapes, values that are not finite.
    """
    true_SxD, predicted_SxD = _values(targets, predictions)
    return float(np.mean(np.square(predicted_SxD - true_SxD)))


def r2(targets: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Coefficient of determination, the mean of that of each coordinate d.

        R2_d = 1 - SUM_s (y_sd - p_sd)^2 / SUM_s (y_sd - mean_s y_sd)^2

    1 for perfect predictions, 0 for the mean of the targets, negative for worse than that.

    >>> r2([0.0, 1.0, 2.0], [0.0, 1.0, 1.0])
    0.5

    Args:
      targets: true values y, ``(S,)`` or ``(S, D)``.
      predictions: predicted values p, of the same shape.

    Returns:
      The coefficient, at most 1.

    Raises:
      TypeError: values that are not real numbers.
      ValueError: another rank, no values, different shapes, values that are not finite, a
        coordinate whose targets are all equal: it has no variance to explain.
    """
    true_SxD, predicted_SxD = _values(targets, predictions)
    constant = np.flatnonzero(np.ptp(true_SxD, axis=0) == 0.0)
    if constant.size:
        raise ValueError(
            f"targets: expected at least two different values of each coordinate, got only one of"
            f" {constant.tolist()}; R2 is not defined there, take mean_squared_error"
        )
    unexplained_D = np.square(true_SxD - predicted_SxD).sum(axis=0)
    total_D = np.square(true_SxD - true_SxD.mean(axis=0)).sum(axis=0)
    return float(np.mean(1.0 - unexplained_D / total_D))


def _classes(
    labels: npt.ArrayLike, predictions: npt.ArrayLike
) -> tuple[Int[np.ndarray, "S"], Int[np.ndarray, "S"]]:
    """Return both in int64; refuse all but two equally long lists of integers."""
    true, predicted = np.asarray(labels), np.asarray(predictions)
    for name, array in (("labels", true), ("predictions", predicted)):
        if array.size and not np.issubdtype(array.dtype, np.integer):
            raise TypeError(
                f"{name}: expected classes as integers, got {array.dtype}; give class numbers, such"
                " as the argmax of the logits"
            )
    _check_shapes("labels", true, predicted, (1,))
    return true.astype(np.int64), predicted.astype(np.int64)


def _values(
    targets: npt.ArrayLike, predictions: npt.ArrayLike
) -> tuple[Float[np.ndarray, "S D"], Float[np.ndarray, "S D"]]:
    """Return both in float64 with an axis of coordinates; refuse what cannot be compared."""
    true, predicted = np.asarray(targets), np.asarray(predictions)
    for name, array in (("targets", true), ("predictions", predicted)):
        # JAX knows bfloat16 as a floating type, NumPy does not.
        if not any(jnp.issubdtype(array.dtype, kind) for kind in (np.integer, np.floating)):
            raise TypeError(f"{name}: expected real numbers, got {array.dtype}")
    _check_shapes("targets", true, predicted, (1, 2))
    for name, array in (("targets", true), ("predictions", predicted)):
        bad = int((~np.isfinite(array.astype(np.float64))).sum())
        if bad:
            raise ValueError(f"{name}: expected finite numbers, got {bad} that are NaN or inf")
    shape = (len(true), -1)
    return true.astype(np.float64).reshape(shape), predicted.astype(np.float64).reshape(shape)


def _check_shapes(
    name: str, true: np.ndarray, predicted: np.ndarray, ranks: tuple[int, ...]
) -> None:
    if true.ndim not in ranks or true.size == 0:
        wanted = " or ".join(["(S,)", "(S, D)"][: len(ranks)])
        raise ValueError(
            f"{name}: expected shape {wanted} with at least one sample, got {true.shape}"
        )
    if predicted.shape != true.shape:
        raise ValueError(
            f"predictions: expected the shape {true.shape} of {name}, got {predicted.shape}; give"
            " one prediction for each sample"
        )
