"""Tonic's readers of recordings, and those of the packages that it installs.

The protocol is one line of JSON in, one out: first the settings, then

    {"format": NAME, "files": [...], "repeats": N, "clock": PERIOD or null}

answered with the seconds of the processor for reading all files so many times, the number of
events, and a digest;
``{"versions": [...]}`` is answered with those of the packages.

AEDAT 3.1 goes through the two functions that ``read_dvs_ibm`` is made of, which itself fails in
this release (it expects two values of a function that returns three).
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import expelliarmus  # type: ignore[import-not-found]
import numpy as np
import tonic  # type: ignore[import-not-found]
from tonic import io

PIXELS = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])


def aedat3(path: str) -> Any:
    release, start, _ = io.read_aedat_header_from_file(path)
    events = io.get_aer_events_from_file(path, release, start)
    address = events["address"]
    return io.make_structured_array(
        (address >> 17) & 0x1FFF,
        (address >> 2) & 0x1FFF,
        events["timeStamp"],
        (address >> 1) & 1,
    )


class SHD(tonic.datasets.SHD):  # type: ignore[misc]
    """Its class, without looking for the archive that the file came in."""

    def _check_exists(self) -> bool:
        return True


def spikes(path: str) -> Any:
    """All samples of a file under the published name."""
    source = SHD(str(Path(path).parent.parent), train=True)
    return np.concatenate([source[k][0] for k in range(len(source))])


READERS = {
    "N-MNIST": functools.partial(io.read_mnist_file, dtype=PIXELS),
    "SHD": spikes,
    "AEDAT 3.1": aedat3,
    "AEDAT 4": io.read_aedat4,
    "DAT": lambda path: expelliarmus.Wizard(encoding="dat").read(path),
    "EVT 2.0": lambda path: expelliarmus.Wizard(encoding="evt2").read(path),
    "EVT 3.0": lambda path: expelliarmus.Wizard(encoding="evt3").read(path),
}


def digest(name: str, events: Any, clock: int | None = None) -> str:
    """MD5 of times (modulo a period), columns, rows, polarities as int64; of SHD, times, units."""
    sign = "on" if "on" in events.dtype.names else "p"
    fields = ("x",) if name == "SHD" else ("x", "y", sign)
    times = events["t"].astype(np.int64)
    found = hashlib.md5(usedforsecurity=False)
    found.update((times if clock is None else times % clock).tobytes())
    for field in fields:
        found.update(np.ascontiguousarray(events[field], np.int64).tobytes())
    return found.hexdigest()


def main() -> None:
    json.loads(sys.stdin.readline())
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        if "versions" in question:
            print(json.dumps({name: version(name) for name in question["versions"]}), flush=True)
            continue
        read = READERS[question["format"]]
        begin = time.process_time()
        for _ in range(question["repeats"]):
            found = [read(path) for path in question["files"]]
        seconds = time.process_time() - begin
        answer = {
            "seconds": seconds,
            "events": sum(map(len, found)),
            "digest": digest(question["format"], np.concatenate(found), question["clock"]),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
