"""Learning curves hold the records that were passed in."""

from collections.abc import Iterator

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


def records(epochs: int = 30, layers: int = 2, score: str = "accuracy", scale: float = 1.0):
    """Losses that fall as scale / epoch, scores that rise until two thirds of the epochs."""
    rng = np.random.default_rng(epochs)
    peak = max(2 * epochs // 3, 1)
    return [
        {
            "epoch": e,
            "train_loss": scale / e,
            "validation_loss": scale * (1.5 - rng.random()) / e,
            f"train_{score}": 1.0 - 0.8 / e,
            f"validation_{score}": 0.9 - 0.01 * abs(e - peak),
            "rates_hz": {f"hidden_{k + 1}": 5.0 * k + e for k in range(layers)},
        }
        for e in range(1, epochs + 1)
    ]


def column(of, key, factor=1.0) -> list[float]:
    return [factor * record[key] for record in of]


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_run_is_drawn_against_its_epochs():
    run = records()
    loss, accuracy, rates = plot.learning_curves(run)
    for ax, what, factor in ((loss, "loss", 1.0), (accuracy, "accuracy", 100.0)):
        train, validation, best = ax.lines
        for line, part in ((train, "train"), (validation, "validation")):
            np.testing.assert_array_equal(line.get_xdata(), range(1, 31))
            np.testing.assert_allclose(line.get_ydata(), column(run, f"{part}_{what}", factor))
        assert best.get_xdata().tolist() == [20]
        assert best.get_ydata()[0] == pytest.approx(factor * run[19][f"validation_{what}"])
    for k, line in enumerate(rates.lines):
        np.testing.assert_allclose(line.get_ydata(), [5.0 * k + e for e in range(1, 31)])
    assert texts(loss) == ["training", "validation", "best epoch: 20 (90.00 %)"]
    assert texts(rates) == ["hidden_1", "hidden_2"]


def test_axes_are_labelled_with_units():
    axes = plot.learning_curves(records(), loss="cross-entropy (nats)")
    labels = ["cross-entropy (nats)", "accuracy (%)", "firing rate (Hz)"]
    assert [ax.get_ylabel() for ax in axes] == labels
    assert axes[-1].get_xlabel() == "epoch"


def test_there_is_no_panel_of_rates_without_rates():
    run = [{k: v for k, v in record.items() if k != "rates_hz"} for record in records()]
    assert len(plot.learning_curves(run)) == 2
    assert len(plot.learning_curves(records(layers=0))) == 2


@pytest.mark.parametrize(("scores", "best"), [([0.1, 0.3, 0.3, 0.2], 3), ([1.0] * 4, 4)])
def test_of_equal_scores_the_last_is_the_best(scores, best):
    run = [r | {"validation_accuracy": s} for r, s in zip(records(4), scores, strict=True)]
    for ax in plot.learning_curves(run)[:2]:
        assert ax.lines[2].get_xdata().tolist() == [best]


def test_runs_are_overlaid_in_a_color_each():
    runs = {"plain": records(30), "initialised": records(10, layers=3)}
    loss, accuracy, rates = plot.learning_curves(runs)
    first, second = loss.get_legend().get_lines()[3:]
    assert texts(loss)[3:] == [
        "plain\nbest epoch: 20 (90.00 %)",
        "initialised\nbest epoch: 6 (90.00 %)",
    ]
    for ax in (loss, accuracy):
        for k, handle in enumerate((first, second)):
            own = ax.lines[3 * k : 3 * k + 3]
            assert {to_rgba(line.get_color()) for line in own} == {to_rgba(handle.get_color())}
        assert to_rgba(first.get_color()) != to_rgba(second.get_color())
        np.testing.assert_array_equal(ax.lines[4].get_xdata(), range(1, 11))
    # A mark of its own for each layer, the same in both runs; the third is of one run only.
    marks = [line.get_marker() for line in rates.lines]
    assert marks[0] == marks[1] and marks[2] == marks[3]
    assert len(marks) == 5 and len(set(marks)) == 3
    assert [line.get_marker() for line in rates.get_legend().get_lines()] == marks[::2]
    # A dash is training and nothing else, in all panels.
    dashed = [line for ax in (loss, accuracy, rates) for line in ax.lines if line.is_dashed()]
    assert [id(line) for line in dashed] == [
        id(ax.lines[k]) for ax in (loss, accuracy) for k in (0, 3)
    ]
    assert texts(rates) == ["hidden_1", "hidden_2", "hidden_3"]


@pytest.mark.parametrize(
    ("losses", "scale"),
    [([1.0, 0.5, 0.11], "linear"), ([1.0, 0.5, 0.1], "log"), ([1.0, 0.5, 0.0], "linear")],
)
def test_losses_that_span_a_factor_of_ten_have_a_logarithmic_axis(losses, scale):
    both = [{"train_loss": loss, "validation_loss": loss} for loss in losses]
    run = [r | own for r, own in zip(records(3), both, strict=True)]
    assert plot.learning_curves(run)[0].get_yscale() == scale


def test_one_epoch_is_a_visible_point_on_a_whole_tick():
    for ax in plot.learning_curves(records(1)):
        assert all(line.get_marker() != "None" for line in ax.lines)
        low, high = ax.get_xlim()
        assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [1]
    many = plot.learning_curves(records(200))[0]
    assert many.lines[0].get_marker() == "None"


def test_accuracy_ends_at_its_highest_possible_value():
    perfect = [r | {"train_accuracy": 1.0, "validation_accuracy": 1.0} for r in records()]
    for run in (perfect, records()):
        low, high = plot.learning_curves(run)[1].get_ylim()
        lowest = 100.0 * min(r[f"{p}_accuracy"] for r in run for p in ("train", "validation"))
        assert low < lowest and 100.0 < high < 107.0


def test_a_regression_is_scored_by_r2():
    run = records(score="r2")
    run[0]["validation_r2"] = -40.0
    loss, score, _ = plot.learning_curves(run, score="r2")
    assert score.get_ylabel() == "R²"
    np.testing.assert_allclose(score.lines[1].get_ydata(), column(run, "validation_r2"))
    # One bad epoch does not flatten the others.
    assert score.get_ylim() == pytest.approx((-1.12, 1.12))
    assert texts(loss)[-1] == "best epoch: 20 (R² 0.900)"


def test_r2_of_a_run_that_never_gets_better_than_minus_one_is_shown():
    run = [r | {"train_r2": -5.0, "validation_r2": -4.0} for r in records(3)]
    low, high = plot.learning_curves(run, score="r2")[1].get_ylim()
    assert low < -5.0 and high > -4.0


def test_silent_layers_are_seen_above_the_edge():
    run = [r | {"rates_hz": {"hidden_1": 0.0}} for r in records()]
    low, high = plot.learning_curves(run)[2].get_ylim()
    assert low < 0.0 < high


def test_axes_that_are_given_are_used_and_returned():
    figure, given = plt.subplots(3)
    axes = plot.learning_curves(records(), axes=list(given))
    assert axes == list(given) and plt.get_fignums() == [figure.number]
    assert all(ax.get_xlabel() == "epoch" for ax in axes)


def without(key):
    run = records(3)
    del run[1][key]
    return run


def with_value(key, value):
    run = records(3)
    run[1][key] = value
    return run


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("draw", "match"),
    [
        (lambda: plot.learning_curves([]), "runs: expected records of at least one epoch"),
        (lambda: plot.learning_curves({}), "runs: expected at least one run"),
        (lambda: plot.learning_curves({"a": records(), "b": []}), "run 'b': .* got none"),
        (lambda: plot.learning_curves(without("train_loss")), "the metric 'train_loss' in every"),
        (lambda: plot.learning_curves(records(), score="r2"), "the metric 'train_r2'.*score="),
        (lambda: plot.learning_curves(with_value("train_loss", np.nan)), "finite number, got nan"),
        (
            lambda: plot.learning_curves(with_value("rates_hz", {"hidden_1": np.inf})),
            "rate of hidden_1: expected a finite number, got inf",
        ),
        (lambda: plot.learning_curves(with_value("epoch", 1)), r"rise, got \[1.0, 1.0, 3.0\]"),
        (lambda: plot.learning_curves(records(), axes=[None, None]), "expected 3 axes.* got 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, match):
    with pytest.raises(ValueError, match=match):
        draw()
    assert not plt.get_fignums()  # Nothing half-drawn.
