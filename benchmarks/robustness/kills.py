"""Runs that are killed at bad moments and resumed; rewrites benchmarks/results/kills.json.

    python -m benchmarks.robustness.kills

trains once without disturbance, then 50 times with a SIGKILL: while it trains, while a checkpoint
is written (both after an epoch that is drawn for each run), between the last checkpoint and the
result (evaluation), while pictures are drawn, while TFDS prepares data, and, of a run of two
processes, one of them while they train. Then
``--resume`` goes on. Counted are the runs whose metrics, result and all arrays of the last
checkpoint are then bit for bit those of the undisturbed run, with nothing left over that the
undisturbed run has not. About a quarter of an hour.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.machine import write_results

RESULTS = Path(__file__).parents[1] / "results" / "kills.json"
COMMAND = "python -m benchmarks.robustness.kills"
FLAGS = (
    "--classes 2 --units 8 --alpha 3 --steps 50 --dt 2e-3 --hidden 16 --samples-per-class 200"
    " --epochs 60 --save-every 0 --quiet"
).split()
PREPARE = "--samples-per-class 4000 --epochs 3 --data tfds".split()
SEED = 0


class Phase(NamedTuple):
    """Where runs are killed.

    Attributes:
      kills: how many of them.
      flags: flags of all its runs.
      begun: whether the moment has come, asked every millisecond.
      spread: largest delay from then on to the kill, in seconds, uniform.
      epochs: least and most epochs that have to be in the metrics before, uniform.
      processes: processes of a run, of which the last one is killed.
    """

    kills: int
    flags: list[str]
    begun: Callable[[Path], bool]
    spread: float
    epochs: tuple[int, int] = (0, 0)
    processes: int = 1


def lines(path: Path) -> int:
    try:
        return (path / "metrics.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def at_once(path: Path) -> bool:
    return True


def saving(path: Path) -> bool:
    return any((path / "checkpoints").glob("*.orbax-checkpoint-tmp*"))


def drawing(path: Path) -> bool:
    return (path / "plots").exists()


def preparing(path: Path) -> bool:
    return any(path.with_name("data").rglob("incomplete.*"))


PHASES = {
    "training": Phase(15, ["--no-plots"], at_once, 0.2, epochs=(1, 55)),
    "saving": Phase(12, ["--no-plots"], saving, 0.03, epochs=(0, 55)),
    "evaluation": Phase(6, ["--no-plots"], at_once, 0.3, epochs=(60, 60)),
    "drawing": Phase(6, [], drawing, 1.5),
    "preparation": Phase(6, ["--no-plots", *PREPARE], preparing, 0.4),
    "two processes": Phase(5, ["--no-plots"], at_once, 0.2, epochs=(1, 50), processes=2),
}


def commands(path: Path, flags: Sequence[str], processes: int) -> Iterator[list[str]]:
    """Yield the command of each process of a run."""
    command = [sys.executable, "-m", "train.randman", "--workdir", str(path), *FLAGS, *flags]
    if "tfds" in flags:
        command += ["--data-dir", str(path.with_name("data"))]
    if processes == 1:
        yield command
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    many = ["--coordinator", f"127.0.0.1:{port}", "--processes", str(processes), "--devices", "2"]
    for k in range(processes):
        yield [*command, *many, "--process", str(k)]


def start(path: Path, flags: Sequence[str], processes: int) -> list[subprocess.Popen[bytes]]:
    nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return [subprocess.Popen(c, **nowhere) for c in commands(path, flags, processes)]  # type: ignore[call-overload]


def finish(path: Path, flags: Sequence[str], processes: int) -> float:
    """Run to the end; return the seconds it took."""
    begun = time.time()
    codes = [process.wait() for process in start(path, flags, processes)]
    if any(codes):
        raise RuntimeError(f"{path}: the run failed with {codes}")
    return time.time() - begun


def content(path: Path) -> dict[str, Any]:
    """All of a run that does not tell the time, nor its name."""
    from train.restored.run import restore
    from train.run.step import create_state
    from train.store.read import latest_checkpoint

    trained = restore(path)
    checkpoint = latest_checkpoint(path)
    assert checkpoint is not None
    config = trained.settings.training
    like = jax.eval_shape(lambda s: create_state(trained.model, config, 1, s), np.uint32(0))
    arrays = [np.asarray(x).tobytes() for x in jax.tree.leaves(checkpoint.restore(like))]
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((path / "result.json").read_text())
    own = ("run", "lines", "checksum")
    timeless = {k: v for k, v in result.items() if not ("seconds" in k or "time" in k or k in own)}
    metrics = [{k: v for k, v in record.items() if k != "seconds"} for record in records]
    folders = sorted(p.name for p in (path / "checkpoints").iterdir())
    files = sorted(p.name for p in path.iterdir())
    data = path.with_name("data")
    halves = sorted(p.name for p in data.rglob("incomplete*")) if data.exists() else []
    found = {"arrays": arrays, "metrics": metrics, "result": timeless}
    return {**found, "files": files, "checkpoints": folders, "halves": halves}


def killed(path: Path, phase: Phase, chance: random.Random) -> dict[str, Any]:
    """Kill a run at its moment, then let it finish; say what was on disk when it died."""
    epochs, delay = chance.randint(*phase.epochs), chance.uniform(0, phase.spread)
    processes = start(path, phase.flags, phase.processes)

    def moment() -> bool:
        return lines(path) >= epochs and phase.begun(path)

    while not moment() and all(process.poll() is None for process in processes):
        time.sleep(0.001)
    time.sleep(delay)
    died = time.time()
    processes[-1].send_signal(signal.SIGKILL)
    codes = [process.wait() for process in processes]
    found = {
        "after_epochs": epochs,
        "delay_s": round(delay, 3),
        "exit_codes": codes,
        "all_ended_after_s": round(time.time() - died, 2),
        "epochs_in_metrics": lines(path),
    }
    finish(path, [*phase.flags, "--resume"], phase.processes)
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0])
    arguments.add_argument("--phases", nargs="*", default=list(PHASES), choices=list(PHASES))
    arguments.add_argument("--most", type=int, default=50, help="kills of a phase at most")
    options = arguments.parse_args()
    chance = random.Random(SEED)
    totals: dict[str, dict[str, int]] = {}
    runs, seconds = [], {}
    for name in options.phases:
        phase = PHASES[name]
        counts: collections.Counter[str] = collections.Counter()
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder, "whole", "run")
            whole.parent.mkdir()
            seconds[name] = round(finish(whole, phase.flags, phase.processes), 2)
            wanted = content(whole)
            for k in range(min(phase.kills, options.most)):
                path = Path(folder, f"killed-{k}", "run")
                path.parent.mkdir()
                found = killed(path, phase, chance)
                ended = content(path)
                other = [key for key in wanted if ended[key] != wanted[key]]
                runs.append({"phase": name, **found, "identical": not other, "differs": other})
                counts.update(kills=1, killed=-9 in found["exit_codes"], identical=not other)
                print(runs[-1], flush=True)
                shutil.rmtree(path.parent)
        totals[name] = dict(counts)
    kills, identical = (sum(t[key] for t in totals.values()) for key in ("kills", "identical"))
    print(f"{identical} of {kills} runs ended identical to the undisturbed one: {totals}")
    if options.phases == list(PHASES) and options.most >= 50:
        facts = {"flags": FLAGS, "undisturbed_s": seconds, "identical": identical, "kills": kills}
        write_results(RESULTS, COMMAND, {**facts, "phases": totals, "runs": runs})


if __name__ == "__main__":
    main()
