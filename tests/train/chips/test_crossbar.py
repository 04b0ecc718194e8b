"""Networks on crossbars in the app: training against them, chips of a trained network, refusals."""

import contextlib
import dataclasses
import functools
import io
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by
from same_run import assert_same_run

from flax_snn import crossbar
from train.chips.ages import parse_times
from train.chips.deploy import ADC_BITS, FAULTS, LEVELS, NOISES
from train.chips.report import SWEEPS
from train.command_line import parse, run_command
from train.errors import ConfigError
from train.evaluate import describe, main
from train.model.crossbars import crossbars_of
from train.pictures import draw_chips
from train.restored.run import restore
from train.run.record import share
from train.run.step import create_state, train_batches
from train.settings.crossbar import CrossbarConfig
from train.settings.options import RunOptions
from train.store.write import CheckpointWriter
from train.tasks.randman import Randman
from train.tasks.yin_yang.task import YinYang

# Learned in 20 epochs. What takes time is XLA compiling, and the fewer arrays there are, the less.
EASY = (
    "--alpha 5 --units 8 --samples-per-class 100 --hidden 16 --epochs 20 --no-recurrent"
    " --no-learn-tau"
).split()
AWARE = (*EASY, *"--crossbar pcm --weight-clip 1.5 --crossbar-layers".split())
SMALL = (
    "--classes 2 --units 8 --steps 10 --samples-per-class 40 --hidden 16 --batch-size 16"
    " --no-recurrent --no-learn-tau"
)
CHIPS = "--crossbar pcm --times 1s,1d --repeats 2 --no-sweeps --crossbar-layers".split()
LAYERS = [pytest.param(layers, marks=pytest.mark.slow) for layers in ("readout", "all")]
PNG = b"\x89PNG\r\n"


@pytest.fixture(scope="module")
def naive(train, tmp_path_factory) -> Path:
    """A run that knows nothing of crossbars."""
    run = tmp_path_factory.mktemp("crossbar") / "naive"
    assert train(run, *EASY) == 0
    return run


@pytest.fixture(scope="module", params=LAYERS)
def layers(request) -> str:
    """Which layers lie on crossbars."""
    return request.param


@pytest.fixture(scope="module")
def aware(train, layers, tmp_path_factory) -> Path:
    """A run against phase-change memory."""
    run = tmp_path_factory.mktemp("crossbar") / "aware"
    assert train(run, *AWARE, layers) == 0
    return run


@pytest.fixture(scope="module")
def on_chips(aware, layers):
    """What chips make of that run."""
    return evaluated(aware, *CHIPS, layers)


def evaluated(run, *flags):
    """What the command prints: one JSON object, and nothing else."""
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        assert main(["--checkpoint", str(run), *map(str, flags), "--json"]) == 0
    (line,) = shown.getvalue().splitlines()
    return json.loads(line)


def chips_of(found):
    """The results of the one network that was looked at."""
    (chips,) = found["chips"]["results"].values()
    return chips


def result_of(run):
    return json.loads((run / "result.json").read_text())


RANDMAN, YIN_YANG = Randman(), YinYang()


def settings_of(flags, task=RANDMAN):
    return parse(task, flags.split(), task.settings())[0]


# Training


def test_a_run_against_crossbars_leaves_its_result(aware, naive, on_chips):
    result = result_of(aware)
    assert (
        json.loads((aware / "config.json").read_text())["config"]["crossbar"]["crossbar"] == "pcm"
    )
    # The chip of an evaluation without a key is always the same one.
    assert on_chips["test_accuracy"] == result["test_accuracy"]
    assert on_chips["test_loss"] == pytest.approx(result["test_loss"], rel=1e-6)
    assert result["test_loss"] != result_of(naive)["test_loss"]
    # Guessing gives 50 %.
    assert on_chips["samples"] == 20 and chips_of(on_chips)["digital"]["score"] >= 0.7


@pytest.mark.slow
def test_a_resumed_run_is_an_unbroken_one(train, tmp_path, layers, aware):
    """The chips that an update meets follow from the seed and the number of the update."""
    save = CheckpointWriter.save

    def die(self, epoch, *arguments):
        if epoch == 2:
            raise KeyboardInterrupt
        save(self, epoch, *arguments)

    flags = (*AWARE, layers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointWriter, "save", die)
        assert train(tmp_path / "run", *flags) == 130
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["1"]
    assert train(tmp_path / "run", "--resume", *flags) == 0
    assert_same_run(aware, tmp_path / "run")


