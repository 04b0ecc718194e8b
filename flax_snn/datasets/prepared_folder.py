"""Folders of prepared data sets: what their cards may say, and what is said of damaged ones.

TFDS imports the classes that ``features.json`` names, whatever module they stand in, and reads the
files that ``dataset_info.json`` names, wherever they lie. So a folder that comes from someone else
could run code, and lead out of itself; its cards are looked at before TFDS sees them.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from flax_snn import checks
from flax_snn.json_form import Object, anything, items, read_json, text


@contextlib.contextmanager
def damage_explained(folder: str, what: str) -> Iterator[None]:
    """Turns errors of TFDS, JSON, protobuf and ArrayRecord at a damaged folder into a sentence."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or not os.path.exists(folder):
            raise
        raise damaged(folder, what, f"{type(error).__name__}: {error}") from error


def damaged(folder: str, what: str, found: str) -> ValueError:
    """Returns the error for a folder that cannot be used."""
    return ValueError(
        f"expected a complete {what} data set in {folder}, got {found}; delete that folder and "
        "prepare it again"
    )


def check_cards(folder: str) -> None:
    """Refuses cards of a prepared folder that name classes of others, or files elsewhere.

    Args:
      folder: the folder, with ``dataset_info.json`` and ``features.json``.

    Raises:
      OSError: a card cannot be read.
      TypeError: a card of another form.
      ValueError: no JSON, a class that is not of TFDS, a file outside the folder.
    """
    for card, form in (("dataset_info.json", _INFO), ("features.json", _features)):
        place = os.path.join(folder, card)
        try:
            read_json(place, form)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{place}: {error}") from None


def _features(name: str, value: Any) -> Any:
    """Checks that all classes of features are those of TFDS."""
    waiting: list[tuple[str, Any]] = [(name, Object(others=anything)(name, value))]
    while waiting:
        where, found = waiting.pop()
        inner = found.items() if isinstance(found, dict) else enumerate(found)
        for key, each in inner:
            place = f"{where}.{key}" if where else str(key)
            if isinstance(each, dict | list):
                waiting.append((place, each))
            elif key in _CLASSES and isinstance(each, str) and not each.startswith(_TFDS):
                what = "a class of TFDS, since its module is imported"
                remedy = "prepare the data set again"
                raise ValueError(checks.error_text(place, what, checks.shown(each), remedy))
    return value


_TFDS = "tensorflow_datasets."
_CLASSES = ("pythonClassName", "python_class_name", "type", "proto_cls", "protoCls")


def _inside(name: str, value: Any) -> str:
    """Checks the pattern of file names of a split."""
    if not re.fullmatch(r"[\w.{}=-]*", text(name, value)):
        what = "names of files in the folder itself"
        raise ValueError(checks.error_text(name, what, checks.shown(value), "prepare it again"))
    return str(value)


_INFO = Object(
    optional={
        "splits": items(
            Object(
                optional={"filepathTemplate": _inside, "filepath_template": _inside},
                others=anything,
            )
        ),
        "name": _inside,
    },
    others=anything,
)
