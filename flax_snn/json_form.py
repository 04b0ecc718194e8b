"""JSON that was written elsewhere: read within bounds, and compared with the form it should have.

JSON's syntax says nothing about what a reader needs: the keys that are there, and what each may
be. A form says it as a check for each key, from `flax_snn.checks` or from here:

    RESULT = Object({"epochs": checks.whole_number, "score": text}, optional={"note": text})
    result = read_json("run/result.json", RESULT)

Read are regular files only, up to a size, encoded as UTF-8; numbers must be finite and fit into 64
bits, keys come once, and nothing is nested deeper than `MAX_DEPTH`. So whatever a file holds, it is
returned in its form or refused with the place where it differs.

Reference: Bray (editor), *The JavaScript Object Notation (JSON) data interchange format*, RFC 8259,
2017; sections 4 (names that repeat) and 9 (limits that a reader may set).
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from flax_snn import checks
from flax_snn.regular_file import read_regular

__all__ = [
    "Check",
    "MAX_BYTES",
    "MAX_DEPTH",
    "Object",
    "anything",
    "check_form",
    "count",
    "in_words",
    "items",
    "nullable",
    "one_of",
    "parse_json",
    "read_json",
    "read_json_lines",
    "share",
    "text",
    "truth",
]

MAX_BYTES = 2**24
"""Largest size of a file, in bytes, where its reader does not say another."""

MAX_DEPTH = 32
"""How deep lists and objects may be nested."""

Check = Callable[[str, Any], Any]
"""Takes the name of a value and the value, and returns it or raises a ValueError or TypeError."""

_LARGEST = 2**64


@dataclasses.dataclass(frozen=True)
class Object:
    """The form of an object: a check for each key.

    >>> form = Object({"epochs": checks.whole_number}, optional={"note": text})
    >>> form("result", {"epochs": 3})
    {'epochs': 3}
    >>> form("result", {"epochs": "3"})
    Traceback (most recent call last):
    ...
    TypeError: result.epochs: expected a whole number >= 1, got '3'; give an int

    Attributes:
      keys: checks of the keys that must be there.
      optional: checks of those that may be there.
      others: check of every other key; None refuses them.
    """

    keys: Mapping[str, Check] = dataclasses.field(default_factory=dict)
    optional: Mapping[str, Check] = dataclasses.field(default_factory=dict)
    others: Check | None = None

    def __call__(self, name: str, value: Any) -> dict[str, Any]:
        """Returns the object; raises a TypeError or ValueError that names the key."""
        if not isinstance(value, dict):
            raise TypeError(checks.error_text(name or "the file", "an object", in_words(value)))
        missing = [key for key in self.keys if key not in value]
        if missing:
            found = ", ".join(map(_quoted, list(value)[:8])) or "none"
            wanted = f"the key{'s' * (len(missing) > 1)} {', '.join(map(_quoted, missing))}"
            raise ValueError(checks.error_text(name or "the file", wanted, f"the keys {found}"))
        for key, each in value.items():
            check = self.keys.get(key) or self.optional.get(key) or self.others
            if check is None:
                known = ", ".join(map(_quoted, [*self.keys, *self.optional]))
                raise ValueError(
                    checks.error_text(name or "the file", f"keys among {known}", _quoted(key))
                )
            check(f"{name}.{key}" if name else key, each)
        return value


def items(check: Check) -> Check:
    """Returns the check of a list whose items pass a check."""

    def each(name: str, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise TypeError(checks.error_text(name, "a list", in_words(value)))
        for k, item in enumerate(value):
            check(f"{name}[{k}]", item)
        return value

    return each


def nullable(check: Check) -> Check:
    """Returns the check of a value that passes a check or is null."""
    return lambda name, value: None if value is None else check(name, value)


def one_of(*options: Any) -> Check:
    """Returns the check of a value that is one of several, of the same type."""

    def choice(name: str, value: Any) -> Any:
        if not any(value == each and type(value) is type(each) for each in options):
            wanted = f"one of {', '.join(map(in_words, options))}"
            raise ValueError(checks.error_text(name, wanted, in_words(value)))
        return value

    return choice


def text(name: str, value: Any) -> str:
    """Checks that a value is a string."""
    if not isinstance(value, str):
        raise TypeError(checks.error_text(name, "a string", in_words(value)))
    return value


def truth(name: str, value: Any) -> bool:
    """Checks that a value is true or false."""
    if not isinstance(value, bool):
        raise TypeError(checks.error_text(name, "true or false", in_words(value)))
    return value


def share(name: str, value: Any) -> float:
    """Checks that a value is a number from 0 to 1."""
    return checks.in_range(name, value, 0.0, 1.0)


def count(name: str, value: Any) -> int:
    """Checks that a value is a whole number from 0 on."""
    return checks.whole_number(name, value, 0)


def anything(name: str, value: Any) -> Any:
    """Takes every value: all that JSON can say, within the limits of `parse_json`."""
    del name
    return value


def read_json(
    path: str | os.PathLike[str], form: Check = anything, *, max_bytes: int = MAX_BYTES
) -> Any:
    """Returns the value of a JSON file.

    Args:
      path: the file.
      form: its check.
      max_bytes: largest size of the file, in bytes.

    Raises:
      FileNotFoundError: there is no such file.
      OSError: it cannot be read.
      ValueError: it is no regular file, too large, not UTF-8, not JSON, or beyond the limits of
        `parse_json`.
      TypeError: of another form.
    """
    return parse_json(_decoded(read_regular(path, max_bytes)), form)


def read_json_lines(
    path: str | os.PathLike[str], form: Check = anything, *, max_bytes: int = MAX_BYTES
) -> list[Any]:
    """Returns the values of a file with one JSON value a line.

    What stands behind the last line break was not written to its end, and is left out.

    Args:
      path: the file.
      form: the check of each line.
      max_bytes: largest size of the file, in bytes.

    Raises:
      Exception: as `read_json` does; the error says the line.
    """
    content = read_regular(path, max_bytes)
    whole = content[: content.rfind(b"\n") + 1]
    return list(_lines(whole, form))


def _lines(content: bytes, form: Check) -> Iterator[Any]:
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            yield parse_json(_decoded(line), form)
        except (TypeError, ValueError) as error:
            raise type(error)(f"line {number}: {error}") from None


def parse_json(content: str, form: Check = anything) -> Any:
    """Returns the value of a JSON text.

    Args:
      content: the text.
      form: the check of the value.

    Raises:
      ValueError: not JSON, NaN or an infinite number, an integer of more than 64 bits, an object
        with a key twice, a string that is no Unicode text, or lists nested too deep.
      TypeError: of another form.
    """
    try:
        value = json.loads(
            content,
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_whole,
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(
            checks.error_text(where, "JSON", f"other text ({error.msg.lower()})")
        ) from None
    except RecursionError:
        raise ValueError(_too_deep()) from None
    _check_depth(value)
    return form("", value)


def check_form(form: Check, value: Any) -> Any:
    """Returns a value that another library has parsed, in its form and within the limits.

    Raises:
      ValueError: a number that is not finite, an integer of more than 64 bits, a string that is no
        Unicode text, or lists nested too deep.
      TypeError: of another form.
    """
    _check_depth(value)
    return form("", value)


def in_words(value: Any) -> str:
    """Returns a value as JSON calls it: ``null``, ``a list of 3``, ``'a string'``, ``1.5``."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"an object of {len(value)} keys"
    return checks.shown(value[:80] if isinstance(value, str) else value)


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"the byte 0x{content[error.start]:02x} ({error.reason})"
        raise ValueError(checks.error_text(f"byte {error.start}", "text in UTF-8", found)) from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for k, key in enumerate(keys) if key in keys[:k])
        raise ValueError(checks.error_text(_quoted(twice), "each key once", "it twice"))
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(checks.error_text("the file", "finite numbers", word))


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        found = digits if len(digits) < 40 else f"one of {len(digits)} characters"
        raise ValueError(checks.error_text("the file", "numbers that a double can hold", found))
    return value


