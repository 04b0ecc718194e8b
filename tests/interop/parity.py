"""Networks between flax_snn and the other frameworks, in both directions, spike by spike.

    python tests/interop/parity.py                 # runs all and rewrites the table
    python tests/interop/parity.py --check         # ... and fails where the stored table was better
    python tests/interop/parity.py --peers norse   # one peer, nothing is rewritten

Random networks go out: written for the peer by `snn.nir.to_nir`, read and run by its own importer.
Networks of the peer come in: written by its own exporter, read here, with its preset. What is
compared are the spikes of the output (and of every population that the peer shows), step by step,
on samples whose spikes stay the same when every threshold moves by 1e-4 up or down, so that no
membrane comes nearer to a decision. Results: parity.json beside this file, docs/nir.md.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from networks import NETWORKS, lively, traces_of  # noqa: E402

import flax_snn as snn  # noqa: E402

GROUPS = {
    "torch": ("snntorch", "spikingjelly", "norse", "rockpool", "sinabs"),
    "jax": ("spyx", "jaxpike"),
}
VERSIONS = {target.partition("-")[0]: target for target in snn.nir.TARGETS}
MARGIN = 1e-4

# Presets for kinds of networks whose files need another one than that of their peer.
PRESETS = {
    ("norse", "soft"): "norse-1.1.0-soft",
    ("sinabs", "norm_input"): "sinabs-3.1.3-norm_input",
    ("snntorch", "soft"): "snntorch-1.0.0-subtract-now",
    ("snntorch", "soft_delayed"): "snntorch-1.0.0-subtract",
}

# What is wrong in the file, or was refused by the peer's own exporter: (peer, network) -> why.
THEIRS = {
    ("rockpool", "recurrent_cuba"): "its file leaves the recurrent weights out",
    ("sinabs", "cuba"): "its file leaves the synapse out",
    ("spyx", "li"): "its file leaves the readout out",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", nargs="+", choices=sorted(VERSIONS), default=sorted(VERSIONS))
    parser.add_argument("--environments", type=Path, help="where they are, or are to be made")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        environments = options.environments or work / "environments"
        rows: list[dict[str, Any]] = []
        for group, peers in GROUPS.items():
            chosen = [peer for peer in peers if peer in options.peers]
            if chosen and not (environments / group).exists():
                subprocess.run([HERE / "install.sh", group, environments / group], check=True)
            for peer in chosen:
                worker = Worker(environments / group, peer, work)
                for row in (*outgoing(worker), *incoming(worker)):
                    rows.append(row)
                    print(text_of(row), flush=True)
    print(f"{len(rows)} rows in {time.time() - began:.0f} s")
    if options.check:
        return check(rows, set(options.peers))
    if set(options.peers) == set(VERSIONS):
        store(rows)
    return 0


class Worker:
    """A peer in its environment."""

    def __init__(self, environment: Path, peer: str, work: Path) -> None:
        self.peer, self.work = peer, work
        self.python = environment / "bin" / "python"
        self.script = HERE / "peers" / f"{peer}_worker.py"

    def call(self, *arguments: Any) -> None:
        command = [self.python, self.script, *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def run(self, file: Path, x: np.ndarray, dt: float) -> tuple[dict[str, Any], str | None]:
        """Arrays, or what the peer said when it could not."""
        given, out = self.work / "input.npz", self.work / "output.npz"
        out.unlink(missing_ok=True)
        np.savez(given, x=x)
        self.call("run", file, given, out, "--dt", dt)
        if not out.exists():
            return {}, json.loads(out.with_suffix(".json").read_text())["error"]
        return dict(np.load(out)), None


def outgoing(worker: Worker) -> list[dict[str, Any]]:
    """Networks of ours, run by the peer."""
    rows = []
    for name, kind in NETWORKS[worker.peer].items():
        row = {"peer": VERSIONS[worker.peer], "network": name, "direction": "out"}
        variables, x = lively(kind, seed=7)
        try:
            graph = snn.nir.to_nir(
                kind.module,
                variables,
                kind.features,
                target=VERSIONS[worker.peer],
                allow=kind.allow,
            )
        except snn.nir.NIRError as error:
            rows.append(row | {"refused": str(error)})
            continue
        file = worker.work / f"{worker.peer}_out.nir"
        snn.nir.save(file, graph)
        found, error = worker.run(file, time_first(x), graph.metadata["dt"])
        if error is not None:
            rows.append(row | {"failed": error})
            continue
        output, *ours = traces_of(kind.module, variables, x)
        keep = steady(graph, None, x, soft="soft_reset" in kind.allow)
        result = compared(time_first(output), found["y"], keep)
        with_populations(result, ours, found, keep, list(graph.nodes))
        rows.append(row | result)
    return rows


def incoming(worker: Worker) -> list[dict[str, Any]]:
    """Networks of the peer, read here."""
    folder = worker.work / worker.peer
    worker.call("export", folder, "--seed", 0)
    rows = []
    for path in sorted([*folder.glob("*.npz"), *folder.glob("*.json")]):
        name = path.stem
        row = {"peer": VERSIONS[worker.peer], "network": name, "direction": "in"}
        if path.suffix == ".json":
            rows.append(row | {"failed": json.loads(path.read_text())["error"]})
            continue
        data = dict(np.load(path))
        meta = json.loads(str(data["meta"]))
        preset = PRESETS.get((worker.peer, name), VERSIONS[worker.peer])
        # Norse writes time constants times its step, which the preset takes out again.
        dt = 1e-3 if worker.peer == "norse" else meta["dt"]
        x = batch_first(data["x"])
        graph = folder / f"{name}.nir"
        try:
            network, variables = snn.nir.from_nir(graph, dt, meta["method"], preset)
        except snn.nir.NIRError as error:
            rows.append(row | {"refused": str(error)})
            continue
        output, *ours = traces_of(network, variables, x)
        rules = snn.nir.PRODUCERS[preset].rule.values()
        soft = any(rule.get("reset") == "soft" for rule in rules)
        keep = steady(snn.nir.load(graph), (dt, meta["method"], preset), x, soft=soft)
        result = compared(time_first(output), data["y"], keep)
        with_populations(result, ours, data, keep, [str(k) for k in range(len(ours[1]))])
        rows.append(row | result)
    return rows


def with_populations(
    result: dict[str, Any],
    ours: list[list[np.ndarray]],
    found: dict[str, np.ndarray],
    keep: np.ndarray,
    names: list[str],
) -> None:
    """Add the spikes and membranes of all populations, where the peer shows as many."""
    for prefix, mine in zip(("spikes_", "v_"), ours, strict=True):
        theirs = [found[prefix + name] for name in names if prefix + name in found]
        if len(theirs) != len(mine):
            continue
        for a, b in zip(mine, theirs, strict=True):
            a = time_first(a).reshape(b.shape)[:, keep]
            b = b[:, keep]
            if prefix == "v_":
                largest = float(np.abs(a - b).max())
                result["membrane"] = max(largest, result.get("membrane", 0.0))
            else:
                result["slots"] += int(a.size)
                result["mismatched"] += int((a != b).sum())


def steady(graph: Any, reading: Any, x: np.ndarray, *, soft: bool) -> np.ndarray:
    """Samples whose spikes stay when every threshold moves by the margin.

    What a soft reset subtracts stays as it was: only the decision moves.
    """
    dt, method, preset = reading or (graph.metadata["dt"], graph.metadata["method"], None)
    runs = []
    for shift in (0.0, MARGIN, -MARGIN):
        moved = copy.deepcopy(graph)
        shift_thresholds(moved, shift, soft)
        network, variables = snn.nir.from_nir(moved, dt, method, preset)
        runs.append(traces_of(network, variables, x)[1])
    same = np.ones(len(x), bool)
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            same &= (a == b).reshape(len(x), -1).all(axis=1)
    return same


def shift_thresholds(graph: Any, shift: float, soft: bool) -> None:
    for node in graph.nodes.values():
        if hasattr(node, "nodes"):
            shift_thresholds(node, shift, soft)
        if soft and hasattr(node, "v_reset"):
            node.metadata = dict(node.metadata) | {"reset_span": True}
            node.v_reset = np.full(np.shape(node.v_threshold), shift)
        for name in ("v_threshold", "threshold"):
            if hasattr(node, name):
                setattr(node, name, np.asarray(getattr(node, name), np.float64) + shift)


def compared(ours: np.ndarray, theirs: np.ndarray, keep: np.ndarray) -> dict[str, Any]:
    """Slots, mismatched spikes and, where the output is no spikes, the largest difference."""
    ours, theirs = ours[:, keep], theirs.reshape(ours.shape)[:, keep]
    spiking = (theirs == np.round(theirs)).all()
    result: dict[str, Any] = {"samples": int(keep.sum()), "slots": int(ours.size)}
    if spiking:
        return result | {"mismatched": int((ours != theirs).sum())}
    return result | {"mismatched": 0, "membrane": float(np.abs(ours - theirs).max())}


def time_first(x: np.ndarray) -> np.ndarray:
    """``(B, T, *space, C)`` to ``(T, B, C, *space)``."""
    x = np.moveaxis(x, 1, 0)
    return x if x.ndim == 3 else np.moveaxis(x, -1, 2)


def batch_first(x: np.ndarray) -> np.ndarray:
    x = np.moveaxis(x, 1, 0).astype(np.float32)
    return x if x.ndim == 3 else np.moveaxis(x, 2, -1)


def outcome(row: dict[str, Any]) -> str:
    """``equal``, ``differs``, ``refused`` (by us) or ``failed`` (theirs)."""
    if "refused" in row or "failed" in row:
        return "refused" if "refused" in row else "failed"
    close = row["mismatched"] == 0 and row.get("membrane", 0.0) <= 1e-4
    return "equal" if close else "differs"


def text_of(row: dict[str, Any]) -> str:
    words = row.get("refused") or row.get("failed") or ""
    numbers = "" if words else f"{row['mismatched']} of {row['slots']} in {row['samples']} samples"
    if "membrane" in row:
        numbers += f", membrane {row['membrane']:.1e}"
    return (
        f"{row['peer']:20} {row['direction']:3} {row['network']:20} {outcome(row):8}"
        f" {numbers}{words[:160]}"
    )


def check(rows: list[dict[str, Any]], peers: set[str]) -> int:
    """Fail where a row is worse than the stored one, or one is gone; 0: all is as it was."""
    stored = json.loads((HERE / "parity.json").read_text())
    now = {(r["peer"], r["direction"], r["network"]): outcome(r) for r in rows}
    worse = [
        f"{row}: was {outcome(row)}, is {now.get(key)}"
        for row in stored
        if row["peer"].partition("-")[0] in peers
        if now.get(key := (row["peer"], row["direction"], row["network"])) != outcome(row)
    ]
    for line in worse:
        print(f"NOT AS STORED {line}")
    return int(bool(worse))


def store(rows: list[dict[str, Any]]) -> None:
    (HERE / "parity.json").write_text(json.dumps(rows, indent=1) + "\n")
    page = ROOT / "docs" / "nir.md"
    before, _, rest = page.read_text().partition("<!-- parity -->\n")
    _, _, after = rest.partition("<!-- end of parity -->\n")
    page.write_text(f"{before}<!-- parity -->\n{table(rows)}<!-- end of parity -->\n{after}")


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| peer | direction | network | slots compared | mismatched | membrane | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        arrow = "to it" if row["direction"] == "out" else "from it"
        first = f"| {row['peer'].replace('-', ' ')} | {arrow} | {row['network']} |"
        words = row.get("refused") or row.get("failed")
        if words is not None:
            who = "refused here" if "refused" in row else "fails there"
            short = words.split("\n")[0].replace("|", "/")
            short = short if len(short) <= 140 else f"{short[:140]}..."
            lines.append(f"{first} | | | {who}: {short} |")
            continue
        membrane = f"{row['membrane']:.0e}" if "membrane" in row else ""
        why = "" if outcome(row) == "equal" else reason(row)
        lines.append(f"{first} {row['slots']} | {row['mismatched']} | {membrane} | {why} |")
    return "\n".join(lines) + "\n"


def reason(row: dict[str, Any]) -> str:
    return THEIRS.get((row["peer"].partition("-")[0], row["network"]), "")


if __name__ == "__main__":
    raise SystemExit(main())
