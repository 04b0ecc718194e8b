"""TensorBoard events of a run, written through tensorboardX where they are asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from train.errors import ConfigError
from train.store.layout import TENSORBOARD


class Events:
    """Writes the metrics of epochs; without a writer it does nothing.

    Args:
      writer: a ``tensorboardX.SummaryWriter``, or ``None``.
    """

    def __init__(self, writer: Any):
        self._writer = writer

    def write(self, record: Mapping[str, Any]) -> None:
        """Writes one epoch: each number under its name, those of layers under ``name/layer``."""
        if self._writer is None:
            return
        for name, value in record.items():
            numbers = value if isinstance(value, Mapping) else {"": value}
            for layer, number in numbers.items():
                tag = f"{name}/{layer}" if layer else name
                if name != "epoch":
                    self._writer.add_scalar(tag, number, record["epoch"])
        self._writer.flush()


def check_installed() -> None:
    """Refuses to begin what could not be written.

    Raises:
      ConfigError: tensorboardX is not installed.
    """
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "--tensorboard needs tensorboardX: pip install -e '.[train,tensorboard]'"
        ) from error


@contextlib.contextmanager
def open_events(run: Path, wanted: bool, done: int) -> Iterator[Events]:
    """Opens the events of a run.

    Args:
      run: the run directory.
      wanted: whether there are to be any.
      done: epochs that are done; events of later ones, from a run that was killed, are hidden.

    Yields:
      Where epochs are written.
    """
    if not wanted:
        yield Events(None)
        return
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(run / TENSORBOARD), purge_step=done + 1) as writer:
        yield Events(writer)
