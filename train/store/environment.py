"""On what a run ran: ``environment.json``, a list of entries, the first one from its beginning.

An entry is added where a run goes on in another environment; none is ever replaced. It names no
path, no host and no user, so that a run directory can be given away:

    epochs_done   epochs that were done when it began
    epochs        epochs that the run was to have
    versions      Python, flax_snn and the libraries that decide a result
    git           commit of the code, whether files differ from it, and a sum of the differences;
                  null where train does not run from a checkout
    machine       system, architecture, processor, cores of the process
    devices       platform of JAX, number of devices of each kind, processes
    mesh          parts of a batch, and of the neurons of a wide layer
    flags         flags of XLA, and settings of JAX that change numbers
    time_loop     the loop over time steps that was asked for, and those that were taken
    feeding       where samples came from, and how they reached the device
    samples       SHA-256 sums of the samples
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from flax_snn.json_form import Object, anything, count, items
from train.errors import RunDirectoryError, RunWarning
from train.store.checksum import is_broken, sealed
from train.store.contents import versions
from train.store.forms import JsonFile
from train.store.layout import ENVIRONMENT
from train.store.run_directory import write_json

_OPTIONAL = (
    "array-record",
    "grain",
    "h5py",
    "jax-cuda12-plugin",
    "jax-cuda13-plugin",
    "libtpu",
    "llvmlite",
    "ml_dtypes",
    "numba",
    "scipy",
    "tensorflow-datasets",
)
"""Packages that some runs use; of these only the installed ones are named."""

_CONFIG = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_enable_x64",
    "jax_threefry_partitionable",
)
"""Settings of JAX that change numbers."""

_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")

_PLACE = ("epochs_done", "epochs")
"""Fields of an entry that say when it began."""

_ENTRY = Object({name: count for name in _PLACE}, others=anything)

_FILE = JsonFile(
    Object({"entries": items(_ENTRY)}, others=anything),
    RunDirectoryError,
    "it says on what the run ran, which nothing else needs: delete it",
)


def surroundings() -> dict[str, Any]:
    """Returns what an entry says of software and hardware, as they are now."""
    libraries = versions()
    backend = libraries.pop("backend")
    kinds = Counter(device.device_kind for device in jax.devices())
    return {
        "versions": libraries | dict(_installed()),
        "git": _git(Path(__file__).resolve().parents[2]),
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "processor": _processor(),
            "cores": _cores(),
        },
        "devices": {
            "platform": backend,
            "kinds": dict(sorted(kinds.items())),
            "processes": jax.process_count(),
        },
        "flags": {
            **{name: _no_paths(os.environ[name]) for name in _VARIABLES if os.environ.get(name)},
            **{name: getattr(jax.config, name) for name in _CONFIG},
        },
    }


def record(
    path: Path,
    entry: Mapping[str, Any],
    note: Callable[[str], None],
    *,
    epochs_done: int,
    epochs: int,
) -> None:
    """Writes an entry, unless nothing has changed since the last one; says what has.

    A file that is damaged is put aside, as ``environment.json.damaged``, and begun anew.

    Args:
      path: the run directory.
      entry: what it ran on.
      note: shows the user a line of text.
      epochs_done: epochs that are done.
      epochs: epochs that the run is to have.
    """
    try:
        entries = read(path)
    except RunDirectoryError as error:
        aside = path / f"{ENVIRONMENT}.damaged"
        (path / ENVIRONMENT).replace(aside)
        words = f"{error}. It lies in {aside} now, and a new one is begun"
        warnings.warn(words, RunWarning, stacklevel=2)
        entries = []
    if entries:
        changed = list(differences(entries[-1], entry))
        if not changed and entries[-1].get("epochs") == epochs:
            return
        if changed:
            words = ", ".join(f"{name} {old} -> {new}" for name, old, new in changed)
            note(f"{path}: after {epochs_done} epochs it goes on in another environment: {words}")
    place = {"epochs_done": epochs_done, "epochs": epochs}
    write_json(path / ENVIRONMENT, sealed({"entries": [*entries, {**place, **entry}]}))


def read(path: Path) -> list[dict[str, Any]]:
    """Returns the entries of a run, the oldest first; none where it has no such file.

    Raises:
      RunDirectoryError: the file is damaged.
    """
    found = _FILE.read(path / ENVIRONMENT)
    if found is not None and is_broken(found):
        raise RunDirectoryError(
            f"{path / ENVIRONMENT} is damaged: its checksum is not that of what it holds;"
            f" {_FILE.remedy}"
        )
    entries: list[dict[str, Any]] = [] if found is None else found["entries"]
    return entries


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """Yields name, old and new value of what differs between two entries, but for their places."""
    old, new = (dict(_flat(entry)) for entry in (before, after))
    for name in dict.fromkeys((*old, *new)):
        if name not in _PLACE and old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)


def _flat(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    # Git is there or not as a whole, and devices of other kinds are other devices.
    if not isinstance(tree, Mapping) or name in ("git", "devices.kinds"):
        yield name, tree
        return
    for key, value in tree.items():
        yield from _flat(value, f"{name}.{key}" if name else str(key))


def _no_paths(flags: str) -> str:
    """Returns flags with PATH in place of what may be a path, such as that of a dump."""
    return re.sub(r"=\S*[/\\]\S*", "=PATH", flags)


def _installed() -> Iterator[tuple[str, str]]:
    for name in _OPTIONAL:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _git(root: Path) -> dict[str, Any] | None:
    """Returns the state of a checkout; None where there is none, or no git that can read it."""
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> bytes:
        # Without optional locks it never disturbs a git that works in the same checkout.
        return subprocess.run(
            ["git", "--no-optional-locks", "-C", str(root), *arguments],
            check=True,
            capture_output=True,
            timeout=20,
        ).stdout

    try:
        commit = git("rev-parse", "HEAD").decode().strip()
        changed = git("status", "--porcelain")
        sums = hashlib.sha256(changed + git("diff", "--no-ext-diff", "HEAD")) if changed else None
    except (OSError, subprocess.SubprocessError):
        return None
    digest = None if sums is None else sums.hexdigest()[:16]
    return {"commit": commit, "dirty": bool(changed), "differences": digest}


def _processor() -> str:
    """Returns the model of the processor, on whose instructions the last bits depend."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _cores() -> int:
    """Returns how many cores the process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
