"""The processes of one run, on one machine or several: how they start, and what they agree on."""

from train.processes.agree import count, first, from_first, index, stop_code, wait
from train.processes.on_host import on_host
from train.processes.start import started

__all__ = ["count", "first", "from_first", "index", "on_host", "started", "stop_code", "wait"]
