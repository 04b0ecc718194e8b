"""``python -m train.shd``: see `train.tasks.shd.task`."""

from train.command_line import run_command
from train.tasks.shd.task import SHD

if __name__ == "__main__":
    raise SystemExit(run_command(SHD()))
