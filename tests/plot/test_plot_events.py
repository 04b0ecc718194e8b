"""Event rasters and numbers of spikes hold the numbers that were passed in."""

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


TIME = np.array([[1.0, 2.0, 2.0, 5.5, np.inf], [0.5, 1.5, np.inf, np.inf, np.inf]]) * 1e-3
INDEX = np.array([[2, 0, 1, 2, -1], [1, 1, -1, -1, -1]], np.int32)
BLUE, RED, GREY, BLACK = map(to_rgba, ("tab:blue", "tab:red", "0.7", "black"))


def events(**changes):
    """Draw the first sample with some arguments changed."""
    arguments = {"time": TIME[0], "index": INDEX[0], "size": 3} | changes
    return plot.spike_events(**arguments)


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def marks(ax):
    (found,) = [c for c in ax.collections if len(c.get_offsets()) or c.get_rasterized()]
    return found


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_spikes_stand_at_their_time_and_neuron_and_empty_slots_nowhere(kind):
    ax = events(time=kind(TIME[0].astype(np.float32)), index=kind(INDEX[0]))
    expected = [[1.0, 2.0], [2.0, 0.0], [2.0, 1.0], [5.5, 2.0]]
    np.testing.assert_allclose(marks(ax).get_offsets(), expected, rtol=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ms)", "neuron index")
    assert ax.get_ylim() == (-0.5, 2.5) and ax.get_yticks().tolist() == [0, 1, 2]
    assert ax.get_xlim()[0] < 0.0 and ax.get_xlim()[1] == pytest.approx(1.05 * 5.5)
    assert ax.get_legend() is None


def test_a_sample_of_a_batch():
    ax = events(time=TIME, index=INDEX, sample=1, end=8e-3)
    np.testing.assert_allclose(marks(ax).get_offsets(), [[0.5, 1.0], [1.5, 1.0]])
    assert ax.get_xlim()[1] == pytest.approx(8.0)


def test_first_spikes_are_thick_and_later_ones_thin_and_grey():
    ax = events(first=True)
    found = marks(ax)
    np.testing.assert_allclose(found.get_edgecolors(), [BLACK, BLACK, BLACK, GREY])
    assert list(found.get_linewidths()) == [2.0, 2.0, 2.0, 1.0]
    assert texts(ax) == ["later spikes"]


def test_true_and_predicted_class_have_a_colored_row_also_where_they_are_silent():
    ax = events(size=4, label=3, predicted=2, first=True)
    rows = {round(band.get_y() + 0.5): to_rgba(band.get_facecolor())[:3] for band in ax.patches}
    assert rows == {3: BLUE[:3], 2: RED[:3]}
    np.testing.assert_allclose(marks(ax).get_edgecolors(), [RED, BLACK, BLACK, GREY])
    assert texts(ax) == ["class 3: true", "class 2: predicted", "later spikes"]
    both = events(label=2, predicted=2)
    assert texts(both) == ["class 2: true and predicted"]
    np.testing.assert_allclose(marks(both).get_edgecolors(), [BLUE, BLACK, BLACK, BLUE])
    assert events(label=2, legend=False).get_legend() is None


def test_a_silent_layer_and_a_large_one():
    ax = events(time=[np.inf, np.inf], index=[-1, -1], first=True)
    assert len(ax.collections[0].get_offsets()) == 0
    ax.figure.canvas.draw()
    assert events(time=[], index=[]).get_xlim()[1] > 0.0
    large = events(size=5000)
    assert len(large.get_yticks()) < 20
    assert marks(large).get_sizes().min() >= 2.0**2  # Still to be seen.


def test_a_spike_at_zero_is_not_on_the_edge():
    ax = events(time=[0.0, 1e-3], index=[0, 1])
    assert ax.get_xlim()[0] < 0.0
    alone = events(time=[0.0], index=[0])
    assert alone.get_xlim()[0] < 0.0 < alone.get_xlim()[1]


COUNTS = np.array([[1, 0, 2, 1], [1, 0, 1, 0], [1, 0, 0, 0]])


