r"""Training on many devices and processes: the same numbers, what is exchanged, what it costs.

    python -m benchmarks.robustness.devices

writes ``benchmarks/results/devices.json``:

- loss and gradient of one update on 2, 4 and 8 virtual devices, and of runs on 2 and 4 processes
  over loopback, against one device: largest difference relative to the largest value;
- bytes that a device sends in an update: derived, a ring all-reduce of the gradient sends
  :math:`2 \frac{N - 1}{N}` times the bytes of the parameters, and measured, the same of what the
  compiled program reduces; and how many arrays of samples are gathered;
- growth of the memory of a process in 10 000 updates;
- share of a run that goes into checkpoints, one per epoch.

Virtual devices are threads of one CPU: speeds are not measured here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path("benchmarks/results/devices.json")
COMMAND = "python -m benchmarks.robustness.devices"

COUNTS = (1, 2, 4, 8)

_UPDATE = "--optimizer sgd --momentum 0 --schedule constant --warm-up 0 --learning-rate 1e6"
"""A step so long that the parameters after it are the gradient."""

CASES: dict[str, tuple[str, str, tuple[tuple[int, int], ...]]] = {
    # task, its flags, and (devices, of these for the layers)
    "randman": (
        "randman",
        "--classes 4 --units 10 --steps 50 --dt 2e-3 --samples-per-class 20 --hidden 64"
        " --batch-size 64",
        ((1, 1), (2, 1), (4, 1), (8, 1), (8, 2)),
    ),
    "yin_yang": (
        "yin_yang",
        "--train-samples 80 --test-samples 8 --hidden 20 --batch-size 64",
        ((1, 1), (2, 1), (4, 1), (8, 1)),
    ),
}
"""One batch an epoch each."""

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "u16": 2, "s16": 2, "f32": 4} | {
    "s32": 4,
    "u32": 4,
    "f64": 8,
    "s64": 8,
    "u64": 8,
}


def exchanged(program: str) -> dict[str, list[int]]:
    """Return what devices exchange in a compiled program, one run of each loop in it.

    Args:
      program: its text.

    Returns:
      For each kind of exchange, the bytes of each of its results.
    """
    kinds = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"
    found: dict[str, list[int]] = {}
    for shapes, kind in re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", program):
        sizes = [
            _BYTES[dtype] * int(np.prod([int(n) for n in shape.split(",") if n]))
            for dtype, shape in re.findall(r"([a-z]+\d*)\[([\d,]*)\]", shapes)
        ]
        found.setdefault(kind, []).append(sum(sizes))
    return found


def one_update(case: str, devices: int, model_devices: int = 1) -> dict[str, Any]:
    """Return what the first update of a run does on some of the devices of this process.

    Args:
      case: a key of `CASES`.
      devices: number of devices.
      model_devices: devices of these that share the layers.

    Returns:
      ``loss``, ``gradient`` (a list of arrays), ``parameters`` in bytes, ``exchanged``.
    """
    import jax

    from train.command_line import parse
    from train.run.prepare import prepare
    from train.tasks import find_task

    name, flags, _ = CASES[case]
    task = find_task(name)
    spread = f"--devices {devices} --model-devices {model_devices}"
    words = f"{flags} {_UPDATE} {spread}".split()
    settings, options = parse(task, words, task.settings())
    run = prepare(task, settings, options, Path("unused"))
    (chunk,) = run.feed.chunks(1, 0)
    after, sums = run.train(run.first, chunk.samples, chunk.order)
    before = [np.asarray(x, np.float64) for x in jax.tree.leaves(run.first.params)]
    leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(after.params)]
    return {
        "loss": float(sums.loss),
        "gradient": [x - y for x, y in zip(before, leaves, strict=True)],
        "parameters": sum(x.nbytes for x in jax.tree.leaves(run.first.params)),
        "exchanged": exchanged(run.program.as_text() or ""),
    }


def differences(cases: Sequence[str]) -> dict[str, Any]:
    """Return one update on all numbers of devices against one device; needs 8 of them.

    Args:
      cases: keys of `CASES`.
    """
    found: dict[str, Any] = {}
    for case in cases:
        right = one_update(case, 1)
        for devices, model in CASES[case][2]:
            ours = right if devices == 1 else one_update(case, devices, model)
            pairs = zip(ours["gradient"], right["gradient"], strict=True)
            data = devices // model
            reduced = sum(ours["exchanged"].get("all-reduce", []))
            row = found[f"{case} {data} x {model}"] = {
                "devices": devices,
                "model_devices": model,
                "loss_difference": abs(ours["loss"] / right["loss"] - 1),
                "gradient_difference": max(
                    float(abs(a - b).max() / (abs(b).max() or 1.0)) for a, b in pairs
                ),
                "parameter_bytes": ours["parameters"],
                "gathers": len(ours["exchanged"].get("all-gather", [])),
                "exchanged": ours["exchanged"],
            }
            if model == 1:  # else some of it is exchanged within a layer, in each time step
                row["bytes_sent_derived"] = ring(data, ours["parameters"])
                row["bytes_sent_measured"] = ring(data, reduced)
    return found


def ring(devices: int, size: int) -> int:
    """Return the bytes that each device sends in a ring all-reduce of so many bytes."""
    return round(2 * (devices - 1) / devices * size)


def over_processes(folder: Path) -> dict[str, Any]:
    """Train on one process, on 2 and on 4, and compare losses and parameters."""
    import jax

    flags = (
        "--classes 4 --units 10 --steps 50 --dt 2e-3 --samples-per-class 100 --hidden 64"
        " --batch-size 64 --epochs 1 --no-plots --quiet --heartbeat 600"
    ).split()
    states, losses = {}, {}
    for count in (1, 2, 4):
        run = folder / f"processes_{count}"
        together([*flags, "--workdir", str(run)], count)
        states[count] = jax.tree.leaves(_parameters(run))
        losses[count] = json.loads((run / "metrics.jsonl").read_text())["train_loss"]
    return {
        f"{count} processes": {
            "loss_difference": abs(losses[count] / losses[1] - 1),
            "parameter_difference": max(
                float(abs(a - b).max() / abs(b).max())
                for a, b in zip(states[count], states[1], strict=True)
            ),
        }
        for count in (2, 4)
    }


def together(flags: list[str], count: int) -> None:
    """Train Randman on several processes of this machine."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    several = ["--coordinator", address, "--processes", str(count)] if count > 1 else []
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "train.randman", *flags, *several]
            + (["--process", str(k)] if several else []),
            env=_environment(1),
            stdout=subprocess.DEVNULL,
        )
        for k in range(count)
    ]
    codes = [process.wait() for process in started]
    if any(codes):
        raise RuntimeError(f"expected processes that end with 0, got {codes}")


