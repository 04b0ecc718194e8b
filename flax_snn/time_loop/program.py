"""What the fused loop is asked to do, and what it shows of its layers."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from flax_snn.time_loop.chunks import Chunks
from flax_snn.time_loop.layer import Layer
from flax_snn.typing import Array


class Traces(NamedTuple):
    """What the layers did, seen from outside.

    Attributes:
      spikes: spikes of each layer but the last one, ``(B, T, N)``.
      membranes: membrane of each layer after each step, ``(B, T, N)``.
    """

    spikes: tuple[Array, ...]
    membranes: tuple[Array, ...]


@dataclasses.dataclass(frozen=True)
class Program:
    """What of a run is no array.

    Attributes:
      layers: the layers, from input to output.
      chunks: how the sequence is cut.
      traced: whether traces are wanted.
    """

    layers: tuple[Layer, ...]
    chunks: Chunks
    traced: bool
