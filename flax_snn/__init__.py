"""Spiking neural network layers for Flax Linen.

>>> import flax.linen as nn, flax_snn as snn
>>> layer = nn.RNN(snn.LIFCell(128))
"""

import difflib
import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from flax_snn import (
    conventions,
    crossbar,
    datasets,
    diagnosis,
    dynamics,
    encode,
    event,
    initializers,
    layers,
    learn,
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
    AdExDynamics,
    AdLIFDynamics,
    ALIFDynamics,
    IzhikevichDynamics,
    LIDynamics,
    LIFDynamics,
    LSNNDynamics,
    Neuron,
    SiLIFDynamics,
)
from flax_snn.layers import (
    AvgPool,
    DelayedDense,
    DelayedDenseCell,
    DelayedRecurrentCell,
    MaxPool,
    SequenceDropout,
    SequenceDropoutCell,
    SpikingResidual,
    SumPool,
    ThresholdNorm,
)
from flax_snn.products import EventConvGeneralDilated, EventDotGeneral
from flax_snn.runners import LIF, RNN, LeakyIntegrator, Neurons, Stateful
from flax_snn.typing import LIFState

if TYPE_CHECKING:
    # Loaded when first used, but known to type checkers.
    from flax_snn import nir, plot

__version__ = "0.2.0"

__all__ = [
    "ALIFCell",
    "ALIFDynamics",
    "AvgPool",
    "AdExDynamics",
    "AdLIFCell",
    "AdLIFDynamics",
    "IzhikevichDynamics",
    "LIF",
    "LSNNDynamics",
    "RNN",
    "Chain",
    "DelayedDense",
    "DelayedDenseCell",
    "DelayedRecurrentCell",
    "EventConvGeneralDilated",
    "EventDotGeneral",
    "LIDynamics",
    "LIFCell",
    "LIFDynamics",
    "LIFState",
    "LeakyIntegrator",
    "LeakyIntegratorReadout",
    "MaxPool",
    "Neuron",
    "NeuronCell",
    "Neurons",
    "RecurrentALIFCell",
    "RecurrentAdLIFCell",
    "RecurrentLIFCell",
    "RecurrentNeuronCell",
    "SequenceDropout",
    "SequenceDropoutCell",
    "SiLIFDynamics",
    "SpikingResidual",
    "Stateful",
    "SumPool",
    "ThresholdNorm",
    "conventions",
    "crossbar",
    "datasets",
    "diagnosis",
    "dynamics",
    "encode",
    "event",
    "initializers",
    "layers",
    "learn",
    "losses",
    "metrics",
    "nir",
    "plot",
    "surrogate",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


_LAZY = ("nir", "plot")
"""Modules that load when first used, since they lean on optional packages."""


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f"flax_snn.{name}")
    similar = difflib.get_close_matches(name, __all__, n=1)
    hint = f"; did you mean {similar[0]!r}?" if similar else ""
    raise AttributeError(f"module 'flax_snn' has no attribute {name!r}{hint}")
