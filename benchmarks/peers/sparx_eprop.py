"""sparx's e-prop: its LIF cell with a soft reset, recurrent, and its leaky readout, time first."""

from __future__ import annotations

import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from serve import Network, serve, temporary_bytes  # type: ignore[import-not-found]
from sparx.dynamics import LIFCell  # type: ignore[import-not-found]
from sparx.learn.online import EPropParams, eprop, eprop_forward  # type: ignore[import-not-found]
from sparx.surrogate import FastSigmoid  # type: ignore[import-not-found]


def build(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    cell = LIFCell(
        settings["decay"],
        surrogate=FastSigmoid(settings["slope"]),
        detach_reset=True,
        reset=settings["reset"],
    )
    tau = -1.0 / math.log(settings["decay"])
    names = ("w0", "r0", "w1", "b1")
    params = EPropParams(*(jnp.asarray(arrays[name]) for name in names))
    x = jnp.swapaxes(jnp.asarray(arrays["x"], jnp.float32), 0, 1)
    labels = jnp.broadcast_to(jnp.asarray(arrays["labels"]), x.shape[:2])

    def loss(y: jax.Array, labels: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(y)
        return -jnp.take_along_axis(log_p, labels[:, None], axis=1).sum()

    def learn(params: Any, x: jax.Array, labels: jax.Array) -> Any:
        return eprop(cell, params, x, labels, loss, tau=tau)

    begin = time.perf_counter()
    step = jax.jit(learn).lower(params, x, labels).compile()
    seconds = time.perf_counter() - begin

    def forward() -> Any:
        return jax.block_until_ready(eprop_forward(cell, params, x, tau=tau))

    return Network(
        lambda: jax.block_until_ready(step(params, x, labels)),
        forward,
        float(step(params, x, labels)[0]),
        [],
        seconds,
        temporary_bytes(step),
    )


if __name__ == "__main__":
    serve(build, "sparxml", "jax", "flax")
