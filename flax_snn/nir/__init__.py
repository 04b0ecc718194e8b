"""Interchange with other frameworks in the Neuromorphic Intermediate Representation (NIR).

>>> import flax_snn as snn
>>> graph = snn.nir.to_nir  # a network of here as a graph
>>> network = snn.nir.from_nir  # a graph or a file as a network of here
"""

from flax_snn.nir.emit import LEAVES
from flax_snn.nir.error import NIRError
from flax_snn.nir.graph import GraphNetwork
from flax_snn.nir.layers import AvgPool, Delay, Flatten, Scale, SumPool, Threshold
from flax_snn.nir.loop import Loop
from flax_snn.nir.producers import PRODUCERS, Producer
from flax_snn.nir.read import from_nir
from flax_snn.nir.targets import TARGETS, Target
from flax_snn.nir.write import load, save, to_nir

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
