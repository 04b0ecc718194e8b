"""Pictures of a run on points: what they show, and that they are refused as a whole."""

import threading
from pathlib import Path

import matplotlib
import matplotlib.image

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from train.pictures import (
    HiddenActivity,
    LayerSpikes,
    Plane,
    SampleSpikes,
    draw_point_run,
    draw_spikes,
)
from train.pictures.point_run import _hidden_activity

RNG = np.random.default_rng(0)
GRID = np.add.outer(np.arange(6), np.arange(6)) % 3
RECORDS = [
    {
        "epoch": e,
        "train_loss": 1.0 / e,
        "validation_loss": 1.1 / e,
        "train_accuracy": 1.0 - 0.5 / e,
        "validation_accuracy": 1.0 - 0.6 / e,
    }
    for e in range(1, 4)
]


def plane(**changes) -> Plane:
    targets = np.arange(30) % 3
    predictions = np.where(np.arange(30) < 3, 0, targets)
    return Plane(GRID, GRID, RNG.random((30, 2)), targets, predictions, 3)._replace(**changes)


def layer(neurons: int, spikes: int) -> LayerSpikes:
    time = np.sort(RNG.random(spikes + 2)) * 20e-3
    time[spikes:] = np.inf
    index = np.where(np.isinf(time), -1, np.arange(spikes + 2) % neurons)
    return LayerSpikes(time, index, neurons)


def sample(target: int = 1, prediction: int = 1, depth: int = 1, spiking: bool = True):
    hidden = {f"hidden_{k + 1}": layer(20 + k, 12 + k) for k in range(depth)}
    return SampleSpikes(layer(5, 5), hidden, layer(3, 2) if spiking else None, target, prediction)


def activity(rows: tuple[int, ...] = (3, 2)) -> HiddenActivity:
    first = {
        f"row {k}": {f"neuron {n}": RNG.random((6, 6)) for n in range(size)}
        for k, size in enumerate(rows)
    }
    return HiddenActivity({"hidden_1": RNG.integers(0, 3, (30, 20))}, first)


def draw(path: Path, **changes) -> list[Path]:
    arguments = {
        "records": RECORDS,
        "plane": plane(),
        "samples": [sample(), sample(2, 0)],
        "hidden": activity(),
    }
    return draw_point_run(path, **arguments | changes)


def titles(axes) -> list[str]:
    return [ax.get_title(loc="left") for ax in axes]


def offsets(ax) -> np.ndarray:
    (found,) = [c for c in ax.collections if c.get_rasterized()]
    return np.asarray(found.get_offsets())


def named(figure) -> dict[str, str]:
    return {
        text.get_text(): to_hex(line.get_color())
        for legend in figure.legends
        for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }


@pytest.mark.slow
def test_a_run_has_five_pictures_drawn_in_a_thread_without_pyplot(tmp_path, monkeypatch):
    for name in ("figure", "subplots", "switch_backend"):
        monkeypatch.setattr(plt, name, lambda *_, **__: pytest.fail("pyplot was called"))
    settings = dict(matplotlib.rcParams)
    files: list[Path] = []
    thread = threading.Thread(target=lambda: files.extend(draw(tmp_path)))
    thread.start()
    thread.join()
    assert [file.name for file in files] == [
        "learning_curves.png",
        "decision_regions.png",
        "spikes.png",
        "hidden_activity.png",
        "confusion.png",
    ]
    assert sorted((tmp_path / "plots").iterdir()) == sorted(files)
    for file in files:
        assert min(matplotlib.image.imread(file).shape[:2]) >= 400
    assert not plt.get_fignums() and dict(matplotlib.rcParams) == settings


