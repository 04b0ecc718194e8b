"""sparx's DelayedDense: forward and backward, the gradient of its parameters and of its input."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from serve import Network, serve, temporary_bytes  # type: ignore[import-not-found]
from sparx.nn.delays import DelayedDense  # type: ignore[import-not-found]


def build(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    layer = DelayedDense(settings["features"], max_delay=settings["max_delay"])
    x, weight = (jnp.asarray(arrays[name]) for name in ("x", "weight"))
    sigma = jnp.float32(settings["sigma"])
    params = layer.init(jax.random.key(0), x, sigma)["params"]

    def loss(params: Any, x: jax.Array) -> jax.Array:
        return jnp.sum(layer.apply({"params": params}, x, sigma) * weight)

    begin = time.perf_counter()
    step = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(params, x).compile()
    seconds = time.perf_counter() - begin
    forward = jax.jit(loss)
    return Network(
        lambda: jax.block_until_ready(step(params, x)),
        lambda: jax.block_until_ready(forward(params, x)),
        float(step(params, x)[0]),
        [],
        seconds,
        temporary_bytes(step),
    )


if __name__ == "__main__":
    serve(build, "sparxml", "jax", "flax")
