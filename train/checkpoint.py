"""Checkpoints of a run: the only module that knows Orbax.

A run directory holds ``checkpoints/<epoch>/`` for the best epoch by validation accuracy (the later
of equals) and for the latest, each with three items:

    state   the `TrainState`: parameters, optimiser, step, noise key
    data    where the data stand: epochs done, seed of the order of samples
    meta    format version, settings, metrics of the epoch, versions of the libraries

Orbax writes an epoch beside its place and renames it when it is whole, so what has a number for a
name is complete, unless someone else made it: `open_checkpoint` checks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

import flax_snn as snn
from train.errors import CheckpointError

FORMAT_VERSION = 1
"""Version of the layout above; raised when a reader of the older one would go wrong."""

FOLDER = "checkpoints"
"""Folder of a run directory that holds its checkpoints."""

BEST_BY = "validation_accuracy"
"""Metric that decides which checkpoint is the best."""

_VERSIONED = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class CheckpointWriter:
    """Saves epochs in the background; keeps the best and the latest.

    Args:
      run: the run directory.
      settings: what `config_json.to_json` returned for the run.
    """

    def __init__(self, run: Path, settings: Mapping[str, Any]):
        self._settings = dict(settings)
        keep = [managers.LatestN(1), managers.BestN(get_metric_fn=_best_metric, n=1)]
        self._folder = (run / FOLDER).absolute()
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                # Without best_fn Orbax writes no metrics, and forgets the best after a restart.
                best_fn=_best_metric,
                best_mode="max",
                preservation_policy=managers.AnyPreservationPolicy(keep),
            ),
        )

    def save(
        self, epoch: int, state: Any, data: Mapping[str, Any], metrics: Mapping[str, Any]
    ) -> None:
        """Save one epoch; returns as soon as the arrays are copied.

        Args:
          epoch: number of the epoch, from 1: the name of the checkpoint.
          state: the state after it.
          data: where the data stand, for JSON.
          metrics: metrics of the epoch, for JSON, `BEST_BY` among them.
        """
        meta = {
            "format_version": FORMAT_VERSION,
            "epoch": epoch,
            "settings": self._settings,
            "metrics": dict(metrics),
            "versions": versions(),
        }
        self._manager.save(
            epoch,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_arrays(state)),
                data=ocp.args.JsonSave(dict(data)),
                meta=ocp.args.JsonSave(meta),
            ),
            metrics={BEST_BY: float(metrics[BEST_BY])},
        )

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until everything is on disk, whatever happened."""
        self._manager.wait_until_finished()
        self._manager.close()
        _forget_place(self._folder)


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

    def restore(self, like: Any) -> Any:
        """Read the state.

        Args:
          like: a state of the same form, its arrays given by shape and dtype; arrays land on the
            default device, whatever device they were saved from.

        Returns:
          ``like`` with the saved arrays.

        Raises:
          CheckpointError: damaged, or of another model.
        """
        expected = _arrays(like)
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), expected
        )
        with _late_failures_ignored(), _reader() as reader:
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
        return like.replace(**saved)


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint that a path means.

    Args:
      path: a checkpoint, a run directory, or its folder of checkpoints; of a run, the best epoch
        by validation accuracy is meant.

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
    if (path / "state").is_dir() or path.name.isdigit():
        return path
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    steps = (
        [p for p in folder.iterdir() if p.is_dir() and p.name.isdigit()] if folder.is_dir() else []
    )
    if not steps:
        raise CheckpointError(
            f"{path} holds no checkpoint: expected folders {FOLDER}/<epoch> in it; give the"
            " directory of a run that finished at least one epoch"
        )
    score = {p: (open_checkpoint(p).meta["metrics"][BEST_BY], int(p.name)) for p in steps}
    return max(steps, key=score.__getitem__)


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
    with _reader() as reader:
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
    complete = {"settings", "epoch", "metrics"} <= set(meta) and BEST_BY in meta["metrics"]
    if not complete or not (path / "state").is_dir():
        raise _damaged(path, "it has no state, settings or metrics")
    return Checkpoint(path, meta, data)


def versions() -> dict[str, str]:
    """Return versions of Python and of the libraries that decide a result, and the backend."""
    libraries = {name: metadata.version(name) for name in _VERSIONED}
    return {
        "flax_snn": snn.__version__,
        "python": platform.python_version(),
        **libraries,
        "backend": jax.default_backend(),
    }


def _forget_place(folder: Path) -> None:
    """Take the absolute path out of Orbax's commit notes, so that a run can be given away.

    Orbax looks at most at whether the note is there, never into it.
    """
    for note in folder.rglob("commit_success.txt"):
        note.write_text("Checkpoint commit was successful")


def _best_metric(metrics: Mapping[str, Any]) -> float:
    return float(metrics[BEST_BY])


def _arrays(state: Any) -> dict[str, Any]:
    """Return the part of a state that is stored, under the names of its fields."""
    names = ("step", "params", "opt_state", "noise_key")
    return {name: getattr(state, name) for name in names}


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