def test_samples_stand_side_by_side_from_input_to_output_on_one_time_axis():
    shown = [sample(), sample(2, 0)]
    figure = draw_spikes(shown)
    grid = np.reshape(figure.axes, (3, 2))
    assert titles(grid[0]) == [
        "true class 1, predicted 1 (right)\ninput: 5 spikes",
        "true class 2, predicted 0 (wrong)\ninput: 5 spikes",
    ]
    assert titles(grid[1:].flat) == ["hidden_1: 12 spikes"] * 2 + ["output: 2 spikes"] * 2
    for column, spikes in zip(grid.T, shown, strict=True):
        layers = [spikes.inputs, spikes.hidden["hidden_1"], spikes.output]
        for ax, of_layer in zip(column, layers, strict=True):
            used = np.isfinite(of_layer.time)
            expected = np.stack([1e3 * of_layer.time[used], of_layer.index[used]], axis=-1)
            np.testing.assert_allclose(offsets(ax), expected)
    last = max(
        1e3 * of_layer.time[np.isfinite(of_layer.time)].max()
        for spikes in shown
        for of_layer in (spikes.inputs, spikes.hidden["hidden_1"], spikes.output)
    )
    assert {round(ax.get_xlim()[1], 9) for ax in grid.flat} == {round(1.05 * last, 9)}
    assert named(figure) == {
        "true class": "#1f77b4",
        "predicted class, where it is another": "#d62728",
    }


def test_colors_that_do_not_occur_are_not_named():
    assert list(named(draw_spikes([sample()]))) == ["true class"]
    twice = LayerSpikes(np.array([1e-3, 2e-3]), np.array([0, 0]), 3)
    spikes = SampleSpikes(layer(5, 5), {"hidden_1": twice}, None, 0, 0)
    assert list(named(draw_spikes([spikes]))) == ["later spikes of a neuron"]
    assert not named(draw_spikes([sample(spiking=False)]))


def test_of_six_layers_three_are_drawn_and_said():
    figure = draw_spikes([sample(depth=6)])
    assert [title.split(":")[0] for title in titles(figure.axes)[1:]] == [
        "hidden_1 (1 of 6)",
        "hidden_3 (3 of 6)",
        "hidden_6 (6 of 6)",
        "output",
    ]


def test_a_silent_network_is_drawn():
    silent = LayerSpikes(np.full(2, np.inf), np.full(2, -1), 4)
    figure = draw_spikes([SampleSpikes(silent, {"hidden_1": silent}, silent, 0, 0)])
    assert titles(figure.axes)[1:] == ["hidden_1: no spikes", "output: no spikes"]


def test_hidden_activity_is_a_histogram_above_rows_of_maps_of_one_size():
    shown = activity((3, 5))
    figure = _hidden_activity(shown, GRID, "test")
    top, *rows = figure.subfigs
    mean = shown.counts["hidden_1"].mean()
    assert (
        top.axes[0].get_legend().get_texts()[0].get_text().startswith(f"hidden_1: mean {mean:.2f}")
    )
    figure.canvas.draw()
    widths = set()
    for row, (name, maps) in zip(rows, shown.first.items(), strict=True):
        assert row.get_suptitle() == name
        panels = [ax for ax in row.axes if ax.get_title()]
        assert [ax.get_title() for ax in panels] == list(maps)
        for ax, times in zip(panels, maps.values(), strict=True):
            np.testing.assert_allclose(ax.images[1].get_array(), 1e3 * times)
        widths |= {round(ax.get_subplotspec().get_gridspec().ncols) for ax in panels}
        # Within the picture, with its labels.
        assert all(ax.get_tightbbox().y0 >= 0.0 for ax in panels)
    assert widths == {5}


def test_a_network_of_silent_neurons_has_a_histogram_only():
    figure = _hidden_activity(activity(()), GRID, "test")
    assert len(figure.subfigs) == 1


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"plane": plane(targets=np.arange(30) % 3 + 8)}, "expected classes below 10, got 10"),
        ({"plane": plane(points=np.ones((30, 3)))}, r"points: expected shape \(S, 2\)"),
        ({"samples": []}, "samples: expected at least one"),
        ({"samples": [sample(3)]}, r"label: expected a class in \[0, 3\), got 3"),
        ({"hidden": HiddenActivity({}, {})}, "counts: expected at least one layer"),
        ({"records": []}, "records of at least one epoch"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        draw(tmp_path, **changes)
    assert not list(tmp_path.rglob("*.png"))
