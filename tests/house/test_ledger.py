"""The ledger names what is there, and leaves nothing out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import ledger_rows
import pytest

import flax_snn as snn

ROOT = Path(__file__).resolve().parents[2]


ROWS = ledger_rows.rows()


def public_names() -> set[str]:
    """Every public thing that computes: neurons, conventions, rules, readers, losses, metrics."""
    names = {name for name in snn.__all__ if callable(getattr(snn, name))}
    for space in ("conventions", "encode", "losses", "metrics", "surrogate", "layers", "datasets"):
        module = getattr(snn, space)
        functions = [n for n in module.__all__ if n.islower() and callable(getattr(module, n))]
        names |= {f"{space}.{name}" for name in functions}
    return names | {f"learn.{rule}" for rule in snn.learn.RULES}


NO_COMPUTATION = {"LIFState"}


def test_every_public_name_that_computes_has_a_row() -> None:
    names = public_names() - NO_COMPUTATION
    assert len(names) > 100
    missing = sorted(name for name in names if not any(row.has_name(name) for row in ROWS))
    assert not missing, f"docs/ledger.toml: add these to `covers` of a row: {missing}"


def test_every_golden_file_has_a_row_and_every_pattern_a_file() -> None:
    files = ledger_rows.golden_files()
    missing = [str(path) for path in files if not any(row.has_file(path) for row in ROWS)]
    assert not missing, f"docs/ledger.toml: add these to `golden` of a row: {missing}"
    for row in ROWS:
        for pattern in row.golden:
            found = ledger_rows.Row("", "", (), golden=(pattern,)).files()
            assert found, f"docs/ledger.toml: {row.name}: no golden file is named {pattern!r}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_tests_of_a_row_exist_and_read_its_files(row: ledger_rows.Row) -> None:
    for test in row.tests:
        assert ledger_rows.named(test), f"docs/ledger.toml: {row.name}: there is no {test}"
    folders = {pattern.split("/")[0] for pattern in row.golden}
    read = {text for test in row.tests for text in strings(test.partition("::")[0])}
    # A test reads a folder that it names, or that a table beside it names.
    assert folders <= read, f"{row.name}: no test of it names {sorted(folders - read)}"


def with_tables(file: str) -> list[Path]:
    """The file of a test, and the tables beside it that it imports."""
    tree = ast.walk(ledger_rows.parsed(file))
    imported = [node.module for node in tree if isinstance(node, ast.ImportFrom) and node.module]
    beside = [ledger_rows.TESTS / f"{name}.py" for name in imported]
    return [ledger_rows.TESTS / file, *(path for path in beside if path.exists())]


def strings(file: str) -> set[str]:
    """Every string of a test and of the tables that it imports, and the parts of paths."""
    trees = [ast.parse(path.read_text()) for path in with_tables(file)]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    texts = [node.value for node in nodes if isinstance(node.value, str)]
    return {part for text in texts for part in text.split("/")}


@pytest.mark.parametrize(
    ("name", "equal", "numbers"),
    [("LIF conventions, step by step", True, [1e-12, 1e-6, 3e-6, 5e-6, 1e-5, 5e-5])],
)
def test_tolerances_are_those_of_the_tests(name: str, equal: bool, numbers: list[float]) -> None:
    """Written down once more for one row, by hand, from the source of its tests."""
    (row,) = [row for row in ROWS if row.name == name]
    assert ledger_rows.exactness(row) == (equal, numbers)


def test_a_row_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "ledger.toml"
    table.write_text('[[row]]\nname = "a"\nagainst = "b"\ntests = []\nopened = "c"\n')
    with pytest.raises(TypeError, match="opened"):
        ledger_rows.rows(table)


def test_every_public_name_stands_in_a_test_of_its_row() -> None:
    """By its name, or as that of a golden file."""
    silent = []
    for name in sorted(public_names() - NO_COMPUTATION):
        last = name.split(".")[-1]
        covering = [row for row in ROWS if row.has_name(name)]
        files = {test.partition("::")[0] for row in covering for test in row.tests}
        texts = [path.read_text() for file in files for path in with_tables(file)]
        stems = {path.stem for row in covering for path in row.files()}
        if last not in stems and not any(re.search(rf"\b{last}\b", text) for text in texts):
            silent.append(name)
    assert not silent, f"docs/ledger.toml: no test of their rows names {silent}"
