"""Settings to JSON and back, with a version and without tolerance for unknown fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar

from train.config import CrossbarConfig
from train.errors import ConfigError

CONFIG_VERSION = 3
"""Version of the form; raised when a field is renamed, removed or changes its meaning."""

_WITHOUT_CROSSBARS = 2
"""Version in which networks had no crossbars; still read."""

ConfigT = TypeVar("ConfigT")


def to_json(task: str, config: Any) -> dict[str, Any]:
    """Return the settings as an object for ``json.dump``.

    Args:
      task: name of the task that the settings belong to.
      config: a dataclass of dataclasses.

    Returns:
      ``{"version": ..., "task": ..., "config": {...}}``.
    """
    return {"version": CONFIG_VERSION, "task": task, "config": _plain(config)}


def task_of(stored: Any) -> str:
    """Return the task that stored settings belong to.

    Raises:
      ConfigError: not stored settings, or of another version.
    """
    if not isinstance(stored, dict) or set(stored) != {"version", "task", "config"}:
        raise ConfigError(f"expected an object with version, task and config, got {stored!r:.80}")
    if stored["version"] not in (CONFIG_VERSION, _WITHOUT_CROSSBARS):
        raise ConfigError(
            f"expected settings of version {CONFIG_VERSION}, got version {stored['version']!r};"
            " use the release of flax_snn that wrote them"
        )
    return str(stored["task"])


def from_json(config: type[ConfigT], stored: Any) -> ConfigT:
    """Make settings from what `to_json` returned.

    Args:
      config: the dataclass to make.
      stored: the object.

    Returns:
      The settings.

    Raises:
      ConfigError: another version, a field that is unknown, missing or of another type.
    """
    task_of(stored)
    return typing.cast(ConfigT, _build(config, upgraded(stored)["config"], "config"))


def upgraded(stored: Any) -> Any:
    """Return stored settings in the form of this release; what is none of ours as it is."""
    if not isinstance(stored, dict) or stored.get("version") != _WITHOUT_CROSSBARS:
        return stored
    settings = stored.get("config")
    if not isinstance(settings, dict):
        return stored
    settings = settings | {"crossbar": _plain(CrossbarConfig())}
    return stored | {"version": CONFIG_VERSION, "config": settings}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return list(value) if isinstance(value, tuple) else value


def _build(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        options = typing.get_args(kind)
        return _expect(value in options, value, f"one of {options}", where)
    if origin is tuple:
        _expect(isinstance(value, list), value, "a list", where)
        item = typing.get_args(kind)[0]
        return tuple(_build(item, v, f"{where}[{k}]") for k, v in enumerate(value))
    if origin in (types.UnionType, typing.Union):
        (given,) = (option for option in typing.get_args(kind) if option is not type(None))
        return None if value is None else _build(given, value, where)
    if kind is float:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return float(_expect(whole or isinstance(value, float), value, "a number", where))
    return _expect(type(value) is kind, value, f"a value of type {kind.__name__}", where)


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), value, "an object", where)
    hints = typing.get_type_hints(kind)
    names = {field.name for field in dataclasses.fields(kind)}
    unknown, missing = sorted(set(value) - names), sorted(names - set(value))
    if unknown or missing:
        raise ConfigError(
            f"{where}: {f'unknown fields {unknown}' if unknown else f'missing fields {missing}'};"
            " the settings were written by another release of flax_snn, use that one"
        )
    return kind(**{n: _build(hints[n], value[n], f"{where}.{n}") for n in value})


def _expect(good: bool, value: Any, wanted: str, where: str) -> Any:
    if not good:
        raise ConfigError(f"{where}: expected {wanted}, got {value!r}")
    return value
