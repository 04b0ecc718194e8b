"""The readout and the firing rates hold the numbers that were passed in."""

from collections.abc import Iterator
from itertools import pairwise

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from covering_rows import covered_by
from matplotlib.colors import to_rgba

from flax_snn import plot


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    plt.close("all")  # Doctests leave figures open.
    yield
    plt.close("all")


RNG = np.random.default_rng(0)
MEMBRANES = RNG.normal(size=(2, 50, 10))
SPIKES = (RNG.random((40, 4)) < 0.2).astype(np.float32)
BLUE, RED, GREY = to_rgba("tab:blue"), to_rgba("tab:red"), to_rgba("0.7")


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_membranes_are_drawn_with_the_true_and_the_predicted_class():
    ax = plot.readout(MEMBRANES, sample=1, dt=2e-3, label=7, predicted=2)
    assert len(ax.lines) == 10
    for c, line in enumerate(ax.lines):
        np.testing.assert_allclose(line.get_xdata(), np.arange(50) * 2.0)
        np.testing.assert_allclose(line.get_ydata(), MEMBRANES[1, :, c])
        assert to_rgba(line.get_color()) == {7: BLUE, 2: RED}.get(c, GREY)
    assert texts(ax) == ["class 7: true", "class 2: predicted", "other classes"]
    assert ax.get_xlabel() == "time (ms)"
    assert ax.get_ylabel() == "membrane potential\n(threshold = 1)"


def test_a_class_that_is_true_and_predicted_is_named_once():
    ax = plot.readout(MEMBRANES[0, :, :2], label=1, predicted=1, unit="mV")
    assert texts(ax) == ["class 1: true and predicted", "other classes"]
    assert to_rgba(ax.lines[1].get_color()) == BLUE
    assert ax.get_ylabel() == "membrane potential\n(mV)"


@pytest.mark.parametrize("classes", [2, 10, 20, 30])
def test_without_a_true_class_each_has_its_own_color_and_entry(classes):
    ax = plot.readout(RNG.normal(size=(20, classes)))
    assert texts(ax) == [f"class {c}" for c in range(classes)]
    assert len({to_rgba(line.get_color()) for line in ax.lines}) == classes


def test_spikes_are_counted():
    ax = plot.readout(SPIKES, dt=2e-3, spiking=True, label=0, predicted=3)
    for c, line in enumerate(ax.lines[:4]):
        times, counts = line.get_data()
        np.testing.assert_allclose(times[:-1], np.arange(40) * 2.0)
        np.testing.assert_allclose(counts[:-1], np.cumsum(SPIKES[:, c]))
        # To the edge, so that a spike of the last step is a step of the curve.
        assert times[-1] == pytest.approx(79.0) and counts[-1] == counts[-2]
        assert line.get_drawstyle() == "steps-post"
    assert ax.get_ylabel() == "spikes so far"


def test_spikes_are_a_raster_above_the_counts():
    ax = plot.readout(SPIKES, dt=2e-3, spiking=True, label=0, predicted=3)
    (marks,) = ax.collections
    times, levels = np.asarray(marks.get_offsets()).T
    rows = np.unique(levels)
    assert len(rows) == 4 and SPIKES.sum(axis=0).max() < rows[0]
    assert rows[-1] < ax.get_ylim()[1]
    np.testing.assert_allclose(np.diff(rows), rows[1] - rows[0])
    found = set(
        zip(np.rint(times / 2.0).tolist(), np.searchsorted(rows, levels).tolist(), strict=True)
    )
    assert found == {tuple(index) for index in np.argwhere(SPIKES).tolist()}
    colors = [{0: BLUE, 3: RED}.get(c, GREY) for _, c in np.argwhere(SPIKES)]
    np.testing.assert_allclose(marks.get_edgecolors(), colors)


def test_ticks_are_whole_counts_and_the_ends_of_the_raster():
    ax = plot.readout(SPIKES, spiking=True)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[-2:] == ["class 0", "class 3"]
    most = int(SPIKES.sum(axis=0).max())
    assert all(0 <= int(text) <= most for text in labels[:-2])
    assert labels[:-2] == [f"{tick:.0f}" for tick in ax.get_yticks()[:-2]]


@pytest.mark.parametrize("classes", [1, 2, 20])
def test_a_silent_output_has_no_marks(classes):
    ax = plot.readout(np.zeros((10, classes)), spiking=True, label=0)
    assert len(ax.collections[0].get_offsets()) == 0
    ax.figure.canvas.draw()


def test_targets_of_a_regression_are_dashed_in_the_color_of_their_output():
    ax = plot.readout(MEMBRANES[0, :, :2], targets=[0.25, -0.5])
    outputs, targets = ax.lines[:2], ax.lines[2:]
    assert [line.get_ydata()[0] for line in targets] == [0.25, -0.5]
    for output, target in zip(outputs, targets, strict=True):
        assert to_rgba(output.get_color()) == to_rgba(target.get_color())
        assert target.get_linestyle() == "--"
    assert texts(ax) == ["coordinate 0", "coordinate 1", "target"]


