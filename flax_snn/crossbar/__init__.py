"""Memristive crossbars under any Flax layer, and training that survives them.

>>> import flax.linen as nn, flax_snn as snn, functools
>>> analog = functools.partial(snn.crossbar.DotGeneral, snn.crossbar.Device.pcm())
>>> layer, cell = nn.Dense(10, dot_general_cls=analog), snn.LIFCell(10, dot_general_cls=analog)
"""

from flax_snn.crossbar.chip import Programmed, Reading
from flax_snn.crossbar.converters import Converter
from flax_snn.crossbar.convolution import ConvGeneralDilated
from flax_snn.crossbar.deploy import at_time, fault_map, program
from flax_snn.crossbar.device import Device
from flax_snn.crossbar.dot_general import DotGeneral
from flax_snn.crossbar.faults import Faults
from flax_snn.crossbar.noise import ProgrammingNoise, ReadNoise, WriteVerify
from flax_snn.crossbar.retention import Drift, Relaxation
from flax_snn.crossbar.training import Training, clip_weights
from flax_snn.crossbar.wires import IRDrop, nodal_currents

__all__ = [
    "ConvGeneralDilated",
    "Converter",
    "Device",
    "DotGeneral",
    "Drift",
    "Faults",
    "IRDrop",
    "Programmed",
    "ProgrammingNoise",
    "ReadNoise",
    "Reading",
    "Relaxation",
    "Training",
    "WriteVerify",
    "at_time",
    "clip_weights",
    "fault_map",
    "nodal_currents",
    "program",
]


def __dir__() -> list[str]:
    return __all__
