"""A neuron of your own, in one file: an exponential integrate-and-fire neuron.

    tau_mem dv/dt = -v + sharpness exp((v - threshold) / sharpness) + x,    spike at v > ceiling

Its upstroke is part of the equation, so the spike begins at ``threshold`` and is cut off at
``ceiling``. Reference: Fourcaud-Trocmé et al., *How spike generation mechanisms determine the
neuronal response to fluctuating inputs*, 2003. Run it with ``python -m examples.own_neuron``.
"""

import dataclasses
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

import flax_snn as snn


@flax.struct.dataclass
class State:
    """State of the neurons: the membrane potential, ``(*B, N)``."""

    v: Array


@dataclasses.dataclass(frozen=True)
class ExponentialDynamics(snn.Neuron):
    """Exponential integrate-and-fire neuron; time constants and dt in seconds."""

    tau_mem: float = 20e-3
    threshold: float = 1.0
    sharpness: float = 0.1
    ceiling: float = 1.5
    dt: float = 1e-3

    def initial_state(self, v_init, *, recurrent=False):
        """Return the membrane at its start."""
        return State(v_init)

    def learnable(self, learn=()):
        """Return what may be learned, each in a domain that learning cannot leave."""
        tau = snn.dynamics.time_constant(self.tau_mem, self.dt)
        return {"tau_mem": tau, "threshold": snn.dynamics.positive(self.threshold)}

    def coefficients(self, values=None, *, dtype=None):
        """Return the numbers of a step; ``values`` holds what is learned."""
        v = self.values(values)
        return {"loss": -jnp.expm1(-self.dt / v["tau_mem"]), "theta": v["threshold"]}

    def step(self, c, state, current, surrogate=None, *, recurrent=None, noise=None):
        """Advance by one step: the upstroke is bounded by what leads beyond the ceiling."""
        v, sharp = state.v, self.sharpness
        upstroke = sharp * jnp.exp(jnp.minimum(v - c["theta"], 0.5) / sharp)
        v = v + c["loss"] * (upstroke - v + current)
        s = snn.dynamics.spike(v, surrogate, False, c["theta"] + self.ceiling - self.threshold)
        return State(v * (1 - jax.lax.stop_gradient(s))), s


def main() -> Any:
    """Train its time constants a little and show what came out."""
    cell = snn.NeuronCell(16, dynamics=ExponentialDynamics(), learn=("tau_mem",))
    net = snn.RNN(snn.Chain([cell, snn.LeakyIntegratorReadout(2)]))
    x = (jax.random.uniform(jax.random.key(0), (8, 100, 20)) < 0.1).astype(jnp.float32)
    variables = net.init(jax.random.key(1), x)
    gradient = jax.jit(jax.grad(lambda v: jnp.mean(net.apply(v, x)[..., 0] ** 2)))(variables)
    print(ExponentialDynamics().describe())
    print(snn.diagnosis.diagnose(net, variables, x))
    print("same numbers as nn.RNN:", jnp.allclose(net.apply(variables, x), nn.RNN(net.cell).apply(variables, x), atol=1e-5))
    print("gradient of log_tau_mem:", gradient["params"]["cell"]["cells_0"]["log_tau_mem"])


if __name__ == "__main__":
    main()
