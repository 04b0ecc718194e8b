"""Write one HTML file with all that a run can show; several runs are put side by side.

    python -m train.report checkpoints/randman/first

writes ``report.html`` into the run directory: settings, curves, rasters and membranes of chosen
samples, rates, weights, costs, environment. The file needs no network and no other file.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import tyro

from train.errors import ConfigError, RunDirectoryError, exit_code
from train.flags import quiet_pipe, read_flags

COMMAND = "python -m train.report"


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """What to report, and where."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories."""
    output: Path | None = None
    """The HTML file; by default report.html in the first run directory."""
    samples: int = 8
    """Samples of the test part to look at closely."""
    overwrite: bool = False
    """Replace a file that is there."""


def write_report(
    runs: Sequence[Path], output: Path | None = None, samples: int = 8, overwrite: bool = False
) -> Path:
    """Writes the report of runs.

    Args:
      runs: run directories.
      output: the HTML file; ``None``: ``report.html`` in the first of them.
      samples: samples of the test part to look at closely.
      overwrite: whether a file that is there is replaced.

    Returns:
      The file.

    Raises:
      RunDirectoryError: no run, a damaged one, one that is named twice, or a file that is there or
        cannot be written.
      ConfigError: fewer than one sample.
      CheckpointError: a checkpoint is missing or damaged.
    """
    if not runs:
        raise RunDirectoryError("expected the directories of runs, got none; name at least one")
    if samples < 1:
        raise ConfigError(f"--samples: expected at least one sample, got {samples}")
    seen: dict[Path, Path] = {}
    for run in runs:
        if not run.is_dir():
            raise RunDirectoryError(f"{run} is not a directory; name that of a run")
        if (first := seen.setdefault(run.resolve(), run)) is not run:
            raise RunDirectoryError(
                f"expected different runs, got one twice, as {first} and {run}; name it once"
            )
    target = runs[0] / "report.html" if output is None else output
    if target.is_dir():
        raise RunDirectoryError(f"--output {target}: expected a file, got a folder; name a file")
    if target.exists() and not overwrite:
        raise RunDirectoryError(
            f"{target} exists; add --overwrite to replace it, or name another --output"
        )
    try:
        # Refused before the work, not after it.
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise RunDirectoryError(
            f"{target.parent} cannot be written to ({error.strerror}); name another --output"
        ) from error
    from train.reporting import check_runs, collect, page

    check_runs(runs)
    text = page([collect(run, samples) for run in runs])
    half = target.with_name(f"{target.name}.tmp")
    half.write_text(text, "utf-8")
    os.replace(half, target)
    return target


@quiet_pipe
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m train.report``; returns the exit code."""
    options = read_flags(ReportOptions, COMMAND, __doc__, arguments)

    def work() -> int:
        target = write_report(options.runs, options.output, options.samples, options.overwrite)
        print(f"wrote {target} ({target.stat().st_size / 1e6:.2f} MB)")
        return 0

    return exit_code(COMMAND, work)


if __name__ == "__main__":
    raise SystemExit(main())
