"""Learning that goes on forever: a carry and a step."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from flax_snn import checks
from flax_snn.learn.d_rtrl import DRTRL
from flax_snn.learn.eprop import EProp
from flax_snn.learn.objective import StepLoss, check_loss, check_targets, targets_of, window
from flax_snn.learn.ottt import OTTT
from flax_snn.learn.sequence import check_variables
from flax_snn.typing import Array

ONLINE = {"eprop": EProp, "ottt": OTTT, "d_rtrl": DRTRL}
"""Rules that learn while the sequence runs, by name."""


class Learned(NamedTuple):
    """What one step, or one chunk, of a stream gave.

    Attributes:
      carry: states and traces, for the next step.
      loss: loss of the step, summed over samples.
      gradients: what the step adds to the gradient of all steps since the start, like
        ``variables["params"]``; an optimizer may apply it at once.
      outputs: outputs of the network ``(B, C)``; ``(B, T, C)`` of a chunk.
    """

    carry: Any
    loss: Array
    gradients: Any
    outputs: Array


@dataclasses.dataclass(frozen=True)
class Stream:
    """A network that learns from a stream, step by step, with no end.

    The carry holds the states of the neurons and the traces of the weights. It has one size,
    however long the stream is, and is a pytree of arrays: it can be saved, and passed through
    ``jax.jit`` and ``lax.scan``. With weights that do not change, the gradients of all steps add up
    to that of the rule over the whole sequence.

    >>> import flax_snn as snn, jax, jax.numpy as jnp
    >>> model = snn.RNN(snn.Chain([snn.RecurrentLIFCell(16), snn.LeakyIntegratorReadout(1)]))
    >>> stream = snn.learn.Stream(model, snn.learn.squared_error, rule="eprop")
    >>> x, target = jnp.ones((2, 8)), jnp.zeros((2, 1))  # one step of two samples
    >>> variables = jax.jit(model.init)(jax.random.key(0), x[:, None])
    >>> carry = stream.start(variables, x)
    >>> step = jax.jit(stream.step)
    >>> for _ in range(3):
    ...     carry, loss, gradients, y = step(variables, carry, (x, target))
    ...     params = jax.tree.map(lambda w, g: w - 1e-3 * g, variables["params"], gradients)
    ...     variables = {"params": params}
    >>> y.shape
    (2, 1)

    Attributes:
      model: the model, as the rule takes it.
      loss: loss of a step, as `squared_error` and `cross_entropy`.
      rule: ``eprop`` (default), ``ottt``, ``d_rtrl``, or one with options: ``EProp(feedback=...)``.

    Raises:
      TypeError: something that is no rule.
      ValueError: an unknown rule; ``bptt``, which does not learn online; a rate term, which is one
        of whole sequences; a loss of whole sequences.
    """

    model: nn.Module
    loss: StepLoss
    rule: Any = "eprop"

    def __post_init__(self) -> None:
        """Checks the rule and the loss, and makes a rule of its name."""
        rule = self.rule
        if isinstance(rule, str):
            remedy = ""
            if rule == "bptt":
                remedy = "backpropagation through time needs the whole sequence"
            checks.choice("Stream: rule", rule, [*ONLINE], remedy=remedy)
            object.__setattr__(self, "rule", ONLINE[rule]())
        elif not isinstance(rule, tuple(ONLINE.values())):
            what = f"a rule, one of {', '.join(ONLINE)}"
            raise TypeError(checks.error_text("Stream: rule", what, checks.shown(rule)))
        if getattr(self.rule, "rate_penalty", 0.0):
            raise ValueError(
                "Stream: expected a rule without rate term, which compares the rates of a whole"
                f" sequence with a target, got rate_penalty={self.rule.rate_penalty}; add a penalty"
                " of your own to the loss of a step, or use snn.learn.eprop on sequences"
            )
        check_loss("Stream", self.loss)

    def start(self, variables: Any, inputs: Any) -> Any:
        """Returns the carry before the first step: states at rest, no traces.

        Args:
          variables: variables of the model.
          inputs: inputs of one step ``(B, ...)``, for their shape.
        """
        return self._plan(variables, jnp.asarray(inputs)).start()

    def step(self, variables: Any, carry: Any, batch: Any) -> Learned:
        """Advances by one step.

        Args:
          variables: variables of the model, such as the last update left them.
          carry: what `start` or the last step returned.
          batch: inputs ``(B, ...)`` and targets ``(B, ...)`` of the step.

        Raises:
          ValueError: a carry of another batch or model.
        """
        inputs, targets = batch
        inputs = jnp.asarray(inputs)

        def with_time(leaf: Any) -> Array:
            array = jnp.asarray(leaf)
            return array if array.ndim == 1 else array[:, None]

        goal = check_targets("Stream", jax.tree.map(with_time, targets), inputs.shape[0], 1)
        learned = self._advance(variables, carry, inputs[None], targets_of(goal, 0, 1), None)
        return learned._replace(outputs=learned.outputs[0])

    def chunk(self, variables: Any, carry: Any, batch: Any, *, mask: Any = None) -> Learned:
        """Advances by a chunk of steps, with one gradient for all of them.

        Args:
          variables: variables of the model.
          carry: what `start` or the last step returned.
          batch: inputs ``(B, T, ...)`` and targets ``(B, T, ...)``, or ``(B,)``.
          mask: which steps count, bool ``(B, T)``.

        Raises:
          ValueError: a carry of another batch or model.
        """
        inputs, targets = batch
        inputs = jnp.asarray(inputs)
        samples, steps = inputs.shape[:2]
        goal = targets_of(check_targets("Stream", targets, samples, steps), 0, steps)
        counted = window("Stream", samples, steps, mask=mask)
        learned = self._advance(variables, carry, jnp.moveaxis(inputs, 1, 0), goal, counted)
        return learned._replace(outputs=jnp.moveaxis(learned.outputs, 0, 1))

    def _plan(self, variables: Any, inputs: Array) -> Any:
        check_variables("Stream", variables)
        x = jax.ShapeDtypeStruct(inputs.shape, inputs.dtype)
        return self.rule.prepare(self.model, variables, x)

    def _advance(
        self, variables: Any, carry: Any, inputs: Array, targets: Any, counted: Any
    ) -> Learned:
        plan = self._plan(variables, inputs[0])
        expected, found = _shapes(jax.eval_shape(plan.start)), _shapes(carry)
        if expected != found:
            wrong = next((a, b) for a, b in zip(expected + [None], found + [None]) if a != b)  # noqa: B905
            raise ValueError(
                f"Stream: expected the carry of this model and batch, with {wrong[0]}, got"
                f" {wrong[1]}; make it with start(variables, inputs) for inputs of this batch"
            )
        steps = inputs.shape[0]
        carry, value, gradient, outputs = plan.chunk(
            carry, plan.answers(steps), inputs, targets, counted, self.loss, last=False
        )
        value, params = plan.finish(value, gradient, steps)
        return Learned(carry, value, params, outputs)


def _shapes(carry: Any) -> list[Any]:
    leaves = jax.tree_util.tree_leaves_with_path(carry)
    return [f"{jax.tree_util.keystr(p)} {jnp.shape(leaf)} {leaf.dtype}" for p, leaf in leaves]
