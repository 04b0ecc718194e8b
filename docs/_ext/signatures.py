"""Signatures as they are written in the source, without what Flax adds to every module.

Annotations stay as they were typed, ``Float[Array, "*B T F"]``, and names in them become links
where exactly one public thing has that name.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ADDED_BY_FLAX = {"parent", "name"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the extension."""
    app.connect("autodoc-process-signature", process)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def process(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: Any, returns: Any
) -> tuple[str, str] | None:
    """Returns the signature of a class, function or method, or None to leave it as it is."""
    if what not in {"class", "function", "method", "exception"} or signature is None:
        return None
    try:
        found = inspect.signature(obj)
    except (TypeError, ValueError):
        return None
    parameters = list(found.parameters.values())
    if parameters and parameters[0].name == "self":
        parameters = parameters[1:]
    if what == "class":
        parameters = [p for p in parameters if p.name not in ADDED_BY_FLAX]
    result = "" if found.return_annotation is found.empty else text_of(found.return_annotation)
    return f"({listed(parameters)})", "" if result == "None" else result


def listed(parameters: list[inspect.Parameter]) -> str:
    """Returns parameters as they are written between the brackets of a definition."""
    words: list[str] = []
    kinds = [p.kind for p in parameters]
    for k, parameter in enumerate(parameters):
        starred = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        first_keyword = parameter.kind is parameter.KEYWORD_ONLY and (
            parameter.KEYWORD_ONLY not in kinds[:k] and parameter.VAR_POSITIONAL not in kinds[:k]
        )
        if first_keyword:
            words.append("*")
        word = starred.get(parameter.kind, "") + parameter.name
        annotated = parameter.annotation is not parameter.empty
        if annotated:
            word += f": {text_of(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            word += (" = " if annotated else "=") + default_of(parameter.default)
        words.append(word)
        if (
            parameter.kind is parameter.POSITIONAL_ONLY
            and parameter.POSITIONAL_ONLY not in (kinds[k + 1 :])
        ):
            words.append("/")
    return ", ".join(words)


def text_of(annotation: Any) -> str:
    """Returns an annotation as text, with the last part of each dotted name."""
    if not isinstance(annotation, str):
        annotation = inspect.formatannotation(annotation)
    text = re.sub(r"(?:<class |ForwardRef\()'([^']+)'[>)]", r"\1", annotation)
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", text.replace("~", ""))


def default_of(value: Any) -> str:
    """Returns a default value in short: plain values as they are, others by their names."""
    if isinstance(value, (bool, int, float, str, type(None))):
        return repr(value)
    if isinstance(value, (tuple, list)):
        inner = ", ".join(map(default_of, value))
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"({inner}{comma})" if isinstance(value, tuple) else f"[{inner}]"
    if inspect.isroutine(value) or inspect.isclass(value):
        return value.__name__ if value.__name__.isidentifier() else "..."
    name = type(value).__name__
    return f"{name}(...)" if name.isidentifier() and not name.startswith("_") else "..."
