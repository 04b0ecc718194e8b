"""``python -m benchmarks.gpu [--small] [--minutes 8] [--out FILE]``: what a GPU says, in one go."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.child import run_child
from benchmarks.gpu.plan import ORDER, limits
from benchmarks.gpu.results import figures, versions, write
from benchmarks.gpu.wheels import install, missing

ROOT = Path(__file__).resolve().parents[2]

TESTS = ("tests/time_loop", "tests/cells", "tests/runners")
SMALL_TESTS = ("tests/time_loop/test_time_loop_kernel_recurrent.py",)

# A group that has less time than this is not begun: importing JAX takes as much.
_LEAST_SECONDS = 3.0

_DEVICE = (
    "import jax, json; d = jax.devices()[0]; print(json.dumps({'platform': d.platform,"
    " 'kind': d.device_kind, 'count': jax.device_count()}))"
)


def main() -> None:
    """Runs all groups, each in a process, until the time is over."""
    given = _arguments()
    end = time.monotonic() + 60.0 * given.minutes
    with tempfile.TemporaryDirectory(prefix="gpu_benchmark_", ignore_cleanup_errors=True) as own:
        environment = _environment(Path(own), given.small)
        lacking = missing()
        installed = {}
        if lacking and given.wheels.is_dir():
            installed = install(given.wheels, list(lacking.values()), Path(own) / "packages")
        device = _device(environment, end)
        print(f"device: {device}", flush=True)
        if "error" in device or (device["platform"] == "cpu" and not given.small):
            sys.exit(
                f"benchmarks.gpu: expected a GPU that JAX can use, got {device}; install"
                " jax[cuda12] or jax[cuda13], as the driver needs, or try everything out on a CPU"
                " with --small"
            )
        results: dict[str, Any] = {
            "command": "python -m benchmarks.gpu" + (" --small" if given.small else ""),
            "device": device,
            "versions": versions(),
            "missing": {name: installed.get(name, "not there") for name in lacking.values()},
            "figures": [],
            "groups": {},
            "ended": dict.fromkeys(given.groups, "not begun"),
        }
        out = _first_writable(given.out, f"gpu_{_file_name(device['kind'])}.json", results)

        def take(group: str, row: dict[str, Any]) -> None:
            results["groups"].setdefault(group, []).append(row)
            results["figures"] = figures(results["groups"])
            write(out, results)
            print(f"{group} | {row['name']} | {_in_words(row)}", flush=True)

        kept = limits(given.groups, end - time.monotonic())
        for group, later in zip(given.groups, kept, strict=True):
            limit = end - later - time.monotonic()
            results["ended"][group] = (
                "not begun: the time was over"
                if limit < _LEAST_SECONDS
                else _run(group, given.small, limit, environment, take)
            )
            write(out, results)
    print(f"results: {out}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--small", action="store_true", help="small sizes, on any machine")
    parser.add_argument("--minutes", type=float, default=8.0, help="time for everything")
    parser.add_argument("--out", type=Path, default=None, help="file of the results")
    parser.add_argument("--groups", nargs="+", default=list(ORDER), choices=ORDER, help="which")
    parser.add_argument(
        "--wheels",
        type=Path,
        default=ROOT / "wheels",
        help="folder of wheels from which missing packages are installed, without a network",
    )
    given = parser.parse_args()
    if not given.minutes > 0.0:
        parser.error(f"--minutes: expected a number above 0, got {given.minutes}")
    if len(set(given.groups)) < len(given.groups):
        parser.error(f"--groups: expected each group once, got {' '.join(given.groups)}")
    given.wheels = given.wheels.resolve()
    return given


def _environment(own: Path, small: bool) -> dict[str, str]:
    """Returns the environment of all groups; what they write goes into a folder that is ours."""
    paths = [str(own / "packages"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_COMPILATION_CACHE_DIR": str(own / "compiled"),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(own / "hypothesis"),
    }
    if not small:
        environment.setdefault("JAX_PLATFORMS", "cuda,cpu")
    return environment


def _run(
    group: str,
    small: bool,
    limit: float,
    environment: dict[str, str],
    take: Callable[[str, dict[str, Any]], None],
) -> str:
    """Runs one group in a process until it ends or its time is over, and returns how it ended."""

    def on_line(line: str) -> None:
        if line.startswith("{"):
            take(group, json.loads(line))

    if group == "tests":
        tests = SMALL_TESTS if small else TESTS
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "--maxfail=20", *tests]
        command += ["-p", "no:cacheprovider", "--continue-on-collection-errors"]
        command += ["-W", "ignore:The Pallas Triton backend:DeprecationWarning"]
        # Its lines are no rows, even those that look like one.
        ended, last = run_child(command, environment, ROOT, limit, lambda line: None)
        row = {"name": " ".join(tests), "ok": ended == "whole", "last_line": last}
        take(group, row | ({} if row["ok"] else {"error": f"{ended}: {last}"[:500]}))
        return ended
    module, *more = ["torch_peer"] if group == "torch" else ["worker", group]
    command = [sys.executable, "-m", f"benchmarks.gpu.{module}", *more]
    command += ["--small"] if small else []
    return run_child(command, environment, ROOT, limit, on_line)[0]


def _device(environment: dict[str, str], end: float) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _DEVICE],
            capture_output=True,
            text=True,
            env=environment,
            timeout=max(60.0, end - time.monotonic()),
        )
    except subprocess.TimeoutExpired:
        return {"error": "JAX found no device in the time for everything"}
    if done.returncode != 0:
        return {"error": (done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1][:300]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _first_writable(wanted: Path | None, name: str, results: dict[str, Any]) -> Path:
    """Writes the first results and returns where: as told, in the clone, or where one may write."""
    places = [wanted] if wanted else [ROOT / "benchmarks/results" / name, Path.cwd() / name]
    places += [] if wanted else [Path(tempfile.gettempdir()) / name]
    said = []
    for place in places:
        try:
            write(place, results)
        except OSError as error:
            said.append(str(error))
            continue
        return place
    sys.exit(f"benchmarks.gpu: expected a place to write results to, got {said}; name one: --out")


def _in_words(row: dict[str, Any]) -> str:
    for key in ("error", "refused", "skipped"):
        if key in row:
            return f"{key}: {row[key]}"
    return f"{row['seconds']:.6f} s" if "seconds" in row else f"ok {row.get('ok')}"


def _file_name(kind: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in kind.lower())


if __name__ == "__main__":
    main()
