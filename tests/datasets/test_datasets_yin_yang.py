"""Yin-Yang against the published arrays, and against its sampler written out as a loop."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flax_snn import datasets
from flax_snn.datasets import yin_yang as module_function
from flax_snn.datasets import yin_yang_class, yin_yang_splits

GOLDEN = Path(__file__).parents[1] / "golden"


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / name) as arrays:
        return dict(arrays)


def class_of(x: float, y: float, radius: float, dot_radius: float) -> int:
    d_right = math.hypot(x - 1.5 * radius, y - radius)
    d_left = math.hypot(x - 0.5 * radius, y - radius)
    if min(d_left, d_right) < dot_radius:
        return 2
    head = dot_radius < d_left <= radius / 2
    body = y > radius and d_right > radius / 2
    return int(d_right <= dot_radius or head or body)


def sample_one_by_one(
    samples: int, seed: int, radius: float, dot_radius: float
) -> tuple[np.ndarray, list[int]]:
    """The published sampler: a class, then pairs until one of them is on the disc and of it."""
    generator = np.random.RandomState(seed)
    points, labels = [], []
    for _ in range(samples):
        goal = generator.randint(3)
        while True:
            x, y = generator.rand(2) * 2.0 * radius
            on_disc = math.hypot(x - radius, y - radius) <= radius
            if on_disc and class_of(x, y, radius, dot_radius) == goal:
                break
        points.append((x, y))
        labels.append(goal)
    return np.array(points), labels


def test_splits_are_the_published_arrays():
    golden = load("event/yinyang.npz")
    for name, part in zip(("train", "val", "test"), yin_yang_splits(), strict=True):
        assert part.x.dtype == np.float64 and part.labels.dtype == np.int32
        np.testing.assert_array_equal(part.x.astype(np.float32), golden[f"{name}_x"])
        np.testing.assert_array_equal(part.labels, golden[f"{name}_y"])


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_the_first_samples_in_float64(part: str):
    toy = load("datasets/toy.npz")
    data = datasets.yin_yang(200, int(toy[f"yinyang_{part}_seed"]))
    np.testing.assert_array_equal(data.x, toy[f"yinyang_{part}_x"])
    np.testing.assert_array_equal(data.labels, toy[f"yinyang_{part}_label"])


@pytest.mark.parametrize(
    ("seed", "radius", "dot_radius"),
    [(0, 0.5, 0.1), (1, 0.5, 0.1), (2**32 - 1, 0.5, 0.1), (3, 0.5, 0.25), (4, 1.7, 0.2)],
)
def test_the_stream_is_that_of_the_loop(seed: int, radius: float, dot_radius: float):
    data = datasets.yin_yang(400, seed, radius=radius, dot_radius=dot_radius)
    points, labels = sample_one_by_one(400, seed, radius, dot_radius)
    np.testing.assert_array_equal(data.x[:, :2], points)
    np.testing.assert_array_equal(data.x[:, 2:], 2 * radius - points)
    np.testing.assert_array_equal(data.labels, labels)


@pytest.mark.parametrize("words", [5, 6, 7, 64])
def test_drawing_ahead_in_pieces_changes_nothing(words: int, monkeypatch: pytest.MonkeyPatch):
    """Pieces that end in a class, in a pair or in a search: the stream goes on where it stood."""
    expected = datasets.yin_yang(60, 5)
    monkeypatch.setitem(module_function.__globals__, "_WORDS", words)
    data = datasets.yin_yang(60, 5)
    np.testing.assert_array_equal(data.x, expected.x)
    np.testing.assert_array_equal(data.labels, expected.labels)


def test_a_longer_set_begins_with_the_shorter():
    np.testing.assert_array_equal(datasets.yin_yang(300, 8).x[:7], datasets.yin_yang(7, 8).x)


def test_class_of_points_on_and_off_the_disc():
    toy = load("datasets/toy.npz")
    expected = np.where(toy["points_inside"], toy["points_yinyang"], -1)
    assert set(expected) == {-1, 0, 1, 2}
    classes = yin_yang_class(toy["points"])
    assert classes.dtype == np.int32
    np.testing.assert_array_equal(classes, expected)
    grid = toy["points"].reshape(20, 21, 2)
    np.testing.assert_array_equal(yin_yang_class(grid), expected.reshape(20, 21))
    # Thrice the size; without the golden points on the edges, where rounding decides.
    thrice = yin_yang_class(3.0 * toy["points"][:400], radius=1.5, dot_radius=0.3)
    np.testing.assert_array_equal(thrice, expected[:400])


def test_half_a_turn_swaps_the_halves():
    xy = np.random.default_rng(0).random((5000, 2))
    there, back = yin_yang_class(xy), yin_yang_class(1.0 - xy)
    np.testing.assert_array_equal(back, np.array([1, 0, 2, -1])[there])


def test_the_rim_belongs_to_the_disc():
    classes = yin_yang_class([[0.0, 0.5], [1.0, 0.5], [0.5, 0.0], [0.5, 1.0], [0.5, 1.0 + 1e-9]])
    np.testing.assert_array_equal(classes, [1, 0, 0, 1, -1])


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"samples": 0}, "samples: expected a whole number >= 1, got 0"),
        ({"samples": 10.0}, "samples: expected a whole number"),
        ({"seed": -1}, "seed: expected a whole number >= 0"),
        ({"seed": 2**32}, r"seed: expected a whole number below 2\*\*32"),
        ({"radius": 0.0}, "radius: expected a finite number > 0"),
        ({"radius": math.nan}, "radius: expected a finite number"),
        (
            {"dot_radius": 0.0},
            r"dot_radius: expected .* in \(0, 0.25\], got 0.0; .*half",
        ),
        ({"dot_radius": 0.26}, "dot_radius: expected a finite number"),
    ],
)
def test_bad_settings_are_refused(arguments: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words):
        datasets.yin_yang(**{"samples": 10, "seed": 0, **arguments})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "xy", [0.5, [0.5], np.ones((3, 4)), [[0.5, math.nan]], [[math.inf, 0.5]], [["a", "b"]]]
)
@pytest.mark.parametrize(
    "class_of_points", [yin_yang_class, datasets.circle_class, datasets.linear_class]
)
def test_what_is_no_point_has_no_class(xy: Any, class_of_points: Any):
    with pytest.raises(ValueError, match=r"expected finite points \(\*B, 2\)"):
        class_of_points(xy)
