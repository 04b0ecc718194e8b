"""Repeat a run from its settings, and compare what comes out of it bit for bit.

    python -m train.reproduce checkpoints/randman/first

trains again in a directory of its own, and compares every line of the metrics but for its seconds,
the arrays of the checkpoints, those of the optimiser among them, and the result. It says that all
bits are the same, or where the first difference is, and how the environment differs: versions, git,
devices. A long run is repeated in part, with the learning rates of the whole:

    python -m train.reproduce checkpoints/randman/first --epochs 3

Exit code 0: the same; 1: different; 2: it cannot be repeated, such as with other data.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.errors import exit_code
from train.flags import quiet_pipe, read_flags
from train.restored.reproduce import ReproduceOptions, reproduce
from train.store.layout import ENVIRONMENT

COMMAND = "python -m train.reproduce"

DIFFERENT = 1
"""Exit code where the run that was repeated differs."""


def describe(report: Mapping[str, Any], run: Path) -> str:
    """Returns what `reproduce` found in words.

    Args:
      report: what it returned.
      run: the run directory.
    """
    epochs, found = report["epochs"], report["difference"]
    arrays = [
        f"{each['arrays']} arrays of checkpoint {epoch}"
        for epoch, each in report["checkpoints"].items()
    ]
    compared = [f"{epochs} epochs of metrics", *arrays, *["the result"] * report["result"]]
    lines = []
    if report["same"]:
        lines.append(f"{run}: repeated with the same bits: {', '.join(compared)}")
        if not arrays:
            lines.append(
                f"arrays were not compared: {run} has no checkpoint of the {epochs} epochs"
            )
    else:
        lines.append(
            f"{run}: different, first in {found['where']}, {found['key']}:"
            f" {found['run']} in the run, {found['now']} now"
        )
        for epoch, each in report["checkpoints"].items():
            if each["different"]:
                lines.append(
                    f"checkpoint {epoch}: {len(each['different'])} of {each['arrays']} arrays"
                    f" differ: {', '.join(each['different'][:4])}"
                    + (", ..." if len(each["different"]) > 4 else "")
                )
    changed = report["environment"]
    if not report["environment_known"]:
        lines.append(
            f"{run} has no {ENVIRONMENT}, which older releases did not write: of its environment"
            " only the versions are known, from its checkpoint"
        )
    if changed:
        lines.append("the environment differs:")
        lines += [f"  {name}: {old} in the run, {new} now" for name, old, new in changed]
    else:
        known = "environment is" if report["environment_known"] else "versions are"
        lines.append(f"the {known} the same")
    if report["workdir"]:
        lines.append(f"repeated in {report['workdir']}")
    return "\n".join(lines)


@quiet_pipe
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m train.reproduce``; returns the exit code."""
    options = read_flags(ReproduceOptions, COMMAND, __doc__, arguments)

    def work() -> int:
        report = reproduce(options)
        if options.json:
            print(json.dumps({"run": str(options.run), **report}, allow_nan=False))
        else:
            print(describe(report, options.run))
        return 0 if report["same"] else DIFFERENT

    return exit_code(COMMAND, work)


if __name__ == "__main__":
    raise SystemExit(main())
