"""Accuracy of networks on phase-change memory; rewrites benchmarks/results/crossbar_<task>.json.

    python -m benchmarks.crossbar.accuracy randman
    python -m benchmarks.crossbar.accuracy yin_yang

Each seed is trained twice, for numbers and for crossbars, and both networks are programmed on ten
chips (all layers on crossbars, preset pcm; Yin-Yang with inputs scaled to their largest) that are
looked at after 1 s, 1 h, 1 day and 1 year, with and without drift compensation. Seeds that the file
holds are kept; ``--again`` measures them anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import write_results

FLAGS = {"randman": "", "yin_yang": "--method surrogate --epochs 80"}
CROSSBAR = {"randman": "--crossbar pcm", "yin_yang": "--crossbar pcm --crossbar-scaling abs_max"}
SEEDS, CHIPS = 5, 10
NETWORKS = ("naive", "hardware-aware")


def measure(task: str, seed: int) -> dict[str, Any]:
    """Train both networks of a seed, and run them on chips."""
    found = {}
    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            run = str(Path(folder, "run"))
            _call(f"{_command(task, name)} --seed {seed} --no-plots --quiet --workdir {run}")
            seconds = json.loads(Path(run, "result.json").read_text())["training_seconds"]
            shown = _call(
                f"train.evaluate --checkpoint {run} {CROSSBAR[task]} --repeats {CHIPS} --no-sweeps"
                " --json"
            )
        (chips,) = json.loads(shown.splitlines()[-1])["chips"]["results"].values()
        found[name] = {
            "digital": chips["digital"]["score"],
            "rates_hz": chips["digital"]["rates_hz"],
            "training_seconds": seconds,
            "times": chips["times"],
        }
        last = [r for r in chips["times"] if r["time"] == "1d" and r["compensation"]][0]
        print(f"{task}, seed {seed}, {name}: 1 day {last['mean']:.2%}", flush=True)
    return found


def summary(seeds: dict[str, Any]) -> dict[str, Any]:
    """Return means and deviations over all chips of all seeds, for each network and time."""
    rows: dict[str, Any] = {}
    for name in NETWORKS:
        digital = [found[name]["digital"] for found in seeds.values()]
        rows[name] = {"digital": _spread(digital)}
        for k, row in enumerate(next(iter(seeds.values()))[name]["times"]):
            label = f"{row['time']}{', compensated' if row['compensation'] else ''}"
            scores = [s for found in seeds.values() for s in found[name]["times"][k]["scores"]]
            rows[name][label] = _spread(scores)
    return rows


def main() -> None:
    """Measure the seeds of a task that are missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crossbar.accuracy")
    parser.add_argument("task", choices=sorted(FLAGS))
    parser.add_argument("--again", action="store_true", help="measure all seeds anew")
    options = parser.parse_args()
    task = options.task
    path = Path(__file__).parents[1] / "results" / f"crossbar_{task}.json"
    held = path.exists() and not options.again
    seeds: dict[str, Any] = json.loads(path.read_text())["seeds"] if held else {}
    commands = {name: f"python -m {_command(task, name)}" for name in NETWORKS}
    for seed in map(str, range(SEEDS)):
        if seed in seeds:
            continue
        seeds[seed] = measure(task, int(seed))
        results = {"networks": commands, "chips": CHIPS, "summary": summary(seeds), "seeds": seeds}
        write_results(path, f"python -m benchmarks.crossbar.accuracy {task}", results)
    for name, row in summary(seeds).items():
        for label, found in row.items():
            mean, deviation = found["mean"], found["deviation"]
            print(f"{name:<16} {label:<18} {mean:8.2%} +- {deviation:.2%}")


def _command(task: str, name: str) -> str:
    crossbar = "" if name == "naive" else CROSSBAR[task]
    return " ".join(f"train.{task} {FLAGS[task]} {crossbar}".split())


def _spread(scores: list[float]) -> dict[str, float]:
    deviation = statistics.stdev(scores) if len(scores) > 1 else 0.0
    return {"mean": round(statistics.mean(scores), 6), "deviation": round(deviation, 6)}


def _call(arguments: str) -> str:
    command = [sys.executable, "-m", *arguments.split()]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    main()
