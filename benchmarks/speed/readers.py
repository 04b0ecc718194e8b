"""How fast recordings are read, beside tonic on the same files.

Rewrites benchmarks/results/readers.json:

    python -m benchmarks.speed.readers --data-dir FOLDER --peers PEERS

FOLDER holds recordings of event cameras: sample_nmnist.bin, sample_ncars.dat, sample.aedat4,
evt2_sample.raw and evt3_sample.raw, from the test data of public readers. A file of the SHD layout
and one of AEDAT 3.1 are written for the run, of the size of real ones. PEERS/tonic is an
environment of benchmarks/peers/tonic.txt; without ``--peers`` only this package is measured.

The batches are those of `event_loader`: samples of 8000 spikes, binned into 251 steps of 4 ms.

Both read from the page cache, in turns. Times are those of the whole call, checks included: this
package checks every event (order, range), the peers check none. Seconds are those of the processor,
which a reader keeps busy all the time, so that other work on the machine does not count; seconds
of batches, which threads make, are those of the clock.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.machine import write_results
from benchmarks.speed.workers import Worker
from flax_snn import datasets
from flax_snn.datasets import Events

RESULTS = Path(__file__).parents[1] / "results" / "readers.json"
ROUNDS = 15


def write_spikes(path: Path, samples: int = 200, spikes: int = 8000) -> None:
    """Write a file of the SHD layout."""
    generator = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        group = file.create_group("spikes")
        times = group.create_dataset("times", (samples,), h5py.vlen_dtype(np.float16))
        units = group.create_dataset("units", (samples,), h5py.vlen_dtype(np.uint16))
        for k in range(samples):
            times[k] = np.sort(generator.random(spikes)).astype(np.float16)
            units[k] = generator.integers(0, 700, spikes)
        file["labels"] = np.arange(samples) % 20
        file["extra/speaker"] = np.arange(samples) % 10
        file["extra/keys"] = np.array([b"%d" % k for k in range(20)])


def write_aedat3(path: Path, packets: int = 100, events: int = 5000) -> None:
    """Write an AEDAT 3.1 file."""
    generator = np.random.default_rng(1)
    times = np.sort(generator.integers(0, 6_000_000, packets * events)).astype("<u4")
    x, y = generator.integers(0, 128, (2, len(times)))
    words = (x << 17 | y << 2 | generator.integers(0, 2, len(times)) << 1 | 1).astype("<u4")
    pairs = np.stack([words, times], axis=1).reshape(packets, -1)
    with path.open("wb") as file:
        file.write(b"#!AER-DAT3.1\r\n#!END-HEADER\r\n")
        for pair in pairs:
            file.write(struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, events, events, events))
            file.write(pair.tobytes())


def read_spikes(path: str) -> list[Events]:
    """Read all samples of a file of spikes."""
    source = datasets.SpikeFile(path)
    return [source[k].data for k in range(len(source))]


def write_dat(path: Path, events: int = 500_000) -> None:
    """Write a DAT file of version 2."""
    generator = np.random.default_rng(2)
    times = np.sort(generator.integers(0, 6_000_000, events))
    places = generator.integers(0, 304, events) | generator.integers(0, 240, events) << 14
    pairs = np.stack([times, places | generator.integers(0, 2, events) << 28], axis=1)
    header = b"% Data file containing CD events\n% Version 2\n"
    path.write_bytes(header + bytes([12, 8]) + pairs.astype("<u4").tobytes())


# Row: format, file, and how often it is read for one time.
ROWS = {
    "N-MNIST": ("N-MNIST", "sample_nmnist.bin", 200),
    "DAT, a car": ("DAT", "sample_ncars.dat", 200),
    "DAT": ("DAT", "long.dat", 1),
    "AEDAT 3.1": ("AEDAT 3.1", "gesture.aedat", 1),
    "AEDAT 4": ("AEDAT 4", "sample.aedat4", 2),
    "EVT 2.0": ("EVT 2.0", "evt2_sample.raw", 1),
    "EVT 3.0": ("EVT 3.0", "evt3_sample.raw", 1),
    "SHD": ("SHD", "SHD/shd_train.h5", 1),
}
# Read in C by a package that tonic installs; tonic has no reader of its own for them.
COMPILED = {"DAT", "EVT 2.0", "EVT 3.0"}
# The low 12 bits of the time. In the sample they go back by 11 us now and then, for words without
# an event; expelliarmus takes each of these for an overflow, 4096 us, though the high bits, which
# the file has too, do not say so.
CLOCKS = {"EVT 3.0": 4096}
WRITE: dict[str, Callable[[Path], None]] = {
    "DAT": write_dat,
    "AEDAT 3.1": write_aedat3,
    "SHD": write_spikes,
}


def ours(name: str) -> Callable[[str], list[Events]]:
    """Return the reader of a format."""
    if name == "SHD":
        return read_spikes
    read = functools.partial(
        datasets.EVENT_FORMATS[name], **({"sensor": (240, 304)} if name == "DAT" else {})
    )
    return lambda path: [read(path)]


def digest(name: str, found: list[Events], clock: int | None) -> str:
    """Return the digest that the peer makes, see peers/tonic_readers.py."""
    if name == "SHD":
        columns = [
            # Tonic counts in whole microseconds.
            np.concatenate([events.times.astype(np.float64) * 1e6 for events in found]),
            np.concatenate([events.units for events in found]),
        ]
    else:
        (events,) = found
        pixels = events.pixels()
        columns = [events.times, pixels.x, pixels.y, pixels.polarity]
    made = hashlib.md5(usedforsecurity=False)
    columns[0] = columns[0].astype(np.int64)
    if clock is not None:
        columns[0] %= clock
    for column in columns:
        made.update(np.ascontiguousarray(column, np.int64).tobytes())
    return made.hexdigest()


def ratios(own: list[float], theirs: list[float]) -> dict[str, float]:
    """Return the quartiles of the ratios of runs beside each other."""
    each = [b / a for a, b in zip(own, theirs, strict=True)]
    low, middle, high = statistics.quantiles(each, n=4)
    return {"median": round(middle, 2), "from": round(low, 2), "to": round(high, 2)}


def measure(
    name: str, path: Path, repeats: int, written: bool, peer: Worker | None
) -> dict[str, Any]:
    """Measure one format."""
    read = ours(name)
    own, theirs = [], []
    for _ in range(ROUNDS + 1):
        begin = time.process_time()
        for _ in range(repeats):
            found = read(str(path))
        own.append(time.process_time() - begin)
        if peer is not None:
            question = {
                "format": name,
                "files": [str(path)],
                "repeats": repeats,
                "clock": CLOCKS.get(name),
            }
            answer = peer.ask(question)
            theirs.append(answer["seconds"])
    events = sum(map(len, found))
    row: dict[str, Any] = {
        "file": "written for the run" if written else path.name,
        "events": events,
        "events_per_second": round(events * repeats / statistics.median(own[1:])),
    }
    if name in CLOCKS:
        row["compared"] = f"times modulo {CLOCKS[name]} us"
    if peer is not None:
        row |= {
            "peer": "expelliarmus" if name in COMPILED else "tonic",
            "peer_events_per_second": round(
                answer["events"] * repeats / statistics.median(theirs[1:])
            ),
            "times_as_fast": ratios(own[1:], theirs[1:]),
            "same_events": answer["digest"] == digest(name, found, CLOCKS.get(name)),
        }
    return row


def loaded(path: Path) -> dict[str, Any]:
    """Measure batches of a file of spikes: read, binned and padded, in threads of one process."""
    source = datasets.SpikeFile(path)
    row = datasets.Recorded("spikes", ("train",), lambda folder, part: source)
    augment = datasets.Augment(shift=20, time_jitter=2e-3, drop=0.1)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        prepared = datasets.prepare(row, folder, data_dir=folder)["train"]
        rows = {"prepare": [time.perf_counter() - begin]}
        sources: dict[str, tuple[Any, Any]] = {
            "from HDF5": (source, None),
            "prepared": (prepared, None),
            "prepared, augmented": (prepared, augment),
        }
        for name, (each, change) in sources.items():
            rows[name] = []
            for epoch in range(1, 4):
                begin = time.perf_counter()
                grid: dict[str, Any] = {"dt": 4e-3, "steps": 251, "outside": "drop"}
                loader = datasets.event_loader(
                    each, 50, **grid, seed=0, epoch=epoch, augment=change
                )
                assert sum(len(batch["label"]) for batch in loader) == len(source)
                rows[name].append(time.perf_counter() - begin)
    return {
        name: {"samples_per_second": round(len(source) / statistics.median(seconds))}
        for name, seconds in rows.items()
    }


def main() -> None:
    """Measure all formats."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.readers")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--peers", type=Path, help="folder of the environments of peers")
    arguments = parser.parse_args()
    peer = None
    if arguments.peers is not None:
        peer = Worker(str(arguments.peers / "tonic" / "bin" / "python"), "tonic_readers.py", {})
    rows, versions = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for row, (name, file, repeats) in ROWS.items():
            path = Path(folder if row in WRITE else arguments.data_dir, file)
            if row in WRITE:
                WRITE[row](path)
            rows[row] = measure(name, path, repeats, row in WRITE, peer)
            print(f"{row:<10} {rows[row]}", flush=True)
        batches = loaded(Path(folder, ROWS["SHD"][1]))
        print(f"batches of SHD {batches}", flush=True)
    if peer is not None:
        versions = peer.ask({"versions": ["tonic", "expelliarmus", "aedat", "h5py", "numpy"]})
        peer.close()
    command = "python -m benchmarks.speed.readers --data-dir FOLDER --peers PEERS"
    write_results(
        RESULTS, command, {"peer_versions": versions, "rows": rows, "batches_of_SHD": batches}
    )


if __name__ == "__main__":
    main()