def overlapping(ax) -> list[tuple[str, str]]:
    """Pairs of tick labels of the y axis that overlap once they are drawn."""
    ax.figure.canvas.draw()
    labels = [label for label in ax.get_yticklabels() if label.get_text()]
    boxes = [(label.get_text(), label.get_window_extent()) for label in labels]
    boxes.sort(key=lambda pair: pair[1].y0)
    return [(a, b) for (a, low), (b, high) in pairwise(boxes) if low.y1 > high.y0]


TICKS = [(spikes, classes) for spikes in (0, 1, 7, 300) for classes in (1, 2, 10, 50)]


@pytest.mark.parametrize(
    ("spikes", "classes"), covered_by(TICKS, [(0, 1), (1, 10), (7, 2), (300, 50)])
)
def test_tick_labels_do_not_overlap(classes, spikes):
    outputs = np.zeros((300, classes))
    outputs[:spikes, -1] = 1.0
    figure = plt.figure(figsize=(8.0, 4.4), layout="constrained")
    for ax in figure.subplots(2, 1):
        plot.readout(outputs, spiking=True, label=0, ax=ax)
        assert not overlapping(ax)
        assert "class 0" in [label.get_text() for label in ax.get_yticklabels()]


def test_what_a_regression_reads_is_dotted():
    ax = plot.readout(
        MEMBRANES[0, :, :2],
        targets=[0.25, -0.5],
        values=MEMBRANES[0, :, :2].mean(axis=0),
        reading="mean over time",
    )
    dotted = [line for line in ax.lines if line.get_linestyle() == ":"]
    for line, output in zip(dotted, ax.lines[:2], strict=True):
        np.testing.assert_allclose(line.get_ydata(), np.mean(output.get_ydata()))
        assert to_rgba(line.get_color()) == to_rgba(output.get_color())
    assert texts(ax)[2:] == ["target", "read: mean over time"]
    assert ax.get_ylabel() == "membrane potential\n(unit of the target)"


def test_more_than_thirty_classes_have_a_colour_bar():
    ax = plot.readout(RNG.normal(size=(20, 31)))
    assert ax.get_legend() is None
    (bar,) = [other for other in ax.figure.axes if other is not ax]
    assert bar.get_ylabel() == "class" and bar.get_ylim() == (-0.5, 30.5)


def test_one_step_is_a_visible_point():
    ax = plot.readout(np.ones((1, 3)))
    assert all(line.get_marker() == "o" for line in ax.lines)
    assert ax.get_xticks().tolist() == [0.0]


def test_up_to_ten_classes_differ_for_the_colour_blind():
    # Vienot, Brettel and Mollon, Digital video colourmaps for checking the legibility of displays
    # by dichromats, 1999: what is left of a colour without long, or without medium cones.
    protan = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
    deutan = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    ax = plot.readout(RNG.normal(size=(20, 10)))
    rgb = np.array([to_rgba(line.get_color())[:3] for line in ax.lines])
    for matrix in (protan, deutan):
        seen = np.clip(rgb**2.2 @ matrix.T, 0.0, 1.0) ** (1 / 2.2)
        distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
        assert distance[np.triu_indices(10, 1)].min() > 0.08


def bars(patch) -> tuple[np.ndarray, np.ndarray]:
    data = patch.get_data()
    return data.values, data.edges


def test_rates_are_a_histogram_of_shares():
    rates = RNG.gamma(2.0, 5.0, 128)
    ax = plot.firing_rates(rates, bins=20)
    (patch,) = ax.patches
    heights, edges = bars(patch)
    counts, expected = np.histogram(rates, 20, (0.0, rates.max()))
    np.testing.assert_allclose(heights, 100.0 * counts / 128)
    np.testing.assert_allclose(edges, expected)
    assert heights.sum() == pytest.approx(100.0)
    assert ax.get_xlabel() == "firing rate (Hz)" and ax.get_ylabel() == "share of the neurons (%)"


def test_layers_share_their_bins_and_say_mean_and_silence():
    layers = {f"hidden_{k}": RNG.gamma(2.0, 1.0 + k, 10 * k) for k in range(1, 7)}
    layers["hidden_6"][:7] = 0.0
    ax = plot.firing_rates(layers)
    highest = max(rates.max() for rates in layers.values())
    colors = set()
    for patch, mean, text, rates in zip(
        ax.patches, ax.lines, texts(ax), layers.values(), strict=True
    ):
        heights, edges = bars(patch)
        np.testing.assert_allclose(edges, np.linspace(0.0, highest, 31))
        np.testing.assert_allclose(heights, 100.0 * np.histogram(rates, edges)[0] / len(rates))
        assert mean.get_xdata()[0] == pytest.approx(np.mean(rates))
        assert to_rgba(mean.get_color()) == to_rgba(patch.get_edgecolor())
        colors.add(to_rgba(mean.get_color()))
        assert f"mean {np.mean(rates):.1f} Hz" in text
    assert len(colors) == 6
    assert texts(ax)[0].endswith("none of 10 silent") and texts(ax)[5].endswith("7 of 60 silent")


