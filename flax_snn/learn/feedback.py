"""Feedback weights: how the errors of the readout reach the neurons of e-prop."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from flax_snn import checks
from flax_snn.typing import Array, PRNGKey

FEEDBACKS = ("symmetric", "random", "adaptive")


def with_feedback(key: PRNGKey, variables: Any, *, adaptive: bool = False) -> Any:
    """Returns variables of a network with random feedback weights.

    They are drawn from N(0, 1), or from the distribution of the readout's weights if ``adaptive``,
    so that weights and feedback that are to become alike have one scale.

    Args:
      key: random key.
      variables: variables of a runner over a chain whose last cell is the readout.
      adaptive: put them among the parameters, ``variables["params"]["feedback"]``, where `eprop`
        with ``feedback="adaptive"`` learns them; else into the collection ``feedback``.

    Returns:
      The variables with a matrix ``(N, C)`` added.

    Raises:
      ValueError: no chain with a readout.
    """
    kernel = _readout_kernel(variables)
    drawn = jax.random.normal(key, kernel.shape, kernel.dtype)
    if not adaptive:
        return {**variables, "feedback": {"kernel": drawn}}
    drawn = drawn * jnp.std(kernel)
    return {**variables, "params": {**variables["params"], "feedback": drawn}}


def _readout_kernel(variables: Any) -> Array:
    cells = variables.get("params", {}).get("cell", {})
    last = max((name for name in cells if name.startswith("cells_")), default=None)
    if last is None or "kernel" not in cells[last]:
        raise ValueError(
            "with_feedback: expected variables of a runner over a chain with a readout, such as"
            " snn.RNN(snn.Chain([snn.RecurrentLIFCell(128), snn.LeakyIntegratorReadout(10)])), got"
            f" {checks.shown(sorted(variables.get('params', {})))}"
        )
    kernel: Array = nn.unbox(cells[last]["kernel"])
    return kernel


def feedback_matrix(feedback: Any, variables: Any, kernel: Array) -> Array:
    """Returns the feedback weights ``(N, C)``.

    Args:
      feedback: their kind, or the weights.
      variables: variables of the model.
      kernel: weights of the readout ``(N, C)``.

    Raises:
      ValueError: an unknown kind; weights that are missing or of another shape.
    """
    if isinstance(feedback, str):
        checks.choice("eprop: feedback", feedback, FEEDBACKS, remedy="or give weights (N, C)")
        if feedback == "symmetric":
            return kernel
        where = variables.get("params" if feedback == "adaptive" else "feedback", {})
        name = "feedback" if feedback == "adaptive" else "kernel"
        if name not in where:
            option = ", adaptive=True" if feedback == "adaptive" else ""
            raise ValueError(
                f"eprop: feedback={feedback!r} expects feedback weights in the variables, got none;"
                f" draw them: variables = snn.learn.with_feedback(key, variables{option})"
            )
        feedback = where[name]
    remedy = "one row for each neuron, one column for each output"
    checks.shape("eprop: feedback", feedback, kernel.shape, remedy=remedy)
    return jnp.asarray(feedback)
