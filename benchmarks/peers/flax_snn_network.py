"""flax_snn itself, and what it is measured against, in a process like those of its peers.

Settings beside those of a peer: "runner" (``auto``, ``scan``: `snn.RNN`; ``nn.RNN``: the stock
runner; ``floor``: the products alone, see below), "neuron" (``default``, ``cuba``, ``alif``,
``adlif``, or a peer, whose own neuron is then taken from `snn.conventions`), "readout" (whether the
last layer is a leaky integrator). Kernels ``r0, r1, ...`` in the file make layers recurrent.

The floor is one product (T B, in) x (in, out) per kernel forward, and two backward, whose results
are used. ``"strict": true`` leaves out the one backward product that no training step needs: that
for the gradient of the inputs.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from serve import Network, serve, temporary_bytes, weights_of  # type: ignore[import-not-found]

import flax_snn as snn
from flax_snn import conventions


def neurons(settings: dict[str, Any]) -> tuple[snn.dynamics.Neuron, snn.LIDynamics]:
    """Return the neuron and the readout, whose membranes keep ``decay`` in a step."""
    decay, slope = settings["decay"], snn.surrogate.superspike(settings["slope"])
    tau = -1e-3 / float(np.log(decay))
    if settings["neuron"] == "spyx":
        return conventions.spyx_lif(decay, surrogate=slope), conventions.spyx_li(decay)
    if settings["neuron"] == "snntorch":
        leaky = conventions.snntorch_leaky(decay, surrogate=slope, reset_mechanism="subtract")
        return leaky, conventions.spyx_li(decay)
    if settings["neuron"] == "alif":
        return snn.ALIFDynamics(tau_mem=tau), snn.LIDynamics(tau_mem=tau)
    if settings["neuron"] == "adlif":
        return snn.AdLIFDynamics(tau_mem=tau), snn.LIDynamics(tau_mem=tau)
    synapse = 5e-3 if settings["neuron"] == "cuba" else None
    lif = snn.LIFDynamics(tau_mem=tau, tau_syn=synapse, surrogate=slope)
    return lif, snn.LIDynamics(tau_mem=tau)


def build(settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    kernels = [jnp.asarray(w) * settings.get("gain", 1.0) for w in weights_of(arrays)]
    loops = [jnp.asarray(arrays[n]) for n in sorted(n for n in arrays if n.startswith("r"))]
    x, labels = jnp.asarray(arrays["x"]), jnp.asarray(arrays["labels"])
    if settings["runner"] == "floor":
        return floor(x, kernels, loops, strict=settings.get("strict", False))
    lif, integrator = neurons(settings)
    cells: list[nn.RNNCellBase] = []
    params: dict[str, Any] = {}
    for k, kernel in enumerate(kernels):
        own = {"kernel": kernel}
        if k == len(kernels) - 1:
            cells.append(snn.LeakyIntegratorReadout(kernel.shape[1], dynamics=integrator))
        elif k < len(loops):
            cells.append(snn.RecurrentNeuronCell(kernel.shape[1], dynamics=lif))
            own["recurrent_kernel"] = loops[k]
        else:
            cells.append(snn.NeuronCell(kernel.shape[1], dynamics=lif))
        params[f"cells_{k}"] = own
    chain = snn.Chain(cells)
    make: dict[str, Any] = {
        "nn.RNN": functools.partial(nn.RNN, variable_axes={"intermediates": 1}),
        "scan": functools.partial(snn.RNN, implementation="scan"),
        "auto": snn.RNN,
    }
    net = make[settings["runner"]](chain)
    variables = {"params": {"cell": params}}

    def loss(variables: Any, x: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(net.apply(variables, x).mean(1))
        return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean()

    begin = time.perf_counter()
    step = jax.jit(jax.value_and_grad(loss)).lower(variables, x).compile()
    seconds = time.perf_counter() - begin
    forward = jax.jit(loss).lower(variables, x).compile()
    few = x[: max(1, 2**20 // x[0].size)]
    _, traces = jax.jit(functools.partial(net.apply, mutable=["intermediates"]))(variables, few)
    seen = traces["intermediates"]["cell"]
    activity = [float(seen[f"cells_{k}"]["spikes"][0].mean()) for k in range(len(kernels) - 1)]
    return Network(
        lambda: jax.block_until_ready(step(variables, x)),
        lambda: jax.block_until_ready(forward(variables, x)),
        float(step(variables, x)[0]),
        activity,
        seconds,
        temporary_bytes(step),
    )


def floor(
    x: jax.Array, kernels: list[jax.Array], loops: list[jax.Array], *, strict: bool
) -> Network:
    """Return the products of a training step and nothing else."""
    rows = x.shape[0] * x.shape[1]
    weights = [*kernels, *loops]
    flat = x.reshape((rows, -1)).astype(jnp.float32)
    inputs = [
        flat,
        *(jax.random.normal(jax.random.key(0), (rows, w.shape[0])) for w in weights[1:]),
    ]
    grads = [jax.random.normal(jax.random.key(1), (rows, w.shape[1])) for w in weights]

    def forward(inputs: Any, weights: Any) -> Any:
        return [a @ w for a, w in zip(inputs, weights, strict=True)]

    def step(inputs: Any, weights: Any, grads: Any) -> Any:
        pairs = list(zip(grads, weights, strict=True))[1 if strict else 0 :]
        backward = [g @ w.T for g, w in pairs]
        return (
            forward(inputs, weights),
            backward,
            [a.T @ g for a, g in zip(inputs, grads, strict=True)],
        )

    begin = time.perf_counter()
    both = jax.jit(step).lower(inputs, weights, grads).compile()
    seconds = time.perf_counter() - begin
    one = jax.jit(forward).lower(inputs, weights).compile()
    return Network(
        lambda: jax.block_until_ready(both(inputs, weights, grads)),
        lambda: jax.block_until_ready(one(inputs, weights)),
        float("nan"),
        [],
        seconds,
        temporary_bytes(both),
    )


if __name__ == "__main__":
    serve(build, "jax", "jaxlib", "flax")
