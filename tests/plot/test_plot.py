"""Rasters and membranes hold the numbers passed in, at the right places, with units on the axes."""

import sys
from collections.abc import Iterator

import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")

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


def spikes_and_counts(neurons: int) -> tuple[np.ndarray, np.ndarray]:
    """Spikes (3, 40, N), and the same with up to three spikes in a step."""
    rng = np.random.default_rng(0)
    spikes = (rng.random((3, 40, neurons)) < 0.1).astype(np.float32)
    return spikes, spikes * rng.integers(1, 4, spikes.shape).astype(np.float32)


def offsets(collection) -> set[tuple[float, float]]:
    return {tuple(np.round(offset, 9)) for offset in np.asarray(collection.get_offsets()).tolist()}


# Ticks in high rows, dots in low ones.
@pytest.mark.parametrize("neurons", [12, 500])
@pytest.mark.parametrize("sample", [None, 2])
def test_raster_has_a_mark_where_there_is_a_spike(neurons, sample):
    spikes, _ = spikes_and_counts(neurons)
    one = spikes[0 if sample is None else sample]
    ax = plot.raster(one if sample is None else spikes, dt=2e-3, sample=sample)
    (marks,) = ax.collections
    expected = {(round(t * 2.0, 9), float(n)) for t, n in np.argwhere(one)}
    assert len(marks.get_offsets()) == one.sum() and offsets(marks) == expected
    assert marks.get_rasterized()


def test_axes_have_units_and_show_all_steps_and_neurons():
    ax = plot.raster(spikes_and_counts(12)[0][0], dt=2e-3)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ms)", "neuron index")
    assert ax.get_xlim() == pytest.approx((-1.0, 79.0))
    assert ax.get_ylim() == pytest.approx((-0.5, 11.5))
    ax = plot.membrane(np.zeros((40, 3)), dt=2e-3)
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "time (ms)",
        "membrane potential\n(threshold = 1)",
    )
    assert ax.get_xlim() == pytest.approx((-1.0, 79.0))


def test_several_spikes_in_a_step_make_a_wider_tick_or_a_larger_dot():
    _, counts = spikes_and_counts(12)
    (ticks,) = plot.raster(counts[0]).collections
    expected = counts[0][np.nonzero(counts[0])]
    assert set(expected) == {1.0, 2.0, 3.0}
    widths = np.asarray(ticks.get_linewidths())
    np.testing.assert_allclose(widths / widths.min(), expected)

    _, counts = spikes_and_counts(500)
    (dots,) = plot.raster(counts[0]).collections
    areas = np.asarray(dots.get_sizes())
    np.testing.assert_allclose(areas / areas.min(), counts[0][np.nonzero(counts[0])])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float64, jnp.float32, jnp.bfloat16])
def test_any_kind_of_number_gives_the_same_raster(dtype):
    spikes, _ = spikes_and_counts(12)
    (reference,) = plot.raster(spikes[0]).collections
    values = spikes[0].astype(dtype)
    (marks,) = plot.raster(values if dtype == np.float64 else jnp.asarray(values)).collections
    assert offsets(marks) == offsets(reference)


def test_neurons_have_the_colors_they_are_given():
    spikes = np.eye(4)
    colors = ["C0", "red", "C2", "black"]
    (marks,) = plot.raster(spikes, color=colors).collections
    np.testing.assert_allclose(marks.get_edgecolors(), [to_rgba(color) for color in colors])
    (marks,) = plot.raster(spikes, color="red").collections
    np.testing.assert_allclose(np.unique(marks.get_edgecolors(), axis=0), [to_rgba("red")])


@pytest.mark.parametrize("color", ["black", ["red", "blue"]])
def test_a_silent_network_has_an_empty_raster(color):
    ax = plot.raster(np.zeros((10, 2)), color=color)
    assert len(ax.collections[0].get_offsets()) == 0
    assert ax.get_xlim() == pytest.approx((-0.5, 9.5))
    ax.figure.canvas.draw()