def _whole(digits: str) -> int:
    # The conversion of very many digits would take very long, and Python refuses it.
    if len(digits) > 24 or abs(value := int(digits)) >= _LARGEST:
        found = digits if len(digits) < 40 else f"one of {len(digits)} digits"
        raise ValueError(checks.error_text("the file", "integers of at most 64 bits", found))
    return value


def _check_depth(value: Any) -> None:
    """Refuses deep nesting, and strings and numbers that cannot be shown or computed with."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                for key in each:
                    _check_leaf(key)
                inner.extend(each.values())
            elif isinstance(each, list | tuple):
                inner.extend(each)
            else:
                _check_leaf(each)
        if not inner:
            return
        level = inner
    raise ValueError(_too_deep())


def _check_leaf(value: Any) -> None:
    if isinstance(value, str):
        try:
            bad = "\0" in value
            value.encode()
        except UnicodeEncodeError:
            bad = True
        if bad:
            raise ValueError(checks.error_text("the file", "strings of Unicode", in_words(value)))
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(checks.error_text("the file", "finite numbers", value))
    elif isinstance(value, int) and abs(value) >= _LARGEST:
        raise ValueError(
            checks.error_text("the file", "integers of at most 64 bits", "a larger one")
        )


def _too_deep() -> str:
    return checks.error_text(
        "the file", f"lists and objects nested at most {MAX_DEPTH} deep", "deeper ones"
    )


def _quoted(key: str) -> str:
    return checks.shown(key[:60])


def __dir__() -> list[str]:
    return __all__
