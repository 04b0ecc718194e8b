"""Docstrings, which are written as plain English, as reStructuredText reads them.

An indented paragraph is an equation: it becomes a literal block. Characters that
reStructuredText takes for markup, as in ``(*B, T, F)`` or ``|x|``, are escaped outside of code.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx


CODE = re.compile(r"(``.+?``|`[^`]+`|\S+://\S+)")
MARKUP = re.compile(r"([*|\\]|_(?=\W|$))")
TABLE = re.compile(r"^\s*=[= ]+$")


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the extension, to act before napoleon does."""
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrites the lines of a docstring in place."""
    lines[:] = readable(lines)


def readable(lines: list[str]) -> list[str]:
    """Returns the lines with equations as literal blocks and without accidental markup."""
    result: list[str] = []
    example = literal = False
    for k, line in enumerate(lines):
        before = lines[k - 1] if k else ""
        example = (example and bool(line.strip())) or line.lstrip().startswith(">>>")
        literal = literal and (not line.strip() or line.startswith(" "))
        begins = line.startswith(" ") and not before.strip() and not literal and not example
        if begins and outside_of_lists(lines[:k]):
            result += ["::", ""]
            literal = True
        result.append(line if example or literal or TABLE.match(line) else escaped(line))
    return result


def outside_of_lists(lines: list[str]) -> bool:
    """Returns whether the last paragraph stands at the margin and neither a list nor a section."""
    earlier = [line for line in lines if line.strip()]
    for line in reversed(earlier):
        if not line.startswith(" "):
            return not re.match(r"(- |\d+\. |\* |[A-Z]\w+:$)", line)
    return True


def escaped(line: str) -> str:
    """Returns the line with characters of markup escaped, but for those in code."""
    pieces = CODE.split(line)
    return "".join(p if k % 2 else MARKUP.sub(r"\\\1", p) for k, p in enumerate(pieces))
