"""Mutated files, a few for each reader; `python -m benchmarks.fuzz` does many."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fuzz.targets import TARGETS
from benchmarks.fuzz.worker import Session, mutations


# Graphs of NIR take longer, and have a fuzz of their own in test_nir_property.
@pytest.mark.parametrize("name", [name for name in TARGETS if name not in ("nir", "nir_tree")])
def test_mutated_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    session = Session(TARGETS[name], tmp_path)
    seeds = TARGETS[name].seeds()
    assert seeds
    for k, content in enumerate(mutations(seeds, TARGETS[name].words, 0)):
        session.run(content)
        if k == 60:
            break
    assert session.findings == {} and session.inputs == 61
    assert session.read, "none of the seeds is read"


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    """A reader that raises what is allowed, and what is not."""
    from benchmarks.fuzz.targets import Target

    def read(path: Path) -> int:
        content = path.read_bytes()
        if content[:1] == b"a":
            raise KeyError("a")
        if content[:1] == b"b":
            raise ValueError("b")
        return content[9]

    session = Session(Target(read, lambda: []), tmp_path)
    for content in (b"a", b"a2", b"b", b"short", b"long enough"):
        session.run(content)
    assert (session.inputs, session.read) == (5, 1)
    kinds = {each["kind"]: each["file"] for each in session.findings.values()}
    assert set(kinds) == {"KeyError", "IndexError"}
    assert (tmp_path / kinds["KeyError"]).read_bytes() == b"a"
