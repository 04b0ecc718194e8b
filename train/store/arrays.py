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
    """Read the item ``state`` of a checkpoint.

    Args:
      path: the folder of the checkpoint.

    Returns:
      The tree of arrays as Orbax has it, NumPy arrays for leaves.

    Raises:
      Exception: whatever is broken, Orbax and TensorStore each have their own way to say so.
    """
    with ONE_AT_A_TIME, _late_failures_ignored(), _reader() as reader:
        stored = reader.metadata(path).item_metadata["state"].tree
        # Views of one number: nothing is allocated ahead of the reading.
        form = jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), dict(stored))
        restore = ocp.args.Composite(state=ocp.args.StandardRestore(form))
        return reader.restore(path, args=restore)["state"]


def _reader() -> ocp.Checkpointer:
    """Return a reader of one checkpoint; an item without a handler would be warned of."""
    json = ocp.JsonCheckpointHandler
    items = {"state": ocp.StandardCheckpointHandler(), "meta": json(), "data": json()}
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler(**items, metrics=json()))


@contextlib.contextmanager
def _late_failures_ignored() -> Iterator[None]:
    """Keep the tracebacks of reads that fail after the first failure off the screen.

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
