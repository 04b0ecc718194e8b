"""Whether the neurons of a layer are separate within a step, as online rules need them to be.

A trace says what a weight did to ITS neuron. Where the step of a neuron reads the state of another
one other than through the recurrent weights, say by a mean over the layer, a weight also moves
neurons that hold no trace of it.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.dynamics import Neuron, aligned
from flax_snn.surrogate import Surrogate
from flax_snn.time_loop.layer import Layer, in_blocks
from flax_snn.time_loop.states import floating, others, rejoined

NEURONS, SAMPLES, DRAWS = 3, 2, 4


def check_separate(name: str, layers: tuple[Layer, ...]) -> None:
    """Checks that no neuron of a layer reads the state or the input of another one.

    Args:
      name: name of the rule, for errors.
      layers: the layers.

    Raises:
      ValueError: neurons that see each other.
    """
    for layer in layers:
        if not _separate(layer.neuron, layer.surrogate):
            kind = type(layer.neuron).__name__
            raise ValueError(
                f"{name}: expected neurons that see each other through recurrent weights only, got"
                f" {kind}, whose step reads other neurons or samples of the layer: a weight would"
                " move neurons that keep no trace of it; express the coupling by recurrent"
                " weights, or use jax.grad"
            )


@functools.lru_cache(maxsize=256)
def _separate(neuron: Neuron, surrogate: Surrogate | None) -> bool:
    """Returns whether changes of one neuron leave all others as they are, bit for bit."""
    random = np.random.default_rng(0)
    with jax.ensure_compile_time_eval():
        dtype = jnp.float32
        zeros = jnp.zeros((SAMPLES, NEURONS), dtype)
        coefficients = aligned(neuron.coefficients(dtype=dtype), 2, dtype)
        start = neuron.initial_state(zeros, recurrent=True)

        def step(part: Any, current: Any, feedback: Any) -> list[np.ndarray]:
            def recurrent(_: Any) -> Any:
                return in_blocks(feedback, neuron.recurrent_blocks)

            after = neuron.step(
                coefficients,
                rejoined(part, others(start)),
                in_blocks(current, neuron.blocks),
                surrogate,
                recurrent=recurrent,
                noise=zeros if neuron.noisy else None,
            )
            return [np.asarray(leaf) for leaf in jax.tree.leaves(after)]

        def drawn(like: Any) -> Any:
            return jnp.asarray(random.normal(0.5, 1.0, like.shape), like.dtype)

        def with_other(array: Any) -> Any:
            return array.at[0, 0::NEURONS].add(0.7)

        current = jnp.zeros((SAMPLES, NEURONS * neuron.blocks), dtype)
        feedback = jnp.zeros((SAMPLES, NEURONS * neuron.recurrent_blocks), dtype)
        for _ in range(DRAWS):
            given = jax.tree.map(drawn, (floating(start), current, feedback))
            moved = jax.tree.map(with_other, given)
            for a, b in zip(step(*given), step(*moved), strict=True):
                same = np.equal(a, b) | (np.isnan(a) & np.isnan(b))
                if not (same[0, 1:].all() and same[1:].all()):
                    return False
    return True
