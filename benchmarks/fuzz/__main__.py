"""Fuzz every reader of files: ``python -m benchmarks.fuzz --seconds N [TARGET ...]``.

Each target runs for N seconds of processor time in a process of its own. A finding is an error that
is none of ValueError, OSError and the app's own, an input that takes more than 10 s or 1 GB, or one
at which the process ends. Figures go to benchmarks/results/fuzz.json, target by target; inputs with
findings stay in the folder that is named.

With the package atheris on the path (``pip install --target FOLDER atheris``, PYTHONPATH=FOLDER)
inputs are guided by coverage; without it they are random mutations.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.fuzz.targets import ROOT, TARGETS
from benchmarks.machine import describe_machine

RESULTS = ROOT / "benchmarks" / "results" / "fuzz.json"

PATIENCE = 900.0
"""Seconds over its time after which a process is ended; a finding if it was at work."""


def fuzz(name: str, seconds: float, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Runs one target.

    Args:
      name: name of the target.
      seconds: how long.
      folder: where inputs and findings are written.
      seed: seed of the mutations.

    Returns:
      Engine, inputs, inputs that were read, seconds, and findings.
    """
    engine = "atheris" if importlib.util.find_spec("atheris") else "mutation"
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"engine": engine, "inputs": 0, "read": 0, "findings": []}
    found["seconds"] = 0.0
    while (left := seconds - found["seconds"]) > 1.0 and len(found["findings"]) < 20:
        command = [sys.executable, "-m", "benchmarks.fuzz.worker", name, str(left), str(folder)]
        command += [str(seed), engine]
        (folder / "figures.json").unlink(missing_ok=True)
        with open(folder / "log.txt", "ab") as log:
            child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            code = _waited(child, left)
        figures = folder / "figures.json"
        if figures.exists():
            one = json.loads(figures.read_text())
            found["inputs"] += one["inputs"]
            found["read"] += one["read"]
            found["seconds"] += one["seconds"]
            known = {(each["kind"], each["place"]) for each in found["findings"]}
            new = [each for each in one["findings"] if (each["kind"], each["place"]) not in known]
            found["findings"] += new
        if not figures.exists() and not code:
            break  # it was never given the processor
        if code:
            found["seconds"] += 1.0  # so that one that ends at once is not begun for ever
            last = next(iter(folder.glob("input*")), None)
            kept = folder / f"end_{seed}{last.suffix if last else ''}"
            if last is not None:
                shutil.copy(last, kept)
            kind = "never ended" if code == _STUCK else f"process ended with {code}"
            found["findings"].append(
                {"kind": kind, "place": "", "words": _tail(folder / "log.txt"), "file": kept.name}
            )
        seed += 1
    return found | {"seconds": round(found["seconds"], 1)}


def fuzz_here(name: str, seconds: float, folder: Path, seed: int = 0) -> dict[str, Any]:
    """Runs one target in this process, by random mutations; arguments and result as of `fuzz`."""
    from benchmarks.fuzz.worker import mutated

    folder.mkdir(parents=True, exist_ok=True)
    session = mutated(name, seconds, folder, seed)
    return {
        "engine": "mutation",
        "inputs": session.inputs,
        "read": session.read,
        "findings": list(session.findings.values()),
        "seconds": round(session.spent, 1),
    }


_STUCK = 10**6


def _waited(child: subprocess.Popen[bytes], seconds: float) -> int:
    """Returns the exit code of a process, `_STUCK` where it had to be ended at its work."""
    try:
        return child.wait(seconds + PATIENCE)
    except subprocess.TimeoutExpired:
        busy = _processor_seconds(child.pid)
        child.kill()
        child.wait()
        # One that was never given the processor is not at fault.
        return _STUCK if busy > seconds + PATIENCE / 2 else 0


def _processor_seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return float("inf")


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-300:]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 1 if there are findings."""
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="processor seconds for each target"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations")
    parser.add_argument("--folder", type=Path, default=None, help="where findings are kept")
    parser.add_argument(
        "--one-process",
        action="store_true",
        help="all targets in this process, by random mutations: no time for starts, no guard",
    )
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.targets) - set(TARGETS))
    if unknown:
        parser.error(f"expected targets among {', '.join(TARGETS)}, got {', '.join(unknown)}")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="fuzz_"))
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"targets": {}}
    wrong = 0
    for name in given.targets or TARGETS:
        run = fuzz_here if given.one_process else fuzz
        row = run(name, given.seconds, folder / name, given.seed)
        wrong += len(row["findings"])
        row["date"] = datetime.date.today().isoformat()
        stored["targets"][name] = row
        stored["machine"] = describe_machine()
        RESULTS.write_text(json.dumps(stored, indent=2) + "\n")
        print(
            f"{name}: {row['inputs']} inputs ({row['read']} read) in {row['seconds']} s"
            f" ({row['engine']}), {len(row['findings'])} findings"
        )
        for each in row["findings"]:
            print(f"  {each['kind']} at {each['place']}: {each['words']} ({folder / name})")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
