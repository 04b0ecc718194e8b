"""Test accuracy on recorded data; rewrites benchmarks/results/real_data.json.

    python -m benchmarks.accuracy.real_data --data-dir FOLDER                 all rows
    python -m benchmarks.accuracy.real_data --data-dir FOLDER --rows layers   those that begin so

FOLDER holds a folder of files, or a link to one, for each task: spoken_digits with the recordings,
fashion_mnist with the four IDX files. Each run is written as it ends, and one that stands in the
results with the same command is not run again: a benchmark that was stopped goes on.

- ``digits``, ``fashion``: the recipes that `docs/real_data.md` recommends.
- ``layers``: what each part of the network brings on spoken digits; a short recipe.
- ``speakers``: all recordings of one speaker are the test part, and nothing of that speaker is in
  training and validation; the same short recipe for spiking neurons, a GRU and a convolution over
  time (`benchmarks/accuracy/conventional.py`) of the same size.
- ``chosen by``: by the validation part of these runs, of another seed, was the learning rate of
  the short recipe chosen: the same number of runs for each of the three networks.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import write_results
from benchmarks.rows import Row, Shown, once, summary

RESULTS = Path(__file__).parents[1] / "results" / "real_data.json"
COMMAND = "python -m benchmarks.accuracy.real_data --data-dir FOLDER"

LIF = "--neuron lif --tau-mem 50e-3 --tau-syn 20e-3 --input-gain 2 --layer-gain 4"
ALIF = "--neuron alif --tau-mem 50e-3 --input-gain 0.6 --layer-gain 1.2"
CONV = (
    "--architecture conv --hidden 512 --steps 3 --epochs 15 --batch-size 100 --learning-rate 1.2e-2"
    " --dropout 0.2 --surrogate-slope 2 --pixel-shift 1"
)
PLAIN = "--time-shift 0 --stretch 0 --channel-shift 0 --band-drop 0 --slot-drop 0 --jitter 0"
SHORT = "--epochs 8"
CHOSEN, REPORTED = (10,), (0,)

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
SPIKING, GRU, TCN = (
    "spoken_digits",
    "run benchmarks.accuracy.conventional:GRU",
    "run benchmarks.accuracy.conventional:TCN",
)
RATES = {
    "adLIF": (SPIKING, ("7e-3", "1.4e-2", "2.8e-2")),
    "GRU": (GRU, ("2.5e-3", "5e-3", "1e-2")),
    "TCN": (TCN, ("2.5e-3", "5e-3", "1e-2")),
}
"""Networks by name: the task, and learning rates of which one was chosen."""
CHOSEN_RATE = {"adLIF": "2.8e-2", "GRU": "5e-3", "TCN": "5e-3"}
"""The rate of the best validation; of equal ones the middle of the three."""

LAYERS = {
    "LIF": f"{LIF} --no-recurrent {PLAIN}",
    "LIF, delays": f"{LIF} --no-recurrent --max-delay 0.2 {PLAIN}",
    "LIF, recurrent": f"{LIF} {PLAIN}",
    "ALIF, recurrent": f"{ALIF} {PLAIN}",
    "adLIF, recurrent": PLAIN,
    "adLIF, recurrent, delays": f"--max-delay 0.2 {PLAIN}",
    "adLIF, recurrent, augmented": "",
    "adLIF, recurrent, delays, augmented": "--max-delay 0.2",
}
"""Flags of each network, all with the short recipe."""


class Case(NamedTuple):
    """A row: the files, the task and the runs."""

    files: str
    task: str
    row: Row


def _digits(flags: str, *, task: str = SPIKING, seeds: tuple[int, ...] = REPORTED) -> Case:
    return Case("spoken_digits", task, Row(flags.strip(), seeds))


ROWS: dict[str, Case] = {
    "digits": Case("spoken_digits", SPIKING, Row(required=0.975)),
    **{
        f"layers: {name}": _digits(f"{SHORT} --learning-rate {CHOSEN_RATE['adLIF']} {flags}")
        for name, flags in LAYERS.items()
    },
    **{
        f"speakers: {name} without {speaker}": _digits(
            f"{SHORT} --learning-rate {CHOSEN_RATE[name]} --leave-out {speaker}", task=task
        )
        for speaker in SPEAKERS
        for name, (task, _) in RATES.items()
    },
    "fashion: mlp": Case("fashion_mnist", "fashion_mnist", Row(required=0.895)),
    "fashion: conv": Case(
        "fashion_mnist",
        "fashion_mnist",
        Row(CONV, required=0.92),
    ),
    "fashion: latency": Case(
        "fashion_mnist", "fashion_mnist", Row("--encoding latency --steps 16 --epochs 20", REPORTED)
    ),
    **{
        f"chosen by: {name} at {rate}": _digits(
            f"{SHORT} --learning-rate {rate}", task=task, seeds=CHOSEN
        )
        for name, (task, rates) in RATES.items()
        for rate in rates
    },
}
"""The rows by their names."""


def sizes(run: Shown) -> dict[str, Any]:
    """Returns the number of parameters, which the command says, and how active the layers are."""
    words = next(part for part in run.text.split(", ") if part.endswith(" parameters"))
    return {
        "epochs": run.result["epochs"],
        "parameters": int(words.split()[0]),
        "training_seconds": run.result["training_seconds"],
        "rates_hz": {name: round(hz, 2) for name, hz in run.result["test_rates_hz"].items()},
    }


def over_speakers(rows: dict[str, Any]) -> dict[str, Any]:
    """Returns the mean of each network over the speakers, where all six are there."""
    found = {}
    for name in RATES:
        each = [rows.get(f"speakers: {name} without {speaker}") for speaker in SPEAKERS]
        if all(each):
            tests = [row["mean"] for row in each if row]
            found[name] = {"mean": round(statistics.mean(tests), 6), "worst": min(tests)}
    return found


def stored_rows() -> dict[str, Any]:
    """Returns the rows of the results, read anew: another process may measure other rows."""
    if not RESULTS.exists():
        return {}
    rows: dict[str, Any] = json.loads(RESULTS.read_text())["rows"]
    return rows


def keep(name: str, found: dict[str, Any]) -> None:
    """Writes a row into the results."""
    kept = stored_rows() | {name: found}
    rows = {each: kept[each] for each in ROWS if each in kept}
    write_results(RESULTS, COMMAND, {"leave one speaker out": over_speakers(rows), "rows": rows})


def measure(name: str, case: Case, data_dir: Path) -> None:
    """Runs the seeds of a row that are not there yet; writes the row after each."""
    task, row = case.task, case.row
    before = stored_rows().get(name, {})
    # Other flags are another row of the same name.
    same = before.get("command") == summary(task, row, {"": {"test": 0.0}})["command"]
    runs: dict[str, Any] = dict(before["runs"]) if same else {}
    for flags in row.commands():
        if flags.removeprefix(row.flags).strip() in runs:
            continue
        where = f"--data-dir {data_dir / case.files}"
        seed, scores = once(task, name, row, flags, sizes, where)
        runs[seed] = scores
        keep(name, summary(task, row, runs))


def main() -> None:
    """Measures rows and rewrites the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy.real_data")
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="folder with one for each task"
    )
    parser.add_argument("--rows", nargs="*", default=[""], help="beginnings of names of rows")
    flags = parser.parse_args()
    for name, case in ROWS.items():
        if any(name.startswith(beginning) for beginning in flags.rows):
            measure(name, case, flags.data_dir.expanduser().absolute())


if __name__ == "__main__":
    main()