def test_weights_of_a_run_lie_within_their_bound(layers, aware, naive):
    def largest(run, name):
        w = np.asarray(restore(run).params["cell"][name]["kernel"], np.float64)
        return np.abs(w).max() / np.sqrt(np.mean(w**2))

    for name in {"all": ("cells_0", "cells_1"), "readout": ("cells_1",)}[layers]:
        # The bound is 1.5 times the root mean square before an update clips: a little more after.
        assert largest(aware, name) < 1.6 < largest(naive, name)


@pytest.mark.slow
@pytest.mark.optimizer
def test_an_update_ends_with_the_bound():
    """One update with it, and one without whose weights NumPy bounds."""
    flags = f"{SMALL} --crossbar ideal --crossbar-layers readout --weight-clip"
    found = []
    for clip in (1.2, 0):
        config = settings_of(f"{flags} {clip}")
        model = RANDMAN.build(config).with_time_loop("scan")
        data = RANDMAN.load(config, RunOptions()).train
        state = create_state(model, config.training, 10, jnp.uint32(0))
        update = jax.jit(functools.partial(train_batches, model, config.training))
        found.append(update(state, data, jnp.arange(16)[None])[0].params["cell"])
    bounded, free = found
    jax.tree.map(np.testing.assert_array_equal, bounded["cells_0"], free["cells_0"])
    w = np.asarray(free["cells_1"]["kernel"], np.float64)
    bound = 1.2 * np.sqrt(np.mean(w**2))
    assert np.count_nonzero(np.abs(w) > bound) > 1
    np.testing.assert_allclose(bounded["cells_1"]["kernel"], np.clip(w, -bound, bound), rtol=1e-6)


RASTERS = (RANDMAN, "--hidden 6 5")
POINTS = (YIN_YANG, "--method surrogate --hidden 6 5")


@pytest.mark.parametrize(("task", "flags"), [RASTERS, POINTS])
@pytest.mark.parametrize(("layers", "analog"), [("all", {0, 1, 2}), ("readout", {2})])
def test_layers_that_lie_on_crossbars(task, flags, layers, analog):
    config = settings_of(f"{flags} --crossbar pcm --crossbar-layers {layers}", task)
    model = task.build(config)
    cells, plain = model.runner.network.cell.cells, model.runner.plain.cell.cells
    for k, cell in enumerate(cells):
        if k in analog:
            assert isinstance(cell.dot_general_cls, functools.partial)
            assert cell.dot_general_cls.func is crossbar.DotGeneral
            assert cell.dot_general_cls.args == (crossbar.Device.pcm(),)
        else:
            assert cell.dot_general_cls is None
    assert [cell.dot_general_cls for cell in plain] == [None] * 3
    # And these layers, recurrent weights included, are what a chip holds.
    key = jax.random.key(0)
    params = jax.eval_shape(model.init, key)
    chips = jax.eval_shape(model.program, params, key, key)
    held = jax.tree.leaves(chips, is_leaf=lambda x: isinstance(x, crossbar.Programmed))
    sizes = sorted(chip.reading.matrix.shape for chip in held)
    expected = [
        leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if "kernel" in path[-1].key and {f"cells_{k}" for k in analog} & {p.key for p in path}
    ]
    assert sizes == sorted(expected)


@pytest.mark.parametrize(
    ("task", "flags", "clip", "layers", "analog"),
    covered_by(
        [
            (*task, clip, *layers)
            for task in (RASTERS, POINTS)
            for clip in (1.5, 0.0)
            for layers in (("all", {0, 1, 2}), ("readout", {2}))
        ],
        [
            (*RASTERS, 1.5, "all", {0, 1, 2}),
            (*RASTERS, 1.5, "readout", {2}),
            (*POINTS, 1.5, "readout", {2}),
            (*POINTS, 0.0, "all", {0, 1, 2}),
        ],
    ),
)
def test_weights_on_crossbars_are_bounded_and_no_others(task, flags, clip, layers, analog):
    more = f"--crossbar pcm --crossbar-layers {layers} --weight-clip {clip}"
    model = task.build(settings_of(f"{flags} {more}", task))
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    # Outliers in all arrays, time constants among them.
    params = jax.tree.map(lambda s: jnp.asarray(rng.standard_t(3, s.shape), s.dtype), shapes)
    settled = jax.tree_util.tree_leaves_with_path(model.settle(params))
    touched = 0
    for (path, found), given in zip(settled, jax.tree.leaves(params), strict=True):
        names = {entry.key for entry in path}
        if clip and "kernel" in path[-1].key and names & {f"cells_{k}" for k in analog}:
            w = np.asarray(given, np.float64)
            bound = clip * np.sqrt(np.mean(w**2))
            np.testing.assert_allclose(found, np.clip(w, -bound, bound), rtol=1e-6)
            touched += np.abs(w).max() > bound
        else:
            np.testing.assert_array_equal(found, given)
    recurrent = task is RANDMAN
    assert touched == (0 if not clip else len(analog) + recurrent * len(analog & {0, 1}))


