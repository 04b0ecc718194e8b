"""The table of tasks, and how one is found by its name."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from flax_snn.regular_file import read_regular
from train.errors import CheckpointError, ConfigError

TASKS = {
    "randman": "train.tasks.randman:Randman",
    "randman_regression": "train.tasks.randman:RandmanRegression",
    "yin_yang": "train.tasks.yin_yang.task:YinYang",
    "spikes": "train.tasks.spikes.task:Spikes",
    "spoken_digits": "train.tasks.spoken_digits.task:SpokenDigitsTask",
    "shd": "train.tasks.shd.task:SHD",
    "fashion_mnist": "train.tasks.fashion_mnist.task:FashionMNIST",
}
"""Where each task stands: its module and its class."""


def find_task(name: str) -> Any:
    """Returns the task of a name, as stored in a checkpoint.

    Of a task that is not of this package, the module is imported only from the current directory,
    and only if it defines the class: a checkpoint must not choose code to run from anywhere else,
    nor a script that is no task.

    Args:
      name: a name of the table, or ``module:Class``.

    Raises:
      CheckpointError: there is no such task here.
    """
    if name in TASKS:
        return _load(TASKS[name])
    if ":" not in name:
        raise CheckpointError(
            f"the checkpoint is of the task {name!r}, this release knows {', '.join(TASKS)};"
            " evaluate it with the release of flax_snn that wrote it"
        )
    module, _, kind = name.partition(":")
    # A module that the process has imported already, such as that of `train.run`, is known.
    if module not in sys.modules and not _stands_here(module, kind):
        raise CheckpointError(
            f"the checkpoint is of the task {name!r}, and the current directory has no"
            f" {module.replace('.', '/')}.py; go to the directory that holds it, with a class"
            f" {kind}"
        )
    try:
        return import_task(name)
    except ConfigError as error:
        raise CheckpointError(f"the checkpoint is of the task {name!r}: {error}") from error


def import_task(name: str) -> Any:
    """Returns a task of a user's own file.

    Args:
      name: ``module:Class``; the module is looked for in the current directory first.

    Raises:
      ConfigError: no such module or class, one that fails on import, or that lacks a part.
    """
    module, colon, kind = name.partition(":")
    if not colon or not all(part.isidentifier() for part in module.split(".")) or not kind:
        raise ConfigError(
            f"expected module:Class, such as my_task:MyTask for the class MyTask in my_task.py, got"
            f" {name!r}"
        )
    return _load(name)


def _load(place: str) -> Any:
    """Returns an instance of ``module:Class``."""
    from train.tasks.task import Task

    name, _, kind = place.partition(":")
    module = _import(name)
    found = getattr(module, kind, None)
    if found is None:
        tasks = [n for n, v in vars(module).items() if _is_task(v) and v.__module__ == name]
        has = f"the tasks {', '.join(tasks)}" if tasks else "no task"
        raise ConfigError(f"{place}: the module has no {kind}; it has {has}")
    if not _is_task(found):
        raise ConfigError(
            f"{place}: expected a subclass of train.tasks.Task or RasterTask, got {found!r:.80}"
        )
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if not hasattr(found, "settings"):
        missing.insert(0, "settings")
    if missing:
        raise ConfigError(
            f"{place} lacks {', '.join(missing)}; see the page 'write a task', docs/tasks.md"
        )
    if "train.tasks." not in f"{name}.":
        _check_settings(place, found)
    try:
        task: Task = found()
    except Exception as error:  # whatever the user's class does wrong
        raise ConfigError(f"{place} cannot be made: {_where(error)}") from error
    return task


def _check_settings(place: str, found: Any) -> None:
    """Refuses settings that the app cannot make flags of, or that lack what training needs."""
    from train.settings import CrossbarConfig, NetworkConfig, TrainingConfig
    from train.tasks.raster import RasterTask

    kind = found.settings
    example = (
        "; write @dataclasses.dataclass(frozen=True) class Settings(RasterSettings), see"
        " docs/tasks.md"
    )
    if not inspect.isclass(kind) or not dataclasses.is_dataclass(kind):
        raise ConfigError(f"{place}: settings: expected a dataclass, got {kind!r:.80}{example}")
    try:
        settings = kind()
    except Exception as error:
        raise ConfigError(
            f"{place}: settings: expected a default for each field, got {_where(error)}{example}"
        ) from error
    wanted: dict[str, Any] = {"training": TrainingConfig}
    if issubclass(found, RasterTask):
        wanted |= {"network": NetworkConfig, "crossbar": CrossbarConfig}
    for name, part in wanted.items():
        if not isinstance(getattr(settings, name, None), part):
            raise ConfigError(
                f"{place}: settings: expected a field {name}: {part.__name__} ="
                f" {part.__name__}(){example}"
            )


def _is_task(value: Any) -> bool:
    from train.tasks.task import Task

    return inspect.isclass(value) and issubclass(value, Task)


def _import(name: str) -> ModuleType:
    here = str(Path.cwd())
    # As `python -m` does; a console script would not. In front: a name means the file that is here.
    if sys.path[:1] not in ([here], [""]):
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"there is no module {name} in {Path.cwd()} or on PYTHONPATH; give the name of the"
                " file without .py, from the directory that holds it"
            ) from error
        raise ConfigError(f"{name} cannot be imported: {error}") from error
    except Exception as error:  # whatever the user's file does wrong
        raise ConfigError(f"{name} cannot be imported: {_where(error)}") from error


def _where(error: BaseException) -> str:
    """Returns an error with the last line of the user's file that led to it."""
    trace, line = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if not code.co_filename.startswith("<") and "importlib" not in code.co_filename:
            line = f" ({code.co_filename}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error}{line}"


def _names(node: ast.stmt) -> set[str]:
    """Returns the names that a statement of a module gives."""
    if isinstance(node, ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.ImportFrom):
        return {alias.asname or alias.name for alias in node.names}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    return set()


def _stands_here(module: str, kind: str) -> bool:
    """Whether a module of the current directory defines or imports a name; nothing is run."""
    if not all(part.isidentifier() for part in module.split(".")):
        return False
    path = Path(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        try:
            tree = ast.parse(read_regular(file, 2**24))
        except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if any(kind in _names(node) for node in tree.body):
            return True
    return False
