"""Pictures of a run: files that appear whole, and what they show."""

import threading
from pathlib import Path

import matplotlib
import matplotlib.image

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from train.pictures import (
    LayerActivity,
    PartScores,
    SampleActivity,
    draw_comparison,
    draw_run,
    draw_sample,
    new_figure,
    save,
)
from train.pictures.results import draw_predictions

RNG = np.random.default_rng(0)
STEPS = 40


def layer(neurons: int, rate: float = 0.1) -> LayerActivity:
    spikes = RNG.random((STEPS, neurons)) < rate
    return LayerActivity(spikes, RNG.normal(size=(STEPS, neurons)))


def sample(depth: int = 1, **changes) -> SampleActivity:
    layers = {f"hidden_{k + 1}": layer(8 + k) for k in range(depth)}
    inputs = (np.arange(STEPS)[:, None] == np.arange(4)).astype(np.uint8)
    output = (RNG.random((STEPS, 3)) < 0.2).astype(np.float32)
    return SampleActivity(inputs, layers, output, True, 2, 1)._replace(**changes)


def scores(**changes) -> PartScores:
    rates = {"hidden_1": RNG.gamma(2.0, 5.0, 8), "output": RNG.gamma(2.0, 5.0, 3)}
    targets = np.repeat([0, 1, 2], 10)
    predictions = np.where(np.arange(30) % 10 == 0, 0, targets)
    found = PartScores(rates, targets, predictions, 3, RNG.random((30, 4)) * STEPS)
    return found._replace(**changes)


def records(score: str = "accuracy") -> list[dict]:
    return [
        {
            "epoch": e,
            "train_loss": 1.0 / e,
            "validation_loss": 1.1 / e,
            f"train_{score}": 1.0 - 0.5 / e,
            f"validation_{score}": 1.0 - 0.6 / e,
            "rates_hz": {"hidden_1": 5.0},
        }
        for e in range(1, 4)
    ]


def draw(path: Path, **changes) -> list[Path]:
    arguments = {"records": records(), "sample": sample(), "scores": scores(), "dt": 2e-3}
    return draw_run(path, **arguments | changes)


def names(files: list[Path]) -> list[str]:
    return [file.name for file in files]


def titles(figure: Figure) -> list[str]:
    return [ax.get_title(loc="left") for ax in figure.axes]


def test_a_classification_has_five_pictures_drawn_in_a_thread_without_pyplot(tmp_path, monkeypatch):
    for name in ("figure", "subplots", "switch_backend"):
        monkeypatch.setattr(plt, name, lambda *_, **__: pytest.fail("pyplot was called"))
    settings = dict(matplotlib.rcParams)
    files: list[Path] = []
    thread = threading.Thread(target=lambda: files.extend(draw(tmp_path)))
    thread.start()
    thread.join()
    assert names(files) == [
        "learning_curves.png",
        "sample.png",
        "firing_rates.png",
        "manifold.png",
        "confusion.png",
    ]
    assert sorted((tmp_path / "plots").iterdir()) == sorted(files)
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        height, width, _ = matplotlib.image.imread(file).shape
        assert min(height, width) >= 400
    assert not plt.get_fignums() and dict(matplotlib.rcParams) == settings


@pytest.mark.slow
@pytest.mark.parametrize("coordinates", [None, 2])
def test_a_regression_has_predictions_instead_of_a_confusion_matrix(tmp_path, coordinates):
    shape = (30,) if coordinates is None else (30, coordinates)
    targets, predictions = RNG.random(shape), RNG.random(shape)
    part = scores(targets=targets, predictions=predictions, classes=None, rates_hz={})
    v = sample(output=RNG.normal(size=(STEPS, coordinates or 1)), spiking=False)
    v = v._replace(target=targets[0], prediction=predictions[0])
    files = draw(tmp_path, records=records("r2"), score="r2", sample=v, scores=part)
    assert names(files) == ["learning_curves.png", "sample.png", "manifold.png", "predictions.png"]


def test_pictures_without_anything_to_show_are_left_out(tmp_path):
    files = draw(tmp_path, scores=scores(times=None, rates_hz={}))
    assert names(files) == ["learning_curves.png", "sample.png", "confusion.png"]


