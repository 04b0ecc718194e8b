"""OTTT, online training through time: deep feed-forward networks with one trace for each input.

    ahat_l[t] = decay ahat_l[t-1] + s_l[t]                     the spikes of this step included
    d_l[t]    = dloss_t/dI_l                                   through the layers of this step only
    G_{l+1}   = SUM_t ahat_l[t]^T d_{l+1}[t];      biases: SUM_t d_l[t]

The trace decays as the membrane it drives. OTTT leaves out what an error of a later step says of
earlier spikes of LOWER layers through the memory of the layers above, and every reset. Nothing is
missing in a network of one layer of neurons with soft resets and ``input_trace=True``.

Reference: Xiao et al., *Online training through time for spiking neural networks*, 2022.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from flax_snn.learn.cut import CutRun
from flax_snn.learn.network import as_batch
from flax_snn.learn.objective import StepLoss, loss_of_chunk
from flax_snn.learn.sequence import run_sequence
from flax_snn.typing import Array


@dataclasses.dataclass(frozen=True)
class OTTT:
    """OTTT as a rule of `Stream`; `ottt` says what the option means."""

    input_trace: bool = False
    name = "ottt"

    def prepare(self, model: nn.Module, variables: Any, x: jax.ShapeDtypeStruct) -> _Plan:
        """Returns the rule for a model and inputs ``(B, ...)`` of one step.

        Raises:
          TypeError: something else than a module; layers of other cells than neurons.
          ValueError: layers that OTTT does not fit.
        """
        if not isinstance(model, nn.Module) or isinstance(model, nn.RNNCellBase):
            raise TypeError(
                "ottt: model: expected a module over sequences (B, T, ...), such as"
                f" nn.Sequential([nn.Conv(...), snn.LIF(), ...]), got {type(model).__name__}"
            )
        dry = CutRun(None, {}, {})

        def run(variables: Any, x: Array) -> Any:
            with nn.intercept_methods(dry.intercept):
                y = model.apply(variables, x[:, None])
            return y, dry.after

        y, (states, traces) = jax.eval_shape(run, variables, x)
        if getattr(y, "shape", ())[:2] != (x.shape[0], 1) or y.ndim != 3:
            raise ValueError(
                "ottt: model: expected outputs (B, T, C) for inputs (B, T, ...), one for each step,"
                f" got shape {getattr(y, 'shape', None)} for inputs of one step,"
                f" {(x.shape[0], 1, *x.shape[1:])}; what reduces over time belongs into the loss"
            )
        if not states:
            raise ValueError(
                f"ottt: model: expected layers of neurons, got none in {type(model).__name__}; use"
                " jax.grad"
            )
        decays = _decays(dry.order, self.input_trace)
        kept = {path: trace for path, trace in traces.items() if decays[path] is not None}

        def first(x: Array) -> Any:
            again = CutRun(None, {}, {})
            with nn.intercept_methods(again.intercept):
                model.apply(variables, x[:, None])
            return again.after[0], {path: again.after[1][path] for path in kept}

        return _Plan(model, variables, decays, first(jnp.zeros(x.shape, x.dtype)))


def _decays(order: list[tuple[str, float | None]], input_trace: bool) -> dict[str, float | None]:
    """Returns the decay of the trace of each module with weights.

    It is that of the next layer of neurons, whose membrane the weights drive. A readout without
    memory behind the last layer has a trace as well, that of the layer in front of it.
    """
    found: dict[str, float | None] = {}
    seen: float | None = None
    for k, (path, decay) in enumerate(order):
        if decay is not None:
            seen = decay
            continue
        behind = next((d for _, d in order[k + 1 :] if d is not None), None)
        if seen is None and not input_trace:
            found[path] = None
        else:
            found[path] = seen if behind is None else behind
    return found


@dataclasses.dataclass
class _Plan:
    """OTTT for one model and one set of weights."""

    model: nn.Module
    variables: Any
    decays: dict[str, float | None]
    first: Any

    def start(self) -> Any:
        """Returns states and traces before the first step."""
        return self.first

    def answers(self, length: int) -> None:
        """Returns nothing: no trace is shared beyond the input that it belongs to."""
        del length

    def nothing(self) -> Any:
        """Returns a gradient of zeros."""
        return jax.tree.map(jnp.zeros_like, self.variables["params"])

    def chunk(
        self,
        carry: Any,
        answers: Any,
        inputs: Array,
        targets: Any,
        counted: Array | None,
        loss: StepLoss,
        *,
        last: bool,
    ) -> tuple[Any, Array, Any, Array]:
        """Runs over a chunk of steps, inputs ``(T, B, ...)``.

        Returns:
          The carry, the loss, the gradient of the parameters, and the outputs.
        """
        del answers, last
        x = jnp.moveaxis(inputs, 0, 1)

        def total(params: Any) -> Any:
            states, traces = carry
            run = CutRun(states, traces, self.decays)
            with nn.intercept_methods(run.intercept):
                y: Any = self.model.apply({**self.variables, "params": params}, x)
            y = jnp.moveaxis(y, 1, 0)
            return loss_of_chunk(loss, y, targets, counted), (run.after, y)

        gradient_of = jax.value_and_grad(total, has_aux=True)
        (value, (carry, outputs)), gradient = gradient_of(self.variables["params"])
        return carry, value, gradient, outputs

    def finish(self, value: Array, gradient: Any, steps: int) -> tuple[Array, Any]:
        """Returns the loss and the gradient of the parameters."""
        del steps
        return value, gradient


def ottt(
    model: nn.Module,
    variables: Any,
    batch: Any,
    loss: StepLoss,
    *,
    input_trace: bool = False,
    mask: Any = None,
    seq_lengths: Any = None,
    chunk: int | None = None,
) -> tuple[Array, Any]:
    """Returns loss and gradient of online training through time.

    This sums the gradients of all steps (OTTT_A); `Stream` gives them step by step, to update the
    weights in each (OTTT_O).

    >>> import flax.linen as nn, flax_snn as snn, jax, jax.numpy as jnp
    >>> lif = snn.LIFDynamics(tau_mem=5e-3, reset="soft")
    >>> model = nn.Sequential([nn.Dense(16), snn.LIF(lif), nn.Dense(3)])
    >>> x, labels = jnp.ones((4, 20, 8)), jnp.array([0, 1, 2, 0])
    >>> variables = jax.jit(model.init)(jax.random.key(0), x)
    >>> learn = jax.jit(
    ...     lambda v: snn.learn.ottt(model, v, (x, labels), snn.learn.cross_entropy))
    >>> loss, gradients = learn(variables)
    >>> jax.tree.map(jnp.shape, gradients)["layers_2"]
    {'bias': (3,), 'kernel': (16, 3)}

    Args:
      model: a module over sequences ``(B, T, ...)`` with outputs ``(B, T, C)``: layers of neurons
        (`snn.LIF`, runners over feed-forward cells), ``nn.Dense`` and ``nn.Conv`` between them, and
        functions without parameters that act on each step by itself.
      variables: its variables.
      batch: inputs ``(B, T, ...)`` and targets: arrays ``(B, T, ...)``, or ``(B,)`` for labels that
        are the same in all steps.
      loss: loss of a step, as `squared_error` and `cross_entropy`; the loss is the sum over steps
        and samples.
      input_trace: take the gradient of the first weights at the trace of the input, as the paper
        writes it, and not at the input itself, as its code and others do.
      mask: which steps count, bool ``(B, T)``.
      seq_lengths: steps of each sample that count, ``(B,)``, instead of a mask.
      chunk: steps that are taken together. It changes roundings, memory and time only.

    Returns:
      The loss, and a gradient like that of ``jax.grad`` with respect to ``variables["params"]``.

    Raises:
      TypeError: something else than a module; layers of other cells than neurons.
      ValueError: recurrent layers, neurons with more memory than a membrane, parameters in modules
        that are not linear in each step, losses that are not sums over steps.

    Reference: Xiao et al., *Online training through time for spiking neural networks*, 2022.
    """
    inputs, targets = as_batch("ottt", model, batch, feature_axes=None)
    options = {"mask": mask, "seq_lengths": seq_lengths, "chunk": chunk}
    return run_sequence(OTTT(input_trace), model, variables, inputs, targets, loss, **options)
