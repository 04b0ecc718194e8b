"""``python -m train.randman``: see `train.tasks.randman`."""

from train.command_line import run_command
from train.tasks.randman import Randman

if __name__ == "__main__":
    raise SystemExit(run_command(Randman()))
