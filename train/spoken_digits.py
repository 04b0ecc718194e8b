"""``python -m train.spoken_digits``: see `train.tasks.spoken_digits.task`."""

from train.command_line import run_command
from train.tasks.spoken_digits.task import SpokenDigitsTask

if __name__ == "__main__":
    raise SystemExit(run_command(SpokenDigitsTask()))
