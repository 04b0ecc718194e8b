"""Whether a layer answers its inputs in the step in which they come.

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

import flax_snn as snn

NEURONS, DRAWS = 3, 4


def late_layer(network: Any) -> str | None:
    """Returns what answers a step late above the first layer, or None if nothing does.

    Args:
      network: a runner over cells; layers that are no cells of neurons are not looked at.

    Returns:
      The kind of its neuron, and its number among the layers, in words.
    """
    cell = getattr(network, "cell", None)
    cells = getattr(cell, "cells", (cell,))
    for k, layer in enumerate(cells[1:], start=2):
        neuron = getattr(layer, "dynamics", None)
        if neuron is not None and not answers_at_once(neuron):
            return f"{type(neuron).__name__} in layer {k} of {len(cells)}"
    return None


@functools.lru_cache(maxsize=256)
def answers_at_once(neuron: Any) -> bool:
    """Returns whether the output of a neuron has a derivative by the input of the same step.

    Args:
      neuron: the neuron, a `flax_snn.dynamics.Neuron`.
    """
    random = np.random.default_rng(0)
    surrogate = snn.surrogate.superspike()  # which is 0 nowhere, as others may be
    with jax.ensure_compile_time_eval():
        zeros = jnp.zeros((1, NEURONS), jnp.float32)
        coefficients = jax.tree.map(jnp.float32, neuron.coefficients(dtype=jnp.float32))
        start = neuron.initial_state(zeros)

        def drawn(like: Any) -> Any:
            if not jnp.issubdtype(like.dtype, jnp.floating):
                return like
            return jnp.asarray(random.normal(0.5, 1.0, like.shape), like.dtype)

        for _ in range(DRAWS):
            state = jax.tree.map(drawn, start)
            blocks = tuple(drawn(zeros) for _ in range(neuron.blocks))

            def output(blocks: Any, state: Any = state) -> Any:
                current = blocks if len(blocks) > 1 else blocks[0]
                noise = zeros if neuron.noisy else None
                return neuron.step(coefficients, state, current, surrogate, noise=noise)[1]

            y, back = jax.vjp(output, blocks)
            if any(np.any(np.asarray(x) != 0.0) for x in back(jnp.ones_like(y))[0]):
                return True
    return False
