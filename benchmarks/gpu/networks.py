"""The networks that are measured, and their loss."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import flax_snn as snn


def layer_alone(loop: str, steps: int, size: int) -> tuple[snn.RNN, Any, jax.Array]:
    """Returns LIF neurons whose input is their current, with variables and inputs ``(T, 1, M)``."""
    net = snn.RNN(snn.LIFCell(dynamics=LIF), implementation=loop, time_major=True)
    x = jax.random.uniform(jax.random.key(0), (steps, 1, size), maxval=4.0)
    return net, net.init(jax.random.key(1), x), x


def network(
    loop: str, widths: tuple[str, ...], steps: int, batch: int
) -> tuple[Any, Any, jax.Array]:
    """Returns a chain of LIF layers and a readout, with variables and spikes ``(T, B, F)``."""
    cells: list[Any] = []
    for width in widths[1:-1]:
        kind = snn.RecurrentLIFCell if width.endswith("r") else snn.LIFCell
        cells.append(kind(int(width.rstrip("r")), dynamics=LIF))
    chain = snn.Chain([*cells, snn.LeakyIntegratorReadout(int(widths[-1]))])
    net = snn.RNN(chain, implementation=loop, time_major=True)
    shape = (steps, batch, int(widths[0]))
    x = jax.random.bernoulli(jax.random.key(0), 0.2, shape).astype(jnp.float32)
    variables = snn.RNN(chain, implementation="scan", time_major=True).init(
        jax.random.key(1), x[:1, :1]
    )
    return net, variables, x


def settled(cell: Any) -> tuple[Any, jax.Array]:
    """Returns variables and an input ``(B, T, F)`` on which no spike is near its decision.

    Devices round differently, and one spike that this flips changes those after it and all
    gradients. The input is the first one whose spikes stay what they are when the input is two
    parts in 100000 larger or smaller, a hundred times what float32 rounds off.

    Raises:
      ValueError: where no input of the first 50 is such a one.
    """
    net = snn.RNN(cell, implementation="scan")
    run = jax.jit(net.apply)
    for seed in range(50):
        key_x, key_w = jax.random.split(jax.random.key(seed))
        x = jax.random.normal(key_x, (5, 40, 17))
        variables = jax.tree.map(lambda w: 2.0 * w, net.init(key_w, x[:, :1]))
        outputs = [run(variables, scale * x) for scale in (1.0, 1.0 - 2e-5, 1.0 + 2e-5)]
        if all(jnp.allclose(outputs[0], other, rtol=1e-3, atol=1e-3) for other in outputs):
            return variables, x
    raise ValueError(f"{cell}: expected an input on which no spike is near its decision, got none")


def loss_of(net: Any) -> Any:
    """Returns a function of variables and inputs whose derivative reaches all outputs."""

    def loss(variables: Any, x: jax.Array) -> jax.Array:
        out = net.apply(variables, x)
        weights = jnp.cos(jnp.arange(out.shape[0], dtype=out.dtype))
        return jnp.mean(weights[:, None, None] * out)

    return loss


LIF = snn.LIFDynamics(tau_mem=20e-3, dt=1e-3)
