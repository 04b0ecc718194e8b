"""Sums: what changes them and what does not."""

import hashlib
import json

import jax.numpy as jnp
import numpy as np
import pytest

from train.store.checksum import LinesSum, arrays_sum, is_broken, json_sum, sealed

ARRAYS = {
    "params/a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "step": np.int32(7),
    "params/b": np.asarray(jnp.ones(3, jnp.bfloat16)),
}


def test_the_sum_of_arrays_is_blake2b_of_names_dtypes_shapes_and_bytes():
    """Written out once more: a sum that changes would make all checkpoints unreadable."""
    text = b"params/a float32 (2, 3)\n" + ARRAYS["params/a"].tobytes()
    text += b"params/b bfloat16 (3,)\n" + ARRAYS["params/b"].tobytes()
    text += b"step int32 ()\n" + np.int32(7).tobytes()
    assert arrays_sum(ARRAYS) == hashlib.blake2b(text, digest_size=16).hexdigest()


def test_the_order_and_the_layout_of_arrays_do_not_count():
    other = {name: ARRAYS[name] for name in reversed(ARRAYS)}
    other["params/a"] = np.asfortranarray(ARRAYS["params/a"])
    assert arrays_sum(other) == arrays_sum(ARRAYS)


@pytest.mark.parametrize(
    "other",
    [
        ARRAYS | {"params/a": np.zeros((2, 3), np.float32)},
        ARRAYS | {"params/a": ARRAYS["params/a"].reshape(3, 2)},
        ARRAYS | {"params/a": ARRAYS["params/a"].view(np.int32)},
        ARRAYS | {"params/c": np.zeros(0)},
        {"params/x" if name == "params/a" else name: value for name, value in ARRAYS.items()},
        ARRAYS | {"params/b": -ARRAYS["params/b"] * 0},
    ],
)
def test_all_else_of_arrays_counts(other):
    assert arrays_sum(other) != arrays_sum(ARRAYS)


def test_every_bit_of_an_array_counts():
    sums = set()
    for bit in range(8 * 24):
        flipped = ARRAYS["params/a"].copy()
        flipped.view(np.uint8).reshape(-1)[bit // 8] ^= 1 << bit % 8
        sums.add(arrays_sum(ARRAYS | {"params/a": flipped}))
    assert len(sums) == 8 * 24 and arrays_sum(ARRAYS) not in sums


def test_an_object_is_the_same_after_a_file():
    value = {"b": [1, 2.5, None], "a": {"é": 1e-300, "z": True}}
    again = json.loads(json.dumps(sealed(value), indent=4))
    assert not is_broken(again) and again["checksum"] == json_sum(value)
    assert is_broken(again | {"b": [1, 2.5000000000000004, None]})
    assert is_broken({k: v for k, v in again.items() if k != "a"})
    assert not is_broken(value)  # an older release left none


def test_lines_add_up():
    total = LinesSum(["one\n"])
    assert total.add("two\n") == LinesSum(["one\n", "two\n"]).value
    assert total.value == hashlib.blake2b(b"one\ntwo\n", digest_size=16).hexdigest()
    assert LinesSum(["two\n", "one\n"]).value != total.value
