"""Batches of pytrees: every sample once, rows together, an order that seed and epoch alone set."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn.datasets import Points, batches

SAMPLES = 11


def tree() -> dict[str, Any]:
    """Every leaf tells its row."""
    rows = np.arange(SAMPLES)
    return {
        "number": rows.astype(np.int32),
        "pair": (jnp.asarray(rows, jnp.float32), np.stack([rows, 10 * rows], axis=-1)),
        "nothing": None,
    }


def numbers(data: Any, size: int, **settings: Any) -> list[list[int]]:
    return [batch["number"].tolist() for batch in batches(data, size, **settings)]


@pytest.mark.parametrize("size", [1, 3, 4, 11])
@pytest.mark.parametrize("drop_last", [True, False])
def test_every_sample_comes_once(size: int, drop_last: bool):
    found = numbers(tree(), size, seed=0, drop_last=drop_last)
    whole, left = divmod(SAMPLES, size)
    sizes = [size] * whole + ([left] if left and not drop_last else [])
    assert [len(batch) for batch in found] == sizes
    flat = sum(found, [])
    assert len(set(flat)) == len(flat) == sum(sizes)
    assert set(flat) <= set(range(SAMPLES))


def test_leaves_stay_together_and_keep_their_kind():
    for batch in batches(tree(), 4, seed=1):
        first, second = batch["pair"]
        assert isinstance(first, jax.Array) and isinstance(second, np.ndarray)
        assert batch["number"].dtype == np.int32 and first.dtype == jnp.float32
        assert batch["nothing"] is None
        np.testing.assert_array_equal(first, batch["number"])
        np.testing.assert_array_equal(second, np.outer(batch["number"], [1, 10]))


def test_a_named_tuple_stays_one():
    data = Points(np.random.default_rng(0).random((6, 4)), np.arange(6, dtype=np.int32))
    for batch in batches(data, 2, seed=0):
        assert isinstance(batch, Points)
        np.testing.assert_array_equal(batch.x, data.x[batch.labels])


def test_order_follows_from_seed_and_epoch():
    order = [numbers(tree(), 2, seed=s, epoch=e) for s, e in [(0, 1), (0, 2), (1, 1), (2, 1)]]
    assert numbers(tree(), 2, seed=0, epoch=2) == order[1]
    assert numbers(tree(), 2, seed=0) == order[0]
    assert len({str(o) for o in order}) == 4
    # The batch size cuts the order, and what is besides in the tree does not change it.
    flat = sum(order[0], [])
    assert sum(numbers({"number": np.arange(SAMPLES)}, 3, seed=0), []) == flat[:9]
    expected = np.random.default_rng([0, 1]).permutation(SAMPLES)[:10]
    assert flat == expected.tolist()


def test_orders_are_fair():
    """Over many epochs every sample comes first, and sits out, about equally often."""
    epochs = 1100
    data = {"number": np.arange(SAMPLES)}
    order = [sum(numbers(data, 10, seed=0, epoch=e), []) for e in range(1, epochs + 1)]
    first = np.bincount([row[0] for row in order], minlength=SAMPLES)
    out = epochs - np.bincount(np.concatenate(order), minlength=SAMPLES)
    # Binomial, mean 100: 5 standard deviations.
    bound = 5 * math.sqrt(epochs * (1 / SAMPLES) * (1 - 1 / SAMPLES))
    assert np.abs(first - 100).max() < bound and np.abs(out - 100).max() < bound


def test_unshuffled_samples_come_in_order():
    found = numbers(tree(), 4, seed=5, epoch=3, shuffle=False, drop_last=False)
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        ({}, ValueError, "at least one sample"),
        (None, ValueError, "at least one sample"),
        (np.zeros((0, 3)), ValueError, r"at least one sample, got {'data': \(0, 3\)}"),
        ({"x": np.zeros(3), "y": np.zeros(())}, ValueError, r"'y'.*\(\)"),
        ({"x": np.zeros(3), "y": np.zeros((4, 3))}, ValueError, "as many samples in every array"),
        ({"x": [1.0, 2.0]}, TypeError, r"got float at data\['x'\]\[0\]"),
    ],
)
def test_bad_data_are_refused(data: Any, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        batches(data, 1, seed=0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size: expected a whole number >= 1"),
        ({"batch_size": 2.0}, ValueError, "batch_size: expected a whole number"),
        ({"batch_size": 12}, ValueError, "batch_size: expected at most the 11 samples, got 12"),
        ({"seed": -1}, ValueError, "seed: expected a whole number >= 0"),
        ({"seed": None}, TypeError, "seed: expected a whole number"),
        ({"epoch": 0}, ValueError, "epoch: expected a whole number >= 1"),
        ({"shuffle": 1}, TypeError, "shuffle: expected True or False"),
        ({"drop_last": None}, TypeError, "drop_last: expected True or False"),
    ],
)
def test_bad_settings_are_refused_at_the_call(
    settings: dict[str, Any], error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        batches(tree(), **{"batch_size": 2, "seed": 0, **settings})
