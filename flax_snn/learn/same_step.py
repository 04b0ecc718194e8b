"""Whether layers answer their inputs in the step in which they come.

A rule that follows errors of the same step alone reaches no layer below one that answers a step
later, as neurons behind a synapse do: what they remember of the step is their current, and the
membrane sees it in the next one. The gradient of the layers below is then 0, whatever they do.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.dynamics import Neuron, aligned
from flax_snn.surrogate import superspike
from flax_snn.time_loop.layer import Layer, in_blocks

NEURONS, DRAWS = 3, 4


def check_same_step(name: str, layers: tuple[Layer, ...]) -> None:
    """Checks that all layers but the lowest one answer an input in its own step.

    Args:
      name: name of the rule, for errors.
      layers: the layers, the lowest one first.

    Raises:
      ValueError: a layer above another one that answers a step later.
    """
    for k, layer in enumerate(layers[1:], start=2):
        if not answers_at_once(layer.neuron):
            raise ValueError(
                f"{name}: expected layers that answer an input in its own step, whose errors this"
                f" rule follows, got {type(layer.neuron).__name__} in layer {k} of {len(layers)},"
                " which answers in the next one: the gradient of the layers below would be 0; use"
                " neurons without a synapse there (tau_syn=None), or eprop, for one layer under a"
                " leaky readout, or jax.grad"
            )


@functools.lru_cache(maxsize=256)
def answers_at_once(neuron: Neuron) -> bool:
    """Returns whether the output of a neuron has a derivative by the input of the same step."""
    random = np.random.default_rng(0)
    surrogate = superspike()  # which is 0 nowhere, as others may be
    with jax.ensure_compile_time_eval():
        dtype = jnp.float32
        zeros = jnp.zeros((1, NEURONS), dtype)
        coefficients = aligned(neuron.coefficients(dtype=dtype), 2, dtype)
        start = neuron.initial_state(zeros)

        def drawn(like: Any) -> Any:
            if not jnp.issubdtype(like.dtype, jnp.floating):
                return like
            return jnp.asarray(random.normal(0.5, 1.0, like.shape), like.dtype)

        @jax.jit
        def derivative(state: Any, current: Any) -> Any:
            def output(current: Any) -> Any:
                currents = in_blocks(current, neuron.blocks)
                noise = zeros if neuron.noisy else None
                return neuron.step(coefficients, state, currents, surrogate, noise=noise)[1].sum()

            return jax.grad(output)(current)

        current = jnp.zeros((1, NEURONS * neuron.blocks), dtype)
        return any(
            np.any(np.asarray(derivative(jax.tree.map(drawn, start), drawn(current))))
            for _ in range(DRAWS)
        )
