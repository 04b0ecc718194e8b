"""Links from pages to files of the repository lead to pages that show these files.

A page links to a source file by its path, ``[the step](../flax_snn/dynamics/step.py)``, which works
where the repository is browsed. Here the same link leads to the file with highlighted syntax, or
to the list of files if it is a folder.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

LINK = re.compile(r"\]\((\.\./[^)\s#]+)(#[^)\s]*)?\)")
LANGUAGES = {".py": "python", ".json": "json", ".toml": "toml", ".md": "markdown"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the extension."""
    app.connect("source-read", rewrite_links)
    app.connect("html-collect-pages", pages)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def rewrite_links(app: Sphinx, docname: str, content: list[str]) -> None:
    """Turns links to files outside of the documentation into links to their pages."""
    folder, root = (Path(app.srcdir) / docname).parent, Path(app.srcdir).parent
    up = "../" * docname.count("/")
    linked = linked_files(app).setdefault(docname, set())

    def page(match: re.Match[str]) -> str:
        path = (folder / match[1]).resolve()
        outside = path.is_relative_to(root) and not path.is_relative_to(app.srcdir)
        if not outside or not path.exists():
            return match[0]
        name = str(path.relative_to(root))
        linked.add(name)
        return f"](source:{up}source/{name}.html)"

    content[0] = LINK.sub(page, content[0])


def linked_files(app: Sphinx) -> dict[str, set[str]]:
    """Returns the files that each page links to."""
    if not hasattr(app.env, "linked_files"):
        app.env.linked_files = {}  # type: ignore[attr-defined]
    return app.env.linked_files


def forget(app: Sphinx, env: Any, docname: str) -> None:
    """Forgets the links of a page that is read again."""
    linked_files(app).pop(docname, None)


def merge(app: Sphinx, env: Any, docnames: Any, other: Any) -> None:
    """Collects the links that another process has read."""
    linked_files(app).update(getattr(other, "linked_files", {}))


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yields a page for each file that is linked."""
    root = Path(app.srcdir).parent
    for name in sorted(set().union(*linked_files(app).values())):
        path = root / name
        title = f"<h1>{html.escape(name)}</h1>"
        body = listing(path) if path.is_dir() else highlighted(app, path)
        context = {"title": name, "body": f'<div class="source">{title}{body}</div>'}
        yield f"source/{name}", context, "page.html"


def listing(folder: Path) -> str:
    """Returns the names in a folder as a list."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(("_", ".")))
    return "<ul>" + "".join(f"<li>{html.escape(name)}</li>" for name in names) + "</ul>"


def highlighted(app: Sphinx, path: Path) -> str:
    """Returns the text of a file with highlighted syntax."""
    language = LANGUAGES.get(path.suffix, "text")
    # Results have numbers that are not finite, which JSON proper has no word for.
    return app.builder.highlighter.highlight_block(path.read_text(), language, force=True)
