"""Spiking neural network layers for Flax Linen.

>>> import flax.linen as nn, flax_snn as snn
>>> layer = nn.RNN(snn.LIFCell(128))
"""

import importlib
from types import ModuleType

from flax_snn import (
    conventions,
    crossbar,
    datasets,
    diagnosis,
    dynamics,
    encode,
    event,
    initializers,
    losses,
    metrics,
    surrogate,
)
from flax_snn.cells import Chain, LeakyIntegratorReadout, LIFCell, NeuronCell, RecurrentLIFCell
from flax_snn.dynamics import LIDynamics, LIFDynamics
from flax_snn.runners import LIF, RNN, LeakyIntegrator, Stateful
from flax_snn.typing import LIFState

__version__ = "0.1.0"

__all__ = [
    "LIF",
    "RNN",
    "Chain",
    "LIDynamics",
    "LIFCell",
    "LIFDynamics",
    "LIFState",
    "LeakyIntegrator",
    "LeakyIntegratorReadout",
    "NeuronCell",
    "RecurrentLIFCell",
    "Stateful",
    "conventions",
    "crossbar",
    "datasets",
    "diagnosis",
    "dynamics",
    "encode",
    "event",
    "initializers",
    "losses",
    "metrics",
    "nir",
    "plot",
    "surrogate",
]

_LAZY = ("nir", "plot")
"""Modules that load when first used, since they lean on optional packages."""


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f"flax_snn.{name}")
    raise AttributeError(f"module 'flax_snn' has no attribute {name!r}")