@pytest.mark.slow
@pytest.mark.parametrize("device", ["pcm", "reram", "ideal"])
def test_recurrent_layers_with_time_constants_of_their_own(device, train, tmp_path):
    assert train(tmp_path / "run", "--crossbar", device) == 0
    found = evaluated(
        tmp_path / "run", *f"--crossbar {device} --times 1s,1d --repeats 2 --no-sweeps".split()
    )
    assert found["test_accuracy"] == result_of(tmp_path / "run")["test_accuracy"]
    assert set(found["rates_hz"]) == set(chips_of(found)["times"][0]["rates_hz"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--crossbar-noise 2", r"--crossbar-noise: .* about crossbars; add --crossbar pcm"),
        ("--crossbar-layers readout", r"--crossbar-layers: .* add --crossbar pcm"),
        ("--crossbar-time 5 --weight-clip 3", r"--crossbar-time, --weight-clip: .* add --crossbar"),
        ("--crossbar pcm --crossbar-noise -1", r"--crossbar-noise: expected .* >= 0, got -1"),
        ("--crossbar pcm --crossbar-noise nan", r"--crossbar-noise: expected a finite number"),
        ("--crossbar pcm --crossbar-time -1", r"--crossbar-time: expected .* of seconds >= 0"),
        ("--crossbar pcm --weight-clip -1", r"--weight-clip: expected .* >= 0"),
        ("--crossbar pcm --weight-clip 1", r"--weight-clip: expected 0 .* or more than 1"),
        ("--crossbar reram --crossbar-time 3600", r"--crossbar-time: .* 1, 86400 and 172800 s"),
    ],
)
def test_settings_that_cannot_work_end_with_code_2(flags, words, tmp_path, capsys):
    workdir = tmp_path / "run"
    where = ["--workdir", str(workdir), "--no-cache"]
    assert run_command(RANDMAN, [*flags.split(), *where]) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not workdir.exists()


# Chips of a trained network


def test_rows_are_statistics_of_the_chips(layers, on_chips):
    chips = chips_of(on_chips)
    assert (chips["device"], chips["layers"], chips["repeats"]) == ("pcm", layers, 2)
    assert [(row["time"], row["seconds"], row["compensation"]) for row in chips["times"]] == [
        ("1s", 1.0, "global"),
        ("1s", 1.0, None),
        ("1d", 86400.0, "global"),
        ("1d", 86400.0, None),
    ]
    for row in chips["times"]:
        scores = np.array(row["scores"])
        assert scores.shape == (2,)
        # Whole samples of 20.
        np.testing.assert_allclose(20 * scores, np.round(20 * scores), atol=1e-5)
        assert row["mean"] == pytest.approx(np.mean(scores), abs=1e-12)
        assert row["std"] == pytest.approx(np.std(scores, ddof=1), abs=1e-12)
        assert set(row["rates_hz"]) == {"hidden_1", "output"}
    # Weights without compensation have faded after a day; what drives neurons less fires less.
    hz = [row["rates_hz"]["output"] for row in chips["times"]]
    assert hz[3] < hz[1] and hz[3] < hz[2]


def test_the_digital_score_is_that_of_the_weights_alone(aware, naive, on_chips):
    trained = restore(aware)
    config = dataclasses.replace(trained.settings, crossbar=CrossbarConfig())
    digital = dataclasses.replace(trained, model=RANDMAN.build(config))
    sums = digital.evaluate(trained.load_data().test).sums
    assert chips_of(on_chips)["digital"]["score"] == share(sums.points, sums.samples)


