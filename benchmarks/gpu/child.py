"""A command that runs until it ends or its time is over, with every process that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path


def run_child(
    command: list[str],
    environment: dict[str, str],
    folder: Path,
    limit: float,
    on_line: Callable[[str], None],
) -> tuple[str, str]:
    """Runs a command.

    Args:
      command: the command.
      environment: its environment.
      folder: the folder in which it runs.
      limit: seconds after which it is ended.
      on_line: takes each line that it writes, as soon as it does.

    Returns:
      ``"whole"``, or how it ended, with the end of what it wrote to stderr; and the last line that
      is not empty.
    """
    over = threading.Event()
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            cwd=folder,
            start_new_session=True,
        ) as process:

            def end() -> None:
                over.set()
                _end_group(process.pid)

            timer = threading.Timer(limit, end)
            timer.start()
            assert process.stdout is not None
            last = ""
            for line in process.stdout:
                last = line.strip() or last
                on_line(line)
            # While it is waited for and not yet forgotten, its number is no other process's.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            timer.cancel()
            timer.join()
            _end_group(process.pid)
            code = process.wait()
        errors.seek(0)
        said = errors.read()[-600:]
    if over.is_set():
        return f"stopped after {limit:.0f} s", last
    return "whole" if code == 0 else f"exit {code}: {said}", last


def _end_group(leader: int) -> None:
    # What the command started has its pipe, too: the pipe ends when all of them do.
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass
