"""The benchmark for a day with a GPU: it runs on a CPU, ends in time, and loses no row."""

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.child import run_child
from benchmarks.gpu.groups import GROUPS
from benchmarks.gpu.plan import ORDER, SECONDS, limits
from benchmarks.gpu.results import figures
from benchmarks.gpu.wheels import install, missing

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


def test_each_group_has_its_seconds_and_what_those_before_it_left() -> None:
    assert sum(SECONDS.values()) == 8 * 60
    kept = limits(list(ORDER), 480.0)
    assert kept[-1] == 0.0
    for k in range(len(ORDER) - 1):
        assert kept[k] - kept[k + 1] == pytest.approx(SECONDS[ORDER[k + 1]])
    assert limits(["floors", "linear"], 13.0) == [pytest.approx(13.0 * 40 / 65), 0.0]


SLEEPER = "import subprocess, sys; print('begun', flush=True); subprocess.run(['sleep', '600'])"


def test_a_group_ends_with_all_processes_that_it_started(tmp_path: Path) -> None:
    lines: list[str] = []
    begin = time.monotonic()
    # `sleep` holds the pipe that is read from: ending the command alone would not end the reading.
    ended = run_child(
        [sys.executable, "-c", SLEEPER], dict(os.environ), tmp_path, 2.0, lines.append
    )
    assert time.monotonic() - begin < 60.0
    assert ended == ("stopped after 2 s", "begun")
    assert lines == ["begun\n"]


def test_a_group_that_fails_says_how(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('row'); sys.exit('no such kernel')"]
    ended, last = run_child(command, dict(os.environ), tmp_path, 60.0, lambda line: None)
    assert ended == "exit 1: no such kernel\n"
    assert last == "row"


def run(out: Path, *more: str) -> Any:
    # An hour: a machine on which much else runs is to end nothing, unless a test says so.
    command = [sys.executable, "-m", "benchmarks.gpu", "--small", "--out", str(out)]
    command += ["--minutes", "60", *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.mark.slow
def test_it_runs_small_on_a_cpu(tmp_path: Path) -> None:
    groups = ["floors", "layer, kernel", "layer, other loops", "networks", "million"]
    found = run(tmp_path / "gpu.json", "--groups", *groups)
    assert found["ended"] == dict.fromkeys(groups, "whole")
    rows = [row for group in found["groups"].values() for row in group]
    assert not [row for row in rows if "error" in row or "refused" in row]
    assert all(row["seconds"] > 0 for row in rows)
    assert {"kernel", "scan", "fused", "floor"} <= set(found["figures"][0])
    assert found["device"]["platform"] == "cpu"
    assert found["versions"]["jax"]


@pytest.mark.slow
def test_the_loops_are_found_equal_on_a_cpu(tmp_path: Path) -> None:
    groups = ["equality, kernel", "equality, other loops", "linear", "blocks", "grid", "torch"]
    found = run(tmp_path / "gpu.json", "--groups", *groups)
    assert found["ended"] == dict.fromkeys(groups, "whole")
    rows = [row for group in found["groups"].values() for row in group]
    assert not [row for row in rows if "error" in row]
    refused = {row["name"] for row in rows if "refused" in row}
    assert refused and all(name.startswith("associative: ") for name in refused)
    equal = [row for row in rows if "ok" in row]
    assert len(equal) >= 3 * 7
    assert all(row["ok"] for row in equal)


@pytest.mark.slow
def test_the_tests_of_the_kernel_run_as_a_group(tmp_path: Path) -> None:
    found = run(tmp_path / "gpu.json", "--groups", "tests")
    (row,) = found["groups"]["tests"]
    assert row["ok"], row
    assert " passed" in row["last_line"]


@pytest.mark.slow
def test_a_time_that_is_over_leaves_a_whole_file(tmp_path: Path) -> None:
    found = run(tmp_path / "gpu.json", "--minutes", "0.01", "--groups", "floors", "million")
    assert set(found["ended"]) == {"floors", "million"}
    assert found["ended"]["million"] == "not begun: the time was over"


def test_times_and_groups_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--small"]
    for more, said in [
        (["--minutes", "0"], "expected a number above 0, got 0.0"),
        (["--groups", "grid", "grid"], "expected each group once, got grid grid"),
    ]:
        done = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2
        assert said in done.stderr


@pytest.mark.slow
def test_what_is_missing_comes_from_wheels_without_a_network(tmp_path: Path) -> None:
    name = "snn_tiny_thing"
    assert missing({"json": "json", name: name}) == {name: name}
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheels / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "ANSWER = 42\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    said = install(wheels, [name, "snn-thing-without-a-wheel"], tmp_path / "packages")
    assert said[name] == "installed"
    assert "snn-thing-without-a-wheel" in said["snn-thing-without-a-wheel"]
    found = subprocess.run(
        [sys.executable, "-c", f"import {name}; print({name}.ANSWER)"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "packages")},
        capture_output=True,
        text=True,
    )
    assert found.stdout == "42\n", found.stderr
