"""What commands say: lists, help, units, times, and an end by Ctrl-C or a closed pipe."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from train import __main__ as overview
from train import compare, evaluate, flags, reproduce
from train.command_line import run_command
from train.errors import ConfigError
from train.progress.report import farewell
from train.settings import NetworkConfig, TrainingConfig
from train.settings.units import check_step, unusual
from train.store.read import latest_checkpoint
from train.tasks import TASKS, find_task
from train.tasks.randman import Randman, RandmanConfig, RandmanData

ROOT = Path(__file__).resolve().parents[2]


def test_the_overview_names_every_task_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert overview.main() == 0
    shown = capsys.readouterr().out
    for name in TASKS:
        assert re.search(rf"^  {name} +\w+", shown, re.MULTILINE)
        assert (ROOT / "train" / f"{name}.py").exists()
    for name in ("run", "sweep", "evaluate", "compare", "reproduce"):
        assert re.search(rf"^  {name} ", shown, re.MULTILINE)


HELP: dict[str, Callable[[list[str]], int]] = {
    **{name: lambda words, name=name: run_command(find_task(name), words) for name in TASKS},
    "evaluate": evaluate.main,
    "compare": compare.main,
    "reproduce": reproduce.main,
}


@pytest.mark.parametrize("name", HELP)
def test_help_reads_well_in_a_terminal(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        HELP[name](["--help"])
    shown = capsys.readouterr().out
    assert end.value.code == 0 and f"usage: python -m train.{name}" in shown
    assert "`" not in shown and "::" not in shown
    if name in TASKS:
        assert "--learning-rate FLOAT" in shown and "--workdir" in shown
        # Help that is wrapped in the source is wrapped anew: no short line in the middle.
        text = " ".join(line.strip(" │") for line in shown.splitlines())
        assert "Go on with the run in the directory, exactly as if it had never stopped." in text


def test_what_follows_from_a_file_is_no_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_command(find_task("spikes"), ["--file", "a.npz", "--capacity", "3"])
    assert end.value.code == 2 and "--capacity" in capsys.readouterr().err
    filled = {"capacity", "analog", "variance", "input_rate", "digest"}
    assert set(flags.no_flags(find_task("spikes").settings)) == filled
    assert not list(flags.no_flags(RandmanConfig))


def test_flags_keep_nested_defaults_and_types() -> None:
    defaults = RandmanConfig(data=RandmanData(units=7), network=NetworkConfig(hidden=(3, 4)))
    made = type("Made", (), {})  # a class that is no dataclass is left alone
    assert not flags._help_of(made)
    from train.command_line import parse

    settings, options = parse(Randman(), ["--tau-mem", "0.01", "--no-recurrent"], defaults)
    assert type(settings) is RandmanConfig and type(settings.data) is RandmanData
    assert settings.data.units == 7 and settings.network.hidden == (3, 4)
    assert settings.network.tau_mem == 0.01 and settings.network.recurrent is False
    assert options.workdir is None and settings.training == TrainingConfig()


@pytest.mark.parametrize(
    "module", ["train.randman", pytest.param("train.evaluate", marks=pytest.mark.slow)]
)
def test_a_reader_that_closes_the_pipe_is_no_error(module: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()  # before the first word: each write fails
    assert process.stderr.read() == "" and process.wait() == 0
    process.stderr.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (NetworkConfig(tau_mem=20.0), "--tau-mem 20 is 20000 ms, unusually long.* --tau-mem 0.02"),
        (NetworkConfig(tau_syn=1e-5), "--tau-syn 1e-05 is 10 us, unusually short: times are given"),
        (TrainingConfig(jitter=2.0), "--jitter 2 is 2000 ms, .* were meant, --jitter 0.002"),
        (RandmanData(dt=0.1), "--dt 0.1 is 100 ms, unusually long.* --dt 0.0001"),
    ],
)
def test_unusual_times_are_named_with_the_likely_value(settings: Any, words: str) -> None:
    (said,) = unusual(settings)
    assert re.match(f"note: {words}", said)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "spikes"])
def test_nothing_is_unusual_about_defaults(name: str) -> None:
    task = find_task(name)
    said = [words for words in task.remarks(task.settings()) if words.startswith("note: ")]
    assert not said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("randman", ["--workdir", "", "--overwrite"]),
        ("randman", ["--cache-dir="]),
        ("evaluate", ["--checkpoint", ""]),
        ("compare", ["run", "--plot", ""]),
        ("reproduce", ["run", "--workdir="]),
    ],
)
def test_a_path_of_no_characters_is_refused(
    name: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not the folder of the process, whose runs would be replaced."""
    with pytest.raises(SystemExit) as end:
        HELP[name](words)
    said = capsys.readouterr().err
    flag = next(word for word in words if word.startswith("--")).rstrip("=")
    assert end.value.code == 2
    assert said.startswith(f"python -m train.{name}: error: {flag}: expected a path, got an empty")


