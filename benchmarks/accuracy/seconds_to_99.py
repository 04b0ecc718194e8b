"""Process start to 99 % validation accuracy on the default Randman, by time loop.

    python -m benchmarks.accuracy.seconds_to_99

rewrites benchmarks/results/seconds_to_99.json: `python -m train.randman` with ``--time-loop scan``
and ``--time-loop fused`` in turns, seeds 0, 1, 2, with the compilation cache as users have it, warm
after a first run of each, and no pictures. Seconds are from the start of the process to the line of
metrics of the first epoch at 99 % or more. About five minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import write_results

RESULTS = Path(__file__).parents[1] / "results" / "seconds_to_99.json"
COMMAND = "python -m benchmarks.accuracy.seconds_to_99"
LOOPS = ("scan", "fused")


def run(loop: str, seed: int, folder: Path) -> dict[str, Any]:
    """Return seconds to 99 %, epochs, and seconds per epoch of a run."""
    workdir = folder / f"{loop}_{seed}_{time.monotonic_ns()}"
    flags = ["--workdir", str(workdir), "--seed", str(seed), "--time-loop", loop, "--epochs", "12"]
    flags += ["--no-plots", "--quiet", "--cache-dir", str(folder / "cache")]
    begin = time.time()
    subprocess.run([sys.executable, "-m", "train.randman", *flags], check=True, capture_output=True)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    first = next(line for line in lines if line["validation_accuracy"] >= 0.99)
    result = json.loads((workdir / "result.json").read_text())
    started = result["first_step_unix_time"] - begin
    return {
        "epochs to 99 %": first["epoch"],
        "seconds to the first step": round(started, 2),
        "seconds from there": round(first["seconds"], 2),
        "seconds to 99 %": round(started + first["seconds"], 2),
        "seconds per epoch": round(lines[-1]["seconds"] / len(lines), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.seconds_to_99")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    rows: dict[str, list[dict[str, Any]]] = {loop: [] for loop in LOOPS}
    with tempfile.TemporaryDirectory() as name:
        for loop in LOOPS:
            run(loop, options.seeds[0], Path(name))  # fills the compilation cache
        for seed in options.seeds:
            for loop in LOOPS:
                rows[loop].append(run(loop, seed, Path(name)))
                print(loop, seed, rows[loop][-1], flush=True)
    medians = {
        loop: {key: statistics.median(r[key] for r in found) for key in found[0]}
        for loop, found in rows.items()
    }
    ratios = {
        key: round(medians["fused"][key] / medians["scan"][key], 3) for key in medians["scan"]
    }
    print("fused / scan:", ratios)
    write_results(RESULTS, COMMAND, {"runs": rows, "medians": medians, "fused / scan": ratios})


if __name__ == "__main__":
    main()
