"""The checks that all parts share: what they return, what they refuse, and what they say."""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import checks


@pytest.mark.parametrize(
    "value", [2, 2.0, np.float32(2), np.int8(2), np.array(2.0), jnp.array(2.0), jnp.bfloat16(2)]
)
def test_numbers_of_every_kind_come_back_as_a_float(value: Any):
    for check in (checks.number, checks.positive, checks.non_negative):
        result = check("dt", value)
        assert type(result) is float and result == 2.0
    assert checks.in_range("p", value, 2.0, 3.0) == 2.0


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "True"),
        (np.bool_(True), "np.True_"),
        ("1", "'1'"),
        (None, "None"),
        (1j, "1j"),
        ([1.0], "[1.0]"),
        (np.ones(3), "an array of shape (3,)"),
        (jnp.array(True), "Array(True"),
    ],
)
def test_what_is_no_number_is_a_type_error(value: Any, shown: str):
    message = re.escape(f"dt: expected a finite number, got {shown}")
    with pytest.raises(TypeError, match=message):
        checks.number("dt", value)
    with pytest.raises(TypeError, match="dt: expected a finite number > 0, got"):
        checks.positive("dt", value)
    with pytest.raises(TypeError, match="n: expected a whole number >= 1, got"):
        checks.whole_number("n", value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, jnp.array(jnp.nan), 10**400])
def test_numbers_are_finite(value: Any):
    for check in (checks.number, checks.positive, checks.non_negative):
        with pytest.raises(ValueError, match="x: expected a finite number"):
            check("x", value)


def test_ranges_and_their_sentences():
    accepted = [(0.0, True, True), (1.0, True, True), (0.5, False, False)]
    for value, low, high in accepted:
        assert checks.in_range("p", value, 0, 1, low_allowed=low, high_allowed=high) == value
    assert checks.non_negative("p", 0) == 0.0
    for call, sentence in [
        (
            lambda: checks.positive("dt", 0, unit="seconds", remedy="use 1e-3 for 1 ms"),
            "dt: expected a finite number of seconds > 0, got 0; use 1e-3 for 1 ms",
        ),
        (lambda: checks.non_negative("r", -1), "r: expected a finite number >= 0, got -1"),
        (
            lambda: checks.in_range("p", 1.0, 0, 1, high_allowed=False),
            "p: expected a finite number in [0, 1), got 1.0",
        ),
        (
            lambda: checks.in_range("p", 0.0, 0, 1, low_allowed=False),
            "p: expected a finite number in (0, 1], got 0.0",
        ),
        (lambda: checks.in_range("v", 3, None, 2), "v: expected a finite number <= 2, got 3"),
        (
            lambda: checks.in_range("v", 2, None, 2, high_allowed=False),
            "v: expected a finite number < 2, got 2",
        ),
    ]:
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            call()


def test_a_traced_number_says_that_it_is_not_known():
    with pytest.raises(TypeError, match="tau: .*traced value.*known outside jit"):
        jax.jit(lambda x: checks.number("tau", x))(1.0)


def test_whole_numbers():
    assert checks.whole_number("n", np.int32(3)) == 3
    assert type(checks.whole_number("n", np.int32(3))) is int
    assert checks.whole_number("n", 0, 0) == 0
    for value in (0, -1, 2.5, 2.0):
        with pytest.raises(ValueError, match=f"n: expected a whole number >= 1, got {value}"):
            checks.whole_number("n", value)


def test_indices():
    assert checks.index("sample", np.int64(2), 3) == 2
    for bad in (3, -1, 0.5, 1.0):
        with pytest.raises(ValueError, match=rf"sample: expected an index in \[0, 3\), got {bad}"):
            checks.index("sample", bad, 3)
    with pytest.raises(TypeError, match=r"label: expected a class in \[0, 3\), got True"):
        checks.index("label", True, 3, noun="a class")


def test_fields_of_frozen_dataclasses_are_stored_as_plain_numbers():
    @dataclasses.dataclass(frozen=True)
    class Gain:
        low: Any = 0.0
        high: Any = 1.0

        def __post_init__(self) -> None:
            checks.fields(self, checks.non_negative, "low", "high")

    assert Gain(jnp.array(1.0), np.int32(2)) == Gain(1, 2.0)
    assert hash(Gain(jnp.array(1.0))) == hash(Gain(1))
    with pytest.raises(ValueError, match="Gain: high: expected a finite number >= 0, got -1"):
        Gain(high=-1)


def test_choices_switches_and_classes():
    assert checks.choice("reset", "soft", ("hard", "soft")) == "soft"
    for bad in ("sofd", None, np.array(["hard", "soft"])):
        with pytest.raises(ValueError, match="reset: expected one of 'hard', 'soft', got"):
            checks.choice("reset", bad, ("hard", "soft"))
    assert checks.boolean("flag", np.bool_(True)) is True
    with pytest.raises(TypeError, match="flag: expected True or False, got 1"):
        checks.boolean("flag", 1)
    assert checks.instance("name", "a", str) == "a"
    with pytest.raises(TypeError, match="name: expected a str or None, got 4; name it"):
        checks.instance("name", 4, (str, type(None)), remedy="name it")


