"""The form of every JSON file of a run directory, once; all that read one read it by its row here.

    forms.RESULT.read(run / RESULT)          the result, or None if there is no such file
    forms.METRICS.read_lines(run / METRICS)  its records, none if there is no such file
    forms.META.check(path, value)            a value that another library has read

What differs from its form is refused with the file, the place in it, what was expected, what came
and what to do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flax_snn import checks
from flax_snn.json_form import (
    Check,
    Object,
    anything,
    check_form,
    count,
    items,
    nullable,
    read_json,
    read_json_lines,
    text,
)
from train.errors import CheckpointError, InputError, RunDirectoryError


@dataclasses.dataclass(frozen=True)
class JsonFile:
    """A kind of JSON file.

    Attributes:
      form: the check of its value, or of each of its lines.
      error: the class of what is raised.
      remedy: what to do about a file of another form.
      max_bytes: largest size, in bytes.
    """

    form: Check
    error: type[InputError]
    remedy: str
    max_bytes: int = 2**20

    def read(self, path: Path) -> Any:
        """Returns the value of a file, or None if there is no such file.

        Raises:
          InputError: it cannot be read, is no JSON or of another form; of the class `error`.
        """
        return self._explained(path, lambda: read_json(path, self.form, max_bytes=self.max_bytes))

    def read_lines(self, path: Path) -> list[Any]:
        """Returns the values of the lines of a file, none if there is no such file.

        What stands behind the last line break was not written to its end, and is left out.

        Raises:
          InputError: as `read` does.
        """

        def lines() -> list[Any]:
            return read_json_lines(path, self.form, max_bytes=self.max_bytes)

        return self._explained(path, lines) or []

    def check(self, path: Path, value: Any) -> Any:
        """Returns a value that another library has read from a file.

        Raises:
          InputError: of another form; of the class `error`.
        """
        return self._explained(path, lambda: check_form(self.form, value))

    def _explained(self, path: Path, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self.error(f"{path} cannot be read ({error.strerror}); {self.remedy}") from None
        except (TypeError, ValueError) as error:
            raise self.error(f"{path} is damaged: {error}; {self.remedy}") from None


_ANY_OBJECT = Object(others=anything)
_NUMBERS = Object(others=checks.number)
_NULL_OR_NUMBER = nullable(checks.number)

STORED_SETTINGS = Object({"version": count, "task": text, "config": _ANY_OBJECT})
"""What `settings_json.to_json` returns; the fields of ``config`` are those of the task."""


def _record(name: str, value: Any) -> dict[str, Any]:
    """Checks the metrics of an epoch: one score of the task, of training and of validation."""
    found = _RECORD(name, value)
    scores = scores_of(found)
    if len(scores) != 1 or f"train_{scores[0]}" not in found:
        wanted = "one score, as train_<score> and validation_<score>"
        got = ", ".join(scores) or "none"
        raise ValueError(checks.error_text(name or "the record", wanted, got))
    checks.number(f"validation_{scores[0]}", found[f"validation_{scores[0]}"])
    checks.number(f"train_{scores[0]}", found[f"train_{scores[0]}"])
    return found


def scores_of(record: dict[str, Any]) -> list[str]:
    """Returns the names of the scores that the metrics of an epoch have: ``accuracy``, ``r2``."""
    names = (name.removeprefix("validation_") for name in record if name.startswith("validation_"))
    return [name for name in names if name != "loss"]


_RECORD = Object(
    {
        "epoch": checks.whole_number,
        "step": count,
        "train_loss": checks.number,
        "validation_loss": checks.number,
        "seconds": checks.non_negative,
    },
    optional={
        "rates_hz": _NUMBERS,
        "silent": _NUMBERS,
        "lost_spikes": count,
        "grad_norm": checks.number,
        "learning_rate": checks.number,
    },
    others=anything,
)


def _result(name: str, value: Any) -> dict[str, Any]:
    """Checks the result of a run: the score that it names is there."""
    found = _RESULT(name, value)
    for part in ("test", "validation"):
        key = f"{part}_{found['score']}"
        if key not in found:
            raise ValueError(checks.error_text(name or "the file", f"the key {key!r}", "none"))
        checks.number(key, found[key])
    return found


_RESULT = Object(
    {
        "score": text,
        "test_loss": checks.number,
        "best_epoch": checks.whole_number,
        "epochs": checks.whole_number,
        "epochs_done": checks.whole_number,
        "seed": count,
        "seconds": checks.non_negative,
    },
    optional={
        "test_rates_hz": _NUMBERS,
        "training_seconds": checks.non_negative,
        "first_step_unix_time": _NULL_OR_NUMBER,
        "checksum": text,
    },
    others=anything,
)

_SUMS = Object(
    {
        "loss": checks.number,
        "samples": checks.number,
        "activity": items(items(checks.number)),
    },
    others=anything,
)

_CONFIG = Object(
    STORED_SETTINGS.keys,
    optional={
        "run": Object(optional={"id": text, "time_loop": nullable(text)}, others=anything),
        "checksum": text,
    },
)

CONFIG = JsonFile(_CONFIG, RunDirectoryError, "restore it, or train again with --overwrite")
"""``config.json``: the settings of a run."""

METRICS = JsonFile(_record, RunDirectoryError, "restore it, or train again with --overwrite", 2**28)
"""``metrics.jsonl``: a record an epoch."""

RESULT = JsonFile(
    _result,
    RunDirectoryError,
    "delete it and go on with the run with --resume, which writes it again",
    2**24,
)
"""``result.json``: what a finished run came to."""

_DAMAGED = "take another checkpoint of the run, or train again"

META = JsonFile(
    Object(
        {
            "format_version": checks.whole_number,
            "epoch": checks.whole_number,
            "updates": count,
            "score": text,
            "settings": STORED_SETTINGS,
            "metrics": _ANY_OBJECT,
        },
        optional={"versions": Object(others=text)},
        others=anything,
    ),
    CheckpointError,
    _DAMAGED,
    2**24,
)
"""``meta/metadata`` of a checkpoint: what was saved, and of which run."""

POSITION = JsonFile(
    Object(
        {
            "epochs_done": count,
            "batches_done": count,
            "stream": nullable(_ANY_OBJECT),
            "sums": nullable(_SUMS),
            "seconds": checks.non_negative,
        },
        others=anything,
    ),
    CheckpointError,
    _DAMAGED,
    2**27,
)
"""``data/metadata`` of a checkpoint: where the data stand."""

BEST = JsonFile(
    Object({"validation_score": checks.number}, others=anything), CheckpointError, _DAMAGED, 2**16
)
"""``metrics/metrics`` of a checkpoint: the number by which Orbax keeps the best one."""
