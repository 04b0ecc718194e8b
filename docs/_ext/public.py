"""The directive ``public``: a package and the names that it lists, from their docstrings.

What `flax_snn` itself lists is shown under the name by which it is used, ``flax_snn.LIFCell``, and
not under that of the package in which it is defined.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from typing import Any

from docstrings import readable
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import flax_snn

OPTIONS = {
    "class": [":members:", ":exclude-members: neuron", ":special-members: __call__"],
    "exception": [],
    "function": [],
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the extension."""
    app.add_directive("public", Public)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


class Public(SphinxDirective):
    """Shows the docstring of a package, and those of the names that it lists."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Returns the documentation of the package."""
        text = "\n".join(["```{eval-rst}", *package(self.arguments[0]), "```"])
        return self.parse_text_to_nodes(text)


def package(name: str) -> list[str]:
    """Returns reStructuredText that documents a package."""
    module = importlib.import_module(name)
    lines = [f".. automodule:: {name}", ""]
    for member in module.__all__:
        thing = getattr(module, member)
        if inspect.ismodule(thing):
            continue
        known = getattr(flax_snn, member, None) if member in flax_snn.__all__ else None
        full = f"flax_snn.{member}" if known is thing else f"{name}.{member}"
        kind = kind_of(thing)
        if kind == "data":
            lines += [f".. py:data:: {full}", "", *indented(words_after(name, member)), ""]
        elif thing.__module__.startswith(f"{name}.") or thing.__module__ == name:
            options = [*OPTIONS[kind]]
            if inspect.isclass(thing) and thing.__bases__ != (object,):
                options.append(":show-inheritance:")
            lines += [f".. auto{kind}:: {full}", *indented(options), ""]
        else:
            lines += [f"- `{member}`: the same as `{full}`", ""]
    return lines


def indented(lines: list[str]) -> list[str]:
    """Returns the lines as the content of a directive."""
    return [f"   {line}" for line in lines]


def words_after(package: str, name: str) -> list[str]:
    """Returns the lines of the string that stands below an assignment in one of the files."""
    for module in [m for m in list(sys.modules) if f"{m}.".startswith(f"{package}.")]:
        try:
            found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", name))
        except PycodeError:
            continue
        if found:
            return readable(found)
    value = repr(getattr(sys.modules[package], name)).replace("typing.", "")
    if len(value) > 300:
        raise ValueError(
            f"expected a string below {name} = ... in {package}, which says what it is; found none:"
            " write one"
        )
    return [f"``{value}``"]


def kind_of(thing: Any) -> str:
    """Returns what the thing is, in the words of autodoc."""
    if inspect.isclass(thing):
        return "exception" if issubclass(thing, BaseException) else "class"
    return "function" if inspect.isroutine(thing) else "data"
