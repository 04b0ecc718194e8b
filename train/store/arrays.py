"""The arrays of a checkpoint, read into the host's memory whatever devices they were saved from."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from train.store.contents import ONE_AT_A_TIME
from train.store.late_failures import LateFailures


def read_arrays(path: Path) -> Any:
    """Reads the item ``state`` of a checkpoint.

    Args:
      path: the folder of the checkpoint.

    Returns:
      The tree of arrays as Orbax has it, NumPy arrays for leaves.

    Raises:
      Exception: whatever is broken, Orbax and TensorStore each have their own way to say so.
    """
    # Not by a Checkpointer: that would need the notes that Orbax makes of the whole checkpoint, and
    # would let processes wait for each other.
    with ONE_AT_A_TIME, LateFailures():
        with contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
            stored: Any = handler.metadata(path / "state")
            # Views of one number: nothing is allocated ahead of the reading.
            form = jax.tree.map(
                lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), dict(stored.tree)
            )
            return handler.restore(path / "state", args=ocp.args.StandardRestore(form))
