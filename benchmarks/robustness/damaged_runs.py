"""Runs damaged file by file; rewrites benchmarks/results/damaged_runs.json.

    python -m benchmarks.robustness.damaged_runs

trains two small runs, then damages copies of one of them: every file is cut in half, emptied,
removed, flipped by a bit in several places, and swapped for the same file of the other run and of
another checkpoint of the same run. What becomes of each copy is asked three times:

    evaluate   restores the best checkpoint, as ``train.evaluate`` does
    resume     finds where the run goes on, as ``--resume`` does
    compare    reads settings, metrics and result, as ``train.compare`` does

and counted:

    error       exit code 2 with a message
    fallback    said, and another checkpoint of the run was used, bit for bit as it was saved
    said        a warning, and all that is used is bit for bit what was saved
    unaffected  no word, and all that is used is bit for bit what was saved
    silent      no word, and something else than what was saved is used: must be 0
    traceback   an exception that is no message: must be 0

A few of the cases are repeated with the commands themselves, in processes of their own. About ten
minutes.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.machine import write_results
from train.command_line import parse, run_command
from train.compare import compare
from train.errors import InputError, exit_code
from train.progress.report import Progress
from train.restored.run import restore
from train.run.loop import begin
from train.run.prepare import Run, prepare
from train.run.resume import check_settings
from train.store import run_directory
from train.store.layout import CHECKPOINTS
from train.store.lock import locked
from train.store.read import numbered, open_checkpoint
from train.store.settings_json import from_json
from train.tasks.randman import Randman

RESULTS = Path(__file__).parents[1] / "results" / "damaged_runs.json"
COMMAND = "python -m benchmarks.robustness.damaged_runs"
FLAGS = (
    "--classes 2 --units 8 --alpha 3 --steps 20 --dt 5e-3 --samples-per-class 80 --hidden 16"
    " --batch-size 16 --readout max --learning-rate 0.3 --no-plots --quiet --save-every 0"
).split()
FLIPS, WHOLE, SEED = 4, 8, 0

Files = dict[str, Path]


class Truth(NamedTuple):
    """What the undamaged run holds.

    Attributes:
      states: arrays of each checkpoint, by epoch.
      best: the epoch that is evaluated.
      records: the metrics.
      result: the result.
      row: what is compared.
    """

    states: dict[int, list[np.ndarray]]
    best: int
    records: list[dict[str, Any]]
    result: dict[str, Any]
    row: dict[str, Any]


def files_of(run: Path) -> Files:
    return {str(p.relative_to(run)): p for p in sorted(run.rglob("*")) if p.is_file()}


def arrays_of(checkpoint: Any) -> list[np.ndarray]:
    from train.store.arrays import read_arrays

    return [np.asarray(x) for x in jax.tree.leaves(read_arrays(checkpoint.path))]


def truth_of(run: Path) -> Truth:
    saved = [open_checkpoint(p) for p in numbered(run / CHECKPOINTS)]
    result = run_directory.read_result(run)
    assert result is not None
    return Truth(
        {c.meta["epoch"]: arrays_of(c) for c in saved},
        restore(run).epoch,
        run_directory.read_metrics(run),
        result,
        {k: v for k, v in compare([run])[0].items() if k != "run"},
    )


def counterpart(name: str, files: Files, others: Files) -> Path | None:
    """Return the file of another run, or checkpoint, that has the place of this one."""
    if name in others:
        return others[name]
    # Files of arrays have random names: the one of the same rank in the same folder.
    folder = os.path.dirname(name)
    same, theirs = (sorted(n for n in fs if os.path.dirname(n) == folder) for fs in (files, others))
    rank = same.index(name)
    return others[theirs[rank]] if rank < len(theirs) else None


def damages(
    name: str, files: Files, other_run: Files, steps: tuple[str, str], places: random.Random
) -> Iterator[tuple[str, Callable[[Path], Any]]]:
    """Yield the ways to damage a file: what it is called, and a function of its path."""
    content = files[name].read_bytes()
    yield "removed", Path.unlink
    if content:
        yield "cut in half", lambda p: p.write_bytes(content[: len(content) // 2])
        yield "emptied", lambda p: p.write_bytes(b"")
        for k in range(FLIPS):
            at = len(content) * k // FLIPS + places.randrange(max(len(content) // FLIPS, 1))
            flipped = bytearray(content)
            flipped[min(at, len(content) - 1)] ^= 1 << places.randrange(8)
            yield f"flipped {k}", functools.partial(Path.write_bytes, data=bytes(flipped))
    if (other := counterpart(name, files, other_run)) is not None:
        yield "of another run", lambda p: p.write_bytes(other.read_bytes())
    a, b = (f"{CHECKPOINTS}/{step}/" for step in steps)
    mine, theirs = (a, b) if name.startswith(a) else (b, a)
    if name.startswith(mine):
        inside = {n.removeprefix(theirs): p for n, p in files.items() if n.startswith(theirs)}
        within = {n.removeprefix(mine): p for n, p in files.items() if n.startswith(mine)}
        if (step := counterpart(name.removeprefix(mine), within, inside)) is not None:
            yield "of another step", lambda p: p.write_bytes(step.read_bytes())


def verdict(work: Callable[[], str]) -> str:
    """Return what a command made of a damaged run; ``work`` says what it used."""
    shown, used = io.StringIO(), []

    def noted() -> int:
        used.append(work())
        return 0

    try:
        with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(io.StringIO()):
            code = exit_code("command", noted)
    except Exception:
        return f"traceback\n{traceback.format_exc()}"
    said = "command: warning: " in shown.getvalue()
    if "Traceback" in shown.getvalue():
        return f"traceback\n{shown.getvalue()}"
    if code == 2 and "command: error: " in shown.getvalue():
        return "error"
    if used == ["the same"]:
        return "said" if said else "unaffected"
    return "fallback" if said and used == ["another checkpoint"] else f"silent: {used}"


def evaluated(run: Path, truth: Truth) -> str:
    found = restore(run)
    parameters = {a.tobytes() for a in truth.states[found.epoch]}
    if any(np.asarray(x).tobytes() not in parameters for x in jax.tree.leaves(found.params)):
        return "other parameters"
    return "the same" if found.epoch == truth.best else "another checkpoint"


def resumed(path: Path, truth: Truth, run: Run) -> str:
    task = Randman()
    with locked(path):
        run_directory.check_free(path, overwrite=False, resume=True)
        stored = run_directory.stored_settings(path)
        if stored is None:
            raise InputError("begins anew, in an empty directory")
        settings = from_json(task.settings, stored)
        check_settings(task, settings, stored, path)
        if (result := run_directory.read_result(path)) is not None:
            return "the same" if result == truth.result else "another result"
        here = run.again(task, settings, path)
        start = begin(here, task, True, Progress(1, quiet=True))
    last = max(truth.states)
    state = start.state
    leaves = {np.asarray(x).tobytes() for x in truth.states.get(start.epochs, [])}
    arrays = jax.tree.leaves((state.step, state.params, state.opt_state, state.noise_key))
    if any(np.asarray(x).tobytes() not in leaves for x in arrays):
        return "another state"
    if list(start.records) != truth.records[: start.epochs] or start.batches:
        return "other metrics"
    return "the same" if start.epochs == last else "another checkpoint"


def compared(run: Path, truth: Truth) -> str:
    (row,) = compare([run])
    found = {k: v for k, v in row.items() if k != "run"}
    if found == truth.row:
        return "the same"
    # A run without a result is one that is not finished.
    unfinished = {**truth.row, "test": None}
    return "the same" if found == unfinished and not (run / "result.json").exists() else "other"


def in_processes(run: Path) -> dict[str, tuple[int, bool]]:
    """Return exit codes of the commands themselves, and whether they showed a traceback."""
    found = {}
    for name, command in (
        ("evaluate", ["train.evaluate", "--checkpoint", str(run), "--json"]),
        ("compare", ["train.compare", str(run), "--json"]),
        ("resume", ["train.randman", "--resume", "--workdir", str(run), "--quiet", "--no-plots"]),
    ):
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
        found[name] = (done.returncode, "Traceback" in done.stderr)
    return found


def two_checkpoints(folder: Path) -> Path:
    """Train until a run has kept two checkpoints: its best is not its last."""
    for seed in range(20):
        run = folder / f"run-{seed}"
        if run_command(Randman(), [*FLAGS, *where(run), "--seed", str(seed), "--epochs", "4"]):
            raise RuntimeError("the run failed")
        if len(numbered(run / CHECKPOINTS)) == 2:
            return run
    raise RuntimeError("no run kept two checkpoints")


def where(run: Path) -> list[str]:
    return ["--workdir", str(run)]


def main() -> None:
    arguments = argparse.ArgumentParser(prog=COMMAND, description=__doc__.splitlines()[0])
    arguments.add_argument("--files", default="", help="only files whose name has this in it")
    chosen = arguments.parse_args().files
    places = random.Random(SEED)
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    kinds: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    bad, cases = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = two_checkpoints(folder)
        other = folder / "other"
        run_command(Randman(), [*FLAGS, *where(other), "--seed", "100", "--epochs", "4"])
        # Of the other run, the checkpoints that have the place of ours.
        steps = tuple(p.name for p in numbered(good / CHECKPOINTS))
        theirs = numbered(other / CHECKPOINTS)
        for step in steps:
            if not (other / CHECKPOINTS / step).exists():
                shutil.copytree(theirs[-1], other / CHECKPOINTS / step)
        truth, files, others = truth_of(good), files_of(good), files_of(other)
        settings, options = parse(Randman(), [*FLAGS, "--epochs", "4"], Randman().settings())
        run = prepare(Randman(), settings, options, folder / "none")
        commands = {
            "evaluate": lambda path: evaluated(path, truth),
            "resume": lambda path: resumed(path, truth, run),
            "compare": lambda path: compared(path, truth),
        }
        for file in files:
            if chosen not in file:
                continue
            for kind, damage in damages(file, files, others, (steps[0], steps[-1]), places):
                cases.append((file, kind, damage))
                for command, work in commands.items():
                    copy = shutil.copytree(good, folder / "copy")
                    damage(copy / file)
                    if command == "resume" and file != "result.json":
                        (copy / "result.json").unlink()
                    found = verdict(functools.partial(work, copy))
                    shutil.rmtree(copy)
                    word = found.split("\n")[0].split(":")[0]
                    counts[command][word] += 1
                    kinds[kind.split()[0] if kind.startswith("flipped") else kind][word] += 1
                    if word in ("silent", "traceback"):
                        bad.append({"file": file, "damage": kind, "command": command, "is": found})
                        print(bad[-1], flush=True)
        whole: list[dict[str, Any]] = []
        for file, kind, damage in random.Random(SEED).sample(cases, min(WHOLE, len(cases))):
            copy = shutil.copytree(good, folder / "copy")
            damage(copy / file)
            ended = in_processes(copy)
            whole.append(
                {"file": file, "damage": kind, "exit codes": {k: v[0] for k, v in ended.items()}}
            )
            if any(shown or code not in (0, 2) for code, shown in ended.values()):
                bad.append({**whole[-1], "is": "traceback"})
                print(bad[-1], flush=True)
            shutil.rmtree(copy)
    asked = sum(sum(c.values()) for c in counts.values())
    facts = {
        "files": len(files),
        "damaged": len(cases),
        "asked": asked,
        "by_command": {k: dict(sorted(c.items())) for k, c in counts.items()},
        "by_damage": {k: dict(sorted(c.items())) for k, c in kinds.items()},
        "silent": sum(c["silent"] for c in counts.values()),
        "tracebacks": sum(c["traceback"] for c in counts.values()),
        "in_processes_of_their_own": whole,
        "bad": bad,
    }
    print(
        json.dumps({k: v for k, v in facts.items() if k != "in_processes_of_their_own"}, indent=1)
    )
    if not chosen:
        write_results(RESULTS, COMMAND, facts)


if __name__ == "__main__":
    main()
