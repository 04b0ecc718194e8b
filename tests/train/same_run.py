"""What a run leaves, but for times, and whether two runs have left the same."""

import json

import jax
import numpy as np

from train.restored.evaluation import evaluate_network
from train.restored.run import restore
from train.run.step import create_state
from train.store.read import latest_checkpoint


def records(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def result(run):
    found = json.loads((run / "result.json").read_text())
    named = ("run", "lines", "checksum")  # the run, and sums over its times
    return {k: v for k, v in found.items() if not ("seconds" in k or "time" in k or k in named)}


def last_state(run):
    """All arrays of the latest checkpoint, with the place where the run stands."""
    checkpoint = latest_checkpoint(run)
    trained = restore(run)
    like = jax.eval_shape(
        lambda seed: create_state(trained.model, trained.settings.training, 1, seed), np.uint32(0)
    )
    state = checkpoint.restore(like)
    place = {k: v for k, v in checkpoint.data.items() if k not in ("seconds", "run")}
    return [np.asarray(x) for x in jax.tree.leaves(state)], place


def assert_same_run(a, b):
    assert records(a) == records(b)
    assert result(a) == result(b)
    (arrays, place), (others, other_place) = last_state(a), last_state(b)
    assert place == other_place
    for x, y in zip(arrays, others, strict=True):
        np.testing.assert_array_equal(x, y)


def evaluate_checkpoint(path, part="test", method=None):
    """Restores a run and evaluates it, as the command does."""
    return evaluate_network(restore(path, method), path, part)