@pytest.mark.parametrize("silent", [0, 20])
def test_one_neuron_far_above_all_others_has_a_bin_of_its_own(silent):
    rates = RNG.gamma(2.0, 5.0, 128)
    rates[:silent], rates[40] = 0.0, 280.0
    ax = plot.firing_rates({"hidden_1": rates}, bins=20)
    heights, edges = bars(ax.patches[0])
    bound = edges[-2]
    np.testing.assert_allclose(heights[:-1], np.histogram(rates, edges[:-1])[0] * 100 / 128)
    assert heights[-1] == pytest.approx(100.0 * (rates > bound).sum() / 128)
    assert heights.sum() == pytest.approx(100.0)
    assert (heights[:-1] > 0).sum() > 5 and bound < 100.0
    assert texts(ax)[0].endswith(f"\n1 > {bound:g}, up to 280")
    assert f"mean {rates.mean():.1f} Hz" in texts(ax)[0]
    assert ax.get_xticklabels()[-1].get_text() == f"> {bound:g}"


@pytest.mark.parametrize("rates", [[5.0], [5.0, 280.0], [0.0] * 9 + [280.0], [200.0] * 10])
def test_few_neurons_and_layers_of_their_own_scale_are_not_set_apart(rates):
    ax = plot.firing_rates({"hidden": np.full(100, 2.0), "output": rates})
    assert bars(ax.patches[0])[1][-1] == max(rates)


def test_a_silent_network_has_all_its_neurons_in_the_first_bin():
    ax = plot.firing_rates({"hidden_1": np.zeros(16)})
    heights, edges = bars(ax.patches[0])
    assert heights[0] == 100.0 and not heights[1:].any()
    assert edges[-1] == 1.0
    assert texts(ax) == ["hidden_1: mean 0.0 Hz\n16 of 16 silent"]


def test_axes_that_are_given_are_used_and_returned():
    figure, (top, bottom) = plt.subplots(2)
    assert plot.readout(SPIKES, ax=top) is top
    assert plot.firing_rates([1.0], ax=bottom) is bottom
    assert plt.get_fignums() == [figure.number]


M = np.zeros((5, 3))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("draw", "match"),
    [
        (lambda: plot.readout(np.ones(3)), r"outputs: expected shape \(T, N\)"),
        (lambda: plot.readout(M, sample=0), r"expected shape \(B, T, N\)"),
        (lambda: plot.readout(M - 1.0, spiking=True), "outputs: expected numbers of spikes >= 0"),
        (lambda: plot.readout(M + np.nan), "outputs: expected finite"),
        (lambda: plot.readout(M, dt=0.0), "dt: expected a finite number of seconds > 0"),
        (lambda: plot.readout(M, label=3), r"label: expected a class in \[0, 3\), got 3"),
        (lambda: plot.readout(M, predicted=-1), r"predicted: expected a class in \[0, 3\)"),
        (lambda: plot.readout(M, targets=[1.0]), r"targets: expected shape \(3,\).*\(1,\)"),
        (lambda: plot.readout(M, targets=[0, 0, np.inf]), "targets: expected finite"),
        (lambda: plot.readout(M, targets=[0, 0, 0], label=1), "targets: expected None where"),
        (lambda: plot.readout(M, targets=[0, 0, 0], spiking=True), "targets: expected None"),
        (lambda: plot.readout(M, values=[1.0]), r"values: expected shape \(3,\).*\(1,\)"),
        (lambda: plot.readout(M, values=[0, 0, 0], label=1), "values: expected None where"),
        (lambda: plot.firing_rates({}), "rates: expected at least one layer"),
        (lambda: plot.firing_rates([]), r"rates: expected shape \(N,\).*\(0,\)"),
        (lambda: plot.firing_rates({"a": M}), r"rates of a: expected shape \(N,\).*\(5, 3\)"),
        (lambda: plot.firing_rates([1.0, -2.0]), "rates: expected rates >= 0 Hz, got -2"),
        (lambda: plot.firing_rates([np.nan]), "rates: expected finite"),
        (lambda: plot.firing_rates([1.0], bins=0), "bins: expected a whole number >= 1, got 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, match):
    with pytest.raises(ValueError, match=match):
        draw()
    assert not plt.get_fignums()  # Nothing half-drawn.
