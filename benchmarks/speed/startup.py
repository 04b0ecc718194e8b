"""How long a start takes; rewrites benchmarks/results/startup.json.

    python -m benchmarks.speed.startup

Measures in fresh processes: ``import flax_snn`` alone and beside ``import flax.linen``, and for
``python -m train.randman`` with its defaults the time from the start of the process until the first
training step is handed to the device, with an empty compilation cache (cold) and a full one (warm).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import take_no_options, write_results

RESULTS = Path(__file__).parents[1] / "results" / "startup.json"
COMMAND = "python -m benchmarks.speed.startup"

REPEATS = 3


def import_seconds(statement: str) -> float:
    """Time of an import in a fresh process, measured inside it."""
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    output = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    return float(output)


def import_share() -> dict[str, float]:
    """Seconds that each top-level package takes of ``import flax_snn``, by ``-X importtime``."""
    log = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import flax_snn"],
        check=True,
        capture_output=True,
        text=True,
    ).stderr
    own: dict[str, float] = {}
    for line in log.splitlines()[1:]:
        fields = line.removeprefix("import time:").split("|")
        package = fields[-1].strip().split(".")[0]
        own[package] = own.get(package, 0.0) + int(fields[0]) * 1e-6
    largest = sorted(own, key=own.__getitem__, reverse=True)[:6]
    return {package: round(own[package], 3) for package in [*largest, "flax_snn"]}


def first_step_seconds(cache: Path) -> float:
    """Time from the start of a training process to its first step."""
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder, "run")
        flags = ["--epochs", "1", "--quiet", "--workdir", str(workdir), "--cache-dir", str(cache)]
        started = time.time()
        subprocess.run(
            [sys.executable, "-m", "train.randman", *flags], check=True, stdout=subprocess.DEVNULL
        )
        result = json.loads((workdir / "result.json").read_text())
    return result["first_step_unix_time"] - started


def spread(values: list[float]) -> dict[str, Any]:
    return {"median": round(statistics.median(values), 2), "all": [round(v, 2) for v in values]}


def main() -> None:
    take_no_options(COMMAND, __doc__)
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
    cold, warm = [], []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(first_step_seconds(Path(cache)))
            warm.append(first_step_seconds(Path(cache)))
    results = {
        "import flax_snn": spread([import_seconds("import flax_snn") for _ in range(REPEATS)]),
        "import flax.linen": spread([import_seconds("import flax.linen") for _ in range(REPEATS)]),
        "process start to first training step, cold": spread(cold),
        "process start to first training step, warm": spread(warm),
    }
    for name, seconds in results.items():
        print(f"{name:<45} {seconds['median']:6.2f} s   {seconds['all']}")
    shares = import_share()
    write_results(
        RESULTS,
        COMMAND,
        {"unit": "s", "rows": results, "own time by package in import flax_snn": shares},
    )


if __name__ == "__main__":
    main()
