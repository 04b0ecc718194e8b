"""``python -m train.fashion_mnist``: see `train.tasks.fashion_mnist.task`."""

from train.command_line import run_command
from train.tasks.fashion_mnist.task import FashionMNIST

if __name__ == "__main__":
    raise SystemExit(run_command(FashionMNIST()))
