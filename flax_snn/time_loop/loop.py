"""What a time loop is: one protocol, so that a loop is one file and one row of `LOOPS`."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.typing import Array


class Traces(NamedTuple):
    """What the layers did, seen from outside.

    Attributes:
      spikes: spikes of each layer but the last one, ``(B, T, N)``.
      membranes: membrane of each layer after each step, ``(B, T, N)``.
    """

    spikes: tuple[Array, ...]
    membranes: tuple[Array, ...]


class Result(NamedTuple):
    """What a time loop returns.

    Attributes:
      states: state of each layer after the last step.
      outputs: output of the last layer, with time where it is in the inputs.
      traces: what the layers did, or None where it was not asked for.
    """

    states: tuple[Any, ...]
    outputs: Array
    traces: Traces | None


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What a time loop is asked to do: layers over a sequence.

    Attributes:
      layers: the layers, from input to output.
      weights: arrays of each layer.
      states: state of each layer before the first step, ``(B, *features)``.
      inputs: ``(B, T, *features)`` with ``axis=1``, ``(T, B, *features)`` with ``axis=0``.
      axis: axis of the time steps.
      chunk: steps of a chunk, where the user says so.
      traced: whether traces are wanted.
      programmed: whether kernels stand for devices that step by step are programmed each time.
      asks_for_events: whether the user asked for event-driven products, here or in a cell.
    """

    layers: tuple[Layer, ...]
    weights: tuple[LayerWeights, ...]
    states: tuple[Any, ...]
    inputs: Array
    axis: int
    chunk: int | None = None
    traced: bool = False
    programmed: bool = False
    asks_for_events: bool = False

    @property
    def steps(self) -> int:
        """Time steps T."""
        return self.inputs.shape[self.axis]

    @property
    def batch(self) -> int:
        """Samples B."""
        return self.inputs.shape[1 - self.axis]

    @property
    def sized(self) -> bool:
        """Whether all sizes are known: `jax.export` has symbolic ones, which do not compare."""
        return all(isinstance(size, int) for size in self.inputs.shape)


@runtime_checkable
class TimeLoop(Protocol):
    """A way to run layers over a sequence; all ways give the same numbers but for rounding."""

    def why_not(self, run: Run) -> str | None:
        """Returns in words why it cannot run this, or None if it can."""

    def worth(self, run: Run) -> bool:
        """Returns whether ``implementation="auto"`` should take it, if it can run this."""

    def run(self, run: Run) -> Result:
        """Runs the layers over the sequence."""
