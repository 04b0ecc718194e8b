"""The rows of ``docs/ledger.toml``, and what the tests that they name say of themselves.

A row says in words what was compared with what. How exactly is not written in it: tolerances are
read out of the source of the tests, so that the page cannot promise what the tests do not ask.
"""

from __future__ import annotations

import ast
import dataclasses
import fnmatch
import functools
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
GOLDEN = TESTS / "golden"
CLOSE = {"rtol", "atol", "abs", "rel"}
EXACT = {"assert_array_equal", "array_equal"}


@dataclasses.dataclass(frozen=True)
class Row:
    """What was compared with what.

    Attributes:
      name: heading of the row.
      against: what it was compared with.
      tests: the tests, ``file::function`` or ``file::*``.
      covers: patterns of public names.
      golden: patterns of files below tests/golden.
      differs: what is known to differ.
      open: what nobody has checked.
    """

    name: str
    against: str
    tests: tuple[str, ...]
    covers: tuple[str, ...] = ()
    golden: tuple[str, ...] = ()
    differs: str = ""
    open: str = ""

    def files(self) -> list[Path]:
        """Returns the golden files of the row."""
        return [path for path in golden_files() if self.has_file(path)]

    def has_file(self, path: Path) -> bool:
        """Returns whether a golden file belongs to the row."""
        name = str(path.relative_to(GOLDEN))
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.golden)

    def has_name(self, name: str) -> bool:
        """Returns whether a public name belongs to the row."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.covers)


def rows(path: Path = ROOT / "docs" / "ledger.toml") -> list[Row]:
    """Returns the rows of the file in their order.

    Raises:
      TypeError: a key that a row does not have, or one that it lacks.
    """
    entries = tomllib.loads(path.read_text())["row"]
    listed = {"tests", "covers", "golden"}
    return [
        Row(**{key: tuple(value) if key in listed else value for key, value in entry.items()})
        for entry in entries
    ]


@functools.cache
def golden_files() -> tuple[Path, ...]:
    """Returns all golden files, but for the words about them."""
    return tuple(
        path for path in sorted(GOLDEN.rglob("*")) if path.is_file() and path.name != "README.md"
    )


@functools.cache
def parsed(file: str) -> ast.Module:
    """Returns the syntax tree of a file of tests."""
    return ast.parse((TESTS / file).read_text())


def functions(file: str) -> dict[str, ast.FunctionDef]:
    """Returns the functions of a file of tests by their names."""
    return {node.name: node for node in parsed(file).body if isinstance(node, ast.FunctionDef)}


def named(test: str) -> list[str]:
    """Returns the names of the test functions that an entry of ``tests`` stands for."""
    file, _, pattern = test.partition("::")
    names = [name for name in functions(file) if name.startswith("test_")]
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]


def exactness(row: Row) -> tuple[bool, list[float]]:
    """Returns whether tests of the row ask for equality, and all tolerances that they allow."""
    equal, allowed = False, set[float]()
    for test in row.tests:
        file = test.partition("::")[0]
        for node in reached(file, named(test)):
            for call in (n for n in ast.walk(node) if isinstance(n, ast.Call)):
                name = getattr(call.func, "attr", getattr(call.func, "id", ""))
                equal = equal or name in EXACT
                for keyword in call.keywords:
                    if keyword.arg in CLOSE:
                        allowed |= numbers(keyword.value, node, parsed(file))
    return equal, sorted(allowed)


def reached(file: str, names: list[str]) -> list[ast.FunctionDef]:
    """Returns the functions of those names, and those of the same file that they call."""
    known, found = functions(file), dict[str, ast.FunctionDef]()
    waiting = [*names]
    while waiting:
        name = waiting.pop()
        if name in known and name not in found:
            found[name] = known[name]
            waiting += [n.id for n in ast.walk(known[name]) if isinstance(n, ast.Name)]
    return list(found.values())


def numbers(node: ast.AST, *scopes: ast.AST, depth: int = 3) -> set[float]:
    """Returns the numbers below 1 in an expression, and in what its names were assigned."""
    found = set[float]()
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, (int, float)):
            if not isinstance(part.value, bool) and 0 < part.value < 1:
                found.add(float(part.value))
        elif isinstance(part, ast.Name) and depth:
            for value in assigned(part.id, scopes):
                found |= numbers(value, *scopes, depth=depth - 1)
    return found


def assigned(name: str, scopes: tuple[ast.AST, ...]) -> list[ast.AST]:
    """Returns what a name is assigned in a function, or at the top of its file."""
    for scope in scopes:
        nodes = scope.body if isinstance(scope, ast.Module) else ast.walk(scope)
        found = [
            node.value
            for node in nodes
            if isinstance(node, ast.Assign)
            and any(isinstance(t, ast.Name) and t.id == name for t in ast.walk(node))
            and any(name in names_of(target) for target in node.targets)
        ]
        if found:
            return list(found)
    return []


def names_of(target: ast.AST) -> set[str]:
    """Returns the names that an assignment sets."""
    return {
        node.id
        for node in ast.walk(target)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