def _parameters(run: Path) -> Any:
    from train.store.read import latest_checkpoint

    checkpoint = latest_checkpoint(run)
    assert checkpoint is not None
    return checkpoint.parameters()


def memory(folder: Path) -> dict[str, Any]:
    """Return how the memory of a run of 10 000 updates grows, from its second thousand on."""
    epochs, batches = 100, 100
    flags = (
        "--classes 2 --units 4 --alpha 3 --steps 20 --dt 5e-3 --samples-per-class 1000 --hidden 8"
        f" --batch-size 16 --epochs {epochs} --no-plots --quiet --save-every 0 --devices 2"
    ).split()
    run = folder / "memory"
    line = [sys.executable, "-m", "train.randman", *flags, "--workdir", str(run)]
    process = subprocess.Popen(line, env=_environment(2), stdout=subprocess.DEVNULL)
    seen: dict[int, int] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    while process.poll() is None:
        try:
            done = (run / "metrics.jsonl").read_bytes().count(b"\n")
            size = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * page
        except (OSError, IndexError):
            done, size = 0, 0
        if done:
            seen[done * batches] = size
        time.sleep(0.05)
    updates = np.asarray([n for n in seen if 1000 < n < epochs * batches])
    sizes = np.asarray([seen[n] for n in updates], np.float64)
    slope, start = np.polyfit(updates, sizes, 1)
    return {
        "updates": epochs * batches,
        "checkpoints": epochs,
        "devices": 2,
        "megabytes": round(start / 1e6, 1),
        "bytes_per_update": round(float(slope), 1),
        "growth_per_10000_updates": round(float(slope * 1e4 / start), 4),
    }


def checkpoints(folder: Path) -> dict[str, Any]:
    """Return the share of a run of the default Randman that goes into checkpoints."""
    found: dict[str, Any] = {}
    for name, every in (("every epoch", 0.0), ("at the end", 1e9)):
        line = [sys.executable, "-m", "benchmarks.robustness.devices", "checkpoints", str(every)]
        line.append(str(folder / name.replace(" ", "_")))
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        found[name] = json.loads(done.stdout.splitlines()[-1])
    every, last = (found[name]["processor_seconds"] for name in ("every epoch", "at the end"))
    return {**found, "share_of_processor_time": round((every - last) / every, 4)}


def _one_run(every: str, folder: str) -> dict[str, Any]:
    """Train the default Randman, and see how long the loop waited for the writer."""
    from train.command_line import run_command
    from train.store.write import CheckpointWriter
    from train.tasks.randman import Randman

    waited = 0.0

    def timed(name: str) -> None:
        method = getattr(CheckpointWriter, name)

        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal waited
            start = time.perf_counter()
            try:
                return method(*arguments, **named)
            finally:
                waited += time.perf_counter() - start

        setattr(CheckpointWriter, name, call)

    timed("save")
    timed("__exit__")
    flags = f"--save-every {every} --no-plots --quiet --workdir".split()
    code = run_command(Randman(), [*flags, folder])
    result = json.loads((Path(folder) / "result.json").read_text())
    return {
        "exit_code": code,
        "epochs": result["epochs_done"],
        "training_seconds": result["training_seconds"],
        "seconds_waiting_for_checkpoints": round(waited, 3),
        "share": round(waited / result["training_seconds"], 4),
        "processor_seconds": round(time.process_time(), 2),
    }


def _environment(devices: int) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices}"
    return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def _in_process(what: str, devices: int) -> Any:
    line = [sys.executable, "-m", "benchmarks.robustness.devices", what]
    done = subprocess.run(
        line, env=_environment(devices), stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


PARTS: dict[str, Callable[[Path], Any]] = {
    "updates": lambda folder: _in_process("updates", max(COUNTS)),
    "processes": over_processes,
    "memory": memory,
    "checkpoints": checkpoints,
}
"""What is measured, each on its own with ``--only NAME``."""


def main(arguments: Sequence[str]) -> None:
    """Measure all, what stands behind ``--only``, or in a process of its own one number."""
    if arguments[:1] == ["updates"]:
        print(json.dumps(differences(arguments[1:] or list(CASES))))
        return
    if arguments[:1] == ["checkpoints"]:
        print(json.dumps(_one_run(*arguments[1:])))
        return
    from benchmarks.machine import write_results

    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    only = parser.parse_args(arguments).only
    with tempfile.TemporaryDirectory() as folder:
        stored = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        results = {name: stored[name] for name in PARTS if name in stored}
        for name in only:
            results[name] = PARTS[name](Path(folder))
            print(name, json.dumps(results[name], indent=2))
            write_results(RESULT, COMMAND, results)


if __name__ == "__main__":
    main(sys.argv[1:])
