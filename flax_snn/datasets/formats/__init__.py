"""One reader a file format, and `read_events`, which looks which one a file is of."""

from __future__ import annotations

import os
from collections.abc import Callable

from flax_snn import checks
from flax_snn.datasets.events.recording import Events
from flax_snn.datasets.formats.aedat3 import read_aedat3
from flax_snn.datasets.formats.aedat4 import read_aedat4
from flax_snn.datasets.formats.dat import read_dat
from flax_snn.datasets.formats.evt2 import read_evt2, version_of
from flax_snn.datasets.formats.evt3 import read_evt3
from flax_snn.datasets.formats.header import read_header
from flax_snn.datasets.formats.nmnist import read_nmnist
from flax_snn.datasets.recorded.sources import existing

__all__ = [
    "EVENT_FORMATS",
    "read_aedat3",
    "read_aedat4",
    "read_dat",
    "read_events",
    "read_evt2",
    "read_evt3",
    "read_nmnist",
]

EVENT_FORMATS: dict[str, Callable[..., Events]] = {
    "AEDAT 3.1": read_aedat3,
    "AEDAT 4": read_aedat4,
    "DAT": read_dat,
    "EVT 2.0": read_evt2,
    "EVT 3.0": read_evt3,
    "N-MNIST": read_nmnist,
}
"""Reader of each format of event cameras."""


def read_events(path: str | os.PathLike[str], **options: object) -> Events:
    """Reads a recording of an event camera in any of `EVENT_FORMATS`.

    The first bytes tell the format; N-MNIST's ``.bin`` has none to tell, and goes by its name.

    Args:
      path: the file.
      **options: what the reader of the format takes, such as ``sensor=(height, width)``.

    Raises:
      FileNotFoundError: no such file.
      ImportError: the package that reads the format is not installed.
      TypeError: an option that the reader does not take.
      ValueError: none of the formats, or a damaged file.

    Example: see docs/data.md.
    """
    path = existing(path, what="events")
    return EVENT_FORMATS[format_of(path)](path, **options)


def format_of(path: str) -> str:
    """Returns the name of the format of a file in `EVENT_FORMATS`.

    Raises:
      ValueError: none of them.
    """
    with open(path, "rb") as file:
        start = file.read(1 << 16)
    lines = read_header(start).lines
    if version := version_of(lines):
        name = f"EVT {version}"
    elif lines.get("data", "").startswith("file containing"):
        name = "DAT"
    elif start.startswith(b"#!AER-DAT"):
        name = "AEDAT 4" if start[9:10] == b"4" else "AEDAT 3.1"
    elif path.endswith(".bin"):
        name = "N-MNIST"
    else:
        name = repr(start[:12].decode("latin-1"))
    if name not in EVENT_FORMATS:
        raise ValueError(
            checks.error_text(
                path, f"one of {', '.join(EVENT_FORMATS)}", name, "convert it, say with faery"
            )
        )
    return name


def __dir__() -> list[str]:
    return __all__
