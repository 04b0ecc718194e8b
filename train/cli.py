"""The command line of a task, generated from its settings."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

import tyro

from train.config import RunOptions
from train.errors import exit_code
from train.task import TASKS, Task


def run_command(task: Task, arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m train.<task>``.

    Args:
      task: the task.
      arguments: flags; those of the process by default.

    Returns:
      Exit code: 0 after a finished run, 2 for bad input, 130 or 143 after Ctrl-C or SIGTERM.
    """
    config, options = parse(task, arguments)

    def work() -> int:
        # JAX is imported here, so that --help and a bad flag answer at once.
        from train.loop import run_task

        return run_task(task, config, options)

    return exit_code(_command(task), work)


def parse(task: Task, arguments: Sequence[str] | None = None) -> tuple[Any, RunOptions]:
    """Read flags; an unknown flag or a value of another type ends the process with code 2.

    Args:
      task: the task.
      arguments: flags; those of the process by default.

    Returns:
      Settings of the task, not checked further, and how to run.
    """
    parts = typing.get_type_hints(task.config)
    fields = [(name, kind, kind()) for name, kind in parts.items()]
    flags: Any = tyro.cli(
        dataclasses.make_dataclass("Flags", [*fields, ("run", RunOptions, RunOptions())]),
        prog=_command(task),
        description=task.description,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return task.config(**{name: getattr(flags, name) for name in parts}), flags.run


def _command(task: Task) -> str:
    return f"python -m {TASKS[task.name]}"