@pytest.mark.slow
def test_pictures_of_an_earlier_evaluation_are_replaced(tmp_path):
    before = {file: file.read_bytes() for file in draw(tmp_path)}
    draw(tmp_path, scores=scores(predictions=np.zeros(30, np.int32)))
    changed = [file.name for file, content in before.items() if file.read_bytes() != content]
    assert "confusion.png" in changed and "learning_curves.png" not in changed
    assert len(list((tmp_path / "plots").iterdir())) == 5


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
    path = save(new_figure(1.0, 1.0), tmp_path / "a.png")
    whole = path.read_bytes()

    def fail(figure, target, **options):
        Path(target).write_bytes(whole[:20])
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="No space left"):
        save(new_figure(1.0, 1.0), path)
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_a_sample_is_shown_from_input_to_readout():
    shown = sample(2)
    figure = draw_sample(shown, 2e-3)
    inputs, first, second, membranes, readout = figure.axes
    total = int(np.sum(shown.hidden["hidden_2"].spikes))
    assert titles(figure)[0] == "input: 4 spikes of 4 units"
    assert titles(figure)[2:] == [
        f"hidden_2: {total} spikes of 9 neurons",
        "hidden_2: membranes",
        "readout",
    ]
    times, units = np.asarray(inputs.collections[0].get_offsets()).T
    np.testing.assert_allclose(times, [0.0, 2.0, 4.0, 6.0])
    np.testing.assert_allclose(units, range(4))
    for ax, name in ((first, "hidden_1"), (second, "hidden_2")):
        assert len(ax.collections[0].get_offsets()) == np.sum(shown.hidden[name].spikes)
    neurons = [int(line.get_label().removeprefix("neuron ")) for line in membranes.lines[:-1]]
    for neuron, line in zip(neurons, membranes.lines, strict=False):
        np.testing.assert_allclose(line.get_ydata(), shown.hidden["hidden_2"].v[:, neuron])
    np.testing.assert_allclose(membranes.lines[-1].get_ydata(), 1.0)
    np.testing.assert_allclose(
        readout.lines[0].get_ydata()[:-1], np.cumsum(np.asarray(shown.output)[:, 0])
    )
    assert readout.get_xlabel() == "time (ms)"
    assert figure.get_suptitle() == (
        "one sample of the test part: true class 2, predicted class 1 (wrong)"
    )


def test_membranes_are_of_the_busiest_the_middle_and_the_quietest_neuron():
    # Neuron n spikes in the first `counts[n]` steps.
    counts = np.array([3, 9, 0, 5, 7])
    spikes = np.arange(STEPS)[:, None] < counts
    activity = LayerActivity(spikes, np.zeros((STEPS, 5)))
    membranes = draw_sample(sample(hidden={"hidden_1": activity}), 2e-3).axes[-2]
    labels = [text.get_text() for text in membranes.get_legend().get_texts()]
    assert labels == ["neuron 1", "neuron 2", "neuron 3", "threshold"]


def test_of_six_layers_three_are_drawn_and_said():
    shown = [title for title in titles(draw_sample(sample(6), 2e-3)) if "neurons" in title]
    assert [title.split(":")[0] for title in shown] == [
        "hidden_1 (1 of 6)",
        "hidden_3 (3 of 6)",
        "hidden_6 (6 of 6)",
    ]


def test_a_sample_of_a_network_without_hidden_layers_is_input_and_readout():
    assert titles(draw_sample(sample(0), 2e-3)) == ["input: 4 spikes of 4 units", "readout"]


def test_a_silent_network_is_said_to_be_silent():
    silent = LayerActivity(np.zeros((STEPS, 8)), np.zeros((STEPS, 8)))
    shown = sample(hidden={"hidden_1": silent}, output=np.zeros((STEPS, 2)), target=0, prediction=0)
    figure = draw_sample(shown, 2e-3)
    assert titles(figure)[1] == "hidden_1: no spikes of 8 neurons"
    assert figure.get_suptitle().endswith("true class 0, predicted class 0 (right)")