def test_membrane_draws_the_traces_of_the_chosen_neurons():
    v = np.random.default_rng(0).normal(size=(2, 30, 8))
    ax = plot.membrane(v, dt=5e-4, sample=1, neurons=[6, 2], threshold=0.6)
    six, two, threshold = ax.lines
    for line, neuron in ((six, 6), (two, 2)):
        np.testing.assert_allclose(line.get_xdata(), np.arange(30) * 0.5)
        np.testing.assert_allclose(line.get_ydata(), v[1, :, neuron])
        assert line.get_label() == f"neuron {neuron}"
    np.testing.assert_allclose(threshold.get_ydata(), 0.6)
    assert ax.get_ylabel() == "membrane potential\n(threshold = 0.6)"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "neuron 6",
        "neuron 2",
        "threshold",
    ]


def test_membrane_draws_the_first_five_neurons_by_default():
    labels = [line.get_label() for line in plot.membrane(np.ones((4, 9))).lines]
    assert labels == [f"neuron {n}" for n in range(5)]
    assert len(plot.membrane(np.ones((4, 2))).lines) == 2


def test_membrane_in_volts_says_so():
    ax = plot.membrane(np.full((4, 1), -70.0), threshold=-50.0, unit="mV")
    assert ax.get_ylabel() == "membrane potential\n(mV)"


def test_spikes_stand_above_the_traces_in_a_row_and_a_color_per_neuron():
    rng = np.random.default_rng(0)
    v, spikes = rng.uniform(-70.0, -55.0, (30, 3)), rng.random((30, 3)) < 0.2
    ax = plot.membrane(v, dt=2e-3, spikes=spikes, threshold=-50.0, unit="mV")
    levels = []
    for n, (line, marks) in enumerate(zip(ax.lines, ax.collections, strict=False)):
        times, heights = np.asarray(marks.get_offsets()).T
        np.testing.assert_allclose(times, np.flatnonzero(spikes[:, n]) * 2.0)
        levels.append(float(np.unique(heights).item()))
        np.testing.assert_allclose(marks.get_edgecolors(), [to_rgba(line.get_color())])
    assert len(levels) == 3 and -50.0 < levels[0] < levels[1] < levels[2] < ax.get_ylim()[1]


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_membranes_in_subplots_stay_in_their_axes(layout):
    figure, grid = plt.subplots(3, 2, figsize=(8.0, 6.0), layout=layout)
    for ax in grid.flat:
        plot.membrane(np.random.default_rng(0).normal(size=(40, 5)), threshold=3.0, ax=ax)
        ax.set_title("title")
    figure.canvas.draw()
    for ax in grid.flat:
        legend = ax.get_legend().get_window_extent()
        assert ax.bbox.x0 <= legend.x0 and legend.x1 <= ax.bbox.x1 + 1.0
        assert legend.y1 <= ax.bbox.y1 + 1.0
        # Nor do the traces reach into it.
        highest = max(np.max(line.get_ydata()) for line in ax.lines)
        assert ax.transData.transform((0.0, highest))[1] < legend.y0
        # The name of the axis is not longer than the axis.
        label = ax.yaxis.label.get_window_extent()
        assert ax.bbox.y0 - 1.0 <= label.y0 and label.y1 <= ax.bbox.y1 + 1.0


@pytest.mark.parametrize(("neurons", "steps"), [(1, 1), (2, 50), (128, 100), (600, 1000)])
def test_marks_at_the_edges_are_not_cut_off(neurons, steps):
    spikes = np.zeros((steps, neurons))
    spikes[0, 0] = spikes[-1, -1] = 1.0
    figure, grid = plt.subplots(2, 2)
    for ax in grid.flat:
        plot.raster(spikes, ax=ax)
        (marks,) = ax.collections
        half = 0.5 * np.sqrt(marks.get_sizes().max()) * figure.dpi / 72.0
        (_, low), (_, high) = ax.transData.transform([(0.0, 0.0), (0.0, neurons - 1.0)])
        assert low - half >= ax.bbox.y0 - 0.1 and high + half <= ax.bbox.y1 + 0.1
        ticks = [tick for tick in ax.get_yticks() if 0 <= tick < neurons]
        assert ticks and all(tick == round(tick) for tick in ticks)


