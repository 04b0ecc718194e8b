"""Training steps beside the plain loop, the floor and other frameworks.

    for P in spyx jaxpike slax snntorch spikingjelly norse rockpool; do
        python3.11 -m venv peers/$P && peers/$P/bin/pip install -r benchmarks/peers/$P.txt; done
    python -m benchmarks.speed.time_loop --peers peers

rewrites benchmarks/results/time_loop.json; without ``--peers`` it measures our rows, ``nn.RNN`` and
the floor alone, and rewrites time_loop_own.json beside it. Every row is a process
of its own that holds the same inputs, weights and labels (``peers/serve.py``); all rows of a piece
of work run in turns in one session, one step each, after a warm-up, and every result is waited
for. Ratios are those of medians. A step is the loss and its gradients. Each peer runs its own
LIF neuron and SuperSpike where it lets one choose, the way its documentation calls fastest: see the
script of each; with ``(own)`` its documented training step, which learns decays too. Rows
``flax_snn as X`` have X's neuron, the same numbers as X: their losses are compared. Memory is XLA's
own account of temporary memory, and the peak of the process. About ten minutes.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import write_results
from benchmarks.speed.workers import Worker, in_turns, summary

RESULTS = Path(__file__).parents[1] / "results" / "time_loop.json"
OWN_RESULTS = RESULTS.with_name("time_loop_own.json")
COMMAND = "python -m benchmarks.speed.time_loop"
OURS = "flax_snn_network.py"
DECAY, SLOPE = 0.95, 10.0

WORK: dict[str, dict[str, Any]] = {
    "feed-forward": {
        "sizes": (128, 128, 128, 20),
        "batch": 256,
        "steps": 256,
        "rate": 0.1,
        "recurrent": False,
        "neuron": "default",
    },
    "recurrent": {
        "sizes": (700, 128, 128, 20),
        "batch": 128,
        "steps": 100,
        "rate": 0.03,
        "recurrent": True,
        "neuron": "cuba",
    },
    "long": {
        "sizes": (128, 128, 128, 128, 128, 20),
        "batch": 8,
        "steps": 10_000,
        "rate": 0.1,
        "recurrent": False,
        "neuron": "default",
    },
    "wide": {
        "sizes": (700, 1024, 1024, 20),
        "batch": 64,
        "steps": 100,
        "rate": 0.03,
        "recurrent": False,
        "neuron": "default",
    },
    "wide recurrent": {
        "sizes": (700, 1024, 1024, 20),
        "batch": 64,
        "steps": 100,
        "rate": 0.03,
        "recurrent": True,
        "neuron": "default",
    },
    "adaptive": {
        "sizes": (128, 128, 128, 128, 20),
        "batch": 256,
        "steps": 256,
        "rate": 0.05,
        "recurrent": False,
        "neuron": "alif",
    },
    "adaptive current": {
        "sizes": (128, 128, 128, 128, 20),
        "batch": 256,
        "steps": 256,
        "rate": 0.05,
        "recurrent": False,
        "neuron": "adlif",
    },
}

# Script, and settings beside those that all peers have.
PEERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "Spyx (own)": ("spyx", "spyx_network.py", {"learn_decays": True}),
    "Spyx": ("spyx", "spyx_network.py", {"learn_decays": False}),
    "jaxpike": ("jaxpike", "jaxpike_network.py", {"checkpointed": False}),
    "jaxpike, checkpointed": ("jaxpike", "jaxpike_network.py", {"checkpointed": True}),
    "sparx": ("sparx", "sparx_network.py", {}),
    "Slax, unroll 8": ("slax", "slax_network.py", {"unroll": 8}),  # all 256 take minutes to compile
    "snnTorch": ("snntorch", "snntorch_network.py", {}),
    "SpikingJelly": ("spikingjelly", "spikingjelly_network.py", {}),
    "Norse": ("norse", "norse_network.py", {}),
    "Rockpool": ("rockpool", "rockpool_network.py", {}),
}

# Rows of seconds have rounds of their own, so that those of the others stay close together.
SLOW = ("Norse", "Rockpool")

# Factors on the weights with which networks fire in 2-50 % of the slots, by the gain of an input:
# 1 - decay, or 1.
SMALL, LARGE = 1.5, 30.0
GAINS = {
    "default": LARGE,
    "cuba": 16.0,
    "alif": SMALL,
    "adlif": LARGE,
    "spyx": SMALL,
    "sparx": SMALL,
    "slax": SMALL,
    "snntorch": SMALL,
    "rockpool": SMALL,
    "jaxpike": LARGE,
    "spikingjelly": LARGE,
    "norse": LARGE,
}


def write_arrays(path: Path, work: dict[str, Any]) -> None:
    """Write inputs, labels and weights of unit gain."""
    rng = np.random.default_rng(0)
    sizes, shape = work["sizes"], (work["batch"], work["steps"], work["sizes"][0])
    arrays = {"x": (rng.random(shape) < work["rate"]).astype(np.uint8)}
    arrays["labels"] = rng.integers(sizes[-1], size=work["batch"])
    pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
    for k, (fan_in, width) in enumerate(pairs):
        arrays[f"w{k}"] = rng.normal(0, 1 / math.sqrt(fan_in), (fan_in, width)).astype("f4")
    for k, (_, width) in enumerate(pairs[:-1] if work["recurrent"] else []):
        arrays[f"r{k}"] = rng.normal(0, 0.3 / math.sqrt(width), (width, width)).astype("f4")
    np.savez(path, **arrays)


def measure(name: str, peers: Path | None, repeats: int) -> dict[str, Any]:
    """Run all rows of a piece of work in turns."""
    work = WORK[name]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "work.npz")
        write_arrays(file, work)
        shared = {"file": str(file), "decay": DECAY, "slope": SLOPE}
        own = shared | {"neuron": work["neuron"], "gain": GAINS[work["neuron"]]}
        rows: dict[str, tuple[str, str, dict[str, Any]]] = {
            "flax_snn": (sys.executable, OURS, own | {"runner": "auto"}),
            "flax_snn, scan": (sys.executable, OURS, own | {"runner": "scan"}),
            "nn.RNN": (sys.executable, OURS, own | {"runner": "nn.RNN"}),
            "floor": (sys.executable, OURS, own | {"runner": "floor"}),
            "floor, strict": (sys.executable, OURS, own | {"runner": "floor", "strict": True}),
        }
        if name in ("recurrent", "wide", "wide recurrent") and peers is not None:
            python = peers / "sparx" / "bin" / "python"
            if python.exists():
                mine = shared | {"gain": GAINS["sparx"], "synapse": work["neuron"] == "cuba"}
                rows["sparx"] = (str(python), "sparx_network.py", mine)
        if name == "feed-forward" and peers is not None:
            for peer, (environment, script, settings) in PEERS.items():
                python = peers / environment / "bin" / "python"
                if (
                    not python.exists()
                    or not (Path(__file__).parents[1] / "peers" / script).exists()
                ):
                    print(f"{peer}: not installed in {peers / environment}", flush=True)
                    continue
                mine = shared | {"gain": GAINS[environment]} | settings
                rows[peer] = (str(python), script, mine)
            for peer in ("spyx", "snntorch"):
                as_peer = shared | {"neuron": peer, "gain": GAINS[peer], "runner": "auto"}
                rows[f"flax_snn as {peer}"] = (sys.executable, OURS, as_peer)
        workers = {}
        for row, arguments in rows.items():
            print(f"{name}: {row}", flush=True)
            workers[row] = Worker(*arguments)
    slow = {row: worker for row, worker in workers.items() if row in SLOW}
    fast = {row: worker for row, worker in workers.items() if row not in SLOW}
    groups = [in_both_ways(fast, repeats)]
    if slow:
        beside = {row: fast[row] for row in ("flax_snn", "floor")}
        groups.append(in_both_ways(slow | beside, 3))
    found = {}
    for row, worker in workers.items():
        seconds = groups[row in SLOW]
        steps = {name: float(np.median(runs)) for name, runs in seconds["step"].items()}
        found[row] = {
            "step": summary(seconds["step"][row], seconds["step"]["floor"]),
            "forward": summary(seconds["forward"][row], seconds["forward"]["floor"]),
            "ours / this": round(steps["flax_snn"] / steps[row], 3),
        } | worker.ask({"do": "report"})
        as_row = f"flax_snn as {row.split()[0].lower()}"
        if as_row in steps:
            found[row]["ours with its neuron / this"] = round(steps[as_row] / steps[row], 3)
    for worker in workers.values():
        worker.close()
    return {"settings": work, "rows": found}


def in_both_ways(workers: dict[str, Worker], repeats: int) -> dict[str, dict[str, list[float]]]:
    return {what: in_turns(workers, what, repeats=repeats) for what in ("step", "forward")}


def show(name: str, found: dict[str, Any]) -> None:
    print(f"\n{name}: {found['settings']}")
    print(f"{'':24} {'step':>9} {'/ floor':>8} {'ours /':>7} {'forward':>9} {'/ floor':>8}"
          f" {'compile':>8} {'temp':>9} {'peak':>9}  activity")  # fmt: skip
    for row, r in found["rows"].items():
        temporary = r["temporary_bytes"]
        print(
            f"{row:24} {r['step']['median_ms']:6.0f} ms {r['step']['ratio']:8.2f}"
            f" {r['ours / this']:7.2f} {r['forward']['median_ms']:6.0f} ms"
            f" {r['forward']['ratio']:8.2f} {r['compile_seconds']:6.2f} s"
            f" {'' if temporary is None else f'{temporary / 1e6:6.1f} MB':>9}"
            f" {r['peak_bytes'] / 1e6:6.0f} MB  "
            + " ".join(f"{100 * a:.0f} %" for a in r["activity"])
            + f"  loss {r['loss']:.5f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.time_loop")
    parser.add_argument("--peers", type=Path, help="folder of virtual environments, one per peer")
    parser.add_argument("--work", nargs="+", choices=list(WORK), default=list(WORK))
    parser.add_argument("--repeats", type=int, default=9, help="rounds that count")
    options = parser.parse_args()
    results = {}
    for name in options.work:
        results[name] = measure(name, options.peers, options.repeats)
        results[name]["date"] = datetime.date.today().isoformat()
        show(name, results[name])
    path = OWN_RESULTS if options.peers is None else RESULTS
    command = COMMAND if options.peers is None else f"{COMMAND} --peers peers"
    stored = json.loads(path.read_text())["work"] if path.exists() else {}
    write_results(path, command, {"work": stored | results})


if __name__ == "__main__":
    main()
