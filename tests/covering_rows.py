"""Rows of a table that cover it between them, for the default suite; all rows run all the same.

Most of what a contract test costs is compiling, once for every row. The default suite runs a
contract on rows that reach every branch, and the slow suite on the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def covered_by(rows: Collection[Any], default: Collection[Any]) -> list[Any]:
    """Parameters for ``pytest.mark.parametrize``, of which only some run by default.

    Args:
      rows: all rows of the table.
      default: the rows that the default suite runs. The others are marked slow.

    Returns:
      The rows in their order.

    Raises:
      ValueError: where a row of the default suite is not in the table, as after a renaming.
    """
    unknown = [row for row in default if row not in rows]
    if unknown or not default:
        raise ValueError(f"expected rows among {list(rows)}, got {unknown or 'none at all'}")
    return [_as_parameter(row, slow=row not in default) for row in rows]


def first_of_each(rows: Iterable[Any], key: Any) -> list[Any]:
    """The first row of every value of ``key(row)``."""
    first: dict[Any, Any] = {}
    for row in rows:
        first.setdefault(key(row), row)
    return list(first.values())


def _as_parameter(row: Any, slow: bool) -> Any:
    values = row if isinstance(row, tuple) else (row,)
    return pytest.param(*values, marks=pytest.mark.slow if slow else ())