@pytest.mark.slow
def test_the_same_command_gives_the_same_numbers(layers, aware, on_chips):
    assert evaluated(aware, *CHIPS, layers) == on_chips


def test_the_picture_lies_in_the_run_directory(aware, on_chips):
    picture = aware / "plots" / "crossbar.png"
    assert on_chips["plots"] == [on_chips["chips"]["plot"]] == [str(picture)]
    assert picture.read_bytes().startswith(PNG)


def test_before_and_after(layers, aware, naive, on_chips, tmp_path):
    picture = tmp_path / "new" / "both.png"
    found = evaluated(aware, *CHIPS, layers, "--before", naive, "--chip-plot", picture)
    assert picture.read_bytes().startswith(PNG)
    results = found["chips"]["results"]
    assert list(results) == ["before", "after"]
    # Chips have the same seeds, whatever stands beside them.
    assert results["after"] == chips_of(on_chips)
    assert results["before"]["digital"]["score"] == result_of(naive)["test_accuracy"]
    header, digital, *rows = found["chips"]["table"]
    assert re.split(r"  +", header) == [
        "accuracy in %",
        "before",
        "after",
        "hidden_1, Hz",
        "output, Hz",
    ]
    for line, row in zip(rows, results["before"]["times"], strict=True):
        assert f"{100 * row['mean']:.2f} +- {100 * row['std']:.2f}" in line
        assert line.startswith(f"after {row['time']}")
        assert (", compensated " in line) == (row["compensation"] == "global")
    text = describe(found)
    assert "\n".join(found["chips"]["table"]) in text and f"wrote {picture}" in text


@pytest.mark.slow
@pytest.mark.parametrize("layers", ["readout", "all"])
def test_an_ideal_chip_computes_what_the_weights_say(layers, naive, tmp_path):
    flags = f"--crossbar ideal --crossbar-layers {layers} --times 1s,1y --repeats 2 --no-sweeps"
    found = evaluated(naive, *flags.split(), "--chip-plot", tmp_path / "ideal.png")
    chips = chips_of(found)
    assert found["test_accuracy"] == result_of(naive)["test_accuracy"]
    assert chips["digital"]["score"] == found["test_accuracy"]
    # Nothing drifts that could be compensated.
    assert [(row["time"], row["compensation"]) for row in chips["times"]] == [
        ("1s", None),
        ("1y", None),
    ]
    for row in chips["times"]:
        assert row["scores"] == [chips["digital"]["score"]] * 2 and row["std"] == 0.0
        # Weights are divided by the largest one and multiplied by it, which may move a spike.
        assert row["rates_hz"] == pytest.approx(chips["digital"]["rates_hz"], rel=1e-2)


@pytest.mark.slow
def test_resistive_memory_knows_the_times_that_were_measured(naive, tmp_path, capsys):
    flags = ["--crossbar", "reram", "--repeats", "1", "--no-sweeps"]
    flags += ["--crossbar-layers", "readout", "--chip-plot", str(tmp_path / "reram.png")]
    found = chips_of(evaluated(naive, *flags, "--times", "1s,2d"))
    assert [(row["seconds"], row["compensation"]) for row in found["times"]] == [
        (1.0, None),
        (172800.0, None),
    ]
    # One chip has no deviation.
    assert [row["std"] for row in found["times"]] == [0.0, 0.0]
    assert main(["--checkpoint", str(naive), *flags, "--times", "1h"]) == 2
    message = capsys.readouterr().err
    assert re.search(r"--times: .* was measured after 1s, 1d and 2d only, got 1h", message)
    assert "Traceback" not in message


