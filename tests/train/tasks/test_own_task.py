"""The pages on tasks and on the app: their code is run as it is printed, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from train.run.__main__ import main

ROOT = Path(__file__).resolve().parents[3]
TASKS = (ROOT / "docs" / "tasks.md").read_text()
APP = (ROOT / "docs" / "app.md").read_text()

FIRST = "python -m train.run my_task:MyTask --workdir runs/first --epochs 5 --batch-size 50"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)


def files(page: str) -> dict[str, str]:
    """Returns the code of a page, by the name in its first line."""
    return {text.splitlines()[0].removeprefix("# "): text for text in blocks(page, "python")}


def commands(page: str) -> list[str]:
    lines = "\n".join(blocks(page, "bash")).splitlines()
    return [line for line in lines if line.startswith("python -m ")]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files of the page on tasks."""
    folder = tmp_path_factory.mktemp("user")
    for name, text in files(TASKS).items():
        if name.endswith(".py"):
            (folder / name).write_text(text)
    return folder


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def run(folder: Path, *command: str, code: int = 0) -> str:
    """Runs Python in a folder, with the clone on the path; returns what it wrote."""
    found = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert found.returncode == code, found.stderr[-2000:]
    return found.stdout


def as_printed(folder: Path, command: str) -> str:
    program, *words = shlex.split(command)
    assert program == "python"
    return run(folder, *words)


def metrics(path: Path) -> list[dict[str, object]]:
    """Returns the metrics of a run but for its times."""
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.mark.slow
def test_commands_of_the_page_on_tasks(where: Path) -> None:
    said = {command: as_printed(where, command) for command in commands(TASKS)}
    assert len(said) == 7
    for name in ("first", "second", "rate", "adaptive"):
        result = json.loads((where / "runs" / name / "result.json").read_text())
        assert result["epochs_done"] == 5
        assert (where / "runs" / name / "plots" / "sample.png").stat().st_size > 10_000
    first = json.loads((where / "runs" / "first" / "result.json").read_text())
    assert first["test_accuracy"] > 0.9  # chance is 0.5
    evaluated = said["python -m train.evaluate --checkpoint runs/first"]
    assert f"{first['test_accuracy']:.2%}" in evaluated
    table = said["python -m train.compare runs/first runs/second"]
    assert "my_task:MyTask" in table and "--no-recurrent" in table
    rate = json.loads((where / "runs" / "rate" / "result.json").read_text())
    assert rate["score"] == "r2" and rate["test_r2"] > 0.5  # 0 without any learning
    adaptive = json.loads((where / "runs" / "adaptive" / "result.json").read_text())
    assert adaptive["test_accuracy"] > 0.7 and set(adaptive["test_rates_hz"]) == {"hidden_1"}
    assert run(where, "-c", files(TASKS)["restored"]) == "my_task:MyTask (3, 2)\n"


