"""Early stopping: a run ends when its validation score has not risen for so many epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class Patience:
    """Counts epochs without a better validation score.

    Args:
      patience: number of such epochs that end a run; 0: a run never ends early.
      score: name of the score, of which more is better.
      records: metrics of the epochs that are done.
    """

    def __init__(self, patience: int, score: str, records: Iterable[Mapping[str, Any]]):
        self._patience = patience
        self._score = f"validation_{score}"
        self._best, self._best_epoch, self._epoch = float("-inf"), 0, 0
        for record in records:
            self.see(record)

    def see(self, record: Mapping[str, Any]) -> None:
        """Takes note of the metrics of an epoch."""
        self._epoch = record["epoch"]
        if record[self._score] > self._best:
            self._best, self._best_epoch = record[self._score], self._epoch

    def may_end(self, epoch: int) -> bool:
        """Returns whether the run ends with this epoch if its score is no better."""
        return 0 < self._patience <= epoch - self._best_epoch

    def ended(self) -> bool:
        """Returns whether the epoch seen last has exhausted the patience."""
        return self.may_end(self._epoch)

    def words(self) -> str:
        """Returns why the run ends."""
        return (
            f"ended early after epoch {self._epoch}: no better {self._score.replace('_', ' ')} for"
            f" {self._patience} epochs, best in epoch {self._best_epoch}"
        )
