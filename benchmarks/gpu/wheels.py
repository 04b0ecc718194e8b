"""What a bare machine lacks, installed from a folder of wheels, without a network.

It goes into a folder of its own, in front of what is searched for imports: the machine's own
packages may be read-only, and none of them is replaced.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

NEEDED = {
    "flax": "flax",
    "optax": "optax",
    "pytest": "pytest",
    "pluggy": "pluggy",
    "iniconfig": "iniconfig",
    "xdist": "pytest-xdist",
    "execnet": "execnet",
    "hypothesis": "hypothesis",
    "sortedcontainers": "sortedcontainers",
    "beartype": "beartype",
    "jaxtyping": "jaxtyping",
    "wadler_lindig": "wadler-lindig",
}
"""Modules that the groups import, with the packages that have them, those that they need among
them. JAX, its plugin and PyTorch are not here: they come with the machine, as its driver does."""


def missing(needed: dict[str, str] = NEEDED) -> dict[str, str]:
    """Returns the modules, with their packages, that cannot be imported."""
    return {m: package for m, package in needed.items() if importlib.util.find_spec(m) is None}


def install(folder: Path, packages: list[str], target: Path) -> dict[str, str]:
    """Installs packages from a folder of wheels.

    Args:
      folder: the wheels.
      packages: names of packages.
      target: folder that is to have them.

    Returns:
      For each package ``"installed"``, or the last line of what went wrong.
    """
    said = {}
    for package in packages:
        # One by one: a package without a wheel keeps no other one from being installed.
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        command += ["--disable-pip-version-check", "--no-cache-dir", "--find-links", str(folder)]
        done = subprocess.run(
            [*command, "--target", str(target), package], capture_output=True, text=True
        )
        lines = (done.stderr.strip() or f"exit {done.returncode}").splitlines()
        said[package] = "installed" if done.returncode == 0 else lines[-1][:300]
    return said
