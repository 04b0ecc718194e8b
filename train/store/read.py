"""Reading checkpoints: which one a path means, whether it is whole, and its arrays."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from train.errors import CheckpointError
from train.store.contents import FORMAT_VERSION, ONE_AT_A_TIME, arrays, validation_score
from train.store.layout import CHECKPOINTS, INTERRUPTED


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint of this format, its arrays not yet read.

    Attributes:
      path: its folder, named by its epoch.
      meta: format version, epoch, settings, metrics, versions.
      data: where the data stand.
    """

    path: Path
    meta: dict[str, Any]
    data: dict[str, Any]

    @property
    def settings_version(self) -> int:
        """Version of the settings, and so of the names of the parameters."""
        version = self.meta["settings"].get("version")
        return version if type(version) is int else 0

    def parameters(self) -> dict[str, Any]:
        """Read the parameters alone, whatever their form; arrays land in the host's memory.

        Raises:
          CheckpointError: damaged.
        """
        with ONE_AT_A_TIME, _late_failures_ignored(), _reader() as reader:
            try:
                stored = reader.metadata(self.path).item_metadata["state"].tree
                abstract = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), dict(stored))
                restore = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
                found: dict[str, Any] = reader.restore(self.path, args=restore)["state"]["params"]
            except Exception as error:
                raise _damaged(self.path, error) from error
        return found

    def restore(self, like: Any, renaming: Any = None) -> Any:
        """Read the state.

        Args:
          like: a state of the same form, its arrays given by shape and dtype; arrays land on the
            default device, whatever device they were saved from.
          renaming: names that parameters had when it was saved, with ``old`` and ``new`` as
            `train.tasks.task.Renaming` has them; ``None``: those of ``like``.

        Returns:
          ``like`` with the saved arrays.

        Raises:
          CheckpointError: damaged, or of another model.
        """
        expected = arrays(like)
        if renaming is not None:
            expected = _renamed(expected, renaming.old)
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), expected
        )
        with ONE_AT_A_TIME, _late_failures_ignored(), _reader() as reader:
            try:
                stored = reader.metadata(self.path).item_metadata["state"].tree
                _check_form(self.path, stored, abstract)
                restore = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
                saved = reader.restore(self.path, args=restore)["state"]
            except CheckpointError:
                raise
            # Whatever is broken, Orbax and TensorStore each have their own way to say so.
            except Exception as error:
                raise _damaged(self.path, error) from error
        if renaming is not None:
            saved = _renamed(saved, renaming.new)
        return like.replace(**saved)


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint that a path means.

    Args:
      path: a checkpoint, a run directory, or its folder of checkpoints; of a run, the best epoch
        by validation score is meant.

    Returns:
      The folder of one checkpoint.

    Raises:
      CheckpointError: there is none, or one of the run cannot be read.
    """
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist; give a run directory such as checkpoints/randman_reference,"
            " or one of the numbered folders in it"
        )
    folder = path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path
    # A run may be named by a number, as a checkpoint is.
    if folder == path and ((path / "state").is_dir() or path.name.isdigit()):
        return path
    steps = _numbered(folder)
    if not steps:
        raise CheckpointError(
            f"{path} holds no checkpoint: expected folders {CHECKPOINTS}/<epoch> in it; give the"
            " directory of a run that finished at least one epoch"
        )
    score = {p: (validation_score(open_checkpoint(p).meta), int(p.name)) for p in steps}
    return max(steps, key=score.__getitem__)


def latest_checkpoint(run: Path) -> Checkpoint | None:
    """Return the checkpoint of a run that is furthest, within an epoch or after one.

    Args:
      run: the run directory.

    Returns:
      The checkpoint, or ``None`` where none was saved yet.

    Raises:
      CheckpointError: one of them is damaged, or of another format version.
    """
    found = [open_checkpoint(p) for f in (CHECKPOINTS, INTERRUPTED) for p in _numbered(run / f)]
    return max(found, key=lambda c: c.meta["updates"], default=None)


def open_checkpoint(path: Path) -> Checkpoint:
    """Read and check all of a checkpoint but its arrays.

    Args:
      path: the folder of one checkpoint.

    Returns:
      The checkpoint.

    Raises:
      CheckpointError: incomplete, damaged, or of another format version.
    """
    path = path.absolute()
    json_items = ocp.args.Composite(meta=ocp.args.JsonRestore(), data=ocp.args.JsonRestore())
    with ONE_AT_A_TIME, _reader() as reader:
        try:
            items = reader.restore(path, args=json_items)
            meta, data = dict(items["meta"]), dict(items["data"])
        except Exception as error:
            raise _damaged(path, error) from error
    version = meta.get("format_version")
    if version != FORMAT_VERSION:
        wrote = meta.get("versions", {}).get("flax_snn", "unknown")
        raise CheckpointError(
            f"{path} is a checkpoint of format version {version!r}, this release reads"
            f" {FORMAT_VERSION}; evaluate it with the release of flax_snn that wrote it ({wrote})"
        )
    complete = {"settings", "epoch", "updates", "score", "metrics"} <= set(meta)
    if not complete or not (path / "state").is_dir():
        raise _damaged(path, "it has no state, settings or metrics")
    return Checkpoint(path, meta, data)


def _renamed(saved: dict[str, Any], rename: Callable[[Any], Any]) -> dict[str, Any]:
    """Rename the parameters, and what the optimizer keeps for each of them."""

    def tree(value: Any) -> Any:
        # Whatever is a dict has the form of the parameters.
        return jax.tree.map(lambda x: rename(x) if _is_dict(x) else x, value, is_leaf=_is_dict)

    return saved | {name: tree(saved[name]) for name in ("params", "opt_state")}


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _numbered(folder: Path) -> list[Path]:
    """Return what may be checkpoints in a folder, which need not exist."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return [p for p in inside if p.is_dir() and p.name.isdigit()]


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


def _check_form(path: Path, stored: Any, expected: Any) -> None:
    """Refuse a checkpoint whose parameters are not those of this model."""
    found, wanted = (_shapes(tree["params"]) for tree in (stored, expected))
    if found != wanted:
        raise CheckpointError(
            f"{path} is a checkpoint of another model: expected parameters {wanted}, got {found};"
            " evaluate it with the release of flax_snn that wrote it"
        )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(k, simple=True, separator="."): tuple(v.shape) for k, v in leaves}


def _damaged(path: Path, reason: Any) -> CheckpointError:
    first_line = (str(reason).splitlines() or [""])[0]
    first_line = first_line if len(first_line) < 100 else f"{first_line[:100]}..."
    kind = f"{type(reason).__name__}: " if isinstance(reason, BaseException) else ""
    return CheckpointError(
        f"{path} is incomplete or damaged ({kind}{first_line}); delete this folder to"
        " fall back on the other checkpoint of the run, or train again"
    )
