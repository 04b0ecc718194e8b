"""Benchmarks say what they take, and measure and write nothing when they are only asked."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("accuracy", "crossbar", "event", "robustness", "speed")
COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for room in ROOMS
    for path in (ROOT / "benchmarks" / room).glob("*.py")
    if 'if __name__ == "__main__":' in path.read_text()
) + ["benchmarks.fuzz", "benchmarks.gpu"]


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 25


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_benchmark_answers_help_by_its_name(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module(command, run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m {command} ")
