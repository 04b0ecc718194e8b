"""Yin-Yang: a disc of two interlocked halves with a dot in each, three classes on a plane.

With the disc of radius R around (R, R), a dot of radius r in the middle of either half, and the
distances d_left and d_right of a point from the dots' centres (R/2, R) and (3R/2, R):

    2  dots    d_left < r  or  d_right < r                                       and else
    1  yin     d_right <= r  or  r < d_left <= R/2  or  (y > R and d_right > R/2)
    0  yang    elsewhere on the disc

Source: Kriener, Göltz and Petrovici, The Yin-Yang dataset, NICE 2022; their generator is repeated
draw by draw.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from flax_snn import checks
from flax_snn.datasets.generated.labelled_points import Points, coordinates, mirrored
from flax_snn.typing import Bool, Float, Int, Num

OUTSIDE = -1
"""Class of a point that does not lie on the disc."""

_WORDS = 1 << 16  # random numbers of 32 bits drawn at a time; a sample takes about 30
_PAIR = 4  # of them for two coordinates of 53 bits


class YinYangSplits(NamedTuple):
    """The published parts; the classes are drawn, so their shares differ by chance.

    Attributes:
      train: 5000 samples.
      validation: 1000 samples.
      test: 1000 samples.
    """

    train: Points
    validation: Points
    test: Points


def yin_yang_splits() -> YinYangSplits:
    """The published parts: 5000, 1000 and 1000 samples of the seeds 42, 41 and 40.

    Example:
      >>> import numpy as np
      >>> from flax_snn.datasets import yin_yang_splits
      >>> [np.bincount(part.labels).tolist() for part in yin_yang_splits()]
      [[1681, 1702, 1617], [316, 336, 348], [350, 316, 334]]
    """
    return YinYangSplits(yin_yang(5000, 42), yin_yang(1000, 41), yin_yang(1000, 40))


def yin_yang(samples: int, seed: int, *, radius: float = 0.5, dot_radius: float = 0.1) -> Points:
    """Draws a class for each sample, then points of the square until one is of that class.

    The draws are those of the published generator, NumPy's `RandomState`, in the same order: the
    arrays are equal bit for bit, and a longer set begins with the shorter one of its seed.

    Args:
      samples: number of samples S.
      seed: seed from 0 to 2**32 - 1.
      radius: R of the disc, 0.5 by default: the square around it is then the unit square. For
        another R the mirrored features are 2R - x and 2R - y.
      dot_radius: r of the dots, 0.1 by default; no more than R/2, where they fill the halves. The
        smaller they are, the longer it takes to hit them.

    Returns:
      Features (x, y, 1 - x, 1 - y), float64 as published, and labels 0, 1, 2.

    Raises:
      ValueError: samples < 1, a seed or radius outside its range.

    Example:
      >>> from flax_snn.datasets import yin_yang
      >>> data = yin_yang(3, seed=42)
      >>> data.x.round(2).tolist()
      [[0.68, 0.45, 0.32, 0.55], [0.1, 0.68, 0.9, 0.32], [0.76, 0.43, 0.24, 0.57]]
      >>> data.labels.tolist()
      [2, 1, 2]
    """
    checks.whole_number("samples", samples)
    checks.whole_number("seed", seed, 0)
    if seed >= 2**32:
        raise ValueError(f"seed: expected a whole number below 2**32, got {seed!r}")
    _check_radii(radius, dot_radius)
    xy_Sx2 = _sample(np.random.RandomState(seed), samples, radius, dot_radius)
    labels = yin_yang_class(xy_Sx2, radius=radius, dot_radius=dot_radius)
    return Points(mirrored(xy_Sx2, 2.0 * radius), labels)


def yin_yang_class(
    xy: ArrayLike, *, radius: float = 0.5, dot_radius: float = 0.1
) -> Int[np.ndarray, "*B"]:
    """Returns the class of any points of the plane, as for a picture of decision regions.

    Args:
      xy: points (*B, 2), without mirrored features.
      radius: R of the disc, 0.5 by default.
      dot_radius: r of the dots, 0.1 by default.

    Returns:
      0, 1 or 2, and -1 for a point outside the disc; its rim belongs to it: (*B,) int32.

    Raises:
      ValueError: the last axis is not x and y, a coordinate is not finite, or a radius is outside
        its range.

    Example:
      >>> from flax_snn.datasets import yin_yang_class
      >>> yin_yang_class([[0.5, 0.2], [0.5, 0.8], [0.75, 0.5], [0.0, 0.0]]).tolist()
      [0, 1, 2, -1]
    """
    _check_radii(radius, dot_radius)
    x, y = np.moveaxis(coordinates(xy), -1, 0)
    d_left, d_right = (
        np.sqrt((x - centre) ** 2 + (y - radius) ** 2) for centre in (0.5 * radius, 1.5 * radius)
    )
    dot = (d_right < dot_radius) | (d_left < dot_radius)
    yin = (
        (d_right <= dot_radius)
        | ((d_left > dot_radius) & (d_left <= 0.5 * radius))
        | ((y > radius) & (d_right > 0.5 * radius))
    )
    outside = np.sqrt((x - radius) ** 2 + (y - radius) ** 2) > radius
    return np.select([outside, dot, yin], [OUTSIDE, 2, 1], 0).astype(np.int32)


def _sample(
    generator: np.random.RandomState, samples: int, radius: float, dot_radius: float
) -> Float[np.ndarray, "S 2"]:
    """Draws the samples in the published loop, with the random numbers drawn ahead.

        goal = randint(3);   (x, y) = 2R * rand(2)   until the class of (x, y) is the goal

    randint(3) takes numbers of 32 bits until the low two bits of one are not 3; rand(2) takes four
    of them. Where a pair begins thus hangs on all that came before, and so the point and class of
    a pair are worked out at every place in the stream, and the loop only leaps from hit to hit.
    """
    found: list[Float[np.ndarray, "2"]] = []
    raw_draws, goal = np.empty(0, np.uint32), None
    while len(found) < samples:
        ahead = generator.randint(2**32, size=_WORDS, dtype=np.uint32)
        raw_draws = np.concatenate([raw_draws, ahead])
        xy_Px2 = 2.0 * radius * _pairs(raw_draws)
        places = len(xy_Px2)
        labels = yin_yang_class(xy_Px2, radius=radius, dot_radius=dot_radius)
        hits = [_next_hit(labels == label).tolist() for label in range(3)]
        low_bits = (raw_draws & 3).tolist()
        at = 0
        while at < places and len(found) < samples:
            if goal is None:
                goal = low_bits[at] if low_bits[at] < 3 else None
                at += 1
                continue
            at = hits[goal][at]
            if at < places:
                found.append(xy_Px2[at].copy())  # a row would keep its block
                goal = None
                at += _PAIR
        raw_draws = raw_draws[at:]
    return np.stack(found)


def _pairs(raw_draws: Num[np.ndarray, "W"]) -> Float[np.ndarray, "P 2"]:
    """Returns what `rand(2)` would draw at each place in the stream of numbers."""
    high, low = raw_draws[:-1] >> 5, raw_draws[1:] >> 6
    uniform = (high * 67108864.0 + low) / 9007199254740992.0  # 27 and 26 bits: (a 2^26 + b) / 2^53
    return np.stack([uniform[:-2], uniform[2:]], axis=-1)


def _next_hit(hit_P: Bool[np.ndarray, "P"]) -> Int[np.ndarray, "Q"]:
    """Returns the first hit among places p, p + 4, p + 8, ..., or the first of them past the end P.

    Q is P and a few more, since the places past the end are asked for too.
    """
    rows = len(hit_P) // _PAIR + 2
    places = np.arange(rows * _PAIR)
    stop = np.pad(hit_P, (0, places.size - len(hit_P)), constant_values=True)
    first_RxK = np.where(stop, places, places.size).reshape(rows, _PAIR)
    return np.minimum.accumulate(first_RxK[::-1], axis=0)[::-1].reshape(-1)


def _check_radii(radius: float, dot_radius: float) -> None:
    checks.positive("radius", radius)
    remedy = "give at most half the radius"
    checks.in_range("dot_radius", dot_radius, 0, radius / 2, low_allowed=False, remedy=remedy)