@pytest.mark.slow
def test_sweeps_vary_one_property_at_a_time(naive, tmp_path):
    flags = "--crossbar pcm --crossbar-layers readout --times 1s --repeats 2".split()
    chips = chips_of(evaluated(naive, *flags, "--chip-plot", tmp_path / "sweeps.png"))
    values = {"noise": NOISES, "levels": LEVELS, "faults": FAULTS, "adc_bits": ADC_BITS}
    assert list(chips["sweeps"]) == list(values)
    rows = {}
    for name, found in chips["sweeps"].items():
        assert tuple(row.pop("value") for row in found) == values[name]
        rows |= {(name, value): row for value, row in zip(values[name], found, strict=True)}
        for row in found:
            assert row["std"] == pytest.approx(np.std(row["scores"], ddof=1), abs=1e-12)
    # The device as it is has all its noise, no faults and an ADC of 9 bits.
    as_it_is = {name: chips["times"][0][name] for name in ("mean", "std", "scores", "rates_hz")}
    assert rows["noise", 1.0] == rows["faults", 0.0] == rows["adc_bits", 9] == as_it_is
    # A single level for each sign is not the network.
    assert rows["levels", 2]["rates_hz"] != as_it_is["rates_hz"]
    assert (tmp_path / "sweeps.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("1s", {"1s": 1.0}),
        ("0s,90s,2.5m", {"0s": 0.0, "90s": 90.0, "2.5m": 150.0}),
        (" 1s , 2h", {"1s": 1.0, "2h": 7200.0}),
        ("1s,1h,1d,1y", {"1s": 1.0, "1h": 3600.0, "1d": 86400.0, "1y": 31536000.0}),
        ("0s,0.05s", {"0s": 0.0, "0.05s": 0.05}),
    ],
)
def test_times_in_seconds(text, times):
    found = parse_times(text, "pcm")
    assert found == times and list(found) == list(times)


@pytest.mark.parametrize(
    "text", ["", "1", "s", "1w", "-1s", "1s,", "1s;1h", "1e3s", "1 s 2h", "infs"]
)
def test_times_that_are_none(text):
    with pytest.raises(ConfigError, match=rf"--times '{text}': expected times such as 1s,1h"):
        parse_times(text, "pcm")


@pytest.mark.parametrize("text", ["1d,1s", "60s,1m"])
def test_times_that_do_not_rise(text):
    with pytest.raises(ConfigError, match=rf"--times '{text}': expected rising times"):
        parse_times(text, "pcm")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--times 1s", r"--times is about chips: add --crossbar pcm"),
        ("--repeats 3", r"--repeats is about chips"),
        ("--no-sweeps", r"--sweeps is about chips"),
        ("--crossbar-layers readout", r"--crossbar-layers is about chips"),
        ("--before RUN", r"--before is about chips"),
        ("--chip-plot x.png", r"--chip-plot is about chips"),
        ("--crossbar pcm --repeats 0", r"--repeats: expected at least one chip, got 0"),
        ("--crossbar pcm --nir x.nir", r"--crossbar look at a run: use them with --checkpoint"),
        ("--crossbar pcm --times 1w", r"--times '1w': expected times such as"),
        ("--crossbar pcm --before NONE", r"none does not exist"),
    ],
)
def test_bad_input(flags, words, tiny_run, tmp_path, capsys):
    where = {"RUN": str(tiny_run), "NONE": str(tmp_path / "none")}
    given = [where.get(flag, flag) for flag in flags.split()]
    assert main(["--checkpoint", str(tiny_run), *given]) == 2
    message = capsys.readouterr().err
    assert message.startswith("python -m train.evaluate: error: ")
    assert re.search(words, message) and "Traceback" not in message


def test_a_picture_that_cannot_be_written(naive, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    flags = "--crossbar ideal --times 1s --repeats 1 --no-sweeps --chip-plot".split()
    assert main(["--checkpoint", str(naive), *flags, str(tmp_path / "file" / "x.png")]) == 2
    assert "--chip-plot" in capsys.readouterr().err


def test_before_has_to_be_a_run_on_the_same_data(naive, tiny_run, tmp_path, capsys):
    flags = f"--crossbar ideal --times 1s --repeats 1 --no-sweeps --chip-plot {tmp_path / 'x.png'}"
    assert main(["--checkpoint", str(naive), *flags.split(), "--before", str(tiny_run)]) == 2
    assert "--before" in capsys.readouterr().err


def test_a_silent_network_is_drawn():
    row = {"mean": 0.5, "std": 0.0, "scores": [0.5], "rates_hz": {"hidden_1": 0.0}}
    result = {"digital": {"score": 0.5, "rates_hz": {"hidden_1": 0.0}}, "score": "accuracy"}
    result |= {"device": "pcm", "layers": "all", "repeats": 1, "samples": 20}
    result["times"] = [row | {"time": "1s", "seconds": 1.0, "compensation": None}]
    assert len(draw_chips({"run": result}, SWEEPS).axes) == 2


# Checkpoints from before there were crossbars


@pytest.fixture
def old(copy_of_run) -> Path:
    """A copy of the tiny run as an older release wrote it: version 2, no crossbars, no sums."""
    run = copy_of_run
    sums = ("run", "arrays", "lines", "checksum")

    def rewrite(path, **changes):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in (content | changes).items() if k not in sums}))

    def of_version_2(settings):
        config = {k: v for k, v in settings["config"].items() if k != "crossbar"}
        return {"task": settings["task"], "version": 2, "config": config}

    rewrite(run / "config.json", **of_version_2(json.loads((run / "config.json").read_text())))
    rewrite(run / "result.json")
    for path in run.glob("checkpoints/*/meta/metadata"):
        settings = of_version_2(json.loads(path.read_text())["settings"])
        rewrite(path, settings=settings, format_version=2)
    for path in run.glob("checkpoints/*/data/metadata"):
        place = json.loads(path.read_text())
        del place["run"], place["updates"]
        path.write_text(json.dumps(place))
    return run


