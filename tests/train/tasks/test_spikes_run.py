"""The whole app on spikes from a file: trained, resumed, drawn, compared, exported, restored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import train as app
from train import compare, evaluate
from train.command_line import run_command
from train.progress.report import Progress
from train.tasks.spikes.task import Spikes

FLAGS = (
    "--hidden 8 --batch-size 16 --epochs 2 --readout max --quiet --no-plots --save-every 0"
).split()


def spikes(samples: int = 90, steps: int = 15, units: int = 6) -> dict[str, np.ndarray]:
    """Returns rasters of three classes, of which each has its two units."""
    rng = np.random.default_rng(0)
    labels = np.arange(samples) % 3
    probability = np.where(np.arange(units) // 2 == labels[:, None], 0.7, 0.3)
    raster = rng.random((samples, steps, units)) < probability[:, None]
    return {"raster": raster.astype(np.uint8), "labels": labels}


@pytest.fixture(scope="module")
def train_spikes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., int]:
    cache = str(tmp_path_factory.getbasetemp() / "xla")

    def run(workdir: Path, *more: str) -> int:
        # The optimiser multiplies arrays of different dtypes.
        with jax.numpy_dtype_promotion("standard"):
            where = ["--cache-dir", cache, "--workdir", str(workdir)]
            return run_command(Spikes(), [*FLAGS, *where, *more])

    return run


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    found = spikes()
    np.savez(folder / "raster.npz", **found)
    events = np.random.default_rng(1).permutation(np.argwhere(found["raster"]))
    np.savez(folder / "events.npz", events=events, labels=found["labels"])
    return folder


@pytest.fixture(scope="module")
def run(train_spikes: Callable[..., int], files: Path, tmp_path_factory: Any) -> Path:
    workdir = Path(tmp_path_factory.mktemp("runs") / "raster")
    assert train_spikes(workdir, "--file", str(files / "raster.npz")) == 0
    return workdir


def metrics(path: Path) -> list[dict[str, Any]]:
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def result(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "result.json").read_text())
    return found


@pytest.mark.slow
def test_rasters_and_events_of_the_same_samples_are_the_same_run(
    run: Path, train_spikes: Callable[..., int], files: Path, tmp_path: Path
) -> None:
    assert train_spikes(tmp_path / "events", "--file", str(files / "events.npz")) == 0
    assert metrics(tmp_path / "events") == metrics(run)
    # As lists of spikes, made of longer samples, each form too.
    for name in ("raster", "events"):
        flags = ["--file", str(files / f"{name}_long.npz")]
        found = dict(np.load(files / f"{name}.npz"))
        if name == "raster":
            found["raster"] = np.pad(found["raster"], ((0, 0), (0, 200), (0, 0)))
        np.savez(files / f"{name}_long.npz", **found)
        assert train_spikes(tmp_path / f"{name}_long", *flags, "--steps", "215") == 0
        stored = json.loads((tmp_path / f"{name}_long" / "config.json").read_text())["config"][
            "data"
        ]
        assert 0 < stored["capacity"] < 100
    assert metrics(tmp_path / "raster_long") == metrics(tmp_path / "events_long")


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    run: Path,
    train_spikes: Callable[..., int],
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "epoch", stop)
        file = ["--file", str(files / "raster.npz")]
        assert train_spikes(tmp_path / "run", *file) == 130
    assert len(metrics(tmp_path / "run")) == 1
    assert train_spikes(tmp_path / "run", "--resume") == 0
    assert metrics(tmp_path / "run") == metrics(run)
    assert result(tmp_path / "run")["test_accuracy"] == result(run)["test_accuracy"]


@pytest.mark.slow
def test_evaluate_draws_compares_exports_and_deploys(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))

    def evaluated(*flags: str) -> dict[str, Any]:
        with jax.numpy_dtype_promotion("standard"):
            assert evaluate.main([*flags, "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return found

    wanted = result(run)["test_accuracy"]
    net = str(tmp_path / "net.nir")
    found = evaluated("--checkpoint", str(copy), "--plots", "--export", net)
    assert found["test_accuracy"] == wanted and sum(map(sum, found["confusion"])) == 18
    assert {"sample.png", "learning_curves.png"} <= {Path(p).name for p in found["plots"]}
    assert all(Path(p).stat().st_size > 5000 for p in found["plots"])
    # A file has everything that the network was evaluated on but the spikes themselves.
    assert evaluated("--nir", net)["test_accuracy"] == pytest.approx(wanted, abs=1 / 18 + 1e-6)
    chips = ["--crossbar", "ideal", "--times", "1s", "--repeats", "1", "--no-sweeps"]
    assert "chips" in evaluated("--checkpoint", str(copy), *chips)
    rows = compare.compare([run, copy])
    assert [row["test"] for row in rows] == [wanted, wanted] and not rows[0]["settings"]


@pytest.mark.slow
def test_a_run_comes_back_in_python(run: Path) -> None:
    best = max((run / "checkpoints").iterdir(), key=lambda p: (int(p.name) == _best(run), p.name))
    for path in (str(run), run, best):
        restored = app.restore(path)
        assert restored.accuracy("test") == result(run)["test_accuracy"]
    part = restored.data("test")
    logits = restored.apply(part.inputs, part.lengths)
    share = float(np.mean(np.argmax(logits, axis=1) == part.labels))
    assert share == pytest.approx(result(run)["test_accuracy"], abs=1e-6)
    # The Linen module gives membranes, whose maximum over time, times 4, are the logits.
    membranes = restored.network.apply(restored.variables, part.inputs.astype(np.float32))
    np.testing.assert_allclose(4.0 * membranes.max(axis=1), logits, rtol=1e-5, atol=1e-5)
    assert restored.settings.network.hidden == (8,)
    with pytest.raises(ValueError, match=r"expected samples of shape \('B', 15, 6\)"):
        restored.apply(part.inputs[:, :3])


def _best(run: Path) -> int:
    found: int = result(run)["best_epoch"]
    return found
