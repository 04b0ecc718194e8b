"""What a run shows and leaves: progress, metrics as JSON lines, and the words at its end."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from train.progress.health import lost_spikes
from train.store.layout import METRICS
from train.store.lines import metrics_line
from train.store.run_directory import unwritable


class Progress:
    """Progress of a run on standard error: a live bar, or a line per epoch where it is no terminal.

    Args:
      epochs: number of epochs of the run.
      quiet: show nothing.
    """

    def __init__(self, epochs: int, quiet: bool):
        self._epochs = epochs
        self._quiet = quiet
        self._bar: Any = None
        self._drawn = 0.0
        if not quiet and sys.stderr.isatty():
            import tqdm

            self._bar = tqdm.tqdm(
                total=epochs,
                unit="epoch",
                dynamic_ncols=True,
                bar_format="{n:.4g}/{total_fmt} epochs |{bar}| {elapsed}<{remaining}{postfix}",
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, done: int) -> None:
        """Begins at an epoch that is not the first one: so many are done."""
        if self._bar is not None:
            self._bar.initial = done
            self._bar.reset()
            self._bar.update(done)

    def tick(self, done: float) -> None:
        """Lets the bar go on, a few times a second.

        Args:
          done: epochs that are done, a fraction of the running one among them.
        """
        if self._bar is not None and time.monotonic() - self._drawn > 0.25:
            self._bar.n = done
            self._bar.refresh()
            self._drawn = time.monotonic()

    def epoch(self, record: Mapping[str, Any], score: str) -> None:
        """Shows the metrics of an epoch that has ended.

        Args:
          record: what `MetricsFile` holds, one line.
          score: name of the score.
        """
        rates = ", ".join(f"{name} {rate:.1f} Hz" for name, rate in record["rates_hz"].items())
        text = (
            f"loss {record['train_loss']:.4f}, {score}"
            f" {format_score(score, record[f'train_{score}'])}, validation"
            f" {format_score(score, record[f'validation_{score}'])}, {rates}"
        )
        done, seconds = record["epoch"], record["seconds"]
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.n = done
            self._bar.refresh()
        else:
            left = seconds / done * (self._epochs - done)
            self.note(f"epoch {done}/{self._epochs}: {text}, {left:.0f} s left")

    def note(self, text: str) -> None:
        """Shows a line of text without harm to the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif not self._quiet:
            print(text, file=sys.stderr, flush=True)


class MetricsFile:
    """Metrics of a run as JSON lines, one per epoch, each on disk when it is written.

    Args:
      run: the run directory.
    """

    def __init__(self, run: Path):
        self._path = run / METRICS
        try:
            self._file = self._path.open("a")
        except OSError as error:
            raise unwritable(self._path, error) from error

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What could not be written is still in the buffer, and would fail once more.
        with contextlib.suppress(OSError):
            self._file.close()

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends one line.

        Raises:
          RunDirectoryError: the disk is full.
        """
        try:
            self._file.write(metrics_line(record))
            self._file.flush()
        except OSError as error:
            raise unwritable(self._path, error) from error


def farewell(run: Path, result: Mapping[str, Any]) -> str:
    """Returns the words at the end of a run.

    Args:
      run: the run directory.
      result: what ``result.json`` holds.

    Returns:
      Text of a few lines.
    """
    score = result["score"]
    test, validation = (format_score(score, result[f"{p}_{score}"], 2) for p in _SCORED)
    lost = result.get("test_lost_spikes", 0)
    return (
        (f"{lost_spikes(lost, 'test')}\n" if lost else "")
        + f"test {score} {test} (best validation {validation}, epoch {result['best_epoch']} of"
        f" {result['epochs_done']}), {_times(result)}\n"
        f"evaluate it: python -m train.evaluate --checkpoint {run}"
    )


def _times(result: Mapping[str, Any]) -> str:
    """Returns the times of a run; older releases did not store that of the training alone."""
    command = f"{result['seconds']:.1f} s"
    training = result.get("training_seconds")
    return command if training is None else f"{training:.1f} s of training, {command} in all"


def format_score(score: str, value: float, digits: int = 1) -> str:
    """Returns a score in words: an accuracy in percent, another one as it is."""
    return f"{value:.{digits}%}" if score == "accuracy" else f"{value:.{digits + 2}f}"


_SCORED = ("test", "validation")
