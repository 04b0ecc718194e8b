"""Golden cases of learning rules, how they are compared, and a readout of given coefficients."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

import flax_snn as snn
from flax_snn.dynamics import Coefficients, Rule

GOLDEN = Path(__file__).parents[1] / "golden" / "eprop"

# Of the README beside the files, relative to max(1, max abs): gradients, losses.
TOLERANCES = {"float64": (1e-10, 1e-10), "float32": (5e-6, 1e-6)}


@functools.cache
def case(file: str, k: int | None = None) -> dict[str, Any]:
    """Returns the arrays and parameters of a case by name."""
    with np.load(GOLDEN / f"{file}.npz") as stored:
        prefix = "" if k is None else f"c{k}_"
        names = [n for n in stored.files if n.startswith(prefix) and n != "n_cases"]
        found = {name.removeprefix(prefix): stored[name] for name in names}
    return json.loads(str(found["params"])) | found


def close(got: Any, expected: Any, tolerance: float) -> None:
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


def far(got: Any, other: Any) -> None:
    """The distance is at least a hundredth of what is compared, far above any tolerance."""
    assert np.linalg.norm(np.asarray(got) - other) > 1e-2 * np.linalg.norm(other)


def readout(kappa: float, gain: float, features: int, **arguments: Any) -> snn.NeuronCell:
    """Returns a readout ``y = kappa y + gain (x W + b)``."""
    rule = Rule(fire="none", reset="none")
    coefficients = Coefficients(alpha=kappa, c_x=gain)
    dynamics = snn.LIDynamics.from_coefficients(coefficients, dt=1e-3, rule=rule)
    return snn.LeakyIntegratorReadout(features, dynamics=dynamics, **arguments)
