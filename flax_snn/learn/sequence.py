"""A rule over a whole sequence: chunk after chunk, in memory that does not grow with its length."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn import checks
from flax_snn.learn.objective import (
    StepLoss,
    check_loss,
    check_targets,
    targets_of,
    window,
)
from flax_snn.typing import Array

SHORTEST, LONGEST = 32, 64
"""Bounds of the steps of a chunk: its products want rows, its arrays should stay in cache."""

WHOLE = 128
"""Sequences of up to so many steps are one chunk: without a border they need no traces, which take
more memory and time than a longer chunk does."""


def run_sequence(
    rule: Any,
    model: Any,
    variables: Any,
    inputs: Array,
    targets: Any,
    loss: StepLoss,
    *,
    mask: Any,
    seq_lengths: Any,
    chunk: int | None,
) -> tuple[Array, Any]:
    """Returns the loss of a batch of sequences and the gradient of a rule.

    Args:
      rule: the rule.
      model: the model.
      variables: its variables.
      inputs: ``(B, T, ...)``.
      targets: as `check_targets` takes them.
      loss: loss of a step.
      mask: which steps count, or None.
      seq_lengths: how many steps of each sample count, or None.
      chunk: steps that are taken together, None to choose them.
    """
    name = rule.name
    check_loss(name, loss)
    check_variables(name, variables)
    batch, steps = inputs.shape[:2]
    targets = check_targets(name, targets, batch, steps)
    counted = window(name, batch, steps, mask=mask, seq_lengths=seq_lengths)
    length = length_of_chunks(steps, chunk)
    x = jax.ShapeDtypeStruct((batch, *inputs.shape[2:]), inputs.dtype)
    plan = rule.prepare(model, variables, x)
    answers = plan.answers(length)

    def at(carry: Any, start: Any, size: int, last: bool) -> Any:
        part = lax.dynamic_slice_in_dim(inputs, start, size, 1)
        seen = None if counted is None else lax.dynamic_slice_in_dim(counted, start, size, 1)
        goal = targets_of(targets, start, size)
        time_first = jnp.moveaxis(part, 1, 0)
        return plan.chunk(carry, answers, time_first, goal, seen, loss, last=last)

    def one(k: Any, loop: Any) -> Any:
        carry, total, value = loop
        carry, more, gradient, _ = at(carry, k * length, length, False)
        return carry, jax.tree.map(jnp.add, total, gradient), value + more

    before = (steps - 1) // length  # chunks that another one follows
    carry, rest = plan.start(), steps - before * length
    if not before:
        _, value, gradient, _ = at(carry, 0, rest, True)
        return plan.finish(value, gradient, steps)
    shapes = jax.eval_shape(lambda: at(carry, 0, length, False)[1])
    loop = (carry, plan.nothing(), jnp.zeros(shapes.shape, shapes.dtype))
    carry, total, value = lax.fori_loop(0, before, one, loop)
    _, more, gradient, _ = at(carry, before * length, rest, True)
    return plan.finish(value + more, jax.tree.map(jnp.add, total, gradient), steps)


def length_of_chunks(steps: int, chunk: int | None) -> int:
    """Returns the steps of a chunk: a divisor of the steps of the sequence, if there is one.

    Raises:
      TypeError: a length that is not a number.
      ValueError: a length that is not a whole number above 0.
    """
    if chunk is not None:
        checks.whole_number("chunk", chunk, remedy="give the time steps of a chunk")
        return min(chunk, steps)
    if steps <= WHOLE:
        return steps
    whole = [n for n in range(LONGEST, SHORTEST - 1, -1) if steps % n == 0]
    return whole[0] if whole else LONGEST


def check_variables(name: str, variables: Any) -> None:
    """Checks that variables hold parameters.

    Raises:
      ValueError: they do not.
    """
    if not hasattr(variables, "get") or variables.get("params") is None:
        came = checks.shown(sorted(variables)) if hasattr(variables, "get") else type(variables)
        remedy = "give what model.init(key, inputs) returns"
        what = "variables with the collection 'params'"
        raise ValueError(checks.error_text(f"{name}: variables", what, came, remedy))
