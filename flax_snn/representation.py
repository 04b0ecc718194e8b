"""A short ``repr`` for classes with many fields: the class, and the fields that are not at default.

    LIFCell(features=3, dynamics=LIFDynamics(tau_mem=0.005))

The default of a field is that of the class, or, where a class has none but can be made without
arguments, that of such an instance.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Collection, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

__all__ = ["call_text", "short_repr"]


def __dir__() -> list[str]:
    return __all__


MOST_ENTRIES = 6
"""Entries of a tuple or list that are shown; of more, the first ones and their number."""


def short_repr(instance: Any, without: Collection[str] = ()) -> str:
    """Returns the name of a dataclass with the fields that differ from their defaults.

    Args:
      instance: a dataclass; Flax modules are dataclasses.
      without: fields to leave out, such as one that follows from others.
    """
    shown = {}
    for field in dataclasses.fields(instance):
        # The parent of a Flax module would show the whole model around it.
        if not field.repr or field.name in ("parent", *without):
            continue
        value = getattr(instance, field.name, None)
        if not _same(value, _default(type(instance), field)):
            shown[field.name] = value
    return call_text(type(instance).__name__, shown)


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    """Returns a call with arguments by name as text, the arguments in short."""
    return f"{name}({', '.join(f'{key}={_text(value)}' for key, value in arguments.items())})"


def _default(kind: type, field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return getattr(_made_without_arguments(kind), field.name, dataclasses.MISSING)


@functools.cache
def _made_without_arguments(kind: type) -> Any:
    try:
        return kind()
    except Exception:  # A class that needs arguments, whatever it says about them.
        return None


def _same(value: Any, default: Any) -> bool:
    if value is default:
        return True
    if isinstance(value, np.ndarray | jax.Array):
        return False
    try:
        return type(value) is type(default) and bool(value == default)
    except Exception:  # Values that cannot be compared are shown.
        return False


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray | jax.Array):
        return f"{type(value).__name__}(shape={value.shape}, dtype={value.dtype})"
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return _sequence(value)
    if isinstance(value, Mapping):
        entries = [f"{key!r}: {_text(each)}" for key, each in value.items()]
        return f"{{{', '.join(entries)}}}"
    if isinstance(value, type):
        return value.__name__
    if dataclasses.is_dataclass(value) and _plain_repr(type(value)):
        return short_repr(value)
    if isinstance(value, functools.partial):
        named = [f"{name}={_text(each)}" for name, each in value.keywords.items()]
        return f"partial({', '.join([*map(_text, (value.func, *value.args)), *named])})"
    if hasattr(value, "__qualname__"):
        return str(value.__qualname__).replace(".<locals>", "")
    return repr(value)


def _plain_repr(kind: type) -> bool:
    """Returns whether the repr of a class is the one that dataclasses or Flax write, all fields."""
    written: Any = kind.__repr__
    if written is nn.Module.__repr__:
        return True
    # That of a dataclass is compiled from text, and so belongs to no file.
    code = getattr(inspect.unwrap(written), "__code__", None)
    return code is not None and code.co_filename == "<string>"


def _sequence(values: Any) -> str:
    texts = [_text(value) for value in values[:MOST_ENTRIES]]
    if len(values) > MOST_ENTRIES:
        texts.append(f"... {len(values)} in all")
    left, right = "()" if isinstance(values, tuple) else "[]"
    comma = "," if len(values) == 1 and left == "(" else ""
    return f"{left}{', '.join(texts)}{comma}{right}"
