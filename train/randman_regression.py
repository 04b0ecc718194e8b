"""``python -m train.randman_regression``: see `train.tasks.randman`."""

from train.command_line import run_command
from train.tasks.randman import RandmanRegression

if __name__ == "__main__":
    raise SystemExit(run_command(RandmanRegression()))