def test_steps_that_outlast_the_neurons_are_refused() -> None:
    check_step(20e-3, 20e-3, 10e-3)
    with pytest.raises(ConfigError, match=r"did you mean --dt 0\.002\?"):
        check_step(2.0, 20e-3, 10e-3)
    # What in milliseconds would be as far off gets no advice.
    with pytest.raises(ConfigError, match="times are given in seconds$"):
        check_step(200.0, 20e-3, 10e-3)
    task = Randman()
    (said,) = task.remarks(RandmanConfig(data=RandmanData(dt=15e-3)))
    assert said.startswith(
        "note: --tau-syn 0.01 (10 ms) is shorter than a step, --dt 0.015 (15 ms)"
    )
    # The neuron of the tutorial is given by decays.
    network = NetworkConfig(neuron="tutorial", learn_tau=False, init="gains")
    task.check(RandmanConfig(data=RandmanData(dt=1.0), network=network))


def test_notes_come_before_anything_is_prepared(
    train: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*args: Any) -> None:
        raise ConfigError("stopped by the test")

    monkeypatch.setattr("train.run.loop.prepare", stop)
    assert train(tmp_path / "run", "--tau-mem", "20", "--no-quiet") == 2
    note, error = capsys.readouterr().err.splitlines()
    assert note.startswith("note: --tau-mem 20 is 20000 ms") and error.endswith("by the test")
    assert train(tmp_path / "run", "--dt", "2") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "error: --dt 2 is 2000 ms, longer than the time constants" in line


def test_times_at_the_end_are_those_of_the_result(
    train: Callable[..., int], tiny_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = json.loads((tiny_run / "result.json").read_text())
    training, whole = result["training_seconds"], result["seconds"]
    words = f"{training:.1f} s of training, {whole:.1f} s in all"
    assert words in farewell(tiny_run, result)
    assert train(tiny_run, "--resume") == 0
    shown = capsys.readouterr().out
    assert "this run is finished" in shown and words in shown
    (row,) = compare.compare([tiny_run])
    assert row["seconds"] == training
    assert re.search(rf"training s.*\n.* {training:.0f}$", compare.describe([row]), re.MULTILINE)
    # Runs of older releases have one time only.
    assert f", {whole:.1f} s\n" in farewell(
        tiny_run, {k: v for k, v in result.items() if k != "training_seconds"}
    )


def test_settings_are_compared_as_they_are_typed() -> None:
    typed = [
        ("hidden", [64, 32], "64 32"),
        ("recurrent", False, "--no-recurrent"),
        ("learn-tau", True, "--learn-tau"),
        ("readout", "max", "max"),
        ("tau-mem", 0.02, "0.02"),
        ("units", None, "-"),
        ("init-from", "", "''"),
    ]
    for name, value, words in typed:
        assert compare.as_typed(name, value) == words


def test_a_checkpoint_has_no_seed_that_nobody_reads(tiny_run: Path) -> None:
    checkpoint = latest_checkpoint(tiny_run)
    assert checkpoint is not None
    ties = {"run", "updates"}  # They say of which run and step the item is.
    wanted = {"epochs_done", "batches_done", "stream", "sums", "seconds", *ties}
    assert set(checkpoint.data) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("times", [2, 3, 4])
def test_ctrl_c_again_and_again_ends_without_a_traceback(
    times: int, tiny_flags: list[str], tmp_path: Path
) -> None:
    words = [*(w for w in tiny_flags if w != "--quiet"), "--epochs", "100000", "--save-every", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "train.randman", *words, "--workdir", str(tmp_path / "run")],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 20/"):
            break
    rest: list[str] = []
    reader = threading.Thread(target=lambda: rest.extend(process.stderr or ()))
    reader.start()
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        # Signals that come together are one.
        threading.Event().wait(0.02)
    assert process.wait() == 130
    reader.join()
    process.stderr.close()
    said = [line for line in rest if line.strip() and not line.startswith(("epoch ", "finishing"))]
    assert len(said) <= 1 and "Traceback" not in "".join(rest)
    assert not said or "what was saved before is kept" in said[0] or "go on" in said[0]
    saved = latest_checkpoint(tmp_path / "run")
    assert saved is not None and saved.data["epochs_done"] >= 15
