"""One target in a process of its own: inputs until the time is over, findings on disk.

With the package atheris inputs are guided by the coverage that they reach (libFuzzer); without it
they are mutations of the seeds at random.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.fuzz.targets import ROOT, TARGETS, Target

SECONDS = 10.0
"""Processor time after which an input is a finding."""

BYTES = 10**9
"""Memory above that of the process before the first input, after which one is a finding."""

INSTRUMENTED = [
    "flax_snn.datasets",
    "flax_snn.json_form",
    "flax_snn.nir",
    "numpy.lib",
    "train.settings",
    "train.store",
    "train.tasks.spikes",
    "wave",
    "zipfile",
]
"""Modules whose coverage guides the inputs; to instrument all would take longer than a run."""

LONGEST = 2**16
"""Largest input in bytes."""


def allowed() -> tuple[type[BaseException], ...]:
    """Returns the classes of errors that a reader may raise."""
    from train.errors import InputError

    return ValueError, OSError, InputError


@dataclasses.dataclass
class Session:
    """What a target has done so far.

    Attributes:
      target: the reader.
      folder: where the input that runs, the findings and the figures are written.
      seconds: processor time after which the session is over.
      inputs: inputs that were run.
      read: inputs that were read without an error.
      findings: one finding of each place in the code.
    """

    target: Target
    folder: Path
    seconds: float = float("inf")
    inputs: int = 0
    read: int = 0
    findings: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.path = self.folder / f"input{self.target.suffix}"
        self.base = _peak()
        self.allowed = allowed()
        self.saved = time.monotonic()
        self.begun = time.process_time()

    @property
    def spent(self) -> float:
        """Processor time so far."""
        return time.process_time() - self.begun

    def run(self, content: bytes) -> None:
        """Runs one input; what it does wrong is kept."""
        self.path.write_bytes(content)
        began = time.process_time()  # others may have the machine meanwhile
        try:
            self.target.read(self.path)
            self.read += 1
        except self.allowed:
            pass
        except Exception as error:
            self._keep(type(error).__name__, _place(error), str(error), content)
        seconds = time.process_time() - began
        if seconds > SECONDS:
            self._keep("slow", f"{seconds:.0f} s", "", content)
        if (more := _peak() - self.base) > BYTES:
            self._keep("memory", "", f"{more / 1e9:.1f} GB", content)
            self.base += more
        self.inputs += 1
        if time.monotonic() - self.saved > 1.0:
            self.save()

    def save(self) -> None:
        """Writes the figures so far."""
        figures = {
            "inputs": self.inputs,
            "read": self.read,
            "seconds": round(self.spent, 1),
            "findings": list(self.findings.values()),
        }
        beside = self.folder / "figures.tmp"
        beside.write_text(json.dumps(figures))
        beside.replace(self.folder / "figures.json")
        self.saved = time.monotonic()

    def _keep(self, kind: str, place: str, words: str, content: bytes) -> None:
        key = f"{kind} {place}"
        if key in self.findings:
            return
        name = f"finding_{len(self.findings)}{self.target.suffix}"
        (self.folder / name).write_bytes(content)
        self.findings[key] = {"kind": kind, "place": place, "words": words[:200], "file": name}
        self.save()


def _peak() -> int:
    """Returns the largest memory that the process has had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _place(error: BaseException) -> str:
    """Returns the last line of this repository that led to an error."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(str(ROOT)) and ".venv" not in f.filename]
    last = (ours or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def mutations(seeds: list[bytes], words: tuple[bytes, ...], seed: int) -> Iterator[bytes]:
    """Yields mutations of the seeds without end, the seeds themselves first."""
    yield from seeds
    choose = random.Random(seed)
    numbers = (0, 1, 127, 128, 255)
    while True:
        content = bytearray(choose.choice(seeds))
        for _ in range(choose.choice((1, 1, 2, 4, 8))):
            size = len(content)
            at, length = choose.randrange(size + 1), choose.choice((1, 1, 2, 4, 8, 64))
            how = choose.randrange(8)
            if how == 0 and at < size:
                content[at] ^= 1 << choose.randrange(8)
            elif how == 1 and at < size:
                content[at] = choose.choice(numbers)
            elif how == 2:
                content[at : at + length] = choose.randbytes(length)
            elif how == 3:
                del content[at : at + length]
            elif how == 4:
                content[at:at] = content[at : at + length]
            elif how == 5 and words:
                content[at:at] = choose.choice(words)
            elif how == 6:
                other = choose.choice(seeds)
                start = choose.randrange(len(other) + 1)
                content[at:] = other[start:]
            else:
                kept = choose.choice((b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xff\xff\xff\x7f"))
                content[at : at + 4] = kept
        yield bytes(content[:LONGEST])


def main(name: str, seconds: float, folder: Path, seed: int, engine: str) -> None:
    """Runs a target; ``python -m benchmarks.fuzz.worker NAME SECONDS FOLDER SEED ENGINE``."""
    target = TARGETS[name]
    with contextlib.suppress(ValueError):
        # Beyond this the machine would suffer; Python raises a MemoryError, which is a finding.
        resource.setrlimit(resource.RLIMIT_DATA, (6 * 10**9, 6 * 10**9))
    warnings.simplefilter("error", RuntimeWarning)
    seeds = target.seeds()
    if not seeds:
        raise SystemExit(f"{name}: no seeds")
    if engine == "atheris":
        _guided(target, seeds, seconds, folder, seed)
        return
    mutated(name, seconds, folder, seed).save()


def mutated(name: str, seconds: float, folder: Path, seed: int) -> Session:
    """Returns the session of a target after so much processor time of random mutations."""
    target = TARGETS[name]
    seeds = target.seeds()
    session = _warmed(target, seeds, folder, seconds)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for content in mutations(seeds, target.words, seed):
            session.run(content)
            if session.spent > seconds:
                break
    return session


def _warmed(target: Target, seeds: list[bytes], folder: Path, seconds: float) -> Session:
    """Returns a session after one input: what is imported and compiled counts for no input."""
    path = folder / f"warm{target.suffix}"
    path.write_bytes(seeds[0])
    with contextlib.suppress(Exception):
        target.read(path)
    return Session(target, folder, seconds)


def _guided(target: Target, seeds: list[bytes], seconds: float, folder: Path, seed: int) -> None:
    import atheris  # type: ignore[import-untyped]

    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for k, content in enumerate(seeds):
        (corpus / f"seed_{k}").write_bytes(content)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    with atheris.instrument_imports(include=INSTRUMENTED):
        session = _warmed(target, seeds, folder, seconds)

    def run(content: bytes) -> None:
        session.run(content)
        if session.spent > seconds:
            session.save()
            os._exit(0)

    flags = [
        f"-max_len={LONGEST}",
        f"-seed={seed}",
        f"-artifact_prefix={folder}/",
        "-timeout=300",
        "-rss_limit_mb=0",
        "-print_final_stats=0",
        "-verbosity=0",
        *([f"-dict={words}"] if target.words else []),
    ]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], run)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(given[0], float(given[1]), Path(given[2]), int(given[3]), given[4])
    os._exit(0)
