"""One checkpoint: its items, and its arrays once they are asked for."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from train.errors import CheckpointError
from train.store.arrays import read_arrays
from train.store.checksum import arrays_sum
from train.store.contents import arrays, by_name, not_finite
from train.store.items import damaged, read_items
from train.store.places import check_checkpoint_place
from train.store.safe_tree import check_tree


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint of this format, its arrays not yet read.

    Attributes:
      path: its folder, named by its epoch.
      meta: format version, epoch, settings, metrics, versions; see `train.store.items`.
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

    def verify(self) -> None:
        """Reads all arrays, which stay in the host's memory, and compares them with their sum.

        Raises:
          CheckpointError: they cannot be read, are not those that were saved, or a parameter is
            not finite.
        """
        self._named  # noqa: B018  read once, then there

    def parameters(self) -> dict[str, Any]:
        """Reads the parameters alone, whatever their form; arrays land in the host's memory.

        Raises:
          CheckpointError: damaged, or not finite.
        """
        self.verify()
        found = self._tree.get("params")
        if not isinstance(found, dict):
            raise damaged(self.path, "it has no parameters")
        return found

    def restore(self, like: Any, renaming: Any = None) -> Any:
        """Reads the state.

        Args:
          like: a state of the same form, its arrays given by shape and dtype; arrays land where
            those of ``like`` are, on the default device where it has shapes only, whatever devices
            they were saved from.
          renaming: names that parameters had when it was saved, with ``old`` and ``new`` as
            `train.tasks.task.Renaming` has them; ``None``: those of ``like``.

        Returns:
          ``like`` with the saved arrays.

        Raises:
          CheckpointError: damaged, not finite, or of another model.
        """
        expected = arrays(like)
        if renaming is not None:
            expected = _renamed(expected, renaming.old)
        names, stored = by_name(expected), self._named
        _check_form(self.path, stored, names)
        saved = jax.tree.unflatten(jax.tree.structure(expected), [stored[name] for name in names])
        if renaming is not None:
            saved = _renamed(saved, renaming.new)
        return like.replace(**jax.tree.map(_placed, arrays(like), saved))

    @functools.cached_property
    def _tree(self) -> Any:
        try:
            return dict(read_arrays(self.path))
        except Exception as error:
            raise damaged(self.path, error) from error

    @functools.cached_property
    def _named(self) -> dict[str, np.ndarray]:
        """The arrays by name, compared with their sum."""
        named: dict[str, np.ndarray] = by_name(self._tree)
        if "arrays" in self.meta and self.meta["arrays"] != arrays_sum(named):
            raise damaged(self.path, "its arrays are not those that were saved: another checksum")
        step = named.get("step")
        if step is None or np.shape(step) or int(step) != self.meta["updates"]:
            shown = "none" if step is None else np.asarray(step).tolist()
            raise damaged(
                self.path, f"its state is of step {shown}, meta of step {self.meta['updates']}"
            )
        if (words := not_finite(named)) is not None:
            raise CheckpointError(
                f"{self.path}: expected finite parameters, but {words}; use another checkpoint of"
                " the run, or train again with a lower --learning-rate or with --clip-norm 1"
            )
        return named


def open_checkpoint(path: Path) -> Checkpoint:
    """Reads and checks all of a checkpoint but its arrays.

    Args:
      path: the folder of one checkpoint.

    Returns:
      The checkpoint.

    Raises:
      CheckpointError: incomplete, damaged, or of another format version.
    """
    path = path.absolute()
    check_checkpoint_place(path)
    check_tree(path)
    items = read_items(path)
    if not (path / "state").is_dir():
        raise damaged(path, "it has no state")
    return Checkpoint(path, *items)


def _placed(like: Any, value: np.ndarray) -> jax.Array:
    """Puts an array where another one is: each device gets its part of it."""
    sharding = getattr(like, "sharding", None)
    if sharding is None:
        sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    # A copy: on a CPU the device might otherwise use the memory of the array that was read.
    return jax.make_array_from_callback(value.shape, sharding, lambda part: np.array(value[part]))


def _renamed(saved: dict[str, Any], rename: Callable[[Any], Any]) -> dict[str, Any]:
    """Renames the parameters, and what the optimizer keeps for each of them."""

    def tree(value: Any) -> Any:
        # Whatever is a dict has the form of the parameters.
        return jax.tree.map(lambda x: rename(x) if _is_dict(x) else x, value, is_leaf=_is_dict)

    return saved | {name: tree(saved[name]) for name in ("params", "opt_state")}


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _check_form(path: Path, stored: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses a checkpoint whose arrays are not those of this model."""
    found, wanted = (_forms(named, "params/") for named in (stored, expected))
    if found != wanted:
        raise CheckpointError(
            f"{path} is a checkpoint of another model: expected parameters {_words(wanted)}, got"
            f" {_words(found)}; evaluate it with the release of flax_snn that wrote it"
        )
    found, wanted = _forms(stored), _forms(expected)
    if found != wanted:
        differing = {name for name in {*found, *wanted} if found.get(name) != wanted.get(name)}
        raise damaged(
            path,
            f"expected other arrays as {', '.join(sorted(differing)[:3])}: {len(differing)} differ"
            " in shape or dtype, or are missing",
        )


def _forms(named: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[tuple[int, ...], str]]:
    found = {name: x for name, x in named.items() if name.startswith(prefix)}
    return {name: (tuple(np.shape(x)), np.dtype(x.dtype).name) for name, x in found.items()}


def _words(forms: Mapping[str, tuple[tuple[int, ...], str]]) -> dict[str, tuple[int, ...]]:
    return {name.removeprefix("params/").replace("/", "."): form[0] for name, form in forms.items()}
