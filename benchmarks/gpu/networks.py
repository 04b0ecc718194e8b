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


def loss_of(net: Any) -> Any:
    """Returns a function of variables and inputs whose derivative reaches all outputs."""

    def loss(variables: Any, x: jax.Array) -> jax.Array:
        out = net.apply(variables, x)
        weights = jnp.cos(jnp.arange(out.shape[0], dtype=out.dtype))
        return jnp.mean(weights[:, None, None] * out)

    return loss


LIF = snn.LIFDynamics(tau_mem=20e-3, dt=1e-3)
