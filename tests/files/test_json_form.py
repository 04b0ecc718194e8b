"""JSON of others: whatever a file holds, it is read in its form or refused with the place."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flax_snn import checks
from flax_snn.json_form import (
    MAX_DEPTH,
    Object,
    check_form,
    items,
    nullable,
    one_of,
    parse_json,
    read_json,
    read_json_lines,
    share,
    text,
    truth,
)
from flax_snn.regular_file import read_regular

FORM = Object(
    {"epochs": checks.whole_number, "score": text},
    optional={
        "rates": Object(others=checks.number),
        "hidden": items(checks.whole_number),
        "kind": one_of("lif", 3),
        "note": nullable(text),
        "share": share,
        "quick": truth,
    },
)
GOOD = {"epochs": 3, "score": "r2", "rates": {"a": 1.5}, "hidden": [1, 2], "note": None}

VALUES: dict[str, tuple[Any, str]] = {
    "null": (None, "the file: expected an object, got null"),
    "a list": ([1, 2], "the file: expected an object, got a list of 2"),
    "a string": ("x", "the file: expected an object, got 'x'"),
    "a missing key": ({"epochs": 3}, "expected the key 'score', got the keys 'epochs'"),
    "missing keys": ({}, "expected the keys 'epochs', 'score', got the keys none"),
    "an unknown key": (GOOD | {"epoch": 1}, "expected keys among 'epochs', .*, got 'epoch'"),
    "text for a number": (GOOD | {"epochs": "3"}, "epochs: expected a whole number >= 1, got '3'"),
    "a fraction": (GOOD | {"epochs": 1.5}, "epochs: expected a whole number >= 1, got 1.5"),
    "zero": (GOOD | {"epochs": 0}, "epochs: expected a whole number >= 1, got 0"),
    "true for a number": (GOOD | {"epochs": True}, "epochs: expected .*, got True"),
    "null for a string": (GOOD | {"score": None}, "score: expected a string, got null"),
    "an object inside": (GOOD | {"rates": []}, "rates: expected an object, got a list of 0"),
    "a leaf": (GOOD | {"rates": {"a": "x"}}, "rates.a: expected a finite number, got 'x'"),
    "an item": (GOOD | {"hidden": [1, None]}, r"hidden\[1\]: expected a whole number"),
    "no list": (GOOD | {"hidden": {}}, "hidden: expected a list, got an object of 0 keys"),
    "no option": (GOOD | {"kind": "LIF"}, "kind: expected one of 'lif', 3, got 'LIF'"),
    "an option of another type": (GOOD | {"kind": 3.0}, "kind: expected one of 'lif', 3, got 3.0"),
    "beyond a share": (GOOD | {"share": 1.5}, r"share: expected a finite number in \[0, 1\]"),
    "a number for a truth": (GOOD | {"quick": 1}, "quick: expected true or false, got 1"),
}


def test_what_is_right_comes_back_as_it_is() -> None:
    assert parse_json(json.dumps(GOOD), FORM) == GOOD
    assert check_form(FORM, GOOD) is GOOD


@pytest.mark.parametrize("name", VALUES)
def test_another_form_is_refused(name: str) -> None:
    value, words = VALUES[name]
    with pytest.raises((TypeError, ValueError), match=words):
        parse_json(json.dumps(value), FORM)
    with pytest.raises((TypeError, ValueError), match=words):
        check_form(FORM, value)


DEEP = 100_000
TEXTS = {
    "empty": ("", "line 1, column 1: expected JSON"),
    "cut": ('{"epochs": 3,\n "sc', "line 2, column 2: expected JSON"),
    "python": ("{'epochs': 3}", "line 1, column 2: expected JSON"),
    "two values": ("{} {}", "expected JSON, got other text .extra data"),
    "NaN": ('{"epochs": NaN}', "expected finite numbers, got NaN"),
    "-Infinity": ("[-Infinity]", "expected finite numbers, got -Infinity"),
    "1e999": ("[1e999]", "numbers that a double can hold, got 1e999"),
    "long digits": (f"[{'9' * 10**6}]", "integers of at most 64 bits, got one of 1000000 digits"),
    "2^64": (f"[{2**64}]", f"integers of at most 64 bits, got {2**64}"),
    "a key twice": ('{"a": {"b": 1, "c": 2, "b": 1}}', "'b': expected each key once, got it twice"),
    "a deep list": ("[" * DEEP + "]" * DEEP, "nested at most 32 deep"),
    "deep objects": ('{"a":' * DEEP + "1" + "}" * DEEP, "nested at most 32 deep"),
    "half a surrogate": ('["\\ud800"]', "expected strings of Unicode"),
    "half a surrogate as a key": ('{"\\ud800": 1}', "expected strings of Unicode"),
    "a NUL": ('["a\\u0000b"]', "expected strings of Unicode"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_another_text_is_refused(name: str) -> None:
    content, words = TEXTS[name]
    with pytest.raises(ValueError, match=words):
        parse_json(content)


def test_nesting_is_allowed_up_to_its_limit() -> None:
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(ValueError, match="deeper ones"):
        parse_json("[" * (MAX_DEPTH + 1) + "1" + "]" * (MAX_DEPTH + 1))


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), inner
        )
    ),
    max_leaves=20,
)


@settings(max_examples=20)
@given(JSON_VALUES)
def test_all_that_json_writes_is_read_back(value: Any) -> None:
    assert parse_json(json.dumps(value, allow_nan=False)) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_an_error(content: bytes) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp"), f"json_form_{os.getpid()}.json")
    path.write_bytes(content)
    try:
        read_json(path, FORM)
    except (TypeError, ValueError) as error:
        assert ": expected " in str(error)
    finally:
        path.unlink()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": "\xff\xfe"}')
    with pytest.raises(ValueError, match="byte 7: expected text in UTF-8, got the byte 0xff"):
        read_json(path)


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" + " " * 100 + "]")
    assert read_json(path, max_bytes=102) == []
    with pytest.raises(ValueError, match="expected at most 101 bytes, got more"):
        read_json(path, max_bytes=101)
    # A file without end, as far as the reader knows, costs no more memory than the limit.
    with open(path, "wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="expected at most 1000 bytes"):
        read_regular(path, 1000)


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    began = time.monotonic()
    for name, words in (
        ("folder", "a regular file, got a directory"),
        ("pipe", "a regular file, got a pipe"),
        ("link", "a regular file, got a pipe"),
    ):
        with pytest.raises(ValueError, match=words):
            read_json(tmp_path / name)
    with pytest.raises(ValueError, match="a regular file, got a device"):
        read_json("/dev/zero")
    with socket.socket(socket.AF_UNIX) as ear:
        ear.bind(os.path.relpath(tmp_path / "s"))
        with pytest.raises(OSError):
            read_json(tmp_path / "s")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "nowhere")
    assert time.monotonic() - began < 5.0


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"epochs": 1, "score": "x"}\n{"epochs": 2, "score": "x"}\n{"epo')
    assert [each["epochs"] for each in read_json_lines(path, FORM)] == [1, 2]
    path.write_text('{"epochs": 1, "score": "x"}\n\n')
    with pytest.raises(ValueError, match="line 2: line 1, column 1: expected JSON"):
        read_json_lines(path, FORM)
    path.write_text('{"epochs": 1, "score": "x"}\n{"epochs": 0, "score": "x"}\n')
    with pytest.raises(ValueError, match="line 2: epochs: expected a whole number"):
        read_json_lines(path, FORM)
    # Only a line break ends a line: JSON may hold other separators of Unicode.
    path.write_text('{"epochs": 1, "score": "a\u2028b"}\n')
    assert read_json_lines(path, FORM)[0]["score"] == "a\u2028b"
