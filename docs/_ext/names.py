"""The role of names in docstrings, `LIFCell`: a link where exactly one thing has that name.

A name may be written as users write it (``snn.losses.accuracy``), in full, or by its last parts.
Names of other packages, of arguments and of fields stay as they are, in the font of code. Types in
signatures are treated in the same way. A reference by a role, as {py:class}`name` in a page, has to
lead somewhere.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the extension."""
    app.add_role("name", name_role)
    app.connect("missing-reference", resolve)
    app.connect("doctree-read", name_attributes)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def name_role(
    role: str, rawtext: str, text: str, *_: Any, **__: Any
) -> tuple[list[nodes.Node], list[Any]]:
    """Returns a reference that is looked up when all pages are read."""
    code = nodes.literal(rawtext, text, classes=["code"])
    return [addnodes.pending_xref(rawtext, code, reftype="name", reftarget=text)], []


def resolve(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    """Returns a link to the one thing that has the name, or the name as it is."""
    written = node.get("reftype") == "name"
    if not written and not in_signature(node):
        # Base classes and aliases that autodoc spells out; those of other packages stay.
        elsewhere = node.get("reftype") in {"class", "obj"} and not is_ours(node["reftarget"])
        return contnode if elsewhere else None
    target = node["reftarget"].removesuffix("()").removeprefix("snn.").removeprefix("flax_snn.")
    objects = env.domains["py"].objects
    exact = f"flax_snn.{target}"
    found = [exact] if exact in objects else [n for n in objects if n.endswith(f".{target}")]
    if not target or len(found) != 1:
        return contnode
    entry = objects[found[0]]
    document = node.get("refdoc", env.docname)
    return make_refnode(app.builder, document, entry.docname, entry.node_id, contnode, found[0])


def is_ours(target: str) -> bool:
    """Returns whether a dotted name is one of this package, or could be."""
    return target.startswith(("flax_snn", "snn", "train")) or "." not in target


def in_signature(node: nodes.Node) -> bool:
    """Returns whether a reference stands in a signature, or as the type of an argument."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, (addnodes.desc_signature, nodes.field)):
            return True
    return False


def name_attributes(app: Sphinx, doctree: nodes.document) -> None:
    """Calls the section of attributes what the docstrings call it, not "Variables"."""
    for name in doctree.findall(nodes.field_name):
        if name.astext() == "Variables":
            name.children[:] = [nodes.Text("Attributes")]
