"""Spiking cells: RNN cells of Flax Linen that drop into ``nn.RNN`` and ``nn.scan``."""

from flax_snn.cells.chain import Chain
from flax_snn.cells.named import LeakyIntegratorReadout, LIFCell, RecurrentLIFCell
from flax_snn.cells.neuron_cell import NeuronCell

__all__ = ["Chain", "LIFCell", "LeakyIntegratorReadout", "NeuronCell", "RecurrentLIFCell"]
