"""Runs of several processes over loopback: as one process, stopped, killed, and taken up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.train.conftest import FLAGS
from tests.train.run.several import ROOT, Processes, environment
from train.store.read import latest_checkpoint

pytestmark = pytest.mark.slow

# Silent for longer than a crowded machine leaves a process without time.
COMMAND = ["train.randman", *(flag for flag in FLAGS if flag != "--quiet"), "--heartbeat", "400"]


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_close_runs(run: Path, other: Path) -> None:
    """Compare all numbers of all epochs, and the parameters: float32, summed in another order."""
    ours, right = records(run), records(other)
    assert [r["epoch"] for r in ours] == [r["epoch"] for r in right]
    for a, b in zip(ours, right, strict=True):
        for name in ("train_loss", "validation_loss", "grad_norm", "learning_rate"):
            assert a[name] == pytest.approx(b[name], rel=2e-6), name
        assert a["rates_hz"] == pytest.approx(b["rates_hz"], rel=1e-6)
        assert a["train_accuracy"] == b["train_accuracy"]
    # Adam divides by the gradient's size: a relative error there is one of the whole step.
    for x, y in zip(parameters(run), parameters(other), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-5 * np.abs(y).max())


def parameters(run: Path) -> list[np.ndarray]:
    import jax

    checkpoint = latest_checkpoint(run)
    assert checkpoint is not None
    return [np.asarray(x) for x in jax.tree.leaves(checkpoint.parameters())]


@pytest.mark.parametrize(
    ("count", "devices", "feed"),
    [(2, 1, ["--feed", "streamed", "--chunk", "3"]), (2, 2, []), (4, 1, [])],
)
def test_several_processes_train_as_one(
    train: Callable[..., int], tmp_path: Path, count: int, devices: int, feed: list[str]
) -> None:
    run, one = tmp_path / "run", tmp_path / "one"
    flags = [*feed, "--devices", str(count * devices), "--workdir", str(run)]
    with Processes(tmp_path, [*COMMAND, *flags], count, devices) as processes:
        assert processes.codes() == [0] * count, processes.text(0)
        # One of them speaks.
        assert "epoch 2/2" in processes.text(0) and "epoch 1/2" not in processes.text(1)
        assert processes.text(0).count("evaluate it:") == 1
    assert train(one, *feed) == 0
    assert_close_runs(run, one)
    # What was restored for it is checked by the sum that the several processes took of their
    # arrays; it goes on here, on one device.
    before = records(run)
    assert train(run, "--resume", "--epochs", "3") == 0
    assert len(records(run)) == 3 and records(run)[:2] == before


def test_a_signal_to_one_process_stops_all(train: Callable[..., int], tmp_path: Path) -> None:
    run, one = tmp_path / "run", tmp_path / "one"
    flags = ["--epochs", "8", "--save-every", "0"]
    with Processes(tmp_path, [*COMMAND, *flags, "--workdir", str(run)], 2) as processes:
        processes.wait_for("epoch 2/8")
        processes.running[1].send_signal(signal.SIGTERM)
        assert processes.codes() == [143, 143], processes.text(0)
        assert processes.text(0).count("stopped early; all that was computed is saved") == 1
    done = len(records(run))
    assert 2 <= done < 8
    assert train(run, "--resume", *flags) == 0
    assert train(one, *flags) == 0
    assert [record["epoch"] for record in records(run)] == list(range(1, 9))
    for ours, right in zip(records(run), records(one), strict=True):
        assert ours["train_loss"] == pytest.approx(right["train_loss"], rel=1e-5)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies_ends_all_and_the_run_goes_on(
    train: Callable[..., int], tmp_path: Path, victim: int
) -> None:
    run = tmp_path / "run"
    flags = ["--epochs", "10", "--save-every", "0"]
    with Processes(tmp_path, [*COMMAND, *flags, "--workdir", str(run)], 2) as processes:
        processes.wait_for("epoch 3/10")
        processes.running[victim].kill()
        # A broken connection may be noticed at once, and is by --heartbeat.
        codes = processes.codes()
        assert codes[victim] == -signal.SIGKILL and codes[1 - victim] not in (0, 2)
        # Either the app notices it first, or the thread of JAX that watches the other processes:
        # what to do then was said at the beginning.
        said = processes.text(1 - victim)
        assert f"process {1 - victim} of 2: if another dies" in said, said
        if victim == 1:
            assert "cannot be reached" in said or "another task died" in said, said
    saved = len(records(run))
    assert 2 <= saved < 10
    assert train(run, "--resume", *flags) == 0
    assert [record["epoch"] for record in records(run)] == list(range(1, 11))


def slurm(k: int) -> dict[str, str]:
    """What ``srun -n 2`` sets; the port follows from the number of the job."""
    names = ("JOB_ID", "STEP_NODELIST", "NTASKS", "PROCID", "LOCALID", "STEP_NUM_NODES")
    values = (str(JOB), "localhost", "2", str(k), str(k), "1")
    return dict(zip((f"SLURM_{name}" for name in names), values, strict=True))


def open_mpi(k: int) -> dict[str, str]:
    """What ``mpirun -n 2`` of Open MPI 4 sets."""
    names = ("SIZE", "RANK", "LOCAL_RANK")
    found = zip((f"OMPI_COMM_WORLD_{n}" for n in names), ("2", str(k), str(k)), strict=True)
    return {**dict(found), "OMPI_MCA_orte_hnp_uri": f"{(JOB + 1) * 4096}.0;tcp://127.0.0.1:1"}


JOB = os.getpid()


@pytest.mark.parametrize("cluster", [slurm, open_mpi])
def test_processes_find_each_other_where_a_scheduler_has_started_them(
    tmp_path: Path, cluster: Callable[[int], dict[str, str]]
) -> None:
    command = [*COMMAND, "--batch-size", "15", "--workdir", str(tmp_path / "run")]
    with Processes(tmp_path, command, 2, cluster=cluster) as processes:
        assert processes.codes() == [2, 2], processes.text(0)
        # Each has counted the device of the other one.
        assert "expected a multiple of the 2 devices" in processes.text(0)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--batch-size", "15"], "--batch-size 15: expected a multiple of the 2 devices"),
        (["--devices", "3"], "--devices 3: expected a multiple of 2"),
        (["--devices", "4"], "--devices 4: expected at most the 1 devices there are, got 2"),
        (["--seeds", "0-1"], "several runs (--seeds, train.sweep) share one process"),
    ],
)
def test_flags_that_are_refused_are_refused_once(
    tmp_path: Path, flags: list[str], words: str
) -> None:
    command = [*COMMAND, *flags, "--workdir", str(tmp_path / "run")]
    with Processes(tmp_path, command, 2) as processes:
        assert processes.codes() == [2, 2], processes.text(0)
        assert words in processes.text(0)
        assert "error" not in processes.text(1) and "Traceback" not in processes.text(0)
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("saved", "restored"), [((8, 1), (1, 1)), ((1, 1), (8, 1)), ((8, 2), (4, 4))]
)
def test_what_was_saved_on_some_devices_is_restored_on_others(
    tmp_path: Path, saved: tuple[int, int], restored: tuple[int, int]
) -> None:
    words = [str(n) for n in (*saved, *restored)]
    line = [sys.executable, "-m", "tests.train.run.test_devices_processes", str(tmp_path), *words]
    done = subprocess.run(
        line, cwd=ROOT, env=environment(8), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["different"] == []
    assert found["where"] and found["arrays"] > 10


def main(folder: str, *numbers: str) -> None:
    """Save a state on some devices, restore it on others, and compare all bits."""
    import jax

    from train import processes
    from train.command_line import parse
    from train.progress.report import Progress
    from train.run.loop import begin
    from train.run.prepare import prepare
    from train.store.contents import arrays
    from train.store.write import CheckpointWriter
    from train.tasks.randman import Randman

    def made(devices: str, model: str) -> Any:
        spread = ["--devices", devices, "--model-devices", model, "--hidden", "128"]
        settings, options = parse(Randman(), [*FLAGS, *spread], Randman().settings())
        return prepare(Randman(), settings, options, Path(folder) / "run")

    run, other = made(*numbers[:2]), made(*numbers[2:])
    begin(run, Randman(), False, Progress(2, True))
    (chunk,) = run.feed.chunks(1, 0)
    state, _ = run.train(run.first, chunk.samples, chunk.order)
    place = {"epochs_done": 1, "batches_done": 0, "stream": None, "sums": None, "seconds": 0.0}
    record = {"epoch": 1, "validation_accuracy": 0.5}
    with CheckpointWriter(run.path, run.settings, "accuracy") as writer:
        writer.save(1, state, place, record)
    (run.path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    checkpoint = latest_checkpoint(run.path)
    assert checkpoint is not None
    back = checkpoint.restore(other.first)
    ours, right = (jax.tree.leaves(processes.on_host(arrays(x))) for x in (state, back))
    pairs = zip(ours, right, strict=True)
    equal = [a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in pairs]
    where = jax.tree.map(lambda a, b: a.sharding == b.sharding, back.params, other.first.params)
    found = {
        "different": [k for k, same in enumerate(equal) if not same],
        "where": all(jax.tree.leaves(where)),
        "arrays": len(equal),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main(*sys.argv[1:])
