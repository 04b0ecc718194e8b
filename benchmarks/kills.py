"""Runs that are killed at random moments and resumed; rewrites benchmarks/results/kills.json.

    python -m benchmarks.kills

trains once without disturbance, then 20 times with SIGKILL at a random moment of the last two
thirds of that time, in which it trains; ``--resume`` then goes on. Counts the runs whose metrics,
result and all arrays of the last checkpoint are bit for bit those of the undisturbed run. About six
minutes.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.machine import write_results

RESULTS = Path(__file__).parent / "results" / "kills.json"
COMMAND = "python -m benchmarks.kills"
FLAGS = "--classes 4 --hidden 32 --samples-per-class 500 --epochs 40 --no-plots --quiet".split()
KILLS, SEED = 20, 0


def start(path: Path, *flags: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "train.randman", "--workdir", str(path), *FLAGS, *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def finish(path: Path, *flags: str) -> float:
    """Run to the end; return the seconds it took."""
    begun = time.time()
    if start(path, *flags).wait() != 0:
        raise RuntimeError(f"{path}: the run failed")
    return time.time() - begun


def content(path: Path) -> dict[str, Any]:
    """All of a run that does not tell the time."""
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
    timeless = {k: v for k, v in result.items() if "seconds" not in k and "time" not in k}
    metrics = [{k: v for k, v in record.items() if k != "seconds"} for record in records]
    return {"arrays": arrays, "metrics": metrics, "result": timeless}


def killed(path: Path, moment: float) -> dict[str, Any]:
    """Kill a run at a moment, then let it finish; say what was on disk when it died."""
    process = start(path)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    code = process.wait()
    metrics = path / "metrics.jsonl"
    epochs = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    finish(path, "--resume")
    return {"moment_s": round(moment, 2), "exit_code": code, "epochs_in_metrics": epochs}


def main() -> None:
    moments = random.Random(SEED)
    with tempfile.TemporaryDirectory() as folder:
        finish(Path(folder, "warm-up"))
        seconds = finish(Path(folder, "undisturbed"))
        wanted = content(Path(folder, "undisturbed"))
        runs = []
        for k in range(KILLS):
            path = Path(folder, f"killed-{k}")
            run = killed(path, moments.uniform(seconds / 3, seconds))
            runs.append(run | {"identical": content(path) == wanted})
            print(k, runs[-1], flush=True)
    identical = sum(run["identical"] for run in runs)
    print(f"{identical} of {KILLS} runs ended identical to the undisturbed one")
    facts = {"flags": FLAGS, "undisturbed_s": round(seconds, 2), "identical": identical}
    write_results(RESULTS, COMMAND, {**facts, "kills": KILLS, "runs": runs})


if __name__ == "__main__":
    main()
