"""Interchange with other frameworks in the Neuromorphic Intermediate Representation (NIR).

>>> import flax_snn as snn
>>> write = snn.nir.to_nir  # turns a Flax network into a NIR graph
>>> read = snn.nir.from_nir  # turns a NIR graph or file into a Flax network

Graphs as plain data, their shapes, wiring and modules are defined in this folder. On it stand
three rooms: `file` reads and writes files, `reading` makes networks of graphs, `writing` makes
graphs of networks. `reading` and `writing` use `file` and do not import each other.
"""

from flax_snn.nir.error import NIRError
from flax_snn.nir.file.files import load, save
from flax_snn.nir.file.nir_read import NIRReadWarning
from flax_snn.nir.graph_network import GraphNetwork
from flax_snn.nir.layers import AvgPool, Delay, Flatten, Scale, SumPool, Threshold
from flax_snn.nir.loop_cell import Loop
from flax_snn.nir.reading.presets import PRODUCERS, Producer
from flax_snn.nir.reading.read_graph import from_nir
from flax_snn.nir.writing.neurons import LEAVES
from flax_snn.nir.writing.targets import TARGETS, Target
from flax_snn.nir.writing.write_graph import to_nir

__all__ = [
    "LEAVES",
    "PRODUCERS",
    "TARGETS",
    "AvgPool",
    "Delay",
    "Flatten",
    "GraphNetwork",
    "Loop",
    "NIRError",
    "NIRReadWarning",
    "Producer",
    "Scale",
    "SumPool",
    "Target",
    "Threshold",
    "from_nir",
    "load",
    "save",
    "to_nir",
]


def __dir__() -> list[str]:
    return __all__
