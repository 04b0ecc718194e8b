"""What a run writes down of its environment, while the device is at its first steps."""

from __future__ import annotations

from collections.abc import Callable

from train import processes
from train.data.digest import samples_digest
from train.run.prepare import Run
from train.settings import RunOptions
from train.store import environment


def record_environment(
    run: Run, epochs_done: int, options: RunOptions, note: Callable[[str], None]
) -> None:
    """Writes down on what the run runs, or says what has changed since it was stopped.

    Of several processes only the first one writes.

    Args:
      run: the run, whose directory is there.
      epochs_done: epochs that are done.
      options: how it is fed.
      note: shows the user a line of text.
    """
    if not processes.first():
        return
    streamed = run.chunk is not None
    entry = environment.surroundings() | {
        "mesh": {"data": run.devices.data, "model": run.devices.model},
        "time_loop": {"asked": options.time_loop, "taken": list(run.loops)},
        "feeding": {
            "data": options.data,
            "feed": "streamed" if streamed else "resident",
            "chunk": run.chunk,
        },
        "samples": {
            name: samples_digest(part)
            for name, part in zip(run.data._fields, run.data, strict=True)
        },
    }
    epochs = run.training.epochs
    environment.record(run.path, entry, note, epochs_done=epochs_done, epochs=epochs)