def test_a_regression_shows_targets_in_the_readout():
    v = sample(output=RNG.normal(size=(STEPS, 1)), spiking=False, target=0.25, prediction=0.5)
    figure = draw_sample(v._replace(reading="mean over time"), 2e-3, part="validation")
    _, target, read = figure.axes[-1].lines
    assert target.get_ydata()[0] == 0.25 and read.get_ydata()[0] == 0.5
    assert titles(figure)[-1] == "readout: mean over time of each output"
    legend = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    assert legend == ["output", "target", "read: mean over time"]
    assert figure.get_suptitle() == "one sample of the validation part: true 0.25, predicted 0.5"


def test_predictions_show_the_score_of_the_run_and_no_other():
    targets = RNG.random((30, 1))
    figure = draw_predictions(targets, targets + 0.1, "test", "position (m)", 0.93041)
    assert figure.get_suptitle() == (
        "30 samples of the test part: R² = 0.9304\n"
        "1 - mean squared error / variance stated by the task"
    )
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["samples", "identity"]
    # Of a run that counts none, R2 is that of the samples drawn.
    figure = draw_predictions(targets, targets, "test", "position (m)")
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["R² = 1.000", "identity"]
    assert figure.get_suptitle() == "30 samples of the test part"


@pytest.mark.parametrize(
    ("paths", "heading", "names"),
    [
        (["runs/first", "runs/second/a"], "2 runs in runs", ["first", "second/a"]),
        (["/a/b/first"], "one run in /a/b", ["first"]),
        (["first", "runs/second"], "2 runs", ["first", "runs/second"]),
        (["/first", "runs/second"], "2 runs", ["/first", "runs/second"]),
        (["runs/" + "long_" * 20, "runs/b"], "2 runs in runs", ["long_" * 20, "b"]),
    ],
)
def test_compared_runs_have_their_whole_names(paths, heading, names):
    figure = draw_comparison({path: records() for path in paths}, "accuracy")
    assert figure.get_suptitle() == heading
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    others = ("training", "validation", *records()[0]["rates_hz"])
    shown = [t for t in texts if t not in others and t[:4] != "best"]
    for text, name in zip(shown, names, strict=True):
        assert text.split("best epoch")[0].replace("\n", "") == name.removesuffix("\n")
        assert max(map(len, text.split("\n"))) <= 30


def test_the_legend_of_many_runs_leaves_the_panels_as_high_as_each_other():
    runs = {f"runs/tau_mem={k}e-3,hidden=64_64,seed_{k}": records() for k in range(12)}
    figure = draw_comparison(runs, "accuracy")
    figure.canvas.draw()
    boxes = [ax.get_window_extent() for ax in figure.axes]
    assert max(box.height for box in boxes) <= 1.01 * min(box.height for box in boxes)
    (legend,) = figure.legends
    frame = legend.get_window_extent()
    assert not any(frame.overlaps(box) for box in boxes)
    assert frame.y0 >= 0 and frame.y1 <= figure.bbox.height and frame.x1 <= figure.bbox.width
    assert all(",\n" in t or t.count(",") == 0 for t in (x.get_text() for x in legend.get_texts()))


def test_titles_are_not_cut_off():
    name = "a_layer_with_a_name_that_is_much_too_long_for_one_line_" * 3
    figure = draw_sample(sample(hidden={name: layer(8)}), 2e-3)
    figure.canvas.draw()
    for ax in figure.axes:
        box = ax._left_title.get_window_extent()
        assert box.x0 >= 0.0 and box.x1 <= figure.bbox.x1
    assert titles(figure)[1].replace("\n", "").startswith(f"{name}: ")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"sample": sample(target=3)}, r"label: expected a class in \[0, 3\), got 3"),
        ({"sample": sample(inputs=np.ones(3))}, "spikes: expected shape"),
        ({"scores": scores(classes=2)}, "labels: expected classes from 0 to 1"),
        ({"scores": scores(times=np.zeros((30, 2)))}, "units: expected an index in"),
        ({"records": []}, "records of at least one epoch"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        draw(tmp_path, **changes)
    assert not list(tmp_path.rglob("*.png"))
