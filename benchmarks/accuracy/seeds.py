"""Ten seeds of Randman in one command beside ten processes; rewrites benchmarks/results/seeds.json.

    python -m benchmarks.accuracy.seeds [--seeds 10] [--epochs 30] [--rounds 1]

Ten processes, one after the other, each with the compilation cache of the one before; the same ten
processes, as many at a time as there are cores; and one command, ``--seeds 0-9``. All write the
same checkpoints, without pictures. In each round all three run, in turns.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import write_results

RESULTS = Path(__file__).parents[1] / "results" / "seeds.json"


def train(folder: Path, *flags: str) -> None:
    """Run the command once."""
    cache = ["--cache-dir", str(folder.parent / "cache"), "--no-plots", "--quiet"]
    command = [sys.executable, "-m", "train.randman", "--workdir", str(folder), *cache, *flags]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def ways(seeds: int, epochs: int) -> dict[str, Callable[[Path], None]]:
    """Return the three ways, each a function of the folder that it may write to."""
    flags = ("--epochs", str(epochs))

    def process(folder: Path, seed: int) -> None:
        train(folder / f"seed_{seed}", *flags, "--seed", str(seed))

    def one_by_one(folder: Path) -> None:
        for seed in range(seeds):
            process(folder, seed)

    def at_a_time(folder: Path) -> None:
        with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            list(pool.map(lambda seed: process(folder, seed), range(seeds)))

    def one_command(folder: Path) -> None:
        train(folder / "all", *flags, "--seeds", f"0-{seeds - 1}")

    return {
        "processes, one after the other": one_by_one,
        "processes, as many as cores": at_a_time,
        "one command": one_command,
    }


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy.seeds", description=__doc__
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, run in ways(options.seeds, options.epochs).items():
            with tempfile.TemporaryDirectory() as folder:
                begun = time.perf_counter()
                run(Path(folder) / "runs")
                seconds.setdefault(name, []).append(time.perf_counter() - begun)
                print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    one = medians["one command"]
    found: dict[str, Any] = {
        "seeds": options.seeds,
        "epochs": options.epochs,
        "seconds": {name: [round(s, 1) for s in each] for name, each in seconds.items()},
        "ratio": {n: round(one / s, 2) for n, s in medians.items() if n != "one command"},
    }
    print(found["ratio"])
    write_results(RESULTS, "python -m benchmarks.accuracy.seeds", found)


if __name__ == "__main__":
    main()
