"""Randman: spike patterns drawn from smooth random manifolds, one manifold per class.

A sample is a random point x of its class's manifold; `randman_manifold` maps x to one number per
unit, and that number, standardised, is the time of the unit's spike. Every unit fires equally
often, so only the timing tells the classes apart.

Letters: S samples in all, N samples of a class, M units, D dimensions of the manifold, Q spikes
per unit, E = Q * M events of a sample.

Source: Zenke and Vogels, The remarkable robustness of surrogate gradient learning for instilling
complex function in spiking neural networks, Neural Computation 33(4), 2021.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from flax_snn import checks
from flax_snn.datasets.generated.manifold import (
    Variant,
    check_fractions,
    check_variant,
    randman_cutoff,
    randman_manifold,
    randman_spike_times,
    randman_standardise,
)
from flax_snn.encode import times_to_raster
from flax_snn.typing import Bool, Float, Int, Num


@dataclasses.dataclass(frozen=True, kw_only=True)
class RandmanSettings:
    """The settings of a Randman data set; the fields are the arguments of `randman`.

    Raises:
      TypeError: a field is not a number where one is expected.
      ValueError: a field is outside its range, or `beta` / `use_bias` is given to a variant
        that has no such term.
    """

    classes: int
    samples_per_class: int
    units: int
    dim: int
    alpha: float
    steps: int
    dt: float
    step_frac: float
    offset_frac: float
    spikes_per_unit: int
    variant: Variant
    f_max: int
    prec: float
    use_bias: bool
    beta: float
    seed: int

    def __post_init__(self) -> None:
        sizes = ("classes", "units", "dim", "steps", "spikes_per_unit")
        checks.fields(self, checks.whole_number, *sizes)
        checks.fields(self, checks.whole_number, "samples_per_class", at_least=2)
        checks.fields(self, checks.whole_number, "seed", at_least=0)
        checks.fields(self, checks.positive, "dt", unit="seconds")
        checks.fields(self, checks.number, "step_frac", "offset_frac", "alpha", "beta")
        check_fractions(self.step_frac, self.offset_frac)
        check_variant(self.variant, self.alpha, self.beta, self.use_bias)
        terms = self.cutoff
        if self.variant != "paper" and terms < 2:
            raise ValueError(
                f"expected at least 2 terms for variant={self.variant!r}, whose first term is a "
                f"constant, got a cut-off of {terms}; raise f_max"
            )

    @property
    def cutoff(self) -> int:
        """Number of terms F of each sum."""
        return randman_cutoff(self.alpha, prec=self.prec, f_max=self.f_max)


class RandmanSplit(NamedTuple):
    """Disjoint, class-balanced parts of one data set."""

    train: Randman
    validation: Randman
    test: Randman


@dataclasses.dataclass(frozen=True, eq=False)
class Randman:
    """A Randman data set, or a part of one.

    Attributes:
      times: spike times in steps, from 0, not rounded: (S, E) float64; a step lasts
        `settings.dt` seconds.
      units: unit of each event: (S, E) int32. Columns run over spike index, then unit.
      labels: class of each sample: (S,) int32.
      x: coordinates on the manifold in [0, 1), the regression target: (S, D) float64.
      order: row of the unshuffled, class-by-class stack that each sample is: (S,) int64. It
        names a sample uniquely within the data set, whatever part it is in.
      manifold_seeds: seed of each manifold: (classes, Q) int64.
      settings: what the whole data set was made with.
    """

    times: Float[np.ndarray, "S E"]
    units: Int[np.ndarray, "S E"]
    labels: Int[np.ndarray, "S"]
    x: Float[np.ndarray, "S D"]
    order: Int[np.ndarray, "S"]
    manifold_seeds: Int[np.ndarray, "C Q"]
    settings: RandmanSettings

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def raster(
        self, dtype: DTypeLike = np.uint8, bins: int | None = None
    ) -> Num[np.ndarray, "S T M"] | Bool[np.ndarray, "S T M"]:
        """Returns spike counts per step: (S, bins, M).

        An event falls into the step that its time lies in (`flax_snn.time_grid`); two spikes of a
        unit in one step count 2.

        Times lie below steps * (step_frac * (1 - offset_frac) + offset_frac), never on it (see
        `randman_spike_times`), so every event falls in a step by default.

        Args:
          dtype: type of the counts, uint8 by default.
          bins: number of steps, by default `settings.steps`. The published tutorials keep only
            the first ceil(steps * step_frac), which hold all the spikes.

        Raises:
          ValueError: an event lies outside [0, bins), or a count does not fit in `dtype`.
        """
        bins = self.settings.steps if bins is None else bins
        checks.whole_number("bins", bins)
        sample = np.arange(len(self))[:, None]
        shape = (len(self), bins, self.settings.units)
        return times_to_raster(sample, self.times, self.units, shape=shape, dtype=dtype)

    def split(self, parts: Sequence[float] | Sequence[int] = (0.8, 0.1, 0.1)) -> RandmanSplit:
        """Cuts the samples of every class into train, validation and test.

        Within a class the first samples in the data set's (shuffled) order go to train, the next
        to validation, the last to test, so the split follows from the data seed alone. Rows keep
        their order.

        Args:
          parts: three fractions (floats) that sum to 1, or three counts per class (ints) that
            sum to the samples per class.

        Raises:
          ValueError: `parts` is of neither form, or a fraction is not a whole number of samples,
            or the classes are not balanced (a part that was selected by hand).
        """
        per_class = np.bincount(self.labels, minlength=self.settings.classes)
        if np.ptp(per_class) != 0:
            raise ValueError(
                f"expected equally many samples of each class, got {per_class.tolist()}; split "
                "the whole data set"
            )
        edges = np.cumsum(_counts_per_class(parts, int(per_class[0])))
        rank = np.empty(len(self), np.int64)  # of a sample among those of its class
        for label in range(self.settings.classes):
            members = np.flatnonzero(self.labels == label)
            rank[members] = np.arange(members.size)
        part = np.searchsorted(edges, rank, side="right")
        return RandmanSplit(*(self._take(np.flatnonzero(part == k)) for k in range(3)))

    def _take(self, rows: Int[np.ndarray, "n"]) -> Randman:
        names = ("times", "units", "labels", "x", "order")
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in names})


def randman(
    *,
    classes: int = 10,
    samples_per_class: int = 1000,
    units: int = 20,
    dim: int = 1,
    alpha: float = 1.0,
    steps: int = 100,
    dt: float = 2e-3,
    step_frac: float = 0.5,
    offset_frac: float = 0.0,
    spikes_per_unit: int = 1,
    variant: Variant = "numpy",
    f_max: int = 1000,
    prec: float = 1e-3,
    use_bias: bool = False,
    beta: float = 0.0,
    seed: int = 0,
) -> Randman:
    """Draws manifolds and samples, and turns them into spike times; shuffled over classes.

    A spike of standardised coordinate s in [0, 1) falls at

        t = steps * (step_frac * (1 - offset_frac) * s + offset_frac)       in steps

    Order of draws, as in the published NumPy generator, from `numpy.random.default_rng(seed)`:
    the manifold seeds; the coordinates x of each class in turn; the permutation. A, B, C of a
    manifold come from a generator of its own seed. Hence draws are the same bits everywhere;
    times may differ by rounding (1e-12) where another sine is in use. Standardisation runs over
    all samples of a class, before any split, as published.

    Args:
      classes: number of classes, 10 by default.
      samples_per_class: N, 1000 by default; at least 2, for one sample has no range.
      units: M, 20 by default.
      dim: D, dimension of the manifolds, 1 by default; larger is harder.
      alpha: smoothness, 1.0 by default; small is rough and hard.
      steps: length of a sample in steps, 100 by default.
      dt: duration of a step in seconds, 2e-3 by default; stored, but not used in the draws.
      step_frac: fraction of the steps that spikes use, 0.5 by default; the rest is silent.
      offset_frac: silent fraction at the start, 0 by default.
      spikes_per_unit: Q, 1 by default; each spike index has a manifold of its own on the same x.
      variant: which published formula, "numpy" by default; see `randman_manifold`.
      f_max: most terms of a sum, 1000 by default.
      prec: weight below which terms are cut off, 1e-3 by default.
      use_bias: keep the constant term of "numpy" and "torch", False by default.
      beta: shift of the spectrum, "torch" only, 0 by default.
      seed: the data seed, 0 by default.

    Returns:
      The data set, S = classes * samples_per_class rows.

    Raises:
      ValueError: a setting is outside its range.

    Example:
      >>> from flax_snn.datasets import randman
      >>> data = randman(classes=2, samples_per_class=50, units=5, alpha=2.0, seed=0)
      >>> data.times.shape, data.x.shape
      ((100, 5), (100, 1))
      >>> spikes = data.raster()
      >>> spikes.shape, spikes.dtype, int(spikes.sum())
      ((100, 100, 5), dtype('uint8'), 500)
      >>> [len(part) for part in data.split()]
      [80, 10, 10]
    """
    settings = RandmanSettings(**locals())  # the arguments: nothing else is in scope yet
    generator = np.random.default_rng(seed)
    seeds = generator.integers(np.iinfo(np.int64).max, size=(classes, spikes_per_unit))
    x_CxNxD = np.stack([generator.random((samples_per_class, dim)) for _ in range(classes)])
    order = np.arange(classes * samples_per_class)
    generator.shuffle(order)

    def manifold_times(index: tuple[int, int]) -> Float[np.ndarray, "N M"]:
        drawn = _draw_parameters(int(seeds[index]), units, dim, settings.cutoff)
        y = randman_manifold(
            *drawn, x_CxNxD[index[0]], alpha=alpha, variant=variant, beta=beta, use_bias=use_bias
        )
        s = randman_standardise(y)
        return randman_spike_times(s, steps=steps, step_frac=step_frac, offset_frac=offset_frac)

    with ThreadPoolExecutor(min(seeds.size, os.cpu_count() or 1)) as pool:
        blocks = list(pool.map(manifold_times, np.ndindex(*seeds.shape)))
    times_CxQxNxM = np.stack(blocks).reshape(*seeds.shape, samples_per_class, units)
    times_SxE = times_CxQxNxM.transpose(0, 2, 1, 3).reshape(order.size, -1)
    units_E = np.tile(np.arange(units, dtype=np.int32), spikes_per_unit)
    labels = np.repeat(np.arange(classes, dtype=np.int32), samples_per_class)
    return Randman(
        times=times_SxE[order],
        units=np.tile(units_E, (order.size, 1)),
        labels=labels[order],
        x=x_CxNxD.reshape(order.size, dim)[order],
        order=order,
        manifold_seeds=seeds,
        settings=settings,
    )


def _draw_parameters(
    seed: int, units: int, dim: int, terms: int
) -> tuple[Float[np.ndarray, "M D F"], Float[np.ndarray, "M D F"], Float[np.ndarray, "M D F"]]:
    """Returns A, B, C of a manifold, each (M, D, F), from one draw."""
    drawn = np.random.default_rng(seed).random((units, dim, 3, terms))
    return drawn[:, :, 0], drawn[:, :, 1], drawn[:, :, 2]


def _counts_per_class(parts: Sequence[float] | Sequence[int], total: int) -> list[int]:
    """Returns whole numbers of samples for train, validation and test."""
    parts = tuple(parts)
    wanted = f"expected three counts that sum to {total} or three fractions that sum to 1, all >= 0"
    if len(parts) != 3 or not all(0 <= part < math.inf for part in parts):
        raise ValueError(f"{wanted}, got {parts}; give (train, validation, test)")
    if all(checks.is_whole_number(part) for part in parts):
        if sum(parts) != total:
            raise ValueError(f"{wanted}, got {parts}; give counts per class, not of the whole set")
        return [int(part) for part in parts]
    if not math.isclose(sum(parts), 1.0, abs_tol=1e-9):
        raise ValueError(f"{wanted}, got {parts}; give every sample a part")
    counts = [round(part * total) for part in parts]
    if any(abs(part * total - count) > 1e-6 for part, count in zip(parts, counts, strict=True)):
        raise ValueError(
            f"{wanted}, got {parts}, which of {total} samples is not whole; give counts per class"
        )
    return counts
