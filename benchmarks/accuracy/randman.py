"""Test accuracy on Randman, all documented rows; rewrites benchmarks/results/randman.json.

    python -m benchmarks.accuracy.randman                        all rows, about an hour on 2 cores
    python -m benchmarks.accuracy.randman --rows deep tutorial   those that begin so; others stay

Every row runs ``python -m train.randman`` with one set of defaults: flags choose the data set, the
shape of the network and the number of epochs. What rows about initial weights, readouts and the
tutorial's own setting change besides is in their commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.rows import Row, Shown, main

RESULTS = Path(__file__).parents[1] / "results" / "randman.json"

FEED_FORWARD = "--variant torch --no-recurrent"
DEEP = "--no-recurrent --hidden 128 128 128 128 128 128 --epochs 15"
GAINS = "--init gains"
FLAX_DEFAULT = "--init gains --input-gain 1 --layer-gain 1 --readout-gain 1"
TUTORIAL_DATA = "--classes 2 --units 16 --dim 2 --alpha 2 --step-frac 1 --dt 1e-3 --hidden 32"
TUTORIAL_TRAINING = (
    "--neuron tutorial --no-learn-tau --optimizer sgd --learning-rate 0.02 --momentum 0.9"
    " --schedule constant --warm-up 0 --clip-norm 0 --label-smoothing 0 --jitter 0 --count-scale 1"
    " --batch-size 48"
)


FIVE = (0, 1, 2, 3, 4)
ROWS = {
    "default, 30 epochs": Row(seeds=FIVE, required=0.99),
    "default, 8 epochs": Row("--epochs 8", FIVE, 0.97, "min"),
    "default, membrane readout": Row("--readout max", FIVE, 0.995),
    "feed-forward, torch variant": Row(FEED_FORWARD, required=0.97),
    "feed-forward, torch variant, gains": Row(f"{FEED_FORWARD} {GAINS}"),
    "feed-forward, torch variant, flax default": Row(f"{FEED_FORWARD} {FLAX_DEFAULT}"),
    "20 classes": Row("--classes 20", required=0.99),
    "dimension 2": Row("--dim 2", required=0.94),
    "dimension 2, data seeds": Row("--dim 2", (0,) * 5, data_seeds=FIVE),
    "paper variant": Row("--variant paper"),
    "torch variant": Row("--variant torch"),
    "tutorial setting, its training": Row(f"{TUTORIAL_DATA} --epochs 20 {TUTORIAL_TRAINING}", FIVE),
    "tutorial setting, ours": Row(f"{TUTORIAL_DATA} --epochs 20", FIVE),
    "deep, lsuv": Row(DEEP),
    "deep, flax default": Row(f"{DEEP} {FLAX_DEFAULT}"),
}


def speed(run: Shown) -> dict[str, Any]:
    """Return how soon a run was good, and how active its layers were before and after."""
    before = [line for line in run.text.splitlines() if line.startswith("before training: valid")]
    return {
        "epochs_to_90": _reached(run.records, 0.90, "epoch", 0),
        "seconds_to_99": _reached(run.records, 0.99, "seconds", run.begun),
        "rates_hz_before": before[0].split(", ", 1)[1],
        "rates_hz": {name: round(hz, 2) for name, hz in run.result["test_rates_hz"].items()},
    }


def _reached(records: list[dict[str, Any]], share: float, unit: str, offset: float) -> Any:
    """Epoch or time at which the validation accuracy first reached a share."""
    found = [r[unit] for r in records if r["validation_accuracy"] >= share]
    return round(found[0] + offset, 1) if found else None


if __name__ == "__main__":
    main("randman", ROWS, RESULTS, speed)
