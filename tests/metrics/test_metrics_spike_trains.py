"""Spike trains against the definitions, spike by spike in Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from flax_snn import metrics

DT = 1e-3
RNG = np.random.default_rng(0)
A = RNG.binomial(2, 0.08, (3, 60, 4))  # some steps have two spikes
B = RNG.binomial(1, 0.1, (3, 60, 4)).astype(np.float32)
LENGTHS = np.array([60, 31, 17])
MASK = np.arange(60) < LENGTHS[:, None]


def trains(raster: np.ndarray) -> list[list[int]]:
    """The steps of the spikes of each neuron of one sample."""
    return [[t for t in range(len(r)) for _ in range(int(r[t]))] for r in raster.T]


def of_pairs(distance: Any, mask: np.ndarray | None = None) -> float:
    """The mean over neurons, then samples, of a distance of two lists of steps."""
    mask = np.ones_like(MASK) if mask is None else mask
    each = [
        [distance(x, y) for x, y in zip(trains(a[m]), trains(b[m]), strict=True)]
        for a, b, m in zip(A, B, mask, strict=True)
    ]
    return float(np.mean([np.mean(row) for row in each]))


def van_rossum(x: list[int], y: list[int], tau: float) -> float:
    """The integral in closed form: a sum over pairs of spikes."""

    def kernel(u: list[int], v: list[int]) -> float:
        return math.fsum(math.exp(-abs(i - j) * DT / tau) / 2 for i in u for j in v)

    return math.sqrt(max(kernel(x, x) + kernel(y, y) - 2 * kernel(x, y), 0.0))


def victor_purpura(x: list[int], y: list[int], cost: float) -> float:
    """The recursion on the last spikes, as it is written in the paper."""
    if not x or not y:
        return float(len(x) + len(y))
    return min(
        victor_purpura(x[:-1], y, cost) + 1,
        victor_purpura(x, y[:-1], cost) + 1,
        victor_purpura(x[:-1], y[:-1], cost) + cost * abs(x[-1] - y[-1]) * DT,
    )


@pytest.mark.parametrize("tau", [2e-3, 50e-3])
def test_the_distance_of_van_rossum_is_the_sum_over_pairs_of_spikes(tau: float) -> None:
    found = metrics.van_rossum_distance(A, B, tau=tau, dt=DT)
    assert found == pytest.approx(of_pairs(lambda x, y: van_rossum(x, y, tau)), rel=1e-10)
    found = metrics.van_rossum_distance(A, B, tau=tau, dt=DT, seq_lengths=LENGTHS)
    expected = of_pairs(lambda x, y: van_rossum(x, y, tau), MASK)
    assert found == pytest.approx(expected, rel=1e-10)
    assert metrics.van_rossum_distance(A, A, tau=tau, dt=DT) == 0.0


@pytest.mark.parametrize("cost", [0.0, 30.0, 150.0, 1e6])
def test_the_distance_of_victor_and_purpura_is_that_of_the_recursion(cost: float) -> None:
    a, b = A[:, :24], B[:, :24]  # the recursion takes exponential time
    found = metrics.victor_purpura_distance(a, b, cost=cost, dt=DT)
    each = [
        np.mean([victor_purpura(x, y, cost) for x, y in zip(trains(s), trains(t), strict=True)])
        for s, t in zip(a, b, strict=True)
    ]
    assert found == pytest.approx(np.mean(each), rel=1e-12)


def test_the_cost_of_a_shift_goes_from_counting_to_coincidence() -> None:
    counts = np.abs(A.sum(axis=1) - B.sum(axis=1)).mean()
    assert metrics.victor_purpura_distance(A, B, cost=0.0, dt=DT) == pytest.approx(counts)
    together = np.minimum(A, B).sum(axis=1)
    apart = (A.sum(axis=1) + B.sum(axis=1) - 2 * together).mean()
    assert metrics.victor_purpura_distance(A, B, cost=1e9, dt=DT) == pytest.approx(apart)


def test_distances_obey_the_triangle_inequality_and_are_symmetric() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        x, y, z = rng.binomial(1, 0.2, (3, 1, 25, 1))
        for distance in (
            lambda u, v: metrics.van_rossum_distance(u, v, tau=5e-3, dt=DT),
            lambda u, v: metrics.victor_purpura_distance(u, v, cost=80.0, dt=DT),
        ):
            assert distance(x, y) == pytest.approx(distance(y, x))
            assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-12


def test_the_coefficient_of_variation_is_that_of_the_intervals() -> None:
    each = []
    for sample, mask in zip(A, MASK, strict=True):
        intervals = [np.diff(t) for t in trains(sample[mask]) if len(t) > 2]
        values = [np.std(i) / np.mean(i) for i in intervals if np.mean(i) > 0]
        if values:
            each.append(np.mean(values))
    found = metrics.coefficient_of_variation(A, seq_lengths=LENGTHS)
    assert found == pytest.approx(np.mean(each), rel=1e-12)


def test_independent_steps_have_the_coefficient_of_a_geometric_distribution() -> None:
    """Intervals of spikes with probability p in each step: CV = sqrt(1 - p)."""
    p = 0.2
    spikes = np.random.default_rng(4).binomial(1, p, (1, 40_000, 5))
    # About 8000 intervals each: the error of a CV near 1 is about 1 / sqrt(40 000).
    assert metrics.coefficient_of_variation(spikes) == pytest.approx(math.sqrt(1 - p), abs=0.02)


def test_synchrony_is_one_together_and_small_alone() -> None:
    rng = np.random.default_rng(5)
    one = rng.binomial(1, 0.2, (2, 4000, 1))
    assert metrics.synchrony(np.repeat(one, 30, 2), window=4e-3, dt=DT) == pytest.approx(1.0)
    alone = rng.binomial(1, 0.2, (2, 4000, 100))
    # Independent: VAR[mean] = VAR / N, so chi = 1 / sqrt(N); with 1000 windows to a few percent.
    assert metrics.synchrony(alone, window=4e-3, dt=DT) == pytest.approx(0.1, rel=0.1)


def test_synchrony_is_that_of_counts_in_windows() -> None:
    each = []
    for sample, n in zip(A, LENGTHS, strict=True):
        counts = np.array([sample[t : t + 5].sum(axis=0) for t in range(n - 4)])
        each.append(math.sqrt(counts.mean(axis=1).var() / counts.var(axis=0).mean()))
    found = metrics.synchrony(A, window=5e-3, dt=DT, seq_lengths=LENGTHS)
    assert found == pytest.approx(np.mean(each), rel=1e-12)


def decided(outputs: np.ndarray) -> int:
    """The steps of one sample until its answer no longer changes, as one reads it off."""
    answers = []
    for values in outputs:
        best = [c for c, v in enumerate(values) if v == max(values)]
        answers.append(best[0] if len(best) == 1 else None)
    if answers[-1] is None:
        return len(answers)
    steps = len(answers)
    while steps > 1 and answers[steps - 2] == answers[-1]:
        steps -= 1
    return steps


def test_the_time_of_a_decision_is_when_the_last_answer_began() -> None:
    outputs = RNG.binomial(1, 0.15, (40, 25, 3))
    summed = np.cumsum(outputs, axis=1)
    expected = np.mean([decided(each) for each in summed]) * DT
    assert metrics.decision_time(outputs, dt=DT) == pytest.approx(expected)
    membranes = RNG.normal(size=(40, 25, 3))
    expected = np.mean([decided(each) for each in membranes]) * DT
    assert metrics.decision_time(membranes, dt=DT, reduce="none") == pytest.approx(expected)
    lengths = np.arange(40) % 25 + 1
    expected = np.mean([decided(s[:n]) for s, n in zip(summed, lengths, strict=True)]) * DT
    found = metrics.decision_time(outputs, dt=DT, seq_lengths=lengths)
    assert found == pytest.approx(expected)


def test_smape_is_its_formula_and_a_pair_of_zeros_has_no_error() -> None:
    y, p = np.array([1.0, -2.0, 0.0, 4.0]), np.array([3.0, -2.0, 0.0, -4.0])
    expected = 200 / 4 * (2 / 4 + 0 + 0 + 8 / 8)
    assert metrics.smape(p, y) == pytest.approx(expected)


SPIKES = np.eye(12)[None, :, :3]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: metrics.coefficient_of_variation(SPIKES), ValueError, "three spikes"),
        (lambda: metrics.coefficient_of_variation(SPIKES / 2), ValueError, "counts of spikes"),
        (lambda: metrics.coefficient_of_variation(-SPIKES), ValueError, "counts of spikes"),
        (lambda: metrics.coefficient_of_variation(SPIKES[0]), ValueError, r"\(S, T, \*N\)"),
        (
            lambda: metrics.van_rossum_distance(SPIKES, SPIKES[:, :5], tau=1e-2, dt=DT),
            ValueError,
            "targets: expected shape",
        ),
        (
            lambda: metrics.van_rossum_distance(SPIKES, SPIKES, tau=0.0, dt=DT),
            ValueError,
            "tau: expected a finite number of seconds > 0",
        ),
        (
            lambda: metrics.victor_purpura_distance(SPIKES, SPIKES, cost=-1.0, dt=DT),
            ValueError,
            "cost: expected",
        ),
        (
            lambda: metrics.synchrony(SPIKES, window=2.5e-3, dt=DT),
            ValueError,
            "window: expected a whole number of steps",
        ),
        (
            lambda: metrics.synchrony(SPIKES, window=13e-3, dt=DT),
            ValueError,
            "expected at least a sample whose spikes change",
        ),
        (
            lambda: metrics.decision_time(SPIKES[..., :1], dt=DT),
            ValueError,
            "at least two classes",
        ),
        (
            lambda: metrics.decision_time(SPIKES, dt=DT, reduce="max"),
            ValueError,
            "reduce: expected",
        ),
        (
            lambda: metrics.decision_time(np.where(SPIKES > 0, np.nan, 0.0), dt=DT),
            ValueError,
            "outputs",
        ),
    ],
)
def test_bad_input_is_refused(unchecked: None, call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call()
