"""The command line of a task, generated from its settings."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

import tyro

from train.errors import RunDirectoryError, exit_code
from train.settings import RunOptions
from train.store import run_directory
from train.store.settings_json import from_json, task_of
from train.tasks import TASKS, Task


def run_command(task: Task, arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m train.<task>``.

    Args:
      task: the task.
      arguments: flags; those of the process by default.

    Returns:
      Exit code: 0 after a finished run, 2 for bad input, 130 or 143 after Ctrl-C or SIGTERM.
    """
    settings, options = parse(task, arguments, task.settings())

    def work() -> int:
        wanted, where = settings, options
        if options.resume:
            wanted, where = _resumed(task, arguments, options)
        # JAX is imported here, so that --help and a bad flag answer at once.
        from train.run.loop import run_task

        return run_task(task, wanted, where)

    return exit_code(task.command, work)


def parse(task: Task, arguments: Sequence[str] | None, defaults: Any) -> tuple[Any, RunOptions]:
    """Read flags; an unknown flag or a value of another type ends the process with code 2.

    Args:
      task: the task.
      arguments: flags; those of the process where ``None``.
      defaults: settings of the task where no flag is given.

    Returns:
      Settings of the task, not checked further, and how to run.
    """
    parts = typing.get_type_hints(task.settings)
    fields = [(name, kind, getattr(defaults, name)) for name, kind in parts.items()]
    flags: Any = tyro.cli(
        dataclasses.make_dataclass("Flags", [*fields, ("run", RunOptions, RunOptions())]),
        prog=task.command,
        description=task.description,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return task.settings(**{name: getattr(flags, name) for name in parts}), flags.run


def _resumed(
    task: Task, arguments: Sequence[str] | None, options: RunOptions
) -> tuple[Any, RunOptions]:
    """Read flags again, over the settings of the run that is to go on."""
    path = run_directory.choose(options.workdir, task.name, overwrite=False, resume=True)
    stored = run_directory.stored_settings(path)
    if stored is None:
        return parse(task, arguments, task.settings())
    if (name := task_of(stored)) != task.name:
        command = f"python -m train.{name if name in TASKS else f'run {name}'}"
        raise RunDirectoryError(
            f"{path} holds a run of the task {name!r}: go on with it by {command} --resume"
        )
    settings, options = parse(task, arguments, from_json(task.settings, stored))
    return settings, dataclasses.replace(options, workdir=path)
