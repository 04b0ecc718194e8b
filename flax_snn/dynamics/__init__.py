"""One dynamics: physics, rule and coefficients apart, and the one step that uses them."""

from flax_snn.dynamics.base import Dynamics
from flax_snn.dynamics.kernel import membrane_kernel
from flax_snn.dynamics.lif import LIDynamics, LIFDynamics
from flax_snn.dynamics.parameters import LIFParameters
from flax_snn.dynamics.response import membrane_power, resting_distance
from flax_snn.dynamics.rule import Coefficients, Discretization, Rule, discretize
from flax_snn.dynamics.step import aligned, fire, initial_state, step

__all__ = [
    "Coefficients",
    "Discretization",
    "Dynamics",
    "LIDynamics",
    "LIFDynamics",
    "LIFParameters",
    "Rule",
    "aligned",
    "discretize",
    "fire",
    "initial_state",
    "membrane_kernel",
    "membrane_power",
    "resting_distance",
    "step",
]
