"""Spiking cells: RNN cells of Flax Linen that drop into ``nn.RNN`` and ``nn.scan``."""

from flax_snn.cells.adaptive import (
    AdLIFCell,
    ALIFCell,
    RecurrentAdLIFCell,
    RecurrentALIFCell,
)
from flax_snn.cells.chain import Chain
from flax_snn.cells.named import LeakyIntegratorReadout, LIFCell, RecurrentLIFCell
from flax_snn.cells.neuron_cell import NeuronCell
from flax_snn.cells.recurrent_cell import RecurrentNeuronCell

__all__ = [
    "ALIFCell",
    "AdLIFCell",
    "Chain",
    "LIFCell",
    "LeakyIntegratorReadout",
    "NeuronCell",
    "RecurrentALIFCell",
    "RecurrentAdLIFCell",
    "RecurrentLIFCell",
    "RecurrentNeuronCell",
]


def __dir__() -> list[str]:
    return __all__