def test_counts_are_a_histogram_of_means_over_samples():
    ax = plot.spike_counts(jnp.asarray(COUNTS), bins=4)
    heights, edges = ax.patches[0].get_data()[:2]
    # Means 1, 0, 1, 1/3 in bins of a quarter.
    assert heights.tolist() == [25.0, 25.0, 0.0, 50.0]
    np.testing.assert_allclose(edges, [0.0, 0.25, 0.5, 0.75, 1.0])
    assert texts(ax) == ["mean 0.58 per sample\n1 of 4 silent"]
    assert ax.lines[0].get_xdata()[0] == pytest.approx(7 / 12)
    assert ax.get_xlabel() == "spikes per sample" and ax.get_ylabel() == "share of the neurons (%)"


def test_layers_share_their_bins():
    ax = plot.spike_counts({"hidden_1": COUNTS, "hidden_2": 3 * COUNTS[:, 2:]})
    for patch in ax.patches:
        np.testing.assert_allclose(patch.get_data().edges, np.linspace(0.0, 3.0, 31))
    assert [text.split(":")[0] for text in texts(ax)] == ["hidden_1", "hidden_2"]
    assert texts(ax)[1].endswith("none of 2 silent")


def test_axes_that_are_given_are_used_and_returned():
    figure, (top, bottom) = plt.subplots(2)
    assert events(ax=top) is top
    assert plot.spike_counts(COUNTS, ax=bottom) is bottom
    assert plt.get_fignums() == [figure.number]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("draw", "match"),
    [
        (lambda: events(size=0), "size: expected a whole number >= 1, got 0"),
        (lambda: events(time=TIME), r"time: expected shape \(K,\), got \(2, 5\); pass sample"),
        (lambda: events(sample=0), r"time: expected shape \(B, K\) with a sample index"),
        (lambda: events(index=INDEX[0, 1:]), r"index: expected the shape \(5,\) of time"),
        (
            lambda: events(time=TIME, index=INDEX, sample=2),
            r"sample: expected an index in \[0, 2\)",
        ),
        (lambda: events(time=TIME[0] * np.nan), "time: expected seconds or .inf, got NaN"),
        (lambda: events(time=-TIME[0]), "time: expected seconds or .inf, got NaN or -inf"),
        (lambda: events(time=TIME[0, ::-1], index=INDEX[0, ::-1]), "time: expected ascending"),
        (lambda: events(size=2), r"index: expected neurons in \[0, 2\).*got -1 to 2"),
        (lambda: events(index=INDEX[0] - 1), r"index: expected neurons in .*got -2 to 1"),
        (lambda: events(index=[2, 0, 1, -1, -1]), "expected -1 exactly where time is .inf"),
        (lambda: events(index=[2, 0, 1, 2, 0]), "expected -1 exactly where time is .inf"),
        (lambda: events(end=5e-3), "end: expected seconds, not before the last spike at 0.0055"),
        (lambda: events(end=np.inf), "end: expected seconds"),
        (lambda: events(label=3), r"label: expected a class in \[0, 3\), got 3"),
        (lambda: events(predicted=-1), r"predicted: expected a class in \[0, 3\), got -1"),
        (lambda: plot.spike_counts({}), "counts: expected at least one layer"),
        (lambda: plot.spike_counts(COUNTS[0]), r"counts: expected shape \(S, N\).*\(4,\)"),
        (lambda: plot.spike_counts({"a": COUNTS[:0]}), "counts of a: expected .* one sample"),
        (lambda: plot.spike_counts(-COUNTS), "counts: expected numbers of spikes >= 0, got -2"),
        (lambda: plot.spike_counts(COUNTS + np.nan), "counts: expected finite"),
        (lambda: plot.spike_counts(COUNTS, bins=0), "bins: expected a whole number >= 1, got 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, match):
    with pytest.raises(ValueError, match=match):
        draw()
    assert not plt.get_fignums()  # Nothing half-drawn.


@pytest.mark.usefixtures("unchecked")
def test_what_is_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="index: expected integers, got float64"):
        events(index=INDEX[0] * 1.0)
    with pytest.raises(TypeError, match="time: expected real numbers"):
        events(time=["a"] * 5)
