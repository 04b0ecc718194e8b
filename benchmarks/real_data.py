"""Test accuracy on recorded data; rewrites benchmarks/results/real_data.json.

    python -m benchmarks.real_data --data-dir FOLDER                 all rows
    python -m benchmarks.real_data --data-dir FOLDER --rows digits   those whose names begin so

FOLDER holds a folder of files, or a link to one, for each task: spoken_digits with the recordings,
fashion_mnist with the four IDX files. Rows of seed 10 were looked at to choose a recipe, and their
validation is what it was chosen by; the seeds reported are 0 to 2.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, write_results
from benchmarks.rows import Row, Shown, measure
from train.tasks.recorded.task import FOLDER

RESULTS = Path(__file__).parent / "results" / "real_data.json"

LIF = "--neuron lif --tau-mem 50e-3 --tau-syn 20e-3 --input-gain 2 --layer-gain 4"
ALIF = "--neuron alif --tau-mem 50e-3 --input-gain 0.6 --layer-gain 1.2"
NO_AUGMENTATION = (
    "--time-shift 0 --stretch 0 --channel-shift 0 --band-drop 0 --slot-drop 0 --jitter 0"
)
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
CHOSEN = (10,)

ROWS: dict[str, tuple[str, Row]] = {
    "digits, default": ("spoken_digits", Row(required=0.975)),
    "digits, LIF": ("spoken_digits", Row(LIF)),
    "digits, LIF, no augmentation": ("spoken_digits", Row(f"{LIF} {NO_AUGMENTATION}")),
    "digits, LIF, feed-forward": ("spoken_digits", Row(f"{LIF} --no-recurrent")),
    "digits, LIF, delays": ("spoken_digits", Row(f"{LIF} --no-recurrent --max-delay 0.2")),
    "digits, ALIF": ("spoken_digits", Row(ALIF)),
    "digits, adLIF, no augmentation": ("spoken_digits", Row(NO_AUGMENTATION)),
    **{
        f"digits, without {speaker}": ("spoken_digits", Row(f"--leave-out {speaker}", (0,)))
        for speaker in SPEAKERS
    },
    "fashion, mlp": ("fashion_mnist", Row(required=0.895)),
    "fashion, conv": (
        "fashion_mnist",
        Row("--architecture conv --hidden 256 --steps 4 --epochs 15", required=0.92),
    ),
    "fashion, mlp, latency": ("fashion_mnist", Row("--encoding latency --steps 16")),
    "chosen by: digits, default": ("spoken_digits", Row(seeds=CHOSEN)),
}
"""The task and the runs of each row."""


def sizes(run: Shown) -> dict[str, Any]:
    """Returns the number of parameters, which the command says, and how active the layers are."""
    words = next(part for part in run.text.split(", ") if part.endswith(" parameters"))
    return {
        "parameters": int(words.split()[0]),
        "training_seconds": run.result["training_seconds"],
        "rates_hz": {name: round(hz, 2) for name, hz in run.result["test_rates_hz"].items()},
    }


def main() -> None:
    """Measures rows and rewrites the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_data")
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="folder with one for each task"
    )
    parser.add_argument("--rows", nargs="*", default=[""], help="beginnings of names of rows")
    flags = parser.parse_args()
    os.environ[FOLDER] = str(flags.data_dir.expanduser().absolute())
    for name, (task, row) in ROWS.items():
        if not any(name.startswith(beginning) for beginning in flags.rows):
            continue
        found = measure(task, name, row, sizes) | {"machine": describe_machine()}
        # Read anew: another process may measure other rows.
        stored = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else {}
        kept = stored | {name: found}
        rows = {n: kept[n] for n in ROWS if n in kept}
        write_results(RESULTS, "python -m benchmarks.real_data --data-dir FOLDER", {"rows": rows})
        print(f"{name}: mean {found['mean']:.2%}", flush=True)


if __name__ == "__main__":
    main()
