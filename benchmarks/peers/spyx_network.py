"""Spyx: Linear, LIF, ..., LI in ``spyx.nn.Sequential``, run by ``spyx.nn.run``, as it documents.

Its decays are parameters that a documented training step learns with the weights:
``"learn_decays": false`` asks for the gradients of the weights alone.
"""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import spyx.axn as axn  # type: ignore[import-not-found]
import spyx.nn as spyx  # type: ignore[import-not-found]
from flax import nnx
from serve import Network, serve, temporary_bytes, weights_of  # type: ignore[import-not-found]


def build(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    kernels = [w * settings["gain"] for w in weights_of(arrays)]
    beta, spike = settings["decay"], axn.superspike(settings["slope"])
    layers: list[Any] = []
    rngs = nnx.Rngs(0)
    for k, kernel in enumerate(kernels):
        linear = nnx.Linear(*kernel.shape, use_bias=False, rngs=rngs)
        linear.kernel = nnx.Param(jnp.asarray(kernel))
        width = (kernel.shape[1],)
        last = k == len(kernels) - 1
        neuron = (
            spyx.LI(width, beta=beta, rngs=rngs)
            if last
            else spyx.LIF(width, beta=beta, activation=spike, rngs=rngs)
        )
        layers += [linear, neuron]
    x = jnp.swapaxes(jnp.asarray(arrays["x"], jnp.float32), 0, 1)  # time first
    labels = jnp.asarray(arrays["labels"])
    graph, state = nnx.split(spyx.Sequential(*layers))
    leaves, structure = jax.tree.flatten(state)
    learned = [k for k, a in enumerate(leaves) if a.ndim == 2 or settings["learn_decays"]]

    def loss(some: list[jax.Array], x: jax.Array) -> jax.Array:
        merged = list(leaves)
        for k, leaf in zip(learned, some, strict=True):
            merged[k] = leaf
        model = nnx.merge(graph, jax.tree.unflatten(structure, merged))
        outputs, _ = spyx.run(model, x)
        log_p = jax.nn.log_softmax(outputs.mean(0))
        return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean()

    some = [leaves[k] for k in learned]
    begin = time.perf_counter()
    step = jax.jit(jax.value_and_grad(loss)).lower(some, x).compile()
    seconds = time.perf_counter() - begin
    forward = jax.jit(loss).lower(some, x).compile()
    activity = []
    for k in range(1, len(layers) - 1, 2):
        outputs, _ = spyx.run(spyx.Sequential(*layers[: k + 1]), x)
        activity.append(float(outputs.mean()))
    return Network(
        lambda: jax.block_until_ready(step(some, x)),
        lambda: jax.block_until_ready(forward(some, x)),
        float(step(some, x)[0]),
        activity,
        seconds,
        temporary_bytes(step),
    )


if __name__ == "__main__":
    serve(build, "spyx", "jax", "flax")
