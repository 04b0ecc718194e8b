"""How long training waits for its data; rewrites benchmarks/results/data_wait.json.

    python -m benchmarks.speed.data_wait --data-dir FOLDER [--epochs 3]

FOLDER as for `benchmarks.accuracy.real_data`. A run of the app is watched from two sides: how long
its feed takes for each chunk of batches, and when the device has ended the chunk before. Where the
device has ended and the feed still reads, training waits: that time, over the time of the training,
is the share shown. It is at most a few chunks' reading where samples lie on the device
(``resident``), and goes up to the whole of it where chunks are read too slowly (``streamed``). The
evaluation after each epoch counts as training, in which the device is taken to be idle: the share
is an upper bound.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from benchmarks.machine import write_results
from train.command_line import parse
from train.data.feed import Chunk, Feed
from train.progress.report import Progress
from train.run.loop import begin, checked, train
from train.run.prepare import prepare
from train.run.signals import stop_on_signal
from train.tasks import find_task

RESULTS = Path(__file__).parents[1] / "results" / "data_wait.json"
STREAMED = ("--feed", "streamed", "--chunk", "16")
ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "spoken digits, resident": ("spoken_digits", ()),
    "spoken digits, streamed": ("spoken_digits", STREAMED),
    "Fashion-MNIST, resident": ("fashion_mnist", ()),
    "Fashion-MNIST, streamed": ("fashion_mnist", STREAMED),
}


class Watched:
    """A feed, and the device that it feeds, with a clock.

    Attributes:
      reading: begin and end of each time that the feed was asked for a chunk.
      ended: when the device had ended each chunk.
    """

    def __init__(self, feed: Feed):
        self.unit, self.samples = feed.unit, feed.samples
        self.state, self.seek, self.close = feed.state, feed.seek, feed.close
        self.reading: list[tuple[float, float]] = []
        self.ended: list[float] = []
        self._feed, self._threads = feed, list[threading.Thread]()

    def chunks(self, epoch: int, first: int) -> Iterator[Chunk]:
        """Yields the chunks of the feed."""
        chunks = self._feed.chunks(epoch, first)
        while True:
            asked = time.perf_counter()
            chunk = next(chunks, None)
            if chunk is None:
                return
            self.reading.append((asked, time.perf_counter()))
            yield chunk

    def watching(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the training of a chunk, whose end is noted."""

        def watched(*arguments: Any) -> Any:
            found = step(*arguments)
            self._threads.append(threading.Thread(target=self._note, args=(found[1],)))
            self._threads[-1].start()
            return found

        return watched

    def _note(self, sums: Any) -> None:
        jax.block_until_ready(sums)
        self.ended.append(time.perf_counter())

    def waited(self) -> float:
        """Returns the seconds in which the device had ended a chunk and the next was being read."""
        for thread in self._threads:
            thread.join()
        pairs = zip(sorted(self.ended), self.reading[1:], strict=False)
        return sum(max(0.0, stop - max(start, ended)) for ended, (start, stop) in pairs)


def measure(name: str, flags: tuple[str, ...], data_dir: Path, epochs: int) -> dict[str, Any]:
    """Trains for some epochs; returns seconds and shares."""
    task = find_task(name)
    with tempfile.TemporaryDirectory() as folder:
        given = ("--epochs", str(epochs), "--workdir", f"{folder}/run", "--no-plots", "--quiet")
        where = ("--data-dir", str(data_dir / name))
        settings, options = parse(task, [*given, *where, *flags], task.settings())
        settings = checked(task, settings, options)
        run = prepare(task, settings, options, Path(folder, "run"))
        watched = Watched(run.feed)
        run = dataclasses.replace(run, feed=watched, train=watched.watching(run.train))
        with Progress(epochs, True) as progress:
            with stop_on_signal(watched.unit, progress.note) as stop:
                start = begin(run, task, False, progress)
                began = time.perf_counter()
                train(run, start, progress, options, stop)
                seconds = time.perf_counter() - began
    reading = sum(stop - start for start, stop in watched.reading)
    return {
        "command": f"python -m train.{name} {' '.join(flags)}".strip(),
        "epochs": epochs,
        "chunks": len(watched.reading),
        "training_seconds": round(seconds, 3),
        "reading_seconds": round(reading, 4),
        "waiting_seconds": round(watched.waited(), 4),
        "waiting_share": round(watched.waited() / seconds, 6),
    }


def main() -> None:
    """Measures all rows and rewrites the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.data_wait")
    parser.add_argument(
        "--data-dir", type=Path, required=True, help="folder with one for each task"
    )
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    rows = {}
    for row, (name, flags) in ROWS.items():
        rows[row] = measure(name, flags, options.data_dir.expanduser().absolute(), options.epochs)
        print(f"{row}: {rows[row]}", flush=True)
    write_results(RESULTS, "python -m benchmarks.speed.data_wait --data-dir FOLDER", {"rows": rows})


if __name__ == "__main__":
    main()
