"""``python -m train.yin_yang``: see `train.tasks.yin_yang.task`."""

from train.command_line import run_command
from train.tasks.yin_yang.task import YinYang

if __name__ == "__main__":
    raise SystemExit(run_command(YinYang()))
