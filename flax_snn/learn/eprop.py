"""e-prop: a recurrent layer and a leaky readout that learn while the sequence runs.

    e_ij[t] = dz_j[t]/dw_ij               through the neuron's own state: the eligibility trace
    L_j[t]  = SUM_k B_jk err_k[t]         err = dE_t/dy_k
    G_ij    = SUM_t L_j[t] F(e_ij)[t]     F: the filter of the readout

It leaves out every path from a spike through the recurrent weights to a later spike of the layer.
With B = W_out (``symmetric``) it is the gradient with these paths cut.

Reference: Bellec et al., *A solution to the learning dilemma for recurrent networks of spiking
neurons*, 2020.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from flax_snn import checks
from flax_snn.learn.feedback import feedback_matrix
from flax_snn.learn.network import as_batch, read_network
from flax_snn.learn.objective import StepLoss, loss_and_errors
from flax_snn.learn.rows import Carry, Rows
from flax_snn.learn.sequence import run_sequence
from flax_snn.learn.traces import gradients_of_chunk
from flax_snn.learn.unit import Unit, UnitArrays
from flax_snn.products import as_floating
from flax_snn.time_loop.layer import LayerWeights
from flax_snn.typing import Array


@dataclasses.dataclass(frozen=True)
class EProp:
    """e-prop as a rule of `Stream`; `eprop` says what the options mean."""

    feedback: Any = "symmetric"
    rate_penalty: float = 0.0
    target_rate: float = 10.0
    name = "eprop"

    def prepare(self, model: nn.Module, variables: Any, x: jax.ShapeDtypeStruct) -> _Plan:
        """Returns the rule for a model and inputs ``(B, F)`` of one step.

        Raises:
          TypeError: another model than a runner over cells.
          ValueError: other layers than one of spiking neurons and a leaky readout.
        """
        checks.non_negative("eprop: rate_penalty", self.rate_penalty)
        checks.non_negative("eprop: target_rate", self.target_rate, unit="Hz")
        network, weights, back, states = read_network("eprop", model, variables, x)
        _check_layers(network.layers, network.names, network.recurrent)
        hidden, readout = network.layers
        _check_readout(readout, weights[1], network.names[1])
        watched = (0, 1) if self.rate_penalty else (1,)
        units = (
            Unit(hidden, readout, network.learned[0], watched),
            Unit(readout, None, network.learned[1]),
        )
        arrays = (UnitArrays(weights[0], weights[1].coefficients), UnitArrays(weights[1]))
        rows = Rows.of(units, arrays, states, back)
        _check_filter(rows.parts[1], network.names[1])
        kernel = weights[1].kernel
        assert kernel is not None
        matrix = feedback_matrix(self.feedback, variables, kernel)
        return _Plan(self, rows, matrix, variables)


@dataclasses.dataclass
class _Plan:
    """e-prop for one model and one set of weights."""

    rule: EProp
    rows: Rows
    matrix: Array
    variables: Any

    def start(self) -> Carry:
        """Returns the carry before the first step."""
        return self.rows.start()

    def answers(self, length: int) -> Any:
        """Returns the responses of shared traces over chunks of a length."""
        return self.rows.answers(length)

    def nothing(self) -> Any:
        """Returns a gradient of zeros."""
        zeros = self.rows.nothing()
        if not self.rule.rate_penalty:
            return zeros, None
        v = self.rows.membranes()[0]
        return zeros, (zeros[0], jnp.zeros(v.shape[-1:], v.dtype))

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
        (hidden, readout), (first, second) = rows.units, rows.arrays
        x = as_floating(inputs, hidden.layer.dtype or hidden.layer.param_dtype)
        done = hidden.run(first, carry.states[0], hidden.layer.project(x, first.layer))
        currents = readout.layer.project(done.spikes, second.layer)
        read = readout.run(second, carry.states[1], currents)
        value, errors = loss_and_errors(loss, read.spikes, targets, counted)
        learning = errors @ self.matrix.T.astype(errors.dtype)
        signals: list[tuple[Array, ...]] = [(learning,)]
        if self.rule.rate_penalty:
            signals = [(jnp.zeros_like(done.spikes), learning)]
            signals.append((jnp.ones_like(done.spikes), jnp.zeros_like(learning)))
        of_hidden, traces = gradients_of_chunk(
            rows.of_layer(0, answers, carry), done, x, signals, last=last
        )
        of_readout, others = gradients_of_chunk(
            rows.of_layer(1, answers, carry), read, done.spikes, [(errors,)], last=last
        )
        rate = None
        if self.rule.rate_penalty:
            v = rows.membranes()[0]
            rate = (of_hidden[1], jnp.sum(done.spikes.astype(v.dtype), axis=(0, 1)))
        carry = Carry((done.after, read.after), (traces, others))
        return carry, value, ((of_hidden[0], of_readout[0]), rate), read.spikes

    def finish(self, value: Array, gradient: Any, steps: int) -> tuple[Array, Any]:
        """Returns the loss and the gradient of the parameters.

        Args:
          value: sum of the losses of all steps.
          gradient: sum of the gradients of all chunks.
          steps: time steps.
        """
        (of_hidden, of_readout), rate = gradient
        if rate is not None:
            eligible, spikes = rate
            count = steps * self.rows.membranes()[0].shape[0]
            goal = self.rule.target_rate * self.rows.units[0].layer.neuron.dt
            distance = spikes / count - goal
            value = value + 0.5 * self.rule.rate_penalty * jnp.sum(distance**2).astype(value.dtype)
            factor = self.rule.rate_penalty / count * distance
            of_hidden = jax.tree.map(
                lambda g, e: g + (_per_neuron(factor, e) * e).astype(g.dtype), of_hidden, eligible
            )
        params = self.rows.back((of_hidden, of_readout))
        if isinstance(self.rule.feedback, str) and self.rule.feedback == "adaptive":
            dtype = self.variables["params"]["feedback"].dtype
            params = {**params, "feedback": of_readout.kernel.astype(dtype)}
        return value, params


def _per_neuron(factor: Array, like: Array) -> Array:
    """Returns one factor for each neuron, along the last axis of an array of a layer."""
    repeats = like.shape[-1] // factor.shape[0] if like.ndim and like.shape[-1] > 1 else 0
    if not repeats:  # numbers that all neurons share have no gradient here
        return jnp.zeros(like.shape, factor.dtype)
    return jnp.tile(factor, repeats).reshape((1,) * (like.ndim - 1) + (-1,))


def eprop(
    model: nn.Module,
    variables: Any,
    batch: Any,
    loss: StepLoss,
    *,
    feedback: Any = "symmetric",
    rate_penalty: float = 0.0,
    target_rate: float = 10.0,
    mask: Any = None,
    seq_lengths: Any = None,
    chunk: int | None = None,
) -> tuple[Array, Any]:
    """Returns loss and e-prop gradient of a layer of neurons with a leaky readout.

    >>> import flax_snn as snn, jax, jax.numpy as jnp
    >>> model = snn.RNN(snn.Chain([snn.RecurrentLIFCell(16), snn.LeakyIntegratorReadout(3)]))
    >>> x, labels = jnp.ones((4, 50, 8)), jnp.array([0, 1, 2, 0])
    >>> variables = jax.jit(model.init)(jax.random.key(0), x)
    >>> learn = jax.jit(
    ...     lambda v: snn.learn.eprop(model, v, (x, labels), snn.learn.cross_entropy))
    >>> loss, gradients = learn(variables)
    >>> jax.tree.map(jnp.shape, gradients)["cell"]["cells_0"]
    {'kernel': (8, 16), 'recurrent_kernel': (16, 16)}

    Args:
      model: a runner over a chain of one layer of spiking neurons of any kind, recurrent or not,
        and a readout that does not spike, ``snn.LeakyIntegratorReadout``.
      variables: its variables.
      batch: inputs ``(B, T, F)`` and targets: arrays ``(B, T, ...)``, or ``(B,)`` for labels that
        are the same in all steps.
      loss: loss of a step, as `squared_error` and `cross_entropy`; the loss is the sum over steps
        and samples.
      feedback: weights B ``(N, C)`` that bring errors back to the neurons. ``symmetric`` (default):
        those of the readout; ``random``: fixed ones, ``variables["feedback"]["kernel"]``;
        ``adaptive``: those of ``variables["params"]["feedback"]``, which get the gradient of the
        readout, so that under weight decay both become alike; or an array. `with_feedback` draws
        them.
      rate_penalty: c of a term ``c/2 SUM_j (f_j - f)^2`` of the loss, where f_j is the mean of the
        spikes of neuron j over steps and samples.
      target_rate: f in Hz.
      mask: which steps count, bool ``(B, T)``: the learning window. The rate term has all steps.
      seq_lengths: steps of each sample that count, ``(B,)``, instead of a mask.
      chunk: steps that are taken together. It changes roundings, memory and time only.

    Returns:
      The loss, and a gradient like that of ``jax.grad`` with respect to ``variables["params"]``.

    Raises:
      TypeError: another model than a runner over cells; no batch of inputs and targets.
      ValueError: layers that e-prop does not fit (the error says which gradient would be missing),
        neurons that see each other within a step, losses that are not sums over steps.

    Reference: Bellec et al., *A solution to the learning dilemma for recurrent networks of spiking
    neurons*, 2020.
    """
    rule = EProp(feedback, rate_penalty, target_rate)
    inputs, targets = as_batch("eprop", model, batch)
    return run_sequence(
        rule,
        model,
        variables,
        inputs,
        targets,
        loss,
        mask=mask,
        seq_lengths=seq_lengths,
        chunk=chunk,
    )


def _check_layers(layers: Any, names: Any, recurrent: Any) -> None:
    """Checks that the layers are one of spiking neurons and a leaky readout."""
    spiking = [name for layer, name in zip(layers, names, strict=True) if layer.fires]
    if layers[-1].fires or len(layers) == 1:
        raise ValueError(
            "eprop: expected a readout that does not spike behind the neurons, whose error is the"
            f" learning signal, got {type(layers[-1].neuron).__name__} as the last layer; add"
            " snn.LeakyIntegratorReadout(...) to the chain, or use snn.learn.d_rtrl"
        )
    if recurrent[-1]:
        raise ValueError(
            "eprop: expected a readout without recurrent weights, whose filter is that of a single"
            f" output, got {names[-1]} with recurrent weights"
        )
    if len(layers) != 2 or not spiking:
        missing = ", ".join(names[:-2])
        raise ValueError(
            f"eprop: expected one layer of spiking neurons and a readout, got {len(layers)} layers:"
            f" a learning signal reaches the layer before the readout, {names[-2]}. The gradient of"
            f" {missing} would miss all paths through the state of {names[-2]}; use"
            " snn.learn.ottt or snn.learn.d_rtrl, which say what they leave out of such networks"
        )


def _check_filter(parts: Any, name: str) -> None:
    """Checks that the readout is a linear filter."""
    if not parts.constant:
        raise ValueError(
            f"eprop: expected a readout that is a linear filter, got {name}, whose step depends on"
            " its state; leave out v_min"
        )


def _check_readout(layer: Any, weights: LayerWeights, name: str) -> None:
    """Checks that the readout has weights and one filter for all outputs."""
    if layer.neuron.blocks > 1:
        raise ValueError(
            f"eprop: expected a readout with one synaptic time constant, got {name} with"
            f" {layer.neuron.blocks}: each of them needs traces of its own"
        )
    if weights.kernel is None:
        raise ValueError(f"eprop: expected a readout with weights, got {name} with features=None")
    if any(leaf.size > 1 for leaf in jax.tree.leaves(weights.coefficients)):
        raise ValueError(
            f"eprop: expected one time constant for all outputs of the readout, got {name} with one"
            " for each: every synapse would need a trace for each output; leave out learn, values"
            " and individual of the readout"
        )
