"""``python -m train.spikes --file my.npz``: see `train.tasks.spikes.task`."""

from train.command_line import run_command
from train.tasks.spikes.task import Spikes

if __name__ == "__main__":
    raise SystemExit(run_command(Spikes()))
