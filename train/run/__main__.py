"""Train a task of your own: ``python -m train.run module:Class [flags]``.

The class is a subclass of `train.tasks.Task` or `RasterTask` in a file of yours, such as
``my_task:MyTask`` for ``my_task.py`` in the current directory. It is resumed, evaluated, compared
and restored as the tasks of this package are; see ``docs/tasks.md``.
"""

from __future__ import annotations

import sys

from train.command_line import run_command
from train.errors import ConfigError, exit_code
from train.flags import in_terminal, quiet_pipe
from train.tasks import TASKS, find_task, import_task

COMMAND = "python -m train.run"


@quiet_pipe
def main(arguments: list[str]) -> int:
    """Runs the command; returns the exit code."""
    if arguments[:1] in ([], ["-h"], ["--help"]):
        print(in_terminal(__doc__).strip())
        return 0 if arguments else 2
    name, *flags = arguments
    found = []

    def find() -> int:
        if name.startswith("-"):
            raise ConfigError(f"expected module:Class first, then flags, got {name}")
        found.append(find_task(name) if name in TASKS else import_task(name))
        return 0

    code = exit_code(COMMAND, find)
    return code or run_command(found[0], flags)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
