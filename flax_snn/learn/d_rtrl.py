"""Diagonal real-time recurrent learning: exact traces of single neurons, errors of the same step.

    eps[t] = D eps[t-1] + (df/dI) pre[t]        D: derivative of a neuron's state by its own past
    G      = SUM_t (dloss_t/dh[t]) eps[t]       through the layers above AT THE SAME STEP

It leaves out every path through recurrent weights, and in a lower layer also every path through the
state of a layer above it: what an error of a later step says through the memory of the upper layer.
For one recurrent layer under a readout without memory it is the gradient with the recurrent spikes
held fixed. Under a leaky readout `eprop` follows the filter of the readout, too.

Reference: Wang et al., Nature Communications, 2026 (braintrace).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
from jax import lax

from flax_snn.learn.network import as_batch, read_network
from flax_snn.learn.objective import StepLoss, loss_and_errors
from flax_snn.learn.rows import Carry, Rows
from flax_snn.learn.same_step import check_same_step
from flax_snn.learn.sequence import run_sequence
from flax_snn.learn.traces import gradients_of_chunk
from flax_snn.learn.unit import Pass, Unit, UnitArrays
from flax_snn.products import as_floating
from flax_snn.time_loop.layer import in_blocks
from flax_snn.typing import Array


@dataclasses.dataclass(frozen=True)
class DRTRL:
    """Diagonal RTRL as a rule of `Stream`."""

    name = "d_rtrl"

    def prepare(self, model: nn.Module, variables: Any, x: jax.ShapeDtypeStruct) -> _Plan:
        """Returns the rule for a model and inputs ``(B, F)`` of one step.

        Raises:
          TypeError: another model than a runner over cells of neurons.
          ValueError: neurons that see each other within a step; a layer above another one that
            answers a step later.
        """
        network, weights, back, states = read_network("d_rtrl", model, variables, x)
        check_same_step("d_rtrl", network.layers)
        pairs = zip(network.layers, network.learned, strict=True)
        units = tuple(Unit(layer, None, learned) for layer, learned in pairs)
        return _Plan(Rows.of(units, tuple(map(UnitArrays, weights)), states, back))


@dataclasses.dataclass
class _Plan:
    """Diagonal RTRL for one model and one set of weights."""

    rows: Rows

    def start(self) -> Carry:
        """Returns the carry before the first step."""
        return self.rows.start()

    def answers(self, length: int) -> Any:
        """Returns the responses of shared traces over chunks of a length."""
        return self.rows.answers(length)

    def nothing(self) -> Any:
        """Returns a gradient of zeros."""
        return self.rows.nothing()

    def chunk(
        self,
        carry: Carry,
        answers: Any,
        inputs: Array,
        targets: Any,
        counted: Array | None,
        loss: StepLoss,
        *,
        last: bool,
    ) -> tuple[Carry, Array, Any, Array]:
        """Runs over a chunk of steps, inputs ``(T, B, F)``.

        Returns:
          The carry, the loss, the gradient in the arrays of the layers, and the outputs.
        """
        rows = self.rows
        first = rows.units[0].layer
        x = as_floating(inputs, first.dtype or first.param_dtype)
        given, passes = [], []
        for unit, arrays, state in zip(rows.units, rows.arrays, carry.states, strict=True):
            given.append(x)
            currents = unit.layer.project(x, arrays.layer)
            passes.append(unit.run(arrays, state, currents))
            x = passes[-1].spikes
        value, signal = loss_and_errors(loss, x, targets, counted)
        gradients: list[Any] = [None] * len(passes)
        traces: list[Any] = [None] * len(passes)
        for k in reversed(range(len(passes))):
            row = rows.of_layer(k, answers, carry)
            (gradients[k],), traces[k] = gradients_of_chunk(
                row, passes[k], given[k], [(signal,)], last=last
            )
            if k:
                signal = within_steps(rows.units[k], rows.arrays[k], passes[k], given[k], signal)
        states = tuple(each.after for each in passes)
        return Carry(states, tuple(traces)), value, tuple(gradients), x

    def finish(self, value: Array, gradient: Any, steps: int) -> tuple[Array, Any]:
        """Returns the loss and the gradient of the parameters."""
        del steps
        return value, self.rows.back(gradient)


def within_steps(unit: Unit, arrays: UnitArrays, done: Pass, inputs: Array, signal: Array) -> Array:
    """Returns what a signal on the outputs of a layer says of its inputs of the same step.

    Args:
      unit: the layer.
      arrays: its arrays.
      done: the chunk, run forward.
      inputs: inputs of the layer, ``(T, B, F)``.
      signal: cotangent of its outputs ``(T, B, N)``.
    """
    layer = unit.layer

    def outputs(inputs: Array) -> Array:
        def one(state: Any, current: Array, feedback: Any) -> Array:
            def recurrent(_: Array) -> Any:
                v = layer.neuron.membrane(state)
                return in_blocks(feedback, feedback.shape[-1] // v.shape[-1])

            given = None if feedback is None else recurrent
            return layer.integrate(arrays.layer.coefficients, state, current, given)[1]

        states, feedback = lax.stop_gradient((done.states, done.feedback))
        return jax.vmap(one)(states, layer.project(inputs, arrays.layer), feedback)

    (found,) = jax.vjp(outputs, inputs)[1](signal)
    return found


def d_rtrl(
    model: nn.Module,
    variables: Any,
    batch: Any,
    loss: StepLoss,
    *,
    mask: Any = None,
    seq_lengths: Any = None,
    chunk: int | None = None,
) -> tuple[Array, Any]:
    """Returns loss and gradient of diagonal real-time recurrent learning.

    >>> import flax_snn as snn, jax, jax.numpy as jnp
    >>> model = snn.RNN(snn.Chain([snn.RecurrentALIFCell(16), snn.LeakyIntegratorReadout(3)]))
    >>> x, labels = jnp.ones((4, 50, 8)), jnp.array([0, 1, 2, 0])
    >>> variables = jax.jit(model.init)(jax.random.key(0), x)
    >>> learn = jax.jit(
    ...     lambda v: snn.learn.d_rtrl(model, v, (x, labels), snn.learn.cross_entropy))
    >>> loss, gradients = learn(variables)
    >>> jax.tree.map(jnp.shape, gradients)["cell"]["cells_1"]
    {'kernel': (16, 3)}

    Args:
      model: a runner over a cell of neurons, or over a chain of them, of any kinds. With two layers
        that have memory, the gradient of the lower one misses all paths through the state of the
        upper one; a leaky readout is such a layer.
      variables: its variables.
      batch: inputs ``(B, T, F)`` and targets: arrays ``(B, T, ...)``, or ``(B,)`` for labels that
        are the same in all steps.
      loss: loss of a step, as `squared_error` and `cross_entropy`; the loss is the sum over steps
        and samples.
      mask: which steps count, bool ``(B, T)``.
      seq_lengths: steps of each sample that count, ``(B,)``, instead of a mask.
      chunk: steps that are taken together. It changes roundings, memory and time only.

    Returns:
      The loss, and a gradient like that of ``jax.grad`` with respect to ``variables["params"]``.

    Raises:
      TypeError: another model than a runner over cells; no batch of inputs and targets.
      ValueError: neurons that see each other within a step; a layer above another one that answers
        an input in the next step, as behind a synapse; losses that are not sums over steps.

    Reference: Wang et al., Nature Communications, 2026 (braintrace).
    """
    inputs, targets = as_batch("d_rtrl", model, batch)
    options = {"mask": mask, "seq_lengths": seq_lengths, "chunk": chunk}
    return run_sequence(DRTRL(), model, variables, inputs, targets, loss, **options)
