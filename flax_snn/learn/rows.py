"""The layers of a network as units with their arrays, traces and starting states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from flax_snn.learn.components import Components, components
from flax_snn.learn.traces import Response, Row, Traces, no_traces, response
from flax_snn.learn.unit import Unit, UnitArrays, UnitState
from flax_snn.time_loop.layer import LayerWeights
from flax_snn.typing import Array


class Carry(NamedTuple):
    """What a rule carries from step to step: one state and one set of traces for each layer."""

    states: tuple[UnitState, ...]
    traces: tuple[Traces, ...]


class Rows(NamedTuple):
    """Units with what belongs to them, one entry for each layer.

    Attributes:
      units: the units.
      arrays: their arrays.
      parts: their components.
      starts: their states before the first step.
      back: turns gradients of the arrays of the layers into those of the parameters.
    """

    units: tuple[Unit, ...]
    arrays: tuple[UnitArrays, ...]
    parts: tuple[Components, ...]
    starts: tuple[UnitState, ...]
    back: Callable[[tuple[LayerWeights, ...]], Any]

    @classmethod
    def of(
        cls,
        units: tuple[Unit, ...],
        arrays: tuple[UnitArrays, ...],
        states: tuple[Any, ...],
        back: Callable[[tuple[LayerWeights, ...]], Any],
    ) -> Rows:
        """Returns rows of units, their arrays and the states of their neurons."""
        starts = tuple(unit.start(state) for unit, state in zip(units, states, strict=True))
        parts = []
        for unit, each, start in zip(units, arrays, starts, strict=True):
            v = unit.layer.neuron.membrane(start.neuron)
            shape = (v.shape[0], v.shape[1] * unit.layer.neuron.blocks)
            found = components(unit, each, start, jax.ShapeDtypeStruct(shape, v.dtype))
            if any(unit.learned):  # values that are learned leave traces in all components
                own = tuple(sorted(found.shared + found.own))
                found = found._replace(shared=(), own=own)
            parts.append(found)
        return cls(units, arrays, tuple(parts), starts, back)

    def membranes(self) -> list[Array]:
        """Returns the membrane of each layer, ``(B, N)``."""
        pairs = zip(self.units, self.starts, strict=True)
        return [unit.layer.neuron.membrane(start.neuron) for unit, start in pairs]

    def start(self) -> Carry:
        """Returns the carry before the first step."""
        each = zip(self.units, self.parts, self.arrays, self.membranes(), strict=True)
        return Carry(self.starts, tuple(no_traces(*row) for row in each))

    def answers(self, length: int) -> tuple[Response | None, ...]:
        """Returns the responses of shared traces over chunks of a length."""
        each = zip(self.units, self.parts, self.arrays, self.membranes(), strict=True)
        return tuple(response(*row, length) for row in each)

    def of_layer(self, k: int, answers: tuple[Response | None, ...], carry: Carry) -> Row:
        """Returns what belongs to one layer."""
        return Row(self.units[k], self.parts[k], self.arrays[k], answers[k], carry.traces[k])

    def nothing(self) -> tuple[LayerWeights, ...]:
        """Returns gradients of zeros."""
        return jax.tree.map(jnp.zeros_like, tuple(each.layer for each in self.arrays))
