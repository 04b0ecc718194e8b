"""Flags read from dataclasses, with help that reads well in a terminal.

The string below a field is its help. In the source it may be wrapped, and names stand between
backticks; in a terminal neither helps.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import os
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


def read_flags(
    kind: type[T], prog: str, description: str | None, arguments: Sequence[str] | None
) -> T:
    """Reads flags; an unknown one, or a value of another type, ends the process with code 2.

    Args:
      kind: a dataclass, whose fields may be dataclasses; defaults are those of the fields.
      prog: what was typed, such as ``python -m train.randman``.
      description: what ``--help`` says first.
      arguments: flags; those of the process where ``None``.
    """
    shown = _shown(kind)
    _refuse_empty_paths(kind, prog, sys.argv[1:] if arguments is None else arguments)
    flags = tyro.cli(
        shown,
        prog=prog,
        description=in_terminal(description or ""),
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return typing.cast(T, _back(kind, flags))


def in_terminal(text: str) -> str:
    """Returns text without the marks of its source: backticks, and colons before indented code."""
    text = re.sub(r"``([^`]*)``", r"\1", inspect.cleandoc(text))
    return re.sub(r"`([^`]*)`", r"\1", text).replace("::\n", ":\n")


def no_flags(kind: Any) -> Iterator[str]:
    """Yields the names of fields that are no flags, since they follow from others."""
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            yield from no_flags(hint)
        elif tyro.conf.Fixed in getattr(hint, "__metadata__", ()):
            yield name


def quiet_pipe(command: Callable[..., int]) -> Callable[..., int]:
    """Decorates a command: a reader that closes its output, such as ``head``, is no error."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> int:
        try:
            try:
                return command(*args, **kwargs)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            # Python would complain once more when it flushes its output at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0

    return run


def _refuse_empty_paths(kind: Any, prog: str, words: Sequence[str]) -> None:
    """Ends the process with code 2 at a path of no characters, which would be the folder `.`.

    So it comes from a variable of the shell that is not set: ``--workdir "$RUN" --overwrite``.
    """
    names = set(_paths(kind))
    for word, following in itertools.zip_longest(words, words[1:]):
        name, equals, value = word.partition("=")
        if name in names and (value if equals else following) == "":
            print(
                f"{prog}: error: {name}: expected a path, got an empty one; name one, such as . for"
                " this folder, or leave the flag out",
                file=sys.stderr,
            )
            raise SystemExit(2)


def _paths(kind: Any) -> Iterator[str]:
    """Yields the flags that are paths."""
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from _paths(hint)
        elif hint is Path or Path in typing.get_args(hint):
            yield f"--{name.replace('_', '-')}"


def _shown(kind: Any, default: Any = dataclasses.MISSING) -> Any:
    """Returns a dataclass of the same fields that tyro shows with clean help."""
    hints = typing.get_type_hints(kind, include_extras=True)
    texts = _help_of(kind)
    fields: list[Any] = []
    for field in dataclasses.fields(kind):
        hint, value = hints[field.name], field.default
        if default is not dataclasses.MISSING:
            value = getattr(default, field.name)
        elif field.default_factory is not dataclasses.MISSING:
            value = typing.cast(Callable[[], Any], field.default_factory)()
        if dataclasses.is_dataclass(hint):
            inner = _shown(hint, value)
            fields.append((field.name, inner, dataclasses.field(default_factory=inner)))
            continue
        if field.name in texts:
            hint = typing.Annotated[hint, tyro.conf.arg(help=texts[field.name])]
        missing = value is dataclasses.MISSING
        fields.append((field.name, hint) if missing else (field.name, hint, _default(value)))
    made = dataclasses.make_dataclass(kind.__name__, fields, frozen=True)
    made.__doc__ = in_terminal(kind.__doc__ or "")
    return made


def _default(value: Any) -> Any:
    return dataclasses.field(default_factory=lambda: value)


def _back(kind: Any, flags: Any) -> Any:
    hints = typing.get_type_hints(kind)
    found = {}
    for field in dataclasses.fields(kind):
        value = getattr(flags, field.name)
        inner = dataclasses.is_dataclass(hints[field.name])
        found[field.name] = _back(hints[field.name], value) if inner else value
    return kind(**found)


def _help_of(kind: Any) -> dict[str, str]:
    """Returns the string below each field, of the class and those it is made of."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(typing.cast(type, base))))
        except (OSError, TypeError, SyntaxError):  # made at run time, or typed into a shell
            continue
        body = typing.cast(ast.ClassDef, tree.body[0]).body
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                if isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
                    name = typing.cast(ast.Name, field.target).id
                    found[name] = " ".join(in_terminal(text.value.value).split())
    return found
