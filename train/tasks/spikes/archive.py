"""Arrays of an .npz archive: read whole or refused, never unpickled, never beyond the memory."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from train.errors import ConfigError


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads all arrays of an archive.

    Args:
      path: the file.

    Raises:
      ConfigError: no archive, a cut one, one of more bytes than the machine has memory, or one with
        Python objects in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > memory():
            raise ConfigError(
                f"--file {path}: its arrays take {bytes_in_words(size)}, this machine has"
                f" {bytes_in_words(memory())} of memory; save rasters as uint8, or save events"
            )
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except zipfile.BadZipFile as error:
        what = (
            "it is empty" if not path.stat().st_size else f"it is cut, or of another kind: {error}"
        )
        raise _unreadable(path, what) from error
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ConfigError(
                f"--file {path}: it holds Python objects, which could run any code and are never"
                " read; save plain arrays, np.savez(file, raster=..., labels=...)"
            ) from error
        raise _unreadable(path, error) from error
    except (OSError, EOFError, KeyError, SyntaxError, zlib.error, MemoryError) as error:
        raise _unreadable(path, error) from error
    except (NotImplementedError, RuntimeError) as error:  # encrypted, or packed in other ways
        raise _unreadable(path, error) from error


def memory() -> int:
    """Returns the bytes of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def bytes_in_words(size: float) -> str:
    """Returns a number of bytes in words."""
    unit, scale = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6)
    return f"{size / scale:.3g} {unit}"


def _unreadable(path: Path, reason: object) -> ConfigError:
    return ConfigError(
        f"--file {path}: it cannot be read as .npz, an archive of np.savez ({reason})"
    )
