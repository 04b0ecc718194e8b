"""What a checkpoint holds, for the modules that write and read it."""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax
import numpy as np

import flax_snn as snn

FORMAT_VERSION = 3
"""Version of the layout; raised when a reader of the older one would go wrong.

Version 3 ties the items of a checkpoint: see `train.store.items`.
"""

OLDEST_FORMAT = 2
"""Oldest version of the layout that is read."""

_VERSIONED = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


ONE_AT_A_TIME = threading.RLock()
"""Held while Orbax reads or writes: its bookkeeping is one for all threads of a process."""


def arrays(state: Any) -> dict[str, Any]:
    """Returns the part of a state that is stored, under the names of its fields."""
    names = ("step", "params", "opt_state", "noise_key")
    return {name: getattr(state, name) for name in names}


def by_name(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by their names, such as ``params/cell/cells_0/kernel``.

    A tree that was read has the names of the one that was written, though what was a tuple is a
    list, and what was a named tuple is a dict.
    """
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def not_finite(named: Mapping[str, Any]) -> str | None:
    """Returns what is wrong with the first parameter that is not finite; ``None``: all are.

    Args:
      named: arrays in the host's memory by name, of which those below ``params`` are looked at.
    """
    for name, array in named.items():
        if not name.startswith("params/"):
            continue
        values = np.asarray(array)
        if np.issubdtype(values.dtype, np.integer) or values.dtype == bool:
            continue
        bad = values.size - int(np.isfinite(values).sum())
        if bad:
            return f"{bad} of {values.size} values of {name} are not finite"
    return None


def validation_score(meta: Mapping[str, Any]) -> float:
    """Returns the number by which the best checkpoint is chosen."""
    return float(meta["metrics"][f"validation_{meta['score']}"])


def versions() -> dict[str, str]:
    """Returns versions of Python and of the libraries that decide a result, and the backend."""
    libraries = {name: metadata.version(name) for name in _VERSIONED}
    return {
        "flax_snn": snn.__version__,
        "python": platform.python_version(),
        **libraries,
        "backend": jax.default_backend(),
    }
