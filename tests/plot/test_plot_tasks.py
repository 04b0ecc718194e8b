"""Confusion matrix, predictions and spike-time manifold hold the numbers that were passed in."""

from collections.abc import Iterator

import matplotlib

matplotlib.use("Agg")

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba

from flax_snn import plot


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    plt.close("all")  # Doctests leave figures open.
    yield
    plt.close("all")


RNG = np.random.default_rng(0)


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def counts(classes: int) -> np.ndarray:
    return RNG.integers(0, 3, (classes, classes)) + 50 * np.eye(classes, dtype=np.int64)


@pytest.mark.parametrize("classes", [2, 10, 20])
def test_counts_stand_in_their_cells(classes):
    matrix = counts(classes)
    ax = plot.confusion_matrix(matrix)
    found = np.zeros_like(matrix)
    for text in ax.texts:
        column, row = text.get_position()
        found[row, column] = int(text.get_text())
    np.testing.assert_array_equal(found, matrix)
    assert len(ax.texts) == (matrix > 0).sum()  # An empty cell stays empty.
    assert ax.get_xticks().tolist() == ax.get_yticks().tolist() == list(range(classes))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")


def test_colors_are_the_shares_of_the_true_class():
    matrix = counts(5)
    ax = plot.confusion_matrix(jnp.asarray(matrix))
    (image,) = ax.images
    np.testing.assert_allclose(image.get_array(), 100.0 * matrix / matrix.sum(axis=1)[:, None])
    assert image.get_clim() == (0.0, 100.0)
    assert image.colorbar.ax.get_ylabel() == "share of the true class (%)"
    # The first row is the first class, at the top.
    low, high = ax.get_ylim()
    assert low > high


def test_a_class_without_samples_has_no_share():
    (image,) = plot.confusion_matrix([[4, 0], [0, 0]]).images
    np.testing.assert_array_equal(np.ma.getmaskarray(image.get_array())[1], True)
    assert image.get_array()[0].tolist() == [100.0, 0.0]


def test_many_classes_have_colors_only():
    ax = plot.confusion_matrix(counts(50))
    assert not ax.texts and len(ax.get_yticks()) < 20


def test_counts_are_legible_on_their_color():
    for text in plot.confusion_matrix([[90, 10], [45, 55]]).texts:
        column, row = text.get_position()
        assert text.get_color() == ("white" if (row, column) == (0, 0) else "black")


def test_counts_fit_into_their_cells():
    for classes, scale in ((2, 1), (10, 1000), (20, 10)):
        ax = plot.confusion_matrix(scale * counts(classes))
        ax.figure.canvas.draw()
        cell = ax.bbox.width / classes
        assert all(text.get_window_extent().width < cell for text in ax.texts)
        assert all(text.get_fontsize() >= 6.0 for text in ax.texts)


TRUE = RNG.random((60, 2))
PREDICTED = TRUE + RNG.normal(0.0, [0.05, 0.3], (60, 2))


def test_predictions_are_points_around_the_identity():
    ax = plot.predictions(PREDICTED[:, 1], TRUE[:, 1], quantity="position (m)")
    (points,) = ax.collections
    np.testing.assert_allclose(points.get_offsets(), np.stack([TRUE, PREDICTED], -1)[:, 1])
    explained = 1.0 - np.var(TRUE[:, 1] - PREDICTED[:, 1]) / np.var(TRUE[:, 1])
    bias = np.mean(TRUE[:, 1] - PREDICTED[:, 1]) ** 2 / np.var(TRUE[:, 1])
    assert legend(ax) == [f"R² = {explained - bias:.3f}", "identity"]
    assert ax.get_xlabel() == "true position (m)" and ax.get_ylabel() == "predicted position (m)"
    (identity,) = ax.lines
    assert identity.get_slope() == 1.0 and identity.get_xy1() == (0.0, 0.0)


def test_both_axes_show_the_same_range():
    ax = plot.predictions(PREDICTED, TRUE)
    assert ax.get_xlim() == ax.get_ylim() and ax.get_aspect() == 1.0
    assert ax.get_xlim()[0] < min(TRUE.min(), PREDICTED.min())
    assert ax.get_xlim()[1] > max(TRUE.max(), PREDICTED.max())


def test_coordinates_have_a_color_and_a_score_each():
    ax = plot.predictions(PREDICTED, TRUE)
    first, second = ax.collections
    assert to_rgba(first.get_facecolor()[0]) != to_rgba(second.get_facecolor()[0])
    np.testing.assert_allclose(second.get_offsets()[:, 0], TRUE[:, 1])
    assert [text.split(" R²")[0] for text in legend(ax)] == [
        "coordinate 0:",
        "coordinate 1:",
        "identity",
    ]


def test_r2_is_left_out_where_it_is_not_defined():
    assert legend(plot.predictions([1.0, 3.0], [2.0, 2.0])) == ["samples", "identity"]
    ax = plot.predictions([2.0], [2.0])
    assert ax.get_xlim() == (1.5, 2.5)


TIMES = RNG.random((90, 6)) * 50.0
LABELS = np.repeat([0, 1, 4], 30)


