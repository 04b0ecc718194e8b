"""sparx: Dense, LIF, ..., Dense, LI in ``flax.linen.Sequential``, time first, as it documents.

Kernels ``r0, r1, ...`` in the file make layers recurrent: ``Recurrent(LIF())``, or with the setting
"synapse" ``Recurrent(Synaptic())``, a LIF neuron with synaptic currents.
"""

from __future__ import annotations

import math
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from serve import Network, serve, temporary_bytes, weights_of  # type: ignore[import-not-found]
from sparx import nn as sparx  # type: ignore[import-not-found]
from sparx.surrogate import FastSigmoid  # type: ignore[import-not-found]


def build(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    kernels = [jnp.asarray(w) * settings["gain"] for w in weights_of(arrays)]
    loops = [jnp.asarray(arrays[n]) for n in sorted(n for n in arrays if n.startswith("r"))]
    tau = -1.0 / math.log(settings["decay"])
    shared = {"surrogate": FastSigmoid(settings["slope"]), "detach_reset": True, "reset": "zero"}
    layers: list[Any] = []
    params: dict[str, Any] = {}
    for k, kernel in enumerate(kernels):
        params[f"layers_{len(layers)}"] = {"kernel": kernel}
        layers.append(nn.Dense(kernel.shape[1], use_bias=False))
        if k == len(kernels) - 1:
            neuron = sparx.LI(tau)
        elif settings.get("synapse"):
            neuron = sparx.Synaptic(tau=tau, tau_synapse=5.0, **shared)
        else:
            neuron = sparx.LIF(tau, **shared)
        if k < len(loops):
            params[f"layers_{len(layers)}"] = {"recurrent": loops[k]}
            neuron = sparx.Recurrent(neuron)
        layers.append(neuron)
    model = nn.Sequential(layers)
    x = jnp.swapaxes(jnp.asarray(arrays["x"], jnp.float32), 0, 1)  # time first
    labels = jnp.asarray(arrays["labels"])
    variables = {"params": params}

    def loss(variables: Any, x: jax.Array) -> jax.Array:
        outputs: Any = model.apply(variables, x)
        log_p = jax.nn.log_softmax(outputs.mean(0))
        return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean()

    begin = time.perf_counter()
    step = jax.jit(jax.value_and_grad(loss)).lower(variables, x).compile()
    seconds = time.perf_counter() - begin
    forward = jax.jit(loss).lower(variables, x).compile()
    few = x[:, : max(1, 2**20 // x[:, 0].size)]
    activity = []
    for k in range(2, len(layers) - 1, 2):
        spikes: Any = nn.Sequential(layers[:k]).apply(variables, few)
        activity.append(float(spikes.mean()))
    return Network(
        lambda: jax.block_until_ready(step(variables, x)),
        lambda: jax.block_until_ready(forward(variables, x)),
        float(step(variables, x)[0]),
        activity,
        seconds,
        temporary_bytes(step),
    )


if __name__ == "__main__":
    serve(build, "sparxml", "jax", "flax")
