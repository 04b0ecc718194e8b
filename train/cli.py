"""The command line of a task, generated from its settings."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

import tyro

from train import run_directory
from train.config import RunOptions
from train.config_json import from_json, task_of
from train.errors import RunDirectoryError, exit_code
from train.task import TASKS, Task


def run_command(task: Task, arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m train.<task>``.

    Args:
      task: the task.
      arguments: flags; those of the process by default.

    Returns:
      Exit code: 0 after a finished run, 2 for bad input, 130 or 143 after Ctrl-C or SIGTERM.
    """
    config, options = parse(task, arguments, task.config())

    def work() -> int:
        settings, where = config, options
        if options.resume:
            settings, where = _resumed(task, arguments, options)
        # JAX is imported here, so that --help and a bad flag answer at once.
        from train.loop import run_task

        return run_task(task, settings, where)

    return exit_code(_command(task), work)


def parse(task: Task, arguments: Sequence[str] | None, defaults: Any) -> tuple[Any, RunOptions]:
    """Read flags; an unknown flag or a value of another type ends the process with code 2.

    Args:
      task: the task.
      arguments: flags; those of the process where ``None``.
      defaults: settings of the task where no flag is given.

    Returns:
      Settings of the task, not checked further, and how to run.
    """
    parts = typing.get_type_hints(task.config)
    fields = [(name, kind, getattr(defaults, name)) for name, kind in parts.items()]
    flags: Any = tyro.cli(
        dataclasses.make_dataclass("Flags", [*fields, ("run", RunOptions, RunOptions())]),
        prog=_command(task),
        description=task.description,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return task.config(**{name: getattr(flags, name) for name in parts}), flags.run


def _resumed(
    task: Task, arguments: Sequence[str] | None, options: RunOptions
) -> tuple[Any, RunOptions]:
    """Read flags again, over the settings of the run that is to go on."""
    path = run_directory.choose(options.workdir, task.name, overwrite=False, resume=True)
    stored = run_directory.stored_settings(path)
    if stored is None:
        return parse(task, arguments, task.config())
    if task_of(stored) != task.name:
        raise RunDirectoryError(
            f"{path} holds a run of the task {task_of(stored)!r}: go on with it by python -m"
            f" {TASKS.get(task_of(stored), 'the release of flax_snn that wrote it')} --resume"
        )
    config, options = parse(task, arguments, from_json(task.config, stored))
    return config, dataclasses.replace(options, workdir=path)


def _command(task: Task) -> str:
    return f"python -m {TASKS[task.name]}"
