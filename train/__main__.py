"""``python -m train``: what there is."""

from __future__ import annotations

import inspect

from train.flags import quiet_pipe
from train.tasks import TASKS, find_task

COMMANDS = {
    "run module:Class": "train a task of your own, see docs/tasks.md",
    "sweep TASK": "train over seeds and settings, and compare",
    "evaluate --checkpoint RUN": "score a run, export it, put it on chips",
    "compare RUN RUN": "put runs side by side",
    "report RUN [RUN]": "write one HTML file with all that a run can show",
    "reproduce RUN": "train a run again, and compare it bit for bit",
}


@quiet_pipe
def main() -> int:
    """Prints tasks and commands."""
    tasks = {name: inspect.cleandoc(type(find_task(name)).__doc__ or "") for name in TASKS}
    width = max(map(len, (*tasks, *COMMANDS)))
    print("python -m train.<task> trains a spiking network:")
    for name, text in tasks.items():
        print(f"  {name:<{width}}  {text.splitlines()[0].removeprefix('Train a spiking network ')}")
    print("\npython -m train.<command>, with --help for its flags:")
    for name, text in COMMANDS.items():
        print(f"  {name:<{width}}  {text}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
