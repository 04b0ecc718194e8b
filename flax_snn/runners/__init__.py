"""Runners: a cell over a sequence of time steps, a layer without weights, a cell that streams."""

from flax_snn.runners.rnn import RNN
from flax_snn.runners.stateful import Stateful
from flax_snn.runners.weightless import LIF, LeakyIntegrator, Neurons

__all__ = ["LIF", "RNN", "LeakyIntegrator", "Neurons", "Stateful"]


def __dir__() -> list[str]:
    return __all__
