"""What is said before several processes join, and which settings are refused."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import jax
import pytest

from train.errors import ConfigError
from train.processes import agree, start


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """``joined(k)`` lets `start.started` find itself process k of two, without a network."""

    def call(index: int) -> None:
        coordinator = SimpleNamespace(wait_at_barrier=lambda name, timeout: None)
        monkeypatch.setattr(start, "_join", lambda options: agree.join(index, 2, coordinator))

    yield call
    agree.join(0, 1, None)


def options(**given: Any) -> Any:
    fields = {"coordinator": "here:1", "processes": 2, "process": 0, "cluster": False}
    return SimpleNamespace(**(fields | {"heartbeat": 60, "quiet": False} | given))


CLUSTER = {"cluster": True, "coordinator": "", "processes": 1}


@pytest.mark.parametrize(
    ("index", "given", "words"),
    [
        (0, {}, "process 0 of 2: if another dies, JAX may end this one"),
        (1, {}, "process 1 of 2: if another dies, JAX may end this one"),
        # A scheduler shows what all say in one place: one of them speaks.
        (0, CLUSTER, "2 processes: if one dies, JAX may end the others"),
        (1, CLUSTER, ""),
        (0, {"quiet": True}, ""),
    ],
)
def test_what_to_do_when_jax_ends_a_process_is_said_before(
    joined: Any, capsys: pytest.CaptureFixture[str], index: int, given: Any, words: str
) -> None:
    joined(index)
    with start.started(options(**given)):
        shown = capsys.readouterr().err
    assert shown.startswith(words) and bool(shown) == bool(words)
    assert shown.count("start all processes again with --resume") == len(shown.splitlines())


def test_one_process_is_told_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with start.started(options(coordinator="", processes=1)):
        assert capsys.readouterr().err == ""


def test_processes_that_would_wait_for_ever_are_refused() -> None:
    before = jax.config.jax_enable_recoverability  # type: ignore[attr-defined]
    jax.config.update("jax_enable_recoverability", True)
    try:
        with pytest.raises(ConfigError, match="JAX_ENABLE_RECOVERABILITY: expected it to be off"):
            with start.started(options()):
                raise AssertionError("not to be reached")
    finally:
        jax.config.update("jax_enable_recoverability", before)
