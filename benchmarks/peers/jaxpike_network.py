"""jaxpike: Dense, LIF, ..., LeakyIntegrator in ``Sequential``, run by ``unroll``, as it documents.

It takes Dense over all steps at once and scans the neurons, eight steps to a pass of the loop.
``"checkpointed": true`` takes ``unroll_checkpointed``, which keeps about sqrt(T) states. The update
is u <- decay u + (1 - decay) input; a spike is u > 1, and its threshold is subtracted in the same
step, with a gradient through the reset. The readout has the same update.
"""

from __future__ import annotations

import time
from typing import Any

import equinox as eqx  # type: ignore[import-not-found]
import jax
import jax.numpy as jnp
import jaxpike as jp  # type: ignore[import-not-found]
import numpy as np
from serve import Network, serve, weights_of  # type: ignore[import-not-found]


def build(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    kernels = [jnp.asarray(w) * settings.get("gain", 1.0) for w in weights_of(arrays)]
    tau, spike = -1 / float(np.log(settings["decay"])), jp.FastSigmoid(float(settings["slope"]))
    run = jp.unroll_checkpointed if settings.get("checkpointed") else jp.unroll
    layers: list[Any] = []
    for k, kernel in enumerate(kernels):
        dense = jp.Dense(*kernel.shape, key=jax.random.key(0), use_bias=False)
        last = k == len(kernels) - 1
        neuron = jp.LeakyIntegrator(tau) if last else jp.LIF(tau, surrogate=spike)
        layers += [eqx.tree_at(lambda d: d.weight, dense, kernel.T), neuron]
    x = jnp.swapaxes(jnp.asarray(arrays["x"], jnp.float32), 0, 1)  # time first
    labels = jnp.asarray(arrays["labels"])
    net = jp.Sequential(*layers)
    # Its time constants are learned too if they are not parted from the weights.
    nothing = jax.tree.map(lambda _: False, net)
    weights = [True] * len(kernels)
    learned = eqx.tree_at(lambda n: [d.weight for d in n.layers[::2]], nothing, weights)
    some, rest = eqx.partition(net, learned)

    def loss(some: Any, x: jax.Array) -> jax.Array:
        outputs, _ = run(eqx.combine(some, rest), x)
        log_p = jax.nn.log_softmax(outputs.mean(0))
        return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean()

    begin = time.perf_counter()
    step = jax.jit(jax.value_and_grad(loss)).lower(some, x).compile()
    seconds = time.perf_counter() - begin
    memory = step.memory_analysis()
    forward = jax.jit(loss).lower(some, x).compile()
    activity = []
    for k in range(1, len(layers) - 1, 2):
        outputs, _ = run(jp.Sequential(*layers[: k + 1]), x)
        activity.append(float(outputs.mean()))
    return Network(
        lambda: jax.block_until_ready(step(some, x)),
        lambda: jax.block_until_ready(forward(some, x)),
        float(step(some, x)[0]),
        activity,
        seconds,
        memory.temp_size_in_bytes if memory else None,
    )


if __name__ == "__main__":
    serve(build, "jaxpike", "jax", "equinox")
