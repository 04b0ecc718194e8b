"""``python -m benchmarks.gpu [--small] [--minutes 8] [--out FILE]``: what a GPU says, in one go."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.results import figures, versions, write

ORDER = (
    "floors",
    "layer, kernel",
    "layer, other loops",
    "equality, kernel",
    "torch",
    "networks",
    "million",
    "linear",
    "equality, other loops",
    "blocks",
    "tests",
    "grid",
)
"""Groups, most important first; ``torch`` and ``tests`` are no groups of `groups.GROUPS`."""

TESTS = ("tests/time_loop", "tests/cells", "tests/runners")

_DEVICE = (
    "import jax, json; d = jax.devices()[0]; print(json.dumps({'platform': d.platform,"
    " 'kind': d.device_kind, 'count': jax.device_count()}))"
)


def main() -> None:
    """Runs all groups, each in a process, until the time is over."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--small", action="store_true", help="small sizes, on any machine")
    parser.add_argument("--minutes", type=float, default=8.0, help="time for everything")
    parser.add_argument("--out", type=Path, default=None, help="file of the results")
    parser.add_argument("--groups", nargs="+", default=ORDER, choices=ORDER, help="which ones")
    given = parser.parse_args()
    end = time.monotonic() + 60.0 * given.minutes
    environment = {
        **os.environ,
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": tempfile.mkdtemp(prefix="gpu_benchmark_"),
    }
    if not given.small:
        environment.setdefault("JAX_PLATFORMS", "cuda,cpu")

    device = _device(environment)
    print(f"device: {device}", flush=True)
    if "error" in device or (device["platform"] == "cpu" and not given.small):
        sys.exit(
            f"benchmarks.gpu: expected a GPU that JAX can use, got {device}; install jax[cuda12],"
            " or try everything out on a CPU with --small"
        )
    out = given.out or Path("benchmarks/results") / f"gpu_{_file_name(device['kind'])}.json"
    results: dict[str, Any] = {
        "command": "python -m benchmarks.gpu" + (" --small" if given.small else ""),
        "device": device,
        "versions": versions(),
        "figures": [],
        "groups": {},
        "ended": {},
    }

    def take(group: str, row: dict[str, Any]) -> None:
        results["groups"].setdefault(group, []).append(row)
        results["figures"] = figures(results["groups"])
        write(out, results)
        seconds = f"{row['seconds']:.6f} s" if "seconds" in row else ""
        what = (
            row.get("error")
            or row.get("refused")
            or row.get("skipped")
            or seconds
            or f"ok {row.get('ok')}"
        )
        print(f"{group} | {row['name']} | {what}", flush=True)

    for group in given.groups:
        _run(group, given.small, end, environment, results, take)
        write(out, results)
    print(f"results: {out}")


def _run(
    group: str,
    small: bool,
    end: float,
    environment: dict[str, str],
    results: dict[str, Any],
    take: Callable[[str, dict[str, Any]], None],
) -> None:
    """Runs one group in a process until it ends, its share of the time is over, or all is."""
    left = end - time.monotonic()
    if left < 3.0:
        results["ended"][group] = "not begun: the time was over"
        return
    # Half of what is left, so that a group that hangs leaves time for the next.
    limit = left if group == "grid" else max(left / 2, min(left, 60.0))
    module, *more = ["torch_peer"] if group == "torch" else ["worker", group]
    command = [sys.executable, "-m", f"benchmarks.gpu.{module}", *more]
    command += ["--small"] if small else []
    if group == "tests":
        limit = min(limit, 180.0)
        fewest = ["tests/time_loop/test_time_loop_kernel.py"] if small else list(TESTS)
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", *fewest]
        command += ["--maxfail=20", "-p", "no:cacheprovider"]
        command += ["-W", "ignore:The Pallas Triton backend:DeprecationWarning"]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
        timer = threading.Timer(limit, process.kill)
        timer.start()
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            last = line.strip() or last
            if line.startswith("{"):
                take(group, json.loads(line))
        code = process.wait()
        timer.cancel()
        errors.seek(0)
        said = errors.read()[-600:]
    if group == "tests":
        take(group, {"name": " ".join(TESTS), "ok": code == 0, "last_line": last})
    if code == -9:
        results["ended"][group] = f"stopped after {limit:.0f} s"
    else:
        results["ended"][group] = "whole" if code == 0 else f"exit {code}: {said}"


def _device(environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _DEVICE], capture_output=True, text=True, env=environment
    )
    if done.returncode != 0:
        return {"error": done.stderr.strip().splitlines()[-1][:300]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _file_name(kind: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in kind.lower())


if __name__ == "__main__":
    main()
