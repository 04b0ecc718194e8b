"""Slax: Dense and ``sl.RNN(sl.LIF())`` in ``sl.connect``, as it documents; all scans unrolled.

Dense runs over all steps at once; ``sl.RNN`` unrolls its scan fully by default, which it says is
fastest to run and slowest to compile (``"unroll"`` sets fewer steps). The update is
u <- decay u + input, of gain 1; a spike is u >= 1, and the threshold is subtracted in the same
step, with a gradient through the reset. Its ``LeakyIntegrator`` never stores its state, so the
readout is a LIF that emits u: the identity for a spike and threshold 0, so nothing is subtracted.
"""

from __future__ import annotations

import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import slax as sl  # type: ignore[import-not-found]
from serve import Network, serve, weights_of  # type: ignore[import-not-found]


def build(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    kernels = [jnp.asarray(w) * settings.get("gain", 1.0) for w in weights_of(arrays)]
    logit = float(np.log(settings["decay"] / (1 - settings["decay"])))  # it takes the sigmoid
    unroll = {"unroll": settings["unroll"]} if "unroll" in settings else {}
    spike = {"spike_fn": sl.fast_sigmoid(settings["slope"])}
    identity = {"spike_fn": lambda u: u, "v_threshold": 0.0}
    layers: list[Any] = []
    for k, kernel in enumerate(kernels):
        # Each layer needs one of its own: layers that share one share its state.
        neuron = sl.LIF(init_tau=logit, **(identity if k == len(kernels) - 1 else spike))
        layers += [nn.Dense(kernel.shape[1], use_bias=False), sl.RNN(neuron, **unroll)]
    x = jnp.swapaxes(jnp.asarray(arrays["x"], jnp.float32), 0, 1)  # time first
    labels = jnp.asarray(arrays["labels"])
    params = {f"chain_{2 * k}": {"kernel": kernel} for k, kernel in enumerate(kernels)}

    def outputs(params: Any, x: jax.Array, count: int) -> jax.Array:
        net = sl.connect(layers[:count], return_carry=False)
        state = net.init(jax.random.key(0), jnp.zeros_like(x))["carry"]
        return net.apply({"params": params, "carry": state}, x)

    def loss(params: Any, x: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(outputs(params, x, len(layers)).mean(0))
        return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean()

    begin = time.perf_counter()
    step = jax.jit(jax.value_and_grad(loss)).lower(params, x).compile()
    seconds = time.perf_counter() - begin
    memory = step.memory_analysis()
    forward = jax.jit(loss).lower(params, x).compile()
    activity = [float(outputs(params, x, k + 1).mean()) for k in range(1, len(layers) - 1, 2)]
    return Network(
        lambda: jax.block_until_ready(step(params, x)),
        lambda: jax.block_until_ready(forward(params, x)),
        float(step(params, x)[0]),
        activity,
        seconds,
        memory.temp_size_in_bytes if memory else None,
    )


if __name__ == "__main__":
    serve(build, "slax", "jax", "flax")
