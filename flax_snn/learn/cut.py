"""A model of any Flax modules, run over a chunk with time cut out of its derivative.

Layers of neurons (any runner over `NeuronCell`, and so `snn.LIF`) run forwards as they are, but
their outputs depend on the currents of the same step only: what they remember is held fixed.
Weights between them (``nn.Dense``, ``nn.Conv``, kernels of cells) act on spikes, while the gradient
of their parameters is taken at the trace of their input:

    y = op(W, s)         dE/dW = op'(W, ahat)^T dE/dy,    dE/ds = op'(s)^T dE/dy
    ahat[t] = decay ahat[t-1] + s[t]

The calls of modules are intercepted, so that networks of any shape work that call such modules.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from flax_snn import checks
from flax_snn.cells import NeuronCell
from flax_snn.learn.membrane_decay import membrane_decay
from flax_snn.learn.network import cells_of, check_data_only
from flax_snn.products import as_floating
from flax_snn.typing import Array

LINEAR = (nn.Dense, nn.DenseGeneral, nn.Conv, nn.ConvTranspose, nn.ConvLocal, nn.Einsum)
"""Modules whose output is linear in their input, at each time step by itself."""


@dataclasses.dataclass
class CutRun:
    """One run over a chunk: what it reads and what it leaves.

    Attributes:
      states: state of each layer of neurons before the chunk, by its path; None in a dry run, which
        makes them.
      traces: trace of the input of each module with weights before the chunk, by its path.
      decays: decay of each trace; None for an input that has none. Empty in a dry run.
      after: states and traces after the chunk.
      order: paths of weights and layers as they were called, with the decay of the layers.
      inside: whether a module of this run is being evaluated.
    """

    states: dict[str, Any] | None
    traces: dict[str, Array]
    decays: dict[str, float | None]
    after: tuple[dict[str, Any], dict[str, Array]] = dataclasses.field(
        default_factory=lambda: ({}, {})
    )
    order: list[tuple[str, float | None]] = dataclasses.field(default_factory=list)
    inside: bool = False

    def intercept(self, call: Any, arguments: Any, named: Any, context: Any) -> Any:
        """Runs a call of a module; the signature is that of ``nn.intercept_methods``."""
        module = context.module
        if self.inside or context.method_name != "__call__":
            return call(*arguments, **named)
        if isinstance(module, nn.RNN):
            return self._neurons(module, arguments, named)
        if isinstance(module, LINEAR):
            return self._weights(module, *arguments, **named)
        output = call(*arguments, **named)
        own = module.variables.get("params", {})
        if any(not isinstance(value, Mapping) for value in own.values()):
            raise ValueError(
                f"ottt: expected weights in modules that are linear in each step"
                f" ({', '.join(kind.__name__ for kind in LINEAR)}) or in cells, got"
                f" {type(module).__name__} with parameters {', '.join(sorted(own))}, of which the"
                " gradient is not that of a trace; use jax.grad"
            )
        return output

    def _weights(self, module: nn.Module, inputs: Array) -> Array:
        unbound, variables = module.unbind()
        path = "/".join(module.path)
        self._once(path)
        dtype = getattr(module, "dtype", None) or getattr(module, "param_dtype", jnp.float32)
        inputs = as_floating(inputs, dtype)

        def op(variables: Any, x: Array) -> Array:
            self.inside = True
            try:
                result: Any = unbound.apply(variables, x)
            finally:
                self.inside = False
            return result

        return self._traced(path, inputs, op, variables)

    def _traced(self, path: str, inputs: Array, op: Any, variables: Any) -> Array:
        """Returns the output of weights, whose gradient is taken at the trace."""
        self.order.append((path, None))
        trace = inputs
        if self.states is not None and self.decays[path] is not None:
            decay = jnp.asarray(self.decays[path], inputs.dtype)

            def add(held: Array, x: Array) -> tuple[Array, Array]:
                held = decay * held + x
                return held, held

            sequence = lax.stop_gradient(jnp.moveaxis(inputs, 1, 0))
            last, trace = lax.scan(add, self.traces[path], sequence)
            trace = jnp.moveaxis(trace, 0, 1)
            self.after[1][path] = last
        elif self.states is None:
            self.after[1][path] = jnp.zeros_like(inputs[:, 0])
        spiking: Array = op(lax.stop_gradient(variables), inputs)
        learning: Array = op(variables, lax.stop_gradient(trace))
        return spiking + (learning - lax.stop_gradient(learning))

    def _neurons(self, runner: Any, arguments: Any, named: Any) -> Array:
        path = "/".join(runner.path)
        if len(arguments) != 1 or any(value is not None for value in named.values()):
            raise ValueError(
                "ottt: expected layers that are called with their inputs alone, got"
                f" {path or 'one'} called with {', '.join(named) or 'more arguments'}; the rule"
                " keeps the states"
            )
        for option in ("time_major", "reverse", "return_carry"):
            if getattr(runner, option):
                raise ValueError(
                    f"ottt: expected layers over sequences (B, T, ...) that go forwards and return"
                    f" their outputs, got {path or 'one'} with {option}=True"
                )
        x = jnp.asarray(arguments[0])
        for cell in cells_of(runner.cell):
            x = self._layer(cell, x)
        return x

    def _layer(self, cell: Any, inputs: Array) -> Array:
        if not isinstance(cell, NeuronCell):
            kind = type(cell).__name__
            what = "cells of neurons (snn.NeuronCell) or chains of them"
            raise TypeError(checks.error_text("ottt: layer", what, kind, "use jax.grad"))
        path = "/".join(cell.path)
        self._once(path)
        if inputs.ndim != 2 + cell.num_feature_axes:
            what = "inputs (B, T, *features)"
            raise ValueError(checks.error_text(f"ottt: {path}", what, f"shape {inputs.shape}"))
        decay = membrane_decay(cell, path)
        check_data_only("ottt", cell)
        step_inputs = jax.ShapeDtypeStruct((inputs.shape[0], *inputs.shape[2:]), inputs.dtype)
        layer, weights = cell.layer(step_inputs)
        if weights.kernel is None:
            currents = layer.project(inputs, weights)
        else:
            x = as_floating(inputs, layer.dtype or layer.param_dtype)

            def op(weights: Any, x: Array) -> Array:
                return layer.project(x, weights)

            currents = self._traced(path, x, op, weights)
        self.order.append((path, decay))
        currents = jnp.moveaxis(currents, 1, 0)
        states = cell.initialize_carry(None, step_inputs.shape)
        state = states if self.states is None else self.states[path]
        coefficients = lax.stop_gradient(weights.coefficients)

        def move(state: Any, current: Array) -> Any:
            after, _ = layer.integrate(coefficients, state, current)
            return after, state

        last, before = lax.scan(move, state, lax.stop_gradient(currents))
        self.after[0][path] = states if self.states is None else last

        def one(state: Any, current: Array) -> Array:
            return layer.integrate(coefficients, state, current)[1]

        outputs = jax.vmap(one)(lax.stop_gradient(before), currents)
        return jnp.moveaxis(outputs, 0, 1)

    def _once(self, path: str) -> None:
        if any(path == called for called, _ in self.order):
            raise ValueError(
                f"ottt: expected each layer to be called once, got {path or 'one'} twice: it would"
                " need two traces"
            )
