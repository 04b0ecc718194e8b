"""Kinds of neurons: each one object behind one protocol, its equations said once."""

from flax_snn.dynamics.adaptive.adex import AdExDynamics
from flax_snn.dynamics.adaptive.adlif import AdLIFDynamics
from flax_snn.dynamics.adaptive.alif import ALIFDynamics
from flax_snn.dynamics.adaptive.izhikevich import IzhikevichDynamics
from flax_snn.dynamics.adaptive.lsnn import LSNNDynamics
from flax_snn.dynamics.adaptive.silif import SiLIFDynamics
from flax_snn.dynamics.base import Dynamics
from flax_snn.dynamics.domain import Learnable, positive, real, time_constant
from flax_snn.dynamics.kernel import membrane_kernel
from flax_snn.dynamics.lif import LIDynamics, LIFDynamics
from flax_snn.dynamics.neuron import Neuron
from flax_snn.dynamics.parameters import LIFParameters
from flax_snn.dynamics.promises import check_neuron
from flax_snn.dynamics.response import membrane_power, resting_distance
from flax_snn.dynamics.rule import Coefficients, Discretization, Rule, discretize
from flax_snn.dynamics.spike import spike
from flax_snn.dynamics.step import aligned, fire, initial_state, step

__all__ = [
    "ALIFDynamics",
    "AdExDynamics",
    "AdLIFDynamics",
    "Coefficients",
    "Discretization",
    "Dynamics",
    "IzhikevichDynamics",
    "LIDynamics",
    "LIFDynamics",
    "LIFParameters",
    "LSNNDynamics",
    "Learnable",
    "Neuron",
    "Rule",
    "SiLIFDynamics",
    "aligned",
    "check_neuron",
    "discretize",
    "fire",
    "initial_state",
    "membrane_kernel",
    "membrane_power",
    "positive",
    "real",
    "resting_distance",
    "spike",
    "step",
    "time_constant",
]


def __dir__() -> list[str]:
    return __all__