def test_dtypes():
    for good in (np.ones(2), jnp.ones(2, jnp.bfloat16), jnp.float16, np.dtype("float64")):
        assert checks.floating("x", good) is good
    for bad, shown in ((np.ones(2, int), "int64"), (jnp.uint8, "uint8"), (7, "7")):
        with pytest.raises(TypeError, match=f"x: expected a floating dtype, got {shown}; convert"):
            checks.floating("x", bad)
    assert checks.integers("labels", jnp.int32) is jnp.int32
    for bad in (np.ones(2), np.ones(2, bool)):
        with pytest.raises(TypeError, match="labels: expected integers, got"):
            checks.integers("labels", bad)


@pytest.mark.parametrize(
    ("axes", "good", "bad"),
    [
        ("(B, T, N)", [(1, 2, 3)], [(2, 3), (1, 2, 3, 4)]),
        ("(*B, T, N)", [(2, 3), (1, 2, 3), (5, 1, 2, 3)], [(3,), ()]),
        ("(K,)", [(3,)], [(), (1, 2)]),
        ("(S, ...)", [(3,), (3, 1)], [()]),
    ],
)
def test_ranks(axes: str, good: list[tuple[int, ...]], bad: list[tuple[int, ...]]):
    for shape in good:
        assert checks.rank("x", array := np.ones(shape), axes) is array
    for shape in bad:
        sentence = re.escape(f"x: expected shape {axes}, got shape {shape}")
        with pytest.raises(ValueError, match=sentence):
            checks.rank("x", np.ones(shape), axes)


def test_shapes():
    array = np.ones((2, 3))
    assert checks.shape("x", array, (2, 3)) is array
    assert checks.shape("x", array, (None, 3)) is array
    for expected, written in (((3, 2), "(3, 2)"), ((None,), "(any,)"), ((None, 4), "(any, 4)")):
        sentence = re.escape(f"x: expected shape {written}, got shape (2, 3)")
        with pytest.raises(ValueError, match=sentence):
            checks.shape("x", array, expected)


def test_arrays_of_real_and_finite_numbers():
    bfloat = jnp.ones(2, jnp.bfloat16)
    assert checks.real_array("x", bfloat).dtype == jnp.bfloat16
    assert checks.finite_array("x", bfloat).dtype == np.float64
    np.testing.assert_array_equal(checks.finite_array("x", [True, False]), [1.0, 0.0])
    for bad in (["a"], [1j], [None]):
        with pytest.raises(TypeError, match="x: expected real numbers or bool, got"):
            checks.finite_array("x", bad)
    message = "x: expected finite numbers, got 2 entries that are NaN or inf; look for them"
    with pytest.raises(ValueError, match=message):
        checks.finite_array("x", [1.0, np.nan, np.inf], remedy="look for them")


def test_values_are_known_outside_transformations_only():
    np.testing.assert_array_equal(checks.known_values(jnp.arange(3)), [0, 1, 2])
    assert jax.jit(lambda x: x if checks.known_values(x) is None else x + 1)(3) == 3


def test_a_long_value_is_shown_on_one_line():
    with pytest.raises(TypeError, match=r"got \[0, 0, .*\.\.\.$") as error:
        checks.number("x", [0] * 500)
    assert len(str(error.value)) < 150


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["tau_men"], "LIF: expected names among tau_mem, tau_syn, got 'tau_men'; did you mean"),
        (["tau_sym"], "got 'tau_sym'; did you mean 'tau_syn'?"),
        (["tau"], "got 'tau'; did you mean 'tau_mem'?"),  # as near as tau_syn, and before it
        (["tau_syn", "weight"], "LIF: expected names among tau_mem, tau_syn, got 'weight'"),
    ],
)
def test_an_unknown_name_is_told_the_nearest_known_one(given: list[str], message: str):
    with pytest.raises(TypeError, match=re.escape(message)) as error:
        checks.argument_names("LIF", given, ["tau_mem", "tau_syn"])
    assert ("did you mean" in str(error.value)) == ("weight" not in given)


def test_known_names_pass():
    checks.argument_names("LIF", [], [])
    checks.argument_names("LIF", ["b", "a"], ("a", "b", "c"))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16, "float64", np.dtype("f4")])
def test_a_floating_dtype_in_any_spelling(dtype):
    assert checks.floating("dtype", dtype) is dtype
    with pytest.raises(TypeError, match="dtype: expected integers"):
        checks.integers("dtype", dtype)


def test_an_integer_type_is_no_floating_one():
    with pytest.raises(TypeError, match="expected a floating dtype, got int32"):
        checks.floating("dtype", np.int32)
