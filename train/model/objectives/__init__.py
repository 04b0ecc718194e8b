"""What networks are trained for: one file each, named as the flag names it.

A file for networks that tell classes apart, or predict values, holds ``KIND`` (``classes`` or
``values``) and ``make(outputs)``, which returns its `Objective`. `--loss` finds it by its name: a
new loss is a new file.
"""

import importlib
import pkgutil
from typing import Any

from train.errors import ConfigError
from train.model.objectives.objective import Objective

__all__ = ["Objective", "find_loss", "names"]


def names(kind: str) -> list[str]:
    """Returns the losses of a kind, ``classes`` or ``values``."""
    every = [module.name for module in pkgutil.iter_modules(__path__)]
    return [n for n in every if getattr(_module(n), "KIND", None) == kind]


def find_loss(name: str, kind: str) -> Any:
    """Returns the module of a loss.

    Args:
      name: its name.
      kind: what it has to be for, ``classes`` or ``values``.

    Raises:
      ConfigError: there is none of this name and kind.
    """
    known = names(kind)
    if name not in known:
        raise ConfigError(f"--loss: expected one of {', '.join(known)} for {kind}, got {name!r}")
    return _module(name)


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")
