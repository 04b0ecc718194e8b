"""What all TFDS data sets of this package share: ArrayRecord files, written once or not at all.

A data set appears under its name when it is whole. TFDS writes it into a folder `incomplete...`
beside that; what a killed process left there is never read, and the next preparation removes it.

Neither TensorFlow nor a network is needed, only tensorflow-datasets and array_record:
``pip install 'flax-snn[data]'``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flax_snn.datasets.disk import disk_explained

try:
    import array_record  # noqa: F401  TFDS loads it only when it writes or reads.
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import constants
    from tensorflow_datasets.core.utils import tqdm_utils
except ImportError as error:
    raise ImportError(
        "expected tensorflow-datasets and array_record for data sets on disk, got "
        f"{error}; install them with pip install 'flax-snn[data]'"
    ) from error

FORMAT = "array_record"
"""The one format that TFDS writes and reads without TensorFlow."""

UNLISTED: dict[str, Any] = {"skip_registration": True}  # in the list of TFDS

__all__ = ["FORMAT", "UNLISTED", "ArrayRecordBuilder", "data_folder", "tfds", "write_once"]

_log = logging.getLogger(__name__)


# TFDS has no types.
class ArrayRecordBuilder(tfds.core.GeneratorBasedBuilder, **UNLISTED):  # type: ignore[misc]
    """A TFDS builder whose samples stand in ArrayRecord files, in the order they are given in.

    Args:
      file_format: what TFDS takes; ArrayRecord, the default, is what can be read at random.
      **options: what TFDS takes.
    """

    # To look for a list of URLs TFDS would need importlib_resources, which it does not install.
    url_infos = None

    def __init__(self, *, file_format: Any = FORMAT, **options: Any):
        super().__init__(file_format=file_format, **options)

    def _create_builder_config(self, builder_config: Any, version: Any) -> Any:
        # TFDS would warn of every configuration that its class does not list.
        if isinstance(builder_config, tfds.core.BuilderConfig):
            return builder_config
        return super()._create_builder_config(builder_config, version=version)

    def _log_download_bytes(self) -> None:
        """Prints nothing, since TFDS downloads nothing."""

    def _log_download_done(self) -> None:
        """See `_log_download_bytes`."""


def data_folder(
    data_dir: str | os.PathLike[str] | None, name: str, configuration: str, version: str
) -> str:
    """Returns the folder that TFDS keeps a data set in."""
    root = os.path.expanduser(data_dir or constants.DATA_DIR)
    return os.path.join(root, name, configuration, version)


def write_once(make: Callable[[], Any]) -> Any:
    """Writes a data set unless it is there already.

    Args:
      make: makes the builder.

    Returns:
      A builder of the data set, which is there.

    Raises:
      OSError: the disk is full, or the folder cannot be written.
    """
    builder = make()
    folder = Path(os.fspath(builder.data_path)).parent
    if builder.data_path.exists():
        _remove_rest(folder)
        return builder
    try:
        with _room_for(folder), _preparing(folder), _progress_on_terminals():
            builder.download_and_prepare()
    except OSError:
        # Renamed onto a folder that another process has finished in the meantime.
        if not builder.data_path.exists():
            raise
    return make()


def _room_for(folder: Path) -> contextlib.AbstractContextManager[None]:
    remedy = "make room, or choose another data_dir; nothing half-written counts"
    return disk_explained(folder, "the prepared data", remedy)


def _remove_rest(folder: Path) -> None:
    """Removes what a killed process left where another one has finished, if the disk lets it."""
    if any(folder.glob("incomplete.*")):
        with contextlib.suppress(OSError), _preparing(folder):
            pass


@contextlib.contextmanager
def _preparing(folder: Path) -> Iterator[None]:
    """Marks that someone prepares here, and removes what killed processes left.

    Everyone who prepares shares a lock, which ends with its process however that ends. Who gets it
    alone knows that nobody is at work.
    """
    try:
        import fcntl
    except ImportError:  # Without such locks nothing is removed, and nothing read either.
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".preparing", "w") as file:
        with contextlib.suppress(OSError):  # Others are at work, or the disk knows no locks.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in folder.glob("incomplete.*"):
                _log.warning("%s: removed, the rest of a preparation that was interrupted", left)
                shutil.rmtree(left)
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def _progress_on_terminals() -> Iterator[None]:
    """Hides TFDS' progress bars where they would fill a log file."""
    shown = tqdm_utils._active  # has no public reader
    tfds.display_progress_bar(shown and sys.stderr.isatty())
    try:
        yield
    finally:
        tfds.display_progress_bar(shown)
