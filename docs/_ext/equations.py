"""The directives ``neurons`` and ``conventions``: equations of every one, from `describe`.

They go through the public names, so that a neuron or a convention that is added is on the page.
"""

from __future__ import annotations

from typing import Any

from convention_arguments import REQUIRED
from docutils import nodes
from latex import aligned
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import flax_snn as snn


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the extension."""
    app.add_directive("neurons", Neurons)
    app.add_directive("conventions", Conventions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def neuron_names() -> list[str]:
    """Returns the public names of neurons."""
    return [
        name
        for name in sorted(snn.__all__, key=str.lower)
        if name.endswith("Dynamics") and issubclass(getattr(snn, name), snn.Neuron)
    ]


class Neurons(SphinxDirective):
    """Shows the equations of every neuron with its default values."""

    def run(self) -> list[nodes.Node]:
        """Returns a section for each neuron."""
        made = [(f"snn.{name}", getattr(snn, name), {}) for name in neuron_names()]
        return self.parse_text_to_nodes("\n".join(shown(*row) for row in made))


class Conventions(SphinxDirective):
    """Shows the equations of every convention."""

    def run(self) -> list[nodes.Node]:
        """Returns a section for each convention."""
        made = [
            (f"snn.conventions.{name}", getattr(snn.conventions, name), REQUIRED.get(name, {}))
            for name in snn.conventions.__all__
        ]
        return self.parse_text_to_nodes("\n".join(shown(*row) for row in made))


def shown(name: str, make: Any, arguments: dict[str, float]) -> str:
    """Returns the Markdown of one neuron: its call, its first line, its equations."""
    description = make(**arguments).describe()
    equations, remarks = aligned(description)
    call = ", ".join(f"{key}={value}" for key, value in arguments.items())
    full = name.replace("snn.", "flax_snn.", 1)
    role = "py:class" if name.count(".") == 1 else "py:func"
    words = f"{make.__doc__.splitlines()[0]}\n\n`{name}({call})`, {description.splitlines()[0]}:"
    math = f"$$\n\\begin{{aligned}}\n{equations}\n\\end{{aligned}}\n$$"
    tail = "\n\n".join(remarks)
    return f"**{{{role}}}`{full}`**\n\n{words}\n\n{math}\n\n{tail}\n"