def test_a_checkpoint_of_version_2_is_a_network_without_crossbars(old, tiny_run):
    assert restore(old).settings.crossbar == CrossbarConfig()
    before, after = evaluated(tiny_run), evaluated(old)
    assert before.pop("checkpoint") != after.pop("checkpoint")
    assert before == after


def test_a_run_of_version_2_is_resumed(old, train, capsys):
    assert train(old, "--resume") == 0
    assert "finished" in capsys.readouterr().out


# Yin-Yang


@pytest.fixture(scope="module")
def points(train_yin_yang, layers, tmp_path_factory) -> Path:
    """A run of Yin-Yang against crossbars, of which ideal ones compile faster."""
    run = tmp_path_factory.mktemp("crossbar") / "points"
    device = {"readout": "ideal", "all": "pcm"}[layers]
    flags = f"--method surrogate --crossbar {device} --crossbar-layers {layers}"
    assert train_yin_yang(run, *flags.split()) == 0
    return run


@pytest.mark.parametrize("method", ["first_spike", "eventprop"])
def test_crossbars_need_time_steps(method, train_yin_yang, tmp_path, capsys):
    run, words = tmp_path / "run", rf"--crossbar pcm: .*--method {method}.*add --method surrogate"
    assert train_yin_yang(run, "--method", method, "--crossbar", "pcm") == 2
    assert re.search(words, capsys.readouterr().err) and not run.exists()
    # Nor can a network that was trained by the method go on chips.
    model = YIN_YANG.build(settings_of(f"--method {method}", YIN_YANG))
    crossbars = crossbars_of(CrossbarConfig(crossbar="pcm"), model.parts)
    with pytest.raises(ConfigError, match=r"--crossbar: .* add --method surrogate"):
        model.with_crossbars(crossbars)


@pytest.mark.slow
def test_points_on_chips(layers, points, capsys):
    flags = "--crossbar pcm --times 1h --repeats 2 --no-sweeps --crossbar-layers"
    found = evaluated(points, *flags.split(), layers)
    chips = chips_of(found)
    assert found["test_accuracy"] == result_of(points)["test_accuracy"]
    assert chips["samples"] == 30 and len(chips["times"]) == 2
    for row in chips["times"]:
        np.testing.assert_allclose(np.mean(row["scores"]), row["mean"], atol=1e-12)
    # Activity is spikes per sample of 50 ms: rates of a chip are of the order of the digital ones.
    for layer, hz in chips["digital"]["rates_hz"].items():
        assert chips["times"][0]["rates_hz"][layer] == pytest.approx(hz, rel=0.5)
    assert (points / "plots" / "crossbar.png").read_bytes().startswith(PNG)
    # Chips in continuous time there are none.
    assert main(["--checkpoint", str(points), *flags.split(), layers, "--method", "eventprop"]) == 2
    assert "add --method surrogate" in capsys.readouterr().err


@pytest.mark.slow
def test_weights_trained_on_crossbars_run_by_another_method(points):
    assert main(["--checkpoint", str(points), "--method", "first_spike"]) == 0


def test_the_fused_loop_is_refused_where_it_cannot_run(train, tmp_path, capsys):
    assert train(tmp_path / "run", "--crossbar", "pcm", "--time-loop", "fused") == 2
    assert "--time-loop fused: the fused loop runs crossbars without" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.json").exists()
