"""Compiled functions kept on disk, so that the next run with the same settings starts sooner."""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path

import jax

from train.errors import RunWarning


def cache_directory(given: Path | None) -> Path:
    """Returns the directory of compiled functions.

    Args:
      given: what the user asked for.

    Returns:
      That, else ``$JAX_COMPILATION_CACHE_DIR``, else ``flax_snn/xla`` in ``$XDG_CACHE_HOME``, by
      default ``~/.cache``.
    """
    if given is not None:
        return given
    if named := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "flax_snn", "xla")


def enable(given: Path | None) -> None:
    """Keeps all functions compiled from now on; a directory that cannot be made is no loss.

    Of one that the user has named a `RunWarning` says so.

    Args:
      given: directory, or ``None`` for that of `cache_directory`.
    """
    if given is not None:
        try:
            given.mkdir(parents=True, exist_ok=True)
            if not os.access(given, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            warnings.warn(
                f"--cache-dir {given}: {error.strerror}, so that nothing that is compiled is kept;"
                " give a folder that can be written to, or add --no-cache",
                RunWarning,
                stacklevel=2,
            )
    jax.config.update("jax_compilation_cache_dir", str(cache_directory(given).absolute()))
    # By default JAX keeps only what took long to compile; here all of a start counts.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
