"""One group of rows: ``python -m benchmarks.gpu.worker GROUP [--small]``, a line of JSON a row."""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def main(group: str, small: bool) -> None:
    """Runs the rows of a group and prints each as soon as it is known."""
    from benchmarks.gpu.groups import GROUPS
    from benchmarks.gpu.sizes import LARGE, SMALL

    for name, run in GROUPS[group](SMALL if small else LARGE):
        begin = time.perf_counter()
        row: dict[str, Any] = {"name": name}
        try:
            row |= run()
        except ValueError as error:
            refused = "cannot run this" in str(error)
            row |= {"refused" if refused else "error": str(error)[:500]}
        except Exception as error:  # noqa: BLE001  one row that fails does not stop the rest
            first = [line for line in str(error).splitlines() if line.strip()][:3]
            row |= {"error": f"{type(error).__name__}: {' '.join(first)}"[:500]}
        row["wall_seconds"] = round(time.perf_counter() - begin, 3)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], "--small" in sys.argv)
