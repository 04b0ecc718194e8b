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
from flax_snn.cells import (
    AdLIFCell,
    ALIFCell,
    Chain,
    LeakyIntegratorReadout,
    LIFCell,
    NeuronCell,
    RecurrentAdLIFCell,
    RecurrentALIFCell,
    RecurrentLIFCell,
    RecurrentNeuronCell,
)
from flax_snn.dynamics import (
    AdLIFDynamics,
    ALIFDynamics,
    IzhikevichDynamics,
    LIDynamics,
    LIFDynamics,
    LSNNDynamics,
    Neuron,
    SiLIFDynamics,
)
from flax_snn.runners import LIF, RNN, LeakyIntegrator, Neurons, Stateful
from flax_snn.typing import LIFState

__version__ = "0.1.0"

__all__ = [
    "ALIFCell",
    "ALIFDynamics",
    "AdLIFCell",
    "AdLIFDynamics",
    "IzhikevichDynamics",
    "LIF",
    "LSNNDynamics",
    "RNN",
    "Chain",
    "LIDynamics",
    "LIFCell",
    "LIFDynamics",
    "LIFState",
    "LeakyIntegrator",
    "LeakyIntegratorReadout",
    "Neuron",
    "NeuronCell",
    "Neurons",
    "RecurrentALIFCell",
    "RecurrentAdLIFCell",
    "RecurrentLIFCell",
    "RecurrentNeuronCell",
    "SiLIFDynamics",
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
