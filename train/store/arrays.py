"""The arrays of a checkpoint, read into the host's memory whatever devices they were saved from."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from train.store.contents import ONE_AT_A_TIME


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
    with ONE_AT_A_TIME, _late_failures_ignored():
        with contextlib.closing(ocp.StandardCheckpointHandler()) as handler:
            stored: Any = handler.metadata(path / "state")
            # Views of one number: nothing is allocated ahead of the reading.
            form = jax.tree.map(
                lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), dict(stored.tree)
            )
            return handler.restore(path / "state", args=ocp.args.StandardRestore(form))


@contextlib.contextmanager
def _late_failures_ignored() -> Iterator[None]:
    """Keeps the tracebacks of reads that fail after the first failure off the screen.

    Orbax closes its event loop when one read of several has failed; each of the others then finds
    it closed, in a thread where nobody can catch the exception.
    """
    show = sys.unraisablehook

    def ignore(caught: Any) -> None:
        if "Event loop is closed" not in str(caught.exc_value):
            show(caught)

    sys.unraisablehook = ignore
    try:
        yield
    except Exception:
        time.sleep(0.5)  # until they have all failed
        raise
    finally:
        sys.unraisablehook = show
