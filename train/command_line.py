"""The command line of a task, generated from its settings."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train import processes
from train.errors import ConfigError, RunDirectoryError, exit_code
from train.flags import quiet_pipe, read_flags
from train.fleet.seeds import parse_seeds
from train.settings import RunOptions
from train.store import run_directory
from train.store.layout import CHECKPOINTS
from train.store.run_directory import timestamp
from train.store.settings_json import from_json, task_of
from train.tasks import TASKS, Task


@quiet_pipe
def run_command(task: Task, arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m train.<task>``.

    Args:
      task: the task.
      arguments: flags; those of the process by default.

    Returns:
      Exit code: 0 after a finished run, 2 for bad input, 130 or 143 after Ctrl-C or SIGTERM.
    """
    settings, options = parse(task, arguments, task.settings())

    def work() -> int:
        with processes.started(options):
            return run()

    def run() -> int:
        wanted, where = settings, options
        if options.seeds or "--seeds" in _given(arguments):
            return train_seeds(task, settings, options, "--seed" in _given(arguments))
        if options.together:
            raise ConfigError(
                "--together: this is about several runs; add --seeds, such as --seeds 0-3, or leave"
                " it out"
            )
        if options.resume:
            wanted, where = _resumed(task, arguments, options)
        # JAX is imported here, so that --help and a bad flag answer at once.
        from train.run.loop import run_task

        return run_task(task, wanted, where)

    return exit_code(task.command, work)


def train_seeds(task: Task, settings: Any, options: RunOptions, seed_given: bool) -> int:
    """Runs a task once with each seed of ``--seeds``, and shows a table.

    Args:
      task: the task.
      settings: settings of all runs, but for the seed.
      options: how they are run.
      seed_given: whether ``--seed`` was given too, which is refused.
    """
    if seed_given:
        raise ConfigError("--seed, --seeds: expected one of them, got both")
    seeds = parse_seeds(options.seeds)
    variants = {
        f"seed_{seed}": dataclasses.replace(
            settings, training=dataclasses.replace(settings.training, seed=seed)
        )
        for seed in seeds
    }
    return train_variants(task, variants, options)


def train_variants(task: Task, variants: Mapping[str, Any], options: RunOptions) -> int:
    """Runs a task with several settings, and compares the runs.

    Args:
      task: the task.
      variants: settings, by the name of their folder in the directory.
      options: how they are run; ``workdir`` is the directory of all.

    Returns:
      Exit code, as `run_fleet` has it.
    """
    folder = options.workdir or Path(CHECKPOINTS, task.folder, f"several_{timestamp()}")
    if options.workdir is None and options.resume:
        raise ConfigError("--resume of several runs: name their directory with --workdir")
    from train.compare import report
    from train.fleet.fleet import Job, run_fleet

    jobs = [Job(name, variant, folder / name) for name, variant in variants.items()]
    code = run_fleet(task, jobs, options, options.together)
    finished = [job.path for job in jobs if run_directory.read_metrics(job.path)]
    if finished and code in (0, 2):
        print(report(finished, folder / "compare.png"))
    if code >= 128:
        print(
            f"stopped early; all that was computed is saved\ngo on: the same command with --resume"
            f" --workdir {folder}",
            file=sys.stderr,
        )
    return code


def _given(arguments: Sequence[str] | None) -> list[str]:
    """Returns the names of the flags that were given."""
    flags = sys.argv[1:] if arguments is None else arguments
    return [flag.partition("=")[0] for flag in flags]


def parse(task: Task, arguments: Sequence[str] | None, defaults: Any) -> tuple[Any, RunOptions]:
    """Reads flags; an unknown flag or a value of another type ends the process with code 2.

    Args:
      task: the task.
      arguments: flags; those of the process where ``None``.
      defaults: settings of the task where no flag is given.

    Returns:
      Settings of the task, not checked further, and how to run.
    """
    parts = typing.get_type_hints(task.settings)
    fields = [(name, kind, getattr(defaults, name)) for name, kind in parts.items()]
    every = dataclasses.make_dataclass("Flags", [*fields, ("run", RunOptions, RunOptions())])
    flags: Any = read_flags(every, task.command, task.description, arguments)
    return task.settings(**{name: getattr(flags, name) for name in parts}), flags.run


def _resumed(
    task: Task, arguments: Sequence[str] | None, options: RunOptions
) -> tuple[Any, RunOptions]:
    """Reads flags again, over the settings of the run that is to go on."""
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
