"""The benchmark for a day with a GPU: it runs on a CPU, ends in time, and loses no row."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.__main__ import ORDER
from benchmarks.gpu.groups import GROUPS
from benchmarks.gpu.results import figures

ROOT = Path(__file__).parents[2]


def test_every_group_has_its_place_in_the_order() -> None:
    assert set(ORDER) == {*GROUPS, "torch", "tests"}
    assert len(ORDER) == len(set(ORDER))


def test_figures_stand_beside_floor_and_scan() -> None:
    size = {"steps": 4, "size": 8, "backward": False}
    groups: dict[str, list[dict[str, Any]]] = {
        "floors": [{"name": "copy", "seconds": 1.0, "bytes_per_second": 100.0}],
        "layer": [
            {"name": "a", "loop": "kernel", "seconds": 4.0, "least_bytes": 200, **size},
            {"name": "b", "loop": "scan", "seconds": 40.0, "least_bytes": 200, **size},
            {"name": "c", "error": "it broke", **size},
        ],
        "blocks": [{"name": "d", "loop": "kernel", "BLOCK": 32, "seconds": 9.0, **size}],
    }
    assert figures(groups) == [
        {
            **size,
            "kernel": 4.0,
            "scan": 40.0,
            "floor": 2.0,
            "scan over kernel": 10.0,
            "kernel over floor": 2.0,
        }
    ]


def run(out: Path, *more: str) -> Any:
    command = [sys.executable, "-m", "benchmarks.gpu", "--small", "--out", str(out), *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.mark.slow
def test_it_runs_small_on_a_cpu(tmp_path: Path) -> None:
    groups = ["floors", "layer, kernel", "layer, other loops", "networks", "million"]
    found = run(tmp_path / "gpu.json", "--groups", *groups)
    assert found["ended"] == dict.fromkeys(groups, "whole")
    rows = [row for group in found["groups"].values() for row in group]
    assert not [row for row in rows if "error" in row]
    refused = [row["name"] for row in rows if "refused" in row]
    assert refused == ["kernel: 5-6r-3, T 7, batch 4"]
    assert all(row["seconds"] > 0 for row in rows if "refused" not in row)
    assert {"kernel", "scan", "fused", "floor"} <= set(found["figures"][0])
    assert found["device"]["platform"] == "cpu"
    assert found["versions"]["jax"]


@pytest.mark.slow
def test_a_time_that_is_over_leaves_a_whole_file(tmp_path: Path) -> None:
    found = run(tmp_path / "gpu.json", "--minutes", "0.01", "--groups", "floors", "million")
    assert set(found["ended"]) == {"floors", "million"}
    assert found["ended"]["million"] == "not begun: the time was over"
