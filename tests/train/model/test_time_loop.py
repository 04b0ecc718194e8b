"""``--time-loop``: another loop over time steps, the same network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.optimizer


@pytest.mark.slow
def test_the_same_run_with_both_loops(train: Callable[..., int], tmp_path: Path) -> None:
    losses = {}
    for loop in ("fused", "scan"):
        assert train(tmp_path / loop, "--time-loop", loop) == 0
        lines = (tmp_path / loop / "metrics.jsonl").read_text().splitlines()
        losses[loop] = [json.loads(line)["train_loss"] for line in lines]
        # How it runs is no setting of the network: the run goes on, and is evaluated, as any other.
        settings = json.loads((tmp_path / loop / "config.json").read_text())["config"]
        assert "time_loop" not in json.dumps(settings)
    assert losses["fused"] == pytest.approx(losses["scan"], rel=1e-3)


def test_continuous_time_has_no_loop_over_steps(
    train_yin_yang: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_yin_yang(tmp_path / "run", "--time-loop", "scan") == 2
    assert "expected a network on time steps" in capsys.readouterr().err
