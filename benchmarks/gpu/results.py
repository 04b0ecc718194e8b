"""The file of results, written after every row, and the figures that follow from the rows."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

PACKAGES = ("flax_snn", "jax", "jaxlib", "flax", "optax", "numpy", "torch", "triton", "pytest")


def versions() -> dict[str, str | None]:
    """Returns the version of each package, None where it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def write(path: Path, results: dict[str, Any]) -> None:
    """Writes the results so that whoever is stopped has a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(part, path)


def figures(groups: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Returns for each layer alone the times beside the bandwidth floor and beside each other."""
    rows = [row for group in groups.values() for row in group if "seconds" in row]
    bandwidth = next((r["bytes_per_second"] for r in rows if "bytes_per_second" in r), None)
    speed = next((r["operations_per_second"] for r in rows if "operations_per_second" in r), None)
    found: dict[Any, dict[str, Any]] = {}
    for row in rows:
        if "BLOCK" in row or "SAVED_BYTES" in row:
            continue
        if "size" in row:
            key = (row["steps"], row["size"], row["backward"])
            entry = found.setdefault(
                key, dict(zip(("steps", "size", "backward"), key, strict=True))
            )
            entry[row.get("loop", row["name"])] = row["seconds"]
            if bandwidth and "least_bytes" in row:
                entry["floor"] = row["least_bytes"] / bandwidth
        elif bandwidth and "least_bytes" in row:
            floor = row["least_bytes"] / bandwidth
            found[row["name"]] = {"name": row["name"], "seconds": row["seconds"], "floor": floor}
        elif speed and "least_operations" in row:
            floor = row["least_operations"] / speed
            found[row["name"]] = {"name": row["name"], "seconds": row["seconds"], "floor": floor}
    for entry in found.values():
        if "kernel" in entry and "scan" in entry:
            entry["scan over kernel"] = entry["scan"] / entry["kernel"]
        if "kernel" in entry and "floor" in entry:
            entry["kernel over floor"] = entry["kernel"] / entry["floor"]
    return list(found.values())
