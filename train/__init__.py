"""The training app: ``python -m train.<task>``, from a clone; ``python -m train`` lists it all.

>>> import train
>>> run = train.restore("checkpoints/randman_reference")  # a run of your own, or a checkpoint
>>> run.settings.network.hidden, sorted(run.variables)
((128,), ['params'])
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.restored.run import Restored

__all__ = ["restore"]

_missing = [name for name in ("optax", "orbax", "tqdm", "tyro") if find_spec(name) is None]
if _missing:
    raise ImportError(
        f"the training app needs {', '.join(_missing)}: install it from the clone with"
        " pip install -e '.[train]'"
    )


def restore(path: str | os.PathLike[str], method: str | None = None) -> Restored:
    """Rebuilds the network of a run; see `train.restored.run.restore`."""
    from train.restored.run import restore

    return restore(path, method)
