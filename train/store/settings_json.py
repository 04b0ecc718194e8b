"""Settings to JSON and back, with a version and without tolerance for unknown fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar

from flax_snn import checks
from flax_snn.json_form import (
    Check,
    Object,
    anything,
    check_form,
    in_words,
    items,
    one_of,
    text,
    truth,
)
from train.errors import ConfigError, as_config_error
from train.settings.versions import OLDEST, VERSION
from train.store import forms

SettingsT = TypeVar("SettingsT")


def to_json(task: str, settings: Any) -> dict[str, Any]:
    """Returns the settings as an object for ``json.dump``.

    Args:
      task: name of the task that the settings belong to.
      settings: a dataclass of dataclasses.

    Returns:
      ``{"version": ..., "task": ..., "config": {...}}``.
    """
    return {"version": VERSION, "task": task, "config": _plain(settings)}


def task_of(stored: Any) -> str:
    """Returns the name of the task that stored settings belong to.

    Raises:
      ConfigError: not stored settings, or of a version that this release cannot read.
    """
    with as_config_error():
        check_form(forms.STORED_SETTINGS, stored)
    version = stored["version"]
    if not OLDEST <= version <= VERSION:
        raise ConfigError(
            f"expected settings of version {OLDEST} to {VERSION}, got version {version!r};"
            " use the release of flax_snn that wrote them"
        )
    task: str = stored["task"]
    return task


def from_json(settings: type[SettingsT], stored: Any) -> SettingsT:
    """Makes settings from what `to_json` returned, now or in an older release.

    Args:
      settings: the dataclass to make.
      stored: the object.

    Returns:
      The settings.

    Raises:
      ConfigError: another version, a field that is unknown, missing or of another type.
    """
    task_of(stored)
    current = upgraded(settings, stored)["config"]
    return typing.cast(SettingsT, _build(settings, current, "config"))


def upgraded(settings: type[Any], stored: Any) -> Any:
    """Returns stored settings in the form of this release; anything else as it is.

    Args:
      settings: the dataclass that they are of.
      stored: what `to_json` returned when they were stored.
    """
    if not isinstance(stored, dict) or type(stored.get("version")) is not int:
        return stored
    config = _with_added_fields(settings, stored.get("config"), stored["version"])
    return stored | {"version": max(VERSION, stored["version"]), "config": config}


def flat(tree: Any, name: str = "") -> list[tuple[str, Any]]:
    """Returns stored settings as pairs of a name, that of the flag without dashes, and a value."""
    if not isinstance(tree, dict):
        return [(name.replace("_", "-"), tree)]
    return [leaf for key, value in tree.items() for leaf in flat(value, key)]


def _with_added_fields(kind: Any, config: Any, version: int) -> Any:
    """Returns the object with the fields that later versions added, in the order of the class."""
    if not isinstance(config, dict):
        return config
    hints = typing.get_type_hints(kind)
    found = {}
    for field in dataclasses.fields(kind):
        name = field.name
        if name in config:
            inner = dataclasses.is_dataclass(hints[name])
            value = config[name]
            found[name] = _with_added_fields(hints[name], value, version) if inner else value
        elif field.metadata.get("added", 0) > version:
            found[name] = _plain(field.metadata["before"])
    return found | {name: value for name, value in config.items() if name not in found}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return list(value) if isinstance(value, tuple) else value


def _build(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    origin = typing.get_origin(kind)
    if origin is tuple:
        item = typing.get_args(kind)[0]
        found = _checked(items(anything), value, where)
        return tuple(_build(item, v, f"{where}[{k}]") for k, v in enumerate(found))
    if origin in (types.UnionType, typing.Union):
        (given,) = (option for option in typing.get_args(kind) if option is not type(None))
        return None if value is None else _build(given, value, where)
    check = one_of(*typing.get_args(kind)) if origin is typing.Literal else _LEAVES[kind]
    return _checked(check, value, where)


def _whole(name: str, value: Any) -> int:
    if type(value) is not int:
        raise TypeError(checks.error_text(name, "a whole number", in_words(value)))
    return value


_LEAVES: dict[Any, Check] = {float: checks.number, int: _whole, bool: truth, str: text}


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    _checked(Object(others=anything), value, where)
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}
    unknown, missing = sorted(set(value) - names), sorted(names - set(value))
    if unknown or missing:
        raise ConfigError(
            f"{where}: {f'unknown fields {unknown}' if unknown else f'missing fields {missing}'};"
            " the settings were written by another release of flax_snn, use that one"
        )
    return kind(**{n: _build(hints[n], value[n], f"{where}.{n}") for n in value})


def _checked(check: Check, value: Any, where: str) -> Any:
    with as_config_error():
        return check(where, value)
