"""The directive ``ledger``: a section for each row of ``docs/ledger.toml``."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from ledger_rows import Row, exactness, golden_files, named, rows
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the extension."""
    app.add_directive("ledger", Ledger)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


class Ledger(SphinxDirective):
    """Shows what was checked against what."""

    def run(self) -> list[nodes.Node]:
        """Returns a table of all rows, and what is behind each."""
        listed = rows()
        self.env.note_dependency("ledger.toml")
        tests = {(t.partition("::")[0], name) for r in listed for t in r.tests for name in named(t)}
        files = {path for row in listed for path in row.files()}
        head = (
            f"{len(listed)} rows, {len(tests)} test functions,"
            f" {len(files)} of {len(golden_files())} golden files.\n\n"
        )
        return self.parse_text_to_nodes(head + "\n".join(shown(row) for row in listed))


def shown(row: Row) -> str:
    """Returns the Markdown of a row."""
    equal, allowed = exactness(row)
    asked = [*(["equality"] if equal else []), *(f"{number:g}" for number in allowed)]
    files = row.files()
    lines = [
        f"**{row.name}**",
        "",
        f"- covers: {', '.join(f'`{name}`' for name in row.covers)}",
        f"- against: {row.against}",
        f"- by: {', '.join(f'`{test}`' for test in row.tests)}",
        f"- asked for: {', '.join(asked) or 'properties, in the words of the tests'}",
    ]
    if files:
        lines.append(f"- golden files: {len(files)}, {', '.join(f'`{p}`' for p in row.golden)}")
    if row.differs:
        lines.append(f"- differs: {row.differs}")
    if row.open:
        lines.append(f"- not checked: {row.open}")
    return "\n".join([*lines, ""])
