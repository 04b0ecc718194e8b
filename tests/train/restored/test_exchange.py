"""Networks of the app leave as NIR files and are evaluated when they come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from flax_snn.nir import TARGETS
from train.errors import ConfigError
from train.evaluate import main
from train.restored.exchange import export_network
from train.restored.run import Restored
from train.tasks.yin_yang.settings import YinYangConfig, YinYangNetwork
from train.tasks.yin_yang.task import YinYang


def evaluated(capsys: Any, *flags: str) -> dict[str, Any]:
    assert main([*flags, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


SAME = ("test_accuracy", "test_loss", "confusion", "rates_hz", "epoch", "task")


def test_an_exported_network_is_the_same_network(
    tiny_run: Path, tmp_path: Path, capsys: Any
) -> None:
    file = str(tmp_path / "net.nir")
    before = evaluated(capsys, "--checkpoint", str(tiny_run), "--export", file)
    assert before["export"] == file
    after = evaluated(capsys, "--nir", file)
    for key in SAME:
        assert after[key] == before[key], key
    assert after["checkpoint"] == file


@pytest.mark.slow
def test_portable_neurons_stay_within_nir(train: Any, tmp_path: Path, capsys: Any) -> None:
    run = tmp_path / "run"
    assert train(run, "--neuron", "portable", "--no-recurrent", "--no-learn-tau") == 0
    before = evaluated(capsys, "--checkpoint", str(run))
    for target in ("snntorch-1.0.0", "spikingjelly-2.0.0", "norse-1.1.0"):
        assert target in TARGETS
        file = str(tmp_path / f"{target}.nir")
        evaluated(capsys, "--checkpoint", str(run), "--export", file, "--export-target", target)
        kinds = {type(node).__name__ for node in nir.read(file).nodes.values()}
        assert kinds == {"Input", "Linear", "CubaLIF", "Output"}
        after = evaluated(capsys, "--nir", file)
        # Weights were scaled, and so rounded, once more.
        assert after["confusion"] == before["confusion"]
        assert after["test_loss"] == pytest.approx(before["test_loss"], rel=1e-4)


def test_a_file_of_another_framework(tiny_run: Path, tmp_path: Path, capsys: Any) -> None:
    """It says neither what it is for nor how it is stepped: both have to be said."""
    rng = np.random.default_rng(0)

    def lif(size: int) -> nir.LIF:
        ones = np.ones(size)
        return nir.LIF(
            tau=0.02 * ones, r=ones, v_leak=0 * ones, v_threshold=0.1 * ones, v_reset=0 * ones
        )

    graph = nir.NIRGraph.from_list(
        nir.Linear(rng.normal(size=(8, 4))), lif(8), nir.Linear(rng.normal(size=(2, 8))), lif(2)
    )
    file = tmp_path / "other.nir"
    nir.write(str(file), graph)
    assert main(["--nir", str(file)]) == 2
    assert "does not say what it was trained for; add --checkpoint" in capsys.readouterr().err
    checkpoint = ["--nir", str(file), "--checkpoint", str(tiny_run)]
    assert main(checkpoint) == 2
    assert "add --nir-method euler or exp" in capsys.readouterr().err
    found = evaluated(capsys, *checkpoint, "--nir-method", "euler")
    assert found["rates_hz"]["hidden_1"] > 0 and np.sum(found["confusion"]) == found["samples"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "expected --checkpoint RUN or --nir FILE"),
        (["--nir", "none.nir"], "none.nir: no such file"),
        (["--nir", "NOT"], "expected a readable HDF5 file"),
        (["--nir", "FILE", "--plots"], "use them with --checkpoint"),
        (["--checkpoint", "RUN", "--producer", "norse-1.1.0"], "--producer is about a file"),
        (["--checkpoint", "RUN", "--export-target", "x"], "--export-target is about a file"),
        (
            ["--checkpoint", "RUN", "--export", "FILE", "--export-target", "lava"],
            "target: expected None or one of",
        ),
        (["--checkpoint", "RUN", "--export", "NO/net.nir"], "is no folder"),
        (["--nir", "SMALL", "--checkpoint", "RUN", "--nir-method", "exp"], "expected a network wi"),
    ],
)
def test_bad_input(
    flags: list[str], words: str, tiny_run: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "not.nir").write_text("no network")
    small = nir.NIRGraph.from_list(nir.Linear(np.ones((3, 4))))
    nir.write(str(tmp_path / "small.nir"), small)
    where = {
        "RUN": str(tiny_run),
        "NOT": str(tmp_path / "not.nir"),
        "FILE": str(tmp_path / "net.nir"),
        "SMALL": str(tmp_path / "small.nir"),
        "NO/net.nir": str(tmp_path / "no" / "net.nir"),
    }
    assert main([where.get(flag, flag) for flag in flags]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("method", ["first_spike", "eventprop"])
def test_continuous_time_cannot_be_said(method: Any, tmp_path: Path) -> None:
    task, settings = YinYang(), YinYangConfig(network=YinYangNetwork(method=method))
    trained = Restored(task, settings, task.build(settings), None, 0, tmp_path)
    with pytest.raises(ConfigError, match="runs in continuous time; add --method surrogate"):
        export_network(trained, tmp_path / "net.nir")
    assert not (tmp_path / "net.nir").exists()


@pytest.mark.slow
def test_points_in_time_steps_are_rasters_for_others(
    train_yin_yang: Any, tmp_path: Path, capsys: Any
) -> None:
    run, file = tmp_path / "run", str(tmp_path / "net.nir")
    assert train_yin_yang(run, "--method", "surrogate") == 0
    before = evaluated(capsys, "--checkpoint", str(run), "--export", file)
    after = evaluated(capsys, "--nir", file)
    for key in SAME:
        assert after[key] == before[key], key
