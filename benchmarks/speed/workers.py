"""Programs in processes of their own, asked in turns; see ``peers/serve.py`` for the protocol."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PEERS = Path(__file__).parents[1] / "peers"


class Worker:
    """A script of ``peers`` that answers one line of JSON with another.

    Args:
      python: interpreter of its environment.
      script: name of the script.
      settings: the first line.
    """

    def __init__(self, python: str, script: str, settings: Mapping[str, Any]) -> None:
        # Ours is run from a clone; the environment of a peer holds the peer alone.
        path = {"PYTHONPATH": str(PEERS.parents[1])} if python == sys.executable else {}
        self._process = subprocess.Popen(
            [python, str(PEERS / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", **path},
        )
        self.ask(dict(settings))

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a question.

        Raises:
          RuntimeError: the process has ended; with the last lines of its errors.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            _, errors = self._process.communicate()
            raise RuntimeError(f"the peer ended:\n{errors[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def in_turns(
    workers: Mapping[str, Worker], what: str, *, repeats: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Ask every worker for one run after the other, all of them in each round.

    Args:
      workers: the workers by name.
      what: ``step`` or ``forward``.
      repeats: rounds that count.
      warm_up: rounds before.

    Returns:
      Seconds of each run.
    """
    seconds: dict[str, list[float]] = {name: [] for name in workers}
    for k in range(warm_up + repeats):
        for name, worker in workers.items():
            took = worker.ask({"do": what})["seconds"]
            if k >= warm_up:
                seconds[name].append(took)
    return seconds


def summary(seconds: list[float], base: list[float] | None = None) -> dict[str, Any]:
    """Return median and all runs in milliseconds, and the ratio of medians to runs beside them."""
    found: dict[str, Any] = {
        "median_ms": round(1e3 * statistics.median(seconds), 2),
        "all_ms": [round(1e3 * s, 2) for s in seconds],
    }
    if base is not None:
        found["ratio"] = round(statistics.median(seconds) / statistics.median(base), 3)
    return found
