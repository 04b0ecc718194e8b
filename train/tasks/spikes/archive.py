"""Arrays of an .npz archive: read whole or refused, never unpickled, never beyond the memory."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from flax_snn.datasets.unreadable_npz import UNREADABLE_NPZ
from flax_snn.regular_file import check_regular
from train.errors import ConfigError
from train.settings.size import bytes_in_words, memory


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads all arrays of an archive.

    Args:
      path: the file.

    Raises:
      ConfigError: no archive, a cut one, one of more bytes than the machine has memory, or one with
        Python objects in it.
    """
    try:
        check_regular(path.stat().st_mode)
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > memory():
            raise ConfigError(
                f"--file {path}: its arrays take {bytes_in_words(size)}, this machine has"
                f" {bytes_in_words(memory())} of memory left; save rasters as uint8, or save events"
            )
        with np.load(path, allow_pickle=False) as arrays:
            return {name: _array(name, arrays[name]) for name in arrays.files}
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
    except UNREADABLE_NPZ as error:
        raise _unreadable(path, error) from error


def _array(name: str, found: object) -> np.ndarray:
    """Returns a member of an archive that is an array; NumPy gives the bytes of any other."""
    if not isinstance(found, np.ndarray):
        raise ValueError(f"its member {name} is no array of NumPy")
    return found


def _unreadable(path: Path, reason: object) -> ConfigError:
    return ConfigError(
        f"--file {path}: it cannot be read as .npz, an archive of np.savez ({reason})"
    )