def test_axes_that_are_given_are_used_and_returned():
    figure, (top, bottom) = plt.subplots(2, 1)
    assert plot.raster(np.eye(3), ax=top) is top
    assert plot.membrane(np.eye(3), ax=bottom) is bottom
    assert plt.get_fignums() == [figure.number]


def test_nothing_is_shown(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *_: pytest.fail("plt.show was called"))
    plot.raster(np.eye(3))
    plot.membrane(np.eye(3))


def test_a_missing_matplotlib_names_the_extra(monkeypatch):
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'flax-snn\[plot\]'"):
        plot.raster(np.eye(3))


E33 = np.eye(3)
NAN = np.full((3, 3), np.nan)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("draw", "match"),
    [
        (lambda: plot.raster(np.ones(3)), r"expected shape \(T, N\), got \(3,\)"),
        (lambda: plot.raster(np.ones((2, 3, 3))), r"got \(2, 3, 3\); pass sample"),
        (lambda: plot.raster(E33, sample=0), r"expected shape \(B, T, N\)"),
        (lambda: plot.raster(np.ones((2, 3, 3)), sample=2), r"index in \[0, 2\), got 2"),
        (lambda: plot.raster(np.ones((2, 3, 3)), sample=-1), r"index in \[0, 2\), got -1"),
        (lambda: plot.raster(np.ones((0, 3))), r"at least one time step.*\(0, 3\)"),
        (lambda: plot.raster(np.ones((3, 0))), r"at least one time step.*\(3, 0\)"),
        (lambda: plot.raster(NAN), "spikes: expected finite numbers, got 9 entries"),
        (lambda: plot.raster(-E33), "numbers of spikes >= 0, got -1"),
        (lambda: plot.raster(E33, dt=0.0), "dt: expected a finite number of seconds > 0, got 0.0"),
        (
            lambda: plot.raster(E33, dt=np.nan),
            "dt: expected a finite number of seconds > 0, got nan",
        ),
        (lambda: plot.raster(E33, color=["red"]), "each of 3 neurons, got 1 colours"),
        (lambda: plot.membrane(np.ones(3)), r"v: expected shape \(T, N\)"),
        (lambda: plot.membrane(np.ones((0, 3))), "v: expected at least one time step"),
        (lambda: plot.membrane(NAN), "v: expected finite"),
        (lambda: plot.membrane(E33, dt=-1.0), "dt: expected"),
        (lambda: plot.membrane(E33, threshold=np.inf), "threshold: expected a finite"),
        (lambda: plot.membrane(E33, spikes=np.eye(4)), r"shape \(3, 3\) of v, got \(4, 4\)"),
        (lambda: plot.membrane(E33, spikes=NAN), "spikes: expected finite"),
        (lambda: plot.membrane(E33, spikes=-E33), "spikes >= 0"),
        (lambda: plot.membrane(E33, neurons=[3]), r"neurons: expected an index in \[0, 3\), got 3"),
        (lambda: plot.membrane(E33, neurons=[0.5]), r"an index in \[0, 3\), got 0.5"),
        (lambda: plot.membrane(E33, neurons=[]), "one or more indices"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, match):
    with pytest.raises(ValueError, match=match):
        draw()
    assert not plt.get_fignums()  # Nothing half-drawn.


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("values", [np.full((3, 3), "spike"), np.ones((3, 3), complex)])
def test_what_is_no_number_is_refused(values):
    with pytest.raises(TypeError, match="expected real numbers or bool"):
        plot.raster(values)
    with pytest.raises(TypeError, match="expected real numbers or bool"):
        plot.membrane(values)
