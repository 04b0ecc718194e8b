"""What the workers share: the command line, the files, the warnings. Needs numpy alone.

A worker is a script that runs in the environment of a peer and imports nothing of flax_snn:

    python PEER.py export OUT_DIR --seed N
    python PEER.py run FILE.nir INPUT.npz OUTPUT.npz --dt DT

``export`` builds small random networks of the peer, runs them and writes, for each kind,
``KIND.nir`` by the peer's own exporter and ``KIND.npz``: ``x``, ``y`` of the network,
``y_reimport`` of the file read back, ``spikes_0``, ..., ``v_0``, ... of the populations in order,
``meta``. A kind that the peer cannot build or export leaves ``KIND.json`` with the error.

``run`` reads a file by the peer's own importer and runs it on ``x`` of INPUT.npz, from the state
that the importer starts with. It writes ``y``, ``spikes_NODE``, ``v_NODE`` and ``meta``, or
OUTPUT.json with the error and its stage, "import" or "run".

All arrays are (T, B, ...), channels first; spikes and membranes are those after the step. ``meta``
is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import json
import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

STEPS, BATCH = 40, 64
# Every population of an exported network fires in this part of its slots.
FIRES = (0.02, 0.5)
ATTEMPTS = 300
# An importer may run for ever.
SECONDS = 120

Arrays = dict[str, np.ndarray]


@dataclass
class Network:
    """A network of the peer, run on ``x``.

    Attributes:
      x: input, (T, B, ...).
      y: output, (T, B, ...).
      write: writes the network by the peer's exporter; returns the workarounds that took.
      dt: step in the unit of the time constants of the file.
      method: ``"euler"`` or ``"exp"``, how the peer steps.
      spikes: of each spiking population in order.
      membranes: of each population in order, where the peer shows them.
      extra: more entries of ``meta``.
    """

    x: np.ndarray
    y: np.ndarray
    write: Callable[[Path], list[str]]
    dt: float
    method: str
    spikes: list[np.ndarray] = field(default_factory=list)
    membranes: list[np.ndarray] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Peer:
    """A framework: its name on PyPI and what it does with files.

    Attributes:
      name: distribution, which gives the version.
      kinds: builds and runs a random network of each kind; the docstring becomes the notes.
      read: reads a file at a step.
      simulate: runs what ``read`` returned on ``x``; returns ``y`` and the traces.
      workarounds: what ``read`` or ``simulate`` had to do because the peer could not run otherwise.
    """

    name: str
    kinds: dict[str, Callable[[np.random.Generator], Network]]
    read: Callable[[Path, float], Any]
    simulate: Callable[[Any, np.ndarray], Arrays]
    workarounds: list[str] = field(default_factory=list)


def inputs(rng: np.random.Generator, *features: int) -> np.ndarray:
    """Draw 0/1 inputs (T, B, *features), of which three in ten are 1."""
    return (rng.random((STEPS, BATCH, *features)) < 0.3).astype(np.float32)


def weights(rng: np.random.Generator, *shape: int, gain: float = 1.0) -> np.ndarray:
    """Draw weights (out, in, ...), more positive than negative, of a scale that is drawn too."""
    scale = gain * rng.uniform(0.5, 3.0) / np.sqrt(np.prod(shape[1:]))
    return (scale * rng.uniform(-0.6, 1.0, shape)).astype(np.float32)


def biases(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.uniform(-0.05, 0.1, size).astype(np.float32)


def serve(peer: Peer) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export")
    export.add_argument("out", type=Path)
    export.add_argument("--seed", type=int, required=True)
    run = commands.add_parser("run")
    for name in ("file", "input", "output"):
        run.add_argument(name, type=Path)
    run.add_argument("--dt", type=float, required=True)
    arguments = parser.parse_args()
    if arguments.command == "export":
        arguments.out.mkdir(parents=True, exist_ok=True)
        for kind in peer.kinds:
            _export(peer, kind, arguments.out, arguments.seed)
    else:
        _run(peer, arguments.file, arguments.input, arguments.output, arguments.dt)


def _run(peer: Peer, file: Path, given: Path, output: Path, dt: float) -> None:
    x = np.load(given)["x"].astype(np.float32)
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(SECONDS)
    try:
        arrays, meta = _imported(peer, file, x, dt)
    except _Failure as failure:
        output.with_suffix(".json").write_text(json.dumps(failure.report))
        return
    np.savez_compressed(output, **arrays, meta=json.dumps(meta))


def _late(*_: object) -> None:
    raise TimeoutError(f"no end after {SECONDS} s")


def _export(peer: Peer, kind: str, out: Path, seed: int) -> None:
    file = out / f"{kind}.nir"
    said: list[str] = []
    stage = "build"
    try:
        with _listening(said):
            network = _lively(peer.kinds[kind], np.random.SeedSequence([seed, *kind.encode()]))
            stage = "export"
            workarounds = network.write(file)
    except Exception as error:
        file.unlink(missing_ok=True)
        report = {"kind": kind, "error": _message(error), "stage": stage, "warnings": said}
        file.with_suffix(".json").write_text(json.dumps(report))
        return
    arrays = {"x": network.x, "y": network.y}
    arrays |= {f"spikes_{k}": trace for k, trace in enumerate(network.spikes)}
    arrays |= {f"v_{k}": trace for k, trace in enumerate(network.membranes)}
    meta = {"peer": peer.name, "version": version(peer.name), "kind": kind, "dt": network.dt}
    notes = inspect.getdoc(peer.kinds[kind]) or ""
    meta |= {"method": network.method, "notes": notes, "warnings": said}
    meta |= {"workarounds": workarounds} | network.extra
    try:
        again, read = _imported(peer, file, network.x, network.dt)
        arrays["y_reimport"] = again["y"]
        meta["reimport"] = read
    except _Failure as failure:
        meta["reimport"] = failure.report
    np.savez_compressed(file.with_suffix(".npz"), **arrays, meta=json.dumps(meta))


def _lively(
    build: Callable[[np.random.Generator], Network], seeds: np.random.SeedSequence
) -> Network:
    """Draw networks until one has no silent and no ever-firing population."""
    for seed in seeds.spawn(ATTEMPTS):
        network = build(np.random.default_rng(seed))
        if all(FIRES[0] <= np.mean(trace > 0) <= FIRES[1] for trace in network.spikes):
            return network
    raise RuntimeError(f"no network of {ATTEMPTS} fires in {FIRES} of its slots everywhere")


class _Failure(Exception):
    """The peer could not import or run a file; ``report`` says why."""

    def __init__(self, error: Exception, stage: str, said: list[str]) -> None:
        self.report = {"error": _message(error), "stage": stage, "warnings": said}


def _imported(peer: Peer, file: Path, x: np.ndarray, dt: float) -> tuple[Arrays, dict[str, Any]]:
    said: list[str] = []
    stage = "import"
    peer.workarounds.clear()
    try:
        with _listening(said):
            model = peer.read(file, dt)
            stage = "run"
            arrays = peer.simulate(model, x)
    except Exception as error:
        raise _Failure(error, stage, said) from error
    meta: dict[str, Any] = {"peer": peer.name, "version": version(peer.name), "dt": dt}
    return arrays, meta | {"warnings": said, "workarounds": list(peer.workarounds)}


@contextlib.contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    """Collect in ``said`` what is printed, logged or warned of inside."""
    printed = io.StringIO()
    handler = logging.StreamHandler(printed)
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            warnings.simplefilter("always")
            yield
    finally:
        logging.getLogger().removeHandler(handler)
        lines = [f"{item.category.__name__}: {item.message}" for item in caught]
        lines += [line for line in printed.getvalue().splitlines() if line.strip()]
        said.extend(dict.fromkeys(lines))


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