def positions(collection) -> np.ndarray:
    return np.stack([np.asarray(axis) for axis in collection._offsets3d], axis=-1)


def test_a_sample_is_a_point_at_its_spike_times():
    ax = plot.spike_time_manifold(TIMES, LABELS, units=(4, 0, 2), dt=2e-3)
    assert ax.name == "3d"
    for label, points in zip((0, 1, 4), ax.collections, strict=True):
        np.testing.assert_allclose(positions(points), 2.0 * TIMES[LABELS == label][:, [4, 0, 2]])
    assert [ax.get_xlabel(), ax.get_ylabel(), ax.get_zlabel()] == [
        f"spike time of unit {unit} (ms)" for unit in (4, 0, 2)
    ]


@pytest.mark.parametrize("classes", [2, 20, 25])
def test_classes_have_a_color_and_an_entry_each(classes):
    labels = np.arange(90) % classes
    ax = plot.spike_time_manifold(TIMES, labels)
    assert legend(ax) == [f"class {c}" for c in range(classes)]
    assert len({to_rgba(points.get_facecolor()[0]) for points in ax.collections}) == classes


def test_a_class_keeps_its_color_where_others_are_absent():
    some = plot.spike_time_manifold(TIMES, LABELS).collections[2]
    all_of_them = plot.spike_time_manifold(TIMES, np.arange(90) % 5).collections[4]
    np.testing.assert_array_equal(some.get_facecolor()[0], all_of_them.get_facecolor()[0])


def test_numbers_are_colors_with_a_bar():
    x = RNG.random(90)
    ax = plot.spike_time_manifold(TIMES, jnp.asarray(x, jnp.float32), coordinate="x (m)")
    (points,) = ax.collections
    np.testing.assert_allclose(points.get_array(), x, rtol=1e-6)
    assert ax.get_legend() is None
    assert points.colorbar.ax.get_ylabel() == "x (m)"


def test_axes_that_are_given_are_used_and_returned():
    figure = plt.figure()
    flat, other = figure.add_subplot(131), figure.add_subplot(132)
    box = figure.add_subplot(133, projection="3d")
    assert plot.confusion_matrix([[1]], ax=flat) is flat
    assert plot.predictions([1.0, 2.0], [1.0, 2.0], ax=other) is other
    assert plot.spike_time_manifold(TIMES, LABELS, ax=box) is box
    assert plt.get_fignums() == [figure.number]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("draw", "match"),
    [
        (lambda: plot.confusion_matrix([[1, 2]]), r"expected shape \(C, C\), got \(1, 2\)"),
        (lambda: plot.confusion_matrix([]), r"expected shape \(C, C\), got \(0,\)"),
        (lambda: plot.confusion_matrix([[0]]), "not all 0, got a minimum of 0 and a sum of 0"),
        (lambda: plot.confusion_matrix([[-1, 2], [1, 1]]), ">= 0, .* minimum of -1"),
        (lambda: plot.predictions([1.0], [1.0, 2.0]), r"targets: .* \(1,\), got shape \(2,\)"),
        (lambda: plot.predictions([], []), r"predictions: expected shape \(S,\) or \(S, D\)"),
        (lambda: plot.predictions([1.0], [np.nan]), "targets: expected finite"),
        (lambda: plot.spike_time_manifold(TIMES[0], LABELS), r"times: expected shape \(S, M\)"),
        (lambda: plot.spike_time_manifold(TIMES[:0], []), "at least one sample"),
        (lambda: plot.spike_time_manifold(TIMES, LABELS[1:]), r"labels: .*\(90,\).*got \(89,\)"),
        (lambda: plot.spike_time_manifold(TIMES, LABELS - 1), "labels: expected classes >= 0"),
        (lambda: plot.spike_time_manifold(TIMES, LABELS * np.nan), "labels: expected finite"),
        (lambda: plot.spike_time_manifold(TIMES, LABELS, units=(0, 1)), "three indices"),
        (lambda: plot.spike_time_manifold(TIMES, LABELS, units=(0, 1, 6)), r"in \[0, 6\)"),
        (lambda: plot.spike_time_manifold(TIMES[:, :2], LABELS), r"in \[0, 2\)"),
        (lambda: plot.spike_time_manifold(TIMES + np.inf, LABELS), "one of the units is silent"),
        (lambda: plot.spike_time_manifold(TIMES, LABELS, dt=-1.0), "dt: expected"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, match):
    with pytest.raises(ValueError, match=match):
        draw()
    assert not plt.get_fignums()  # Nothing half-drawn.


@pytest.mark.usefixtures("unchecked")
def test_what_is_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="matrix: expected numbers of samples as integers"):
        plot.confusion_matrix([[0.5]])
    with pytest.raises(TypeError, match="times: expected real numbers"):
        plot.spike_time_manifold(TIMES.astype(complex), LABELS)
    with pytest.raises(TypeError, match="predictions: expected real numbers"):
        plot.predictions(["a"], [1.0])
    with pytest.raises(ValueError, match="ax: expected 3-D axes, got rectilinear"):
        plot.spike_time_manifold(TIMES, LABELS, ax=plt.figure().add_subplot())