@pytest.mark.slow
def test_a_killed_run_of_an_own_task_ends_where_it_would_have_ended(where: Path) -> None:
    if not (where / "runs" / "first").exists():
        as_printed(where, FIRST)
    killed = where / "runs" / "killed"
    words = shlex.split(FIRST.replace("runs/first", "runs/killed"))[1:]
    process = subprocess.Popen(
        [sys.executable, *words, "--save-every", "0"],
        cwd=where,
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    saved = killed / "checkpoints" / "1"
    while not saved.exists():
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "result.json").exists()
    run(where, *words, "--resume")
    assert metrics(killed) == metrics(where / "runs" / "first")
    # Elsewhere the task is not found, and the message says so.
    found = subprocess.run(
        [sys.executable, "-m", "train.evaluate", "--checkpoint", str(killed)],
        cwd=where / "runs",
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert "the current directory has no my_task.py" in found.stderr


@pytest.mark.slow
def test_the_page_on_the_app(tmp_path: Path) -> None:
    code = files(APP)
    run(tmp_path, "-c", code["a file"])
    flags = ["--workdir", "runs/mine", "--epochs", "8", "--hidden", "32"]
    (spikes,) = [c for c in commands(APP) if "train.spikes" in c]
    run(tmp_path, *shlex.split(spikes)[1:], *flags)
    (export,) = [c for c in commands(APP) if "--export" in c]
    as_printed(tmp_path, export)
    restored = (
        f"{code['a run']}\nimport numpy\nx = run.model.encode(part.inputs)\n"
        "numpy.save('x.npy', x)\nnumpy.save('logits.npy', logits)\n"
        # Kept as lists of spikes, but rasters are taken too.
        "assert set(part.inputs) == {'step', 'unit'}\n"
        "numpy.testing.assert_allclose(run.apply(x), logits, rtol=1e-5)\n"
    )
    shown = run(tmp_path, "-c", restored)
    result = json.loads((tmp_path / "runs" / "mine" / "result.json").read_text())
    assert shown == f"(32,) {result['test_accuracy']:.0%}\n" and result["test_accuracy"] > 0.8

    # The network without the app, where the app cannot be imported.
    (tmp_path / "train.py").write_text("raise ImportError('there is no app here')\n")
    lone = (
        f"{code['a network']}\nimport numpy, sys\n"
        "x = numpy.load('x.npy').astype(numpy.float32)\n"
        "numpy.save('spikes.npy', network.apply(variables, x))\n"
        "assert 'train' not in sys.modules\n"
    )
    environ = {**environment(), "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    subprocess.run([sys.executable, "-c", lone], cwd=tmp_path, env=environ, check=True)
    # The readout `spikes` counts them, times 0.5.
    counts = np.load(tmp_path / "spikes.npy").sum(axis=1)
    np.testing.assert_allclose(0.5 * counts, np.load(tmp_path / "logits.npy"), atol=1e-5)


IMPORTS = """
import dataclasses
import numpy as np
import flax.linen as nn
import flax_snn as snn
from train.tasks import *
"""

GOOD = {
    "settings": "RasterSettings",
    "shape": "Shape(steps=6, units=3, outputs=2, dt=1e-3)",
    "load": "Dataset(part(30), part(8), part(8))",
    "network": "None",
    "inputs": "np.ones((n, 6, 3), np.uint8)",
    "labels": "(np.arange(n) % 2).astype(np.int32)",
    "lengths": "None",
}

BARE = "@dataclasses.dataclass(frozen=True)\nclass Settings:\n"

# What is wrong in a task that is right otherwise, and what the message says.
WRONG: dict[str, tuple[dict[str, str], str]] = {
    "settings that are no dataclass": ({"settings": "dict"}, "settings: expected a dataclass"),
    "settings without a default": (
        {"before": BARE + "    width: int\n", "settings": "Settings"},
        "settings: expected a default for each field",
    ),
    "settings without training": (
        {"before": BARE + "    width: int = 3\n", "settings": "Settings"},
        "settings: expected a field training: TrainingConfig = TrainingConfig()",
    ),
    "settings without a network": (
        {
            "before": BARE + "    training: TrainingConfig = TrainingConfig()\n",
            "settings": "Settings",
        },
        "settings: expected a field network: NetworkConfig",
    ),
    "a tuple as shape": ({"shape": "(6, 3, 2, 1e-3)"}, "shape: expected Shape(steps=..."),
    "steps of a fraction": (
        {"shape": "Shape(steps=6.5, units=3, outputs=2, dt=1e-3)"},
        "shape: steps",
    ),
    "one class": ({"shape": "Shape(6, 3, 1, 1e-3)"}, "shape: expected at least two classes"),
    "a step in milliseconds": ({"shape": "Shape(6, 3, 2, 1.0)"}, "--dt 1 is 1000 ms"),
    "no data": ({"load": "None"}, "load: expected Dataset(train, validation, test), got None"),
    "three arrays": (
        {"load": "Dataset(np.ones(3), np.ones(3), np.ones(3))"},
        "load: expected Part(inputs, labels) as validation, got array",
    ),
    "lists": ({"labels": "[0, 1] * (n // 2)"}, "train: labels: expected an array, got [0, 1"),
    "no labels": ({"labels": "None"}, "train: expected inputs and labels, got none"),
    "inputs of another shape": (
        {"inputs": "np.ones((n, 3, 6), np.uint8)"},
        "train part: expected inputs (samples, 6, 3) of dtype uint8, as the task says",
    ),
    "inputs of another dtype": ({"inputs": "np.ones((n, 6, 3))"}, "(30, 6, 3) of float64"),
    "a label too few": (
        {"labels": "np.arange(n - 1).astype(np.int32) % 2"},
        "train part: expected labels of shape (30,), got (29,)",
    ),
    "labels of another dtype": (
        {"labels": "np.ones(n, np.float32)"},
        "expected integers as labels",
    ),
    "an unknown class": (
        {"labels": "np.arange(n).astype(np.int32) % 3"},
        "train part: expected labels from 0 to 1, got 0 to 2",
    ),
    "lengths beyond the steps": (
        {"lengths": "np.full(n, 7, np.int32)"},
        "train part: expected lengths from 0 to 6 steps, got 7 to 7",
    ),
    "no sample": ({"load": "Dataset(part(30), part(8), part(0))"}, "test part"),
    "fewer samples than a batch": (
        {"load": "Dataset(part(4), part(8), part(8))"},
        "--batch-size: expected at most the 4 training samples, got 8",
    ),
    "a network that is no module": (
        {"network": "lambda x: x"},
        "network: expected a Linen module, got <function",
    ),
    "a network with other outputs": (
        {"network": "snn.RNN(snn.LIFCell(5))"},
        "network: expected outputs (B, 6, 2), batch-major, one for each step and class",
    ),
    "a network without spikes": (
        {"network": "snn.RNN(snn.LeakyIntegratorReadout(2))"},
        "network: its last layer does not spike",
    ),
    "a network that fails": (
        {"network": "snn.RNN(snn.LIFCell(features=None))"},
        "network: ",
    ),
}

TEMPLATE = """
{imports}
{before}
class Mine(RasterTask):
    \"\"\"A task that is wrong somewhere.\"\"\"

    settings = {settings}

    def shape(self, settings):
        return {shape}

    def load(self, settings, options):
        return {load}

    def network(self, settings):
        return {network}


def part(n):
    return Part({inputs}, {labels}, {lengths})
"""


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Writes a task and runs it; returns its one message."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def attempt(text: str, *more: str) -> str:
        (tmp_path / "wrong_task.py").write_text(textwrap.dedent(text))
        sys.modules.pop("wrong_task", None)
        flags = "--batch-size 8 --hidden 4 --epochs 1 --quiet --init gains --no-cache".split()
        code = main(["wrong_task:Mine", *flags, "--workdir", "run", *more])
        shown = capsys.readouterr()
        assert code == 2 and not shown.out and not (tmp_path / "run").exists()
        (line,) = shown.err.splitlines()
        assert line.startswith("python -m train.run") and len(line) < 500
        return line

    yield attempt
    sys.modules.pop("wrong_task", None)
    shutil.rmtree(tmp_path)


@pytest.mark.optimizer
@pytest.mark.parametrize("name", WRONG)
def test_a_task_that_is_wrong_is_refused_in_one_line(
    name: str, refused: Callable[..., str]
) -> None:
    parts, words = WRONG[name]
    fields = {"imports": IMPORTS, "before": "", **GOOD, **parts}
    assert words in refused(TEMPLATE.format(**fields))
