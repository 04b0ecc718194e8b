"""Randman's map: a smooth random manifold, evaluated, standardised and turned into spike times.

A point x of [0, 1]^D is mapped to M units, each coordinate a product of random Fourier series:

    f_i(x) = PROD_j SUM_n A_ijn * s_n * sin(2 pi (n x_j B_ijn + C_ijn)),   A, B, C ~ U(0, 1)

Three published formulas go by this name and make different data sets; `variant` says which:

    "paper"  n = 1..F,   s_n = n^-alpha                            no term zeroed
    "numpy"  n = 0..F-1, s_n = (n + 1)^-alpha                      A at n = 0 zeroed
    "torch"  n = 0..F-1, s_n = 1 / (abs(n + 1 - beta)^alpha + 1)   A at n = 0 zeroed

Everything is float64. Letters: N samples of a class, M units, D dimensions of the manifold,
F terms.

Source: Zenke and Vogels, The remarkable robustness of surrogate gradient learning for instilling
complex function in spiking neural networks, Neural Computation 33(4), 2021.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from flax_snn import checks
from flax_snn.time_grid import steps_of_times
from flax_snn.typing import Float

Variant = Literal["paper", "numpy", "torch"]

_VARIANTS = ("paper", "numpy", "torch")
_RANGE_OFFSET = 1e-7  # part of the published standardisation; visible where a range is small
_CHUNK_ELEMENTS = 16384  # values of one term at a time, so that the buffers stay in cache


def randman_cutoff(alpha: float, *, prec: float = 1e-3, f_max: int = 1000) -> int:
    """Returns the number of terms F = min(ceil(prec^(-1/alpha)), f_max).

    Evaluated in float64 in exactly this form: alpha 3 gives 10, a rearrangement may give 11.

    Raises:
      ValueError: alpha is not positive and finite, prec is not in (0, 1), or f_max < 1.
    """
    checks.positive("alpha", alpha)
    checks.in_range("prec", prec, 0, 1, low_allowed=False, high_allowed=False)
    checks.whole_number("f_max", f_max)
    try:
        return min(math.ceil(float(prec) ** (-1.0 / float(alpha))), f_max)
    except OverflowError:  # beyond float64, hence beyond any f_max
        return f_max


def randman_manifold(
    A: ArrayLike,
    B: ArrayLike,
    C: ArrayLike,
    x: ArrayLike,
    *,
    alpha: float,
    variant: Variant = "numpy",
    beta: float = 0.0,
    use_bias: bool = False,
) -> Float[np.ndarray, "N M"]:
    """Evaluates one manifold on given parameters, before standardisation.

    Terms are added in the order of n whatever the number of samples, so a row does not depend
    on the rows beside it.

    Args:
      A: amplitudes (M, D, F); the term n = 0 of "numpy" and "torch" is ignored unless `use_bias`.
      B: frequency factors (M, D, F).
      C: phases in turns (M, D, F).
      x: coordinates (N, D).
      alpha: smoothness exponent.
      variant: which published formula.
      beta: shift of the spectrum, "torch" only.
      use_bias: keep the constant term, "numpy" and "torch" only.

    Returns:
      Embedding coordinates (N, M), float64.

    Raises:
      ValueError: shapes that do not fit, values that are not finite, or a bad setting.

    Example:
      >>> import numpy as np
      >>> from flax_snn.datasets import randman_manifold
      >>> one = np.ones((1, 1, 2))
      >>> y = randman_manifold(one, one, 0 * one, np.array([[0.0], [0.25]]), alpha=1.0)
      >>> y.tolist()  # sin(2 pi x) / 2
      [[0.0], [0.5]]
    """
    check_variant(variant, alpha, beta, use_bias)
    A_MxDxF, B_MxDxF, C_MxDxF = (_real(n, v, 3) for n, v in zip("ABC", (A, B, C), strict=True))
    x_NxD = _real("x", x, 2)
    if not A_MxDxF.shape == B_MxDxF.shape == C_MxDxF.shape or A_MxDxF.shape[1] != x_NxD.shape[1]:
        raise ValueError(
            "expected A, B, C of one shape (M, D, F) and x of shape (N, D), got "
            f"{A_MxDxF.shape}, {B_MxDxF.shape}, {C_MxDxF.shape} and {x_NxD.shape}; "
            "put the dimension of the manifold on axis 1"
        )
    frequencies, weights = _spectrum(A_MxDxF.shape[2], alpha, variant, beta)
    gain_FxMxD = np.moveaxis(A_MxDxF * weights, -1, 0).copy()
    if variant != "paper" and not use_bias:
        gain_FxMxD[:1] = 0.0
    B_FxMxD, C_FxMxD = (np.moveaxis(v, -1, 0).copy() for v in (B_MxDxF, C_MxDxF))
    units, dim, _ = A_MxDxF.shape
    rows = max(1, _CHUNK_ELEMENTS // max(1, units * dim))
    y_NxM = np.empty((len(x_NxD), units))
    for k in range(0, len(x_NxD), rows):
        x_Nx1xD = x_NxD[k : k + rows, None, :]
        sums = _series(x_Nx1xD, frequencies, gain_FxMxD, B_FxMxD, C_FxMxD)
        y_NxM[k : k + rows] = sums.prod(axis=-1)
    return y_NxM


def randman_standardise(y: Float[np.ndarray, "N M"]) -> Float[np.ndarray, "N M"]:
    """Maps each unit onto [0, 1): s = (y - min) / (max - min + 1e-7), over the samples.

    The constant is part of the published formula: a unit whose range is not large against 1e-7
    stays visibly below 1. It also keeps s below 1, which float32 would lose.

    Args:
      y: embedding coordinates of all samples of one class (N, M), float64.

    Returns:
      Standardised coordinates (N, M), float64; the smallest of each unit is exactly 0.

    Raises:
      ValueError: not a float64 matrix of finite values, fewer than two samples, or a unit that
        is the same for all samples and so carries no information.
    """
    y = np.asarray(y)
    if y.dtype != np.float64 or y.ndim != 2 or len(y) < 2 or not np.isfinite(y).all():
        raise ValueError(
            f"expected y of shape (N, M) with N >= 2, float64 and finite, got shape {y.shape} "
            f"and dtype {y.dtype}; evaluate the manifold at two or more samples in float64"
        )
    low, high = y.min(axis=0), y.max(axis=0)
    if (high == low).any():
        raise ValueError(
            "expected every unit to vary over the samples, got a constant unit "
            f"{int(np.argmax(high == low))}; use more samples or terms, or a smaller alpha"
        )
    return (y - low) / (high - low + _RANGE_OFFSET)


def randman_spike_times(
    s: Float[np.ndarray, "*N"], *, steps: int, step_frac: float = 0.5, offset_frac: float = 0.0
) -> Float[np.ndarray, "*N"]:
    """Returns spike times t = steps * (step_frac * (1 - offset_frac) * s + offset_frac), in steps.

    Args:
      s: standardised coordinates in [0, 1), of any shape.
      steps: length of a sample in steps.
      step_frac: fraction of the steps after the offset that is used.
      offset_frac: silent fraction at the start.

    Returns:
      Times of the shape of `s`, float64, not rounded to steps.

    Raises:
      ValueError: a setting outside its range, a coordinate outside [0, 1), or one so close to 1
        that its time is the end of the range up to rounding, one past the last step in use.
    """
    checks.whole_number("steps", steps)
    check_fractions(step_frac, offset_frac)
    span = step_frac * (1.0 - offset_frac)
    start = steps * offset_frac
    times = np.asarray(s, np.float64) * steps * span + start
    end = steps * span + start
    inside = (times >= start) & (times < end)
    steps_of_spikes = steps_of_times(np.where(inside, times, start))
    if not (inside & (steps_of_spikes < math.ceil(end))).all():
        raise ValueError(
            f"expected s in [0, 1), every time before {end} steps, got s from "
            f"{np.min(s)} to {np.max(s)}; standardise in float64, or lower dim or raise alpha"
        )
    return times


def check_variant(variant: Any, alpha: float, beta: float, use_bias: bool) -> None:
    """Checks that a variant exists, and that its formula uses the settings.

    Raises:
      TypeError: a setting of another type.
      ValueError: an unknown variant, a setting that it does not use, or an alpha that is not
        positive and finite.
    """
    checks.choice("variant", variant, _VARIANTS)
    checks.positive("alpha", alpha)
    if checks.number("beta", beta) != 0.0 and variant != "torch":
        raise ValueError(f'beta: expected 0 unless variant="torch", got {beta!r}; leave it out')
    if checks.boolean("use_bias", use_bias) and variant == "paper":
        raise ValueError(
            "use_bias: expected False, or True with a variant that drops its constant term, "
            f"got {use_bias!r} with {variant!r}; leave use_bias out for the paper's formula"
        )


def check_fractions(step_frac: float, offset_frac: float) -> None:
    """Checks that step_frac lies in (0, 1] and offset_frac in [0, 1).

    Raises:
      TypeError: not a number.
      ValueError: outside its range.
    """
    checks.in_range("step_frac", step_frac, 0, 1, low_allowed=False)
    checks.in_range("offset_frac", offset_frac, 0, 1, high_allowed=False)


def _series(
    x_Nx1xD: Float[np.ndarray, "N 1 D"],
    frequencies: Float[np.ndarray, "F"],
    gain_FxMxD: Float[np.ndarray, "F M D"],
    B_FxMxD: Float[np.ndarray, "F M D"],
    C_FxMxD: Float[np.ndarray, "F M D"],
) -> Float[np.ndarray, "N M D"]:
    """SUM_n gain_n sin(2 pi (n x B_n + C_n)) as (N, M, D), in place where it can be."""
    total = np.zeros((len(x_Nx1xD), *gain_FxMxD.shape[1:]))
    term = np.empty_like(total)
    for n, gain, B, C in zip(frequencies, gain_FxMxD, B_FxMxD, C_FxMxD, strict=True):
        np.multiply(n * x_Nx1xD, B, out=term)
        term += C
        term *= 2.0 * np.pi
        np.sin(term, out=term)
        term *= gain
        total += term
    return total


def _spectrum(
    terms: int, alpha: float, variant: Variant, beta: float
) -> tuple[Float[np.ndarray, "F"], Float[np.ndarray, "F"]]:
    """Returns frequencies n and weights s_n of the terms, each (F,) float64."""
    one_based = np.arange(1.0, terms + 1.0)
    with np.errstate(over="ignore"):  # a weight of exactly 0 is what a huge alpha means
        if variant == "torch":
            weights = 1.0 / (np.abs(one_based - beta) ** alpha + 1.0)
        else:
            weights = 1.0 / one_based**alpha
    return (one_based if variant == "paper" else one_based - 1.0), weights


def _real(name: str, value: ArrayLike, rank: int) -> Float[np.ndarray, "..."]:
    """Returns an array in float64; the conversion is exact but for huge integers."""
    array = np.asarray(value)
    if array.ndim != rank or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ValueError(
            f"{name}: expected a real, finite array of rank {rank}, got shape {array.shape} "
            f"and dtype {array.dtype}; see the shapes in the docstring"
        )
    return array.astype(np.float64)
