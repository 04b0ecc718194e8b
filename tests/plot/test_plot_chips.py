"""Pictures of scores of chips: what is drawn is what was given, and nonsense is refused."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from flax_snn import plot

TIMES = [1.0, 3600.0, 86400.0]
SCORES = {"before": np.array([[0.9, 0.7], [0.6, 0.4], [0.5, 0.1]]), "after": np.ones((3, 1))}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def lines(ax):
    return {line.get_label(): line for line in ax.lines}


def test_mean_band_and_chips():
    ax = plot.chip_scores(TIMES, SCORES, digital=0.97, labels=["1s", "1h", "1d"])
    drawn = lines(ax)
    np.testing.assert_allclose(drawn["before"].get_ydata(), [80.0, 50.0, 30.0])
    np.testing.assert_allclose(drawn["after"].get_ydata(), 100.0)
    np.testing.assert_allclose(drawn["before"].get_xdata(), TIMES)
    np.testing.assert_allclose(drawn["digital"].get_ydata(), 97.0)
    chips = next(line for line in ax.lines if line.get_marker() == ".")
    np.testing.assert_allclose(chips.get_ydata(), [90.0, 70.0, 60.0, 40.0, 50.0, 10.0])
    corners = ax.collections[0].get_paths()[0].vertices[:, 1]
    spread = np.std([90.0, 70.0], ddof=1)
    assert np.isclose(corners.max(), 80.0 + spread) and np.isclose(
        corners.min(), 30.0 - np.std([50.0, 10.0], ddof=1)
    )
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1s", "1h", "1d"]
    assert (ax.get_xscale(), ax.get_ylabel()) == ("log", "accuracy (%)")


def test_other_scores_and_equal_distances():
    ax = plot.chip_scores([0.0, 1.0, 4.0], SCORES, score="r2", quantity="noise", logarithmic=False)
    np.testing.assert_allclose(lines(ax)["before"].get_xdata(), [0, 1, 2])
    np.testing.assert_allclose(lines(ax)["before"].get_ydata(), [0.8, 0.5, 0.3])
    assert (ax.get_xscale(), ax.get_ylabel(), ax.get_xlabel()) == ("linear", "R²", "noise")


def test_the_legend_covers_nothing_and_no_tick_is_above_a_hundred_percent():
    figure, ax = plt.subplots(figsize=(4.0, 3.0))
    high = {f"network {k}": 0.99 + 0.001 * np.arange(6).reshape(3, 2) for k in range(4)}
    plot.chip_scores(TIMES, high, digital=1.0, ax=ax)
    figure.canvas.draw()
    top = ax.transData.transform((1.0, 100.0))[1]
    assert top < ax.get_legend().get_window_extent().y0
    assert max(ax.get_yticks()) <= 100.05


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([1.0, 1.0], {"a": [[1.0], [1.0]]}), "expected rising values"),
        (([0.0, 1.0], {"a": [[1.0], [1.0]]}), "> 0 on a logarithmic axis"),
        (([1.0], {}), "expected at least one line"),
        (([1.0], {"a": [1.0]}), r"a: expected \(1, chips\)"),
        (([1.0], {"a": [[np.nan]]}), "a: expected finite"),
    ],
)
def test_nonsense_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        plot.chip_scores(*arguments)
    with pytest.raises(ValueError, match="labels: expected 1 of them"):
        plot.chip_scores([1.0], {"a": [[1.0]]}, labels=["a", "b"])
