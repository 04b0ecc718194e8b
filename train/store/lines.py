"""The lines of ``metrics.jsonl``: how one is written, and whether they are those that were written.

The result of a run, and each of its checkpoints, has the sum of the lines up to its epoch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from train.errors import InputError
from train.store import forms
from train.store.checksum import LinesSum, is_broken
from train.store.items import read_items
from train.store.layout import CHECKPOINTS, CONFIG, INTERRUPTED, RESULT


def metrics_line(record: Mapping[str, Any]) -> str:
    """Returns the line of one epoch in the metrics file."""
    return json.dumps(record, allow_nan=False) + "\n"


def lines_sum(records: Iterable[Mapping[str, Any]]) -> str:
    """Returns the sum of the lines of some epochs."""
    return LinesSum(metrics_line(record) for record in records).value


def check_lines(run: Path, records: Sequence[Mapping[str, Any]]) -> str | None:
    """Compares the metrics of a run with the sums of them that its other files have.

    Args:
      run: the run directory.
      records: the lines of its metrics file.

    Returns:
      What is wrong, or ``None``; also where no sum is known, as in runs of older releases.
    """
    total, sums = LinesSum(), []
    for record in records:
        sums.append(total.add(metrics_line(record)))
    sums.insert(0, LinesSum().value)
    for epochs, wanted, name, slack in _known(run):
        # A run that was killed after it saved an epoch may lack the line of that one.
        if len(records) < epochs - slack:
            return f"it has {len(records)} of the {epochs} lines that {name} knows"
        if len(records) >= epochs and sums[epochs] != wanted:
            return f"its first {epochs} lines are not those that were written, as {name} knows them"
    return None


def _known(run: Path) -> Iterator[tuple[int, str, str, int]]:
    """Yields what is known of the lines: how many, their sum, who knows it, how many may lack."""
    try:
        result, config = forms.RESULT.read(run / RESULT), forms.CONFIG.read(run / CONFIG)
    except InputError:
        result = config = None  # whoever needs them will say so
    ours = config is not None and result is not None and config.get("run", {}).get("id")
    if ours and result.get("run") == ours and "lines" in result and not is_broken(result):
        yield result["epochs_done"], result["lines"], RESULT, 0
    for folder in (run / CHECKPOINTS, run / INTERRUPTED):
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
        for path in inside:
            if not path.name.isdigit():
                continue
            try:
                items = read_items(path)
            except InputError:
                continue
            if "lines" in items.meta:
                name = f"{folder.name}/{path.name}"
                yield items.data["epochs_done"], items.meta["lines"], name, 1
