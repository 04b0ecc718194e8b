"""What stands beside every figure: the machine, the versions and the date."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
from pathlib import Path
from typing import Any

from train.store.contents import versions


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, memory and operating system; no name of the machine or its user."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def write_results(path: Path, command: str, results: dict[str, Any]) -> None:
    """Write results with command, machine, versions and date."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "command": command,
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "versions": versions(),
        **results,
    }
    path.write_text(json.dumps(content, indent=2) + "\n")


def take_no_options(command: str, about: str | None) -> None:
    """Answer ``--help``, and refuse whatever else stands behind the command.

    Args:
      command: the command of the benchmark.
      about: the docstring of its module, whose first line is shown.
    """
    first = (about or "").strip().partition("\n")[0]
    argparse.ArgumentParser(prog=command, description=first).parse_args()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
