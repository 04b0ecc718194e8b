"""Runners: a cell over a sequence of time steps, a layer without weights, a cell that streams."""

from flax_snn.runners.layers import LIF, LeakyIntegrator, Neurons
from flax_snn.runners.rnn import RNN
from flax_snn.runners.stateful import Stateful

__all__ = ["LIF", "RNN", "LeakyIntegrator", "Neurons", "Stateful"]
