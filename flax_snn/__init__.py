"""Spiking neural network layers for Flax Linen."""
from flax_snn import surrogate, dynamics, conventions
from flax_snn.dynamics import LIFDynamics, LIDynamics
from flax_snn.cells import LIFCell, RecurrentLIFCell, LeakyIntegratorReadout
from flax_snn.chain import Chain
from flax_snn.rnn import RNN, LIF, LeakyIntegrator
from flax_snn.stateful import Stateful
