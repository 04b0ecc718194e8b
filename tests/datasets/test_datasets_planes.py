"""Linear, circle and constant against jaxsnn's arrays and against what their classes promise."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flax_snn import datasets
from flax_snn.datasets import circle, circle_class, constant, linear, linear_class

GOLDEN = Path(__file__).parents[1] / "golden" / "datasets"


@pytest.fixture(scope="module")
def toy() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "toy.npz") as arrays:
        return dict(arrays)


def test_classes_are_those_of_jaxsnn(toy: dict[str, np.ndarray]):
    for name, class_of in (("linear", linear_class), ("circle", circle_class)):
        classes = class_of(toy[f"{name}_x"][:, :2])
        assert classes.dtype == np.int32
        np.testing.assert_array_equal(classes, toy[f"{name}_label"])


def test_constant_is_that_of_jaxsnn(toy: dict[str, np.ndarray]):
    data = constant(3, duration=float(toy["constant_t_max"]))
    # The golden arrays are in float32.
    np.testing.assert_allclose(data.times, toy["constant_x"], rtol=2e-7)
    np.testing.assert_allclose(data.targets, toy["constant_target"], rtol=2e-7)
    np.testing.assert_array_equal(data.units, [[0, 1, 0]] * 3)


def test_classes_at_their_edges():
    np.testing.assert_array_equal(linear_class([[0.5, 0.5], [0.2, 0.3], [0.3, 0.2]]), [0, 1, 0])
    radius = math.sqrt(0.5 / math.pi)
    turns = np.linspace(0.0, 2 * math.pi, 50)
    ring = np.stack([np.cos(turns), np.sin(turns)], axis=-1)
    np.testing.assert_array_equal(circle_class(0.5 + (radius - 1e-9) * ring), 1)
    np.testing.assert_array_equal(circle_class(0.5 + (radius + 1e-9) * ring), 0)


@pytest.mark.parametrize("make", [linear, circle])
def test_points_fill_the_square_and_classes_half_of_it_each(make: Any):
    data = make(20000, seed=1)
    xy, mirrored = data.x[:, :2], data.x[:, 2:]
    np.testing.assert_array_equal(xy + mirrored, 1.0)
    # 20000 draws: 5 standard errors of a uniform mean, of its variance and of a share of one half.
    assert np.abs(xy.mean(0) - 0.5).max() < 5 * math.sqrt(1 / 12 / 20000)
    assert np.abs(xy.var(0) - 1 / 12).max() < 5 * math.sqrt(1 / 180 / 20000)
    assert abs(data.labels.mean() - 0.5) < 5 * 0.5 / math.sqrt(20000)
    assert data.labels.dtype == np.int32


def test_points_follow_the_seed():
    np.testing.assert_array_equal(linear(50, seed=3).x, circle(50, seed=3).x)
    np.testing.assert_array_equal(linear(50, seed=3).x[:20], linear(20, seed=3).x)
    assert not np.array_equal(linear(50, seed=3).x, linear(50, seed=4).x)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("make", [linear, circle])
@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"samples": 0}, "samples"), ({"seed": -1}, "seed"), ({"seed": 0.5}, "seed")],
)
def test_bad_settings_are_refused(make: Any, arguments: dict[str, Any], name: str):
    with pytest.raises(ValueError, match=f"{name}: expected a whole number"):
        make(**{"samples": 5, "seed": 0, **arguments})


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("duration", [0.0, -1.0, math.inf, None])
def test_a_bad_duration_is_refused(duration: Any):
    error = TypeError if duration is None else ValueError
    with pytest.raises(error, match="duration: expected a finite number of seconds > 0"):
        datasets.constant(4, duration=duration)
    with pytest.raises(ValueError, match="samples"):
        datasets.constant(0, duration=1.0)
