"""Train over seeds and settings, several runs at the same time, and compare them.

    python -m train.sweep randman --seeds 0-2 --set tau_mem=10e-3,20e-3 --set hidden=64,128

Each combination is one run, in a folder of its own. All other flags are those of the task, the same
for all runs; a value of several words is quoted: --set "hidden=64 64,128 128". The table and the
picture of train.compare come at the end. A sweep that was stopped goes on with --resume --workdir.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
import re
import sys
from collections.abc import Sequence
from typing import Any

from train.command_line import parse, train_variants
from train.errors import ConfigError, exit_code
from train.flags import quiet_pipe
from train.fleet.seeds import MOST_RUNS, parse_seeds
from train.store.settings_json import flat, to_json
from train.tasks import TASKS, Task, find_task, import_task

COMMAND = "python -m train.sweep"


@quiet_pipe
def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit code."""
    if list(arguments[:1]) in ([], ["-h"], ["--help"]):
        print((__doc__ or "").strip())
        return 0 if arguments else 2
    return exit_code(COMMAND, lambda: _sweep(*arguments))


def combinations(task: Task, changes: Sequence[tuple[str, list[str]]]) -> list[dict[str, str]]:
    """Returns each combination of values, by the name of the setting.

    Args:
      task: the task.
      changes: settings with their values, as they were typed.

    Raises:
      ConfigError: a setting that the task does not have, or one twice.
    """
    known = [
        name.replace("-", "_") for name, _ in flat(to_json(task.name, task.settings())["config"])
    ]
    for name, values in changes:
        if name == "seed":
            raise ConfigError("--set seed: seeds are given by --seeds 0-9")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise ConfigError(
                f"--set {name}: the task {task.name} has no such setting"
                + (f"; did you mean {near[0]}?" if near else f"; it has {', '.join(known)}")
            )
        if len(set(values)) < len(values) or not all(values):
            raise ConfigError(f"--set {name}: expected different values, got {','.join(values)!r}")
    names = [name for name, _ in changes]
    if len(set(names)) < len(names):
        raise ConfigError(f"--set: each setting once, got {', '.join(names)}")
    return [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(values for _, values in changes))
    ]


def _sweep(name: str, *arguments: str) -> int:
    if name.startswith("-"):
        raise ConfigError(f"expected the name of a task first, then flags, got {name}")
    if name not in TASKS and ":" not in name:
        near = difflib.get_close_matches(name, TASKS, n=1)
        raise ConfigError(
            f"expected a task, {', '.join(TASKS)} or module:Class, got {name!r}"
            + (f"; did you mean {near[0]}?" if near else "")
        )
    task: Task = find_task(name) if name in TASKS else import_task(name)
    changes, flags = _changes(list(arguments))
    variants: dict[str, Any] = {}
    options: Any = None
    count = math.prod(len(values) for _, values in changes)
    _check_count(count)
    for combination in combinations(task, changes):
        more = [word for n, v in combination.items() for word in (_flag(n, v), *_words(v))]
        settings, options = parse(task, [*flags, *more], task.settings())
        given = any(word.partition("=")[0] == "--seeds" for word in flags)
        seeds = parse_seeds(options.seeds) if given else [settings.training.seed]
        _check_count(count * len(seeds))
        for seed in seeds:
            training = dataclasses.replace(settings.training, seed=seed)
            each = dataclasses.replace(settings, training=training)
            variants[_folder(combination, seed)] = each
    return train_variants(task, variants, options)


def _check_count(count: int) -> None:
    """Refuses more runs than one command may train, before any of them is prepared."""
    if count > MOST_RUNS:
        raise ConfigError(
            f"expected at most {MOST_RUNS} runs, got {count}; make several sweeps of them"
        )


def _changes(arguments: list[str]) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """Returns settings with their values, and the other flags."""
    changes, flags = [], []
    while arguments:
        argument = arguments.pop(0)
        if argument != "--set" and not argument.startswith("--set="):
            flags.append(argument)
            continue
        text = argument.removeprefix("--set=") if "=" in argument else (arguments or [""]).pop(0)
        name, equals, values = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set: expected name=value,value, got {text!r}")
        changes.append((name.strip().replace("-", "_"), [v.strip() for v in values.split(",")]))
    return changes, flags


def _flag(name: str, value: str) -> str:
    """Returns the flag of a setting; one that is on or off is in its name."""
    off = "no-" if value == "False" else ""
    return f"--{off}{name.replace('_', '-')}"


def _words(value: str) -> list[str]:
    return [] if value in ("True", "False") else value.split()


def _folder(combination: dict[str, str], seed: int) -> str:
    """Returns the name of the folder of a run."""
    words = [*(f"{n}={v.replace(' ', '_')}" for n, v in combination.items()), f"seed_{seed}"]
    return ",".join(re.sub(r"[^\w=.+-]", "_", word) for word in words)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
