"""What a checkpoint holds, for the modules that write and read it."""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax

import flax_snn as snn

FORMAT_VERSION = 2
"""Version of the layout; raised when a reader of the older one would go wrong."""

_VERSIONED = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


ONE_AT_A_TIME = threading.RLock()
"""Held while Orbax reads or writes: its bookkeeping is one for all threads of a process."""


def arrays(state: Any) -> dict[str, Any]:
    """Returns the part of a state that is stored, under the names of its fields."""
    names = ("step", "params", "opt_state", "noise_key")
    return {name: getattr(state, name) for name in names}


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
