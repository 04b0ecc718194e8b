"""The items of a checkpoint that are JSON, ``meta`` and ``data``, and how all items are tied.

    meta   format_version, settings, epoch, updates, score, metrics, versions,
           run       id of the run, as its config.json has it
           arrays    sum over all arrays of the item ``state``: names, shapes, dtypes, bytes
           lines     sum over the lines of metrics.jsonl up to this epoch
           checksum  sum over the rest of meta and all of data
    data   where the run stands, and again run and updates

So an item of another run, another step or another place, and a bit that has flipped in any of
them, is noticed. Checkpoints of format version 2 have none of these sums; they are read as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from train.errors import CheckpointError
from train.store import forms
from train.store.checksum import CHECKSUM, json_sum
from train.store.contents import FORMAT_VERSION, OLDEST_FORMAT, validation_score
from train.store.layout import CHECKPOINTS, INTERRUPTED

BEST = "validation_score"
"""Name of the number by which Orbax keeps the best checkpoint."""

_ITEM = "metadata"
"""File of an item of JSON."""

_TIES = ("run", "arrays", "lines", CHECKSUM)


class FormatVersionError(CheckpointError):
    """A checkpoint of a format version that this release does not read."""


class Items(NamedTuple):
    """The items of a checkpoint that are JSON, checked.

    Attributes:
      meta: what was saved.
      data: where the run stands.
    """

    meta: dict[str, Any]
    data: dict[str, Any]


def tied(meta: Mapping[str, Any], data: Mapping[str, Any], run: str | None) -> Items:
    """Returns items for a checkpoint that is to be written, tied to each other.

    Args:
      meta: what is saved, ``arrays`` and ``lines`` among it.
      data: where the run stands.
      run: id of the run.
    """
    place = {**data, "run": run, "updates": meta["updates"]}
    plain = {**meta, "format_version": FORMAT_VERSION, "run": run}
    return Items({**plain, CHECKSUM: json_sum({"meta": plain, "data": place})}, place)


def read_items(path: Path) -> Items:
    """Reads the items of a checkpoint.

    Args:
      path: its folder.

    Raises:
      CheckpointError: they are not there, damaged, or do not belong together.
      FormatVersionError: of another format version.
    """
    meta, data = forms.META.read(path / "meta" / _ITEM), forms.POSITION.read(path / "data" / _ITEM)
    if meta is None or data is None:
        raise damaged(path, f"it has no {'meta' if meta is None else 'data'}")
    version = meta["format_version"]
    if not OLDEST_FORMAT <= version <= FORMAT_VERSION:
        wrote = meta.get("versions", {}).get("flax_snn", "unknown")
        raise FormatVersionError(
            f"{path} is a checkpoint of format version {version!r}, this release reads"
            f" {OLDEST_FORMAT} to {FORMAT_VERSION}; evaluate it with the release of flax_snn that"
            f" wrote it ({wrote})"
        )
    items = Items(meta, data)
    for wrong in (_untied(items), _misplaced(path, items), _other_score(path, items)):
        if wrong is not None:
            raise damaged(path, wrong)
    return items


def damaged(path: Path, reason: Any) -> CheckpointError:
    """Returns the error for a checkpoint that cannot be used, with the reason in one line."""
    first_line = (str(reason).splitlines() or [""])[0]
    limit = 400 if isinstance(reason, str) else 100
    first_line = first_line if len(first_line) < limit else f"{first_line[:limit]}..."
    kind = f"{type(reason).__name__}: " if isinstance(reason, BaseException) else ""
    return CheckpointError(
        f"{path} is incomplete or damaged ({kind}{first_line}); give the run directory to use"
        " another checkpoint of the run, or train again"
    )


def _untied(items: Items) -> str | None:
    """Returns why items do not belong together; ``None`` if they do."""
    meta, data = items
    ties = [name for name in _TIES if name in meta]
    if meta["format_version"] >= FORMAT_VERSION and len(ties) < len(_TIES):
        return f"meta has no {', '.join(name for name in _TIES if name not in ties)}"
    for name in ("run", "updates"):
        if ("run" in meta or name in data) and meta[name] != data.get(name):
            what = "run" if name == "run" else "step"
            return (
                f"its items are of different {what}s: {name} is {meta[name]!r} in meta,"
                f" {data.get(name)!r} in data"
            )
    within = data["batches_done"] > 0
    if meta["epoch"] != data["epochs_done"] + within:
        return (
            f"meta is of epoch {meta['epoch']}, data of {data['epochs_done']} epochs and"
            f" {data['batches_done']} batches"
        )
    plain = {name: value for name, value in meta.items() if name != CHECKSUM}
    if ties and meta.get(CHECKSUM) != json_sum({"meta": plain, "data": data}):
        return "meta and data are not what was saved: their checksum is another"
    return None


def _misplaced(path: Path, items: Items) -> str | None:
    """Returns why a folder cannot have its name; ``None`` if it can."""
    names = {CHECKPOINTS: "epoch", INTERRUPTED: "updates"}
    name = names.get(path.parent.name)
    if name is None or not path.name.isdigit() or int(path.name) == items.meta[name]:
        return None
    return f"the folder has the name of {name} {path.name}, what is in it is of {items.meta[name]}"


def _other_score(path: Path, items: Items) -> str | None:
    """Returns why the number by which Orbax keeps the best is wrong; ``None`` if it is not."""
    try:
        score = validation_score(items.meta)
    except (LookupError, TypeError, ValueError):
        score = None
    if score is None:
        return "meta has no validation score" if path.parent.name == CHECKPOINTS else None
    found = forms.BEST.read(path / "metrics" / "metrics")
    if found is None:
        missing = path.parent.name == CHECKPOINTS
        return "it has no metrics" if missing else None
    if found[BEST] != score:
        return f"metrics have the score {found[BEST]!r}, meta has {score!r}"
    return None
