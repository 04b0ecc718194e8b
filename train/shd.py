"""``python -m train.shd``: see `train.tasks.shd.task`."""

import argparse
import sys

from train.command_line import run_command
from train.errors import exit_code
from train.tasks.shd.task import SHD


def main(arguments: list[str]) -> int:
    """Runs the command; the recipe decides the defaults of all other flags."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", default="lif")
    recipe, rest = parser.parse_known_args(arguments)

    def work() -> int:
        return run_command(SHD(recipe.recipe), rest)

    return exit_code("python -m train.shd", work)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
