"""Several processes of one run over loopback, for tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 600
"""Longest time that the processes of a test may take: what they do takes seconds."""


def environment(devices: int = 1) -> dict[str, str]:
    """Variables of a process with so many virtual devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    given = os.environ.get("XLA_FLAGS", "").split()
    kept = [flag for flag in given if "device_count" not in flag]
    return {**os.environ, "XLA_FLAGS": " ".join([*kept, flags]), "JAX_PLATFORMS": "cpu"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Processes:
    """The processes of one run, started at once; ended with the ``with`` block.

    ``cluster(k)`` gives the variables that a scheduler sets for process k, in place of flags.
    """

    def __init__(
        self,
        folder: Path,
        command: list[str],
        count: int,
        devices: int = 1,
        cluster: Callable[[int], dict[str, str]] | None = None,
    ):
        folder.mkdir(parents=True, exist_ok=True)
        self.outputs = [folder / f"process_{k}.txt" for k in range(count)]
        where = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", str(count)]
        self.running = []
        for k, output in enumerate(self.outputs):
            flags = ["--cluster"] if cluster else [*where, "--process", str(k)]
            variables = environment(devices) | (cluster(k) if cluster else {})
            with output.open("w") as file:
                started = subprocess.Popen(
                    [sys.executable, "-m", *command, *flags],
                    cwd=ROOT,
                    env=variables,
                    stdout=file,
                    stderr=file,
                )
            self.running.append(started)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.running:
            process.kill()
            process.wait()

    def text(self, k: int) -> str:
        return self.outputs[k].read_text()

    def wait_for(self, text: str, k: int = 0) -> None:
        """Wait until a process has said something."""
        end = time.monotonic() + SECONDS
        while text not in self.text(k):
            ended = self.running[k].poll() is not None
            assert not ended and time.monotonic() < end, f"{text!r} not in {self.text(k)}"
            time.sleep(0.05)

    def codes(self) -> list[int]:
        """Wait until all have ended; return their exit codes."""
        return [process.wait(SECONDS) for process in self.running]
