"""A neuron of your own, in one file: an exponential integrate-and-fire neuron.

    tau_mem dv/dt = -v + sharpness exp((v - threshold) / sharpness) + x,    spike at v > ceiling

It runs wherever the neurons of the package do: ``nn.RNN``, the fused loop, streaming, chains,
learning, diagnosis, plots. ``python -m examples.own_neuron --out own.png`` shows it.

Reference: Fourcaud-Trocmé et al., How spike generation mechanisms determine the neuronal response
to fluctuating inputs, 2003.
"""

import argparse
import dataclasses
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from matplotlib.figure import Figure

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

    def initial_state(self, v_init: Array, *, recurrent: bool = False) -> State:
        """Returns the membrane at its start."""
        return State(v_init)

    def learnable(self, learn: Any = ()) -> dict[str, snn.dynamics.Learnable]:
        """Returns what may be learned, in a domain that learning cannot leave."""
        return {"tau_mem": snn.dynamics.time_constant(self.tau_mem, self.dt)}

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> dict[str, Any]:
        """Returns the numbers of a step; ``values`` holds what is learned."""
        loss = -jnp.expm1(-self.dt / self.values(values)["tau_mem"])
        return {"loss": loss, "onset": self.threshold, "theta": self.ceiling}

    def silenced(self, coefficients: Any) -> dict[str, Any]:
        """Returns coefficients without an upstroke, for the response that weights are scaled by."""
        return {**coefficients, "onset": jnp.inf, "theta": jnp.inf}

    def step(self, coefficients, state, current, surrogate=None, *, recurrent=None, noise=None):  # type: ignore[no-untyped-def]
        """Advances by one step; the upstroke is bounded once it leads beyond the ceiling."""
        c, x = coefficients, current
        if recurrent is not None:
            x = x + recurrent(snn.dynamics.spike(state.v, surrogate, False, c["theta"]))
        start = jnp.where(state.v > c["theta"], 0.0, state.v)  # the spike of the step before
        above = jnp.minimum(start - c["onset"], 0.5) / self.sharpness
        v = start + c["loss"] * (self.sharpness * jnp.exp(above) - start + x)
        return State(v), snn.dynamics.spike(v, surrogate, False, c["theta"])


def main() -> None:
    """Runs it in a network, in several ways, and draws it."""
    parser = argparse.ArgumentParser(description="A neuron of your own.")
    parser.add_argument("--out", default="own_neuron.png", help="where the picture goes")
    out = parser.parse_args().out
    cell = snn.NeuronCell(16, dynamics=ExponentialDynamics(), learn=("tau_mem",))
    chain = snn.Chain([cell, snn.LeakyIntegratorReadout(2)])
    net, stock = snn.RNN(chain, implementation="fused"), nn.RNN(chain)
    x = (jax.random.uniform(jax.random.key(0), (8, 200, 20)) < 0.1).astype(jnp.float32)
    variables: Any = net.init(jax.random.key(1), x)

    def loss(variables: Any) -> Array:
        outputs: Any = net.apply(variables, x)
        return jnp.mean((outputs[..., 0] - 0.1) ** 2)

    gradient = jax.grad(loss)(variables)["params"]["cell"]["cells_0"]["log_tau_mem"]
    ours, theirs = (jnp.asarray(each.apply(variables, x)) for each in (net, stock))
    print(ExponentialDynamics().describe())
    print(snn.diagnosis.diagnose(net, variables, x))
    print(f"largest difference from nn.RNN: {float(jnp.abs(ours - theirs).max()):.1e}")
    print(f"largest gradient of a time constant: {float(jnp.abs(gradient).max()):.3g}")
    traces: Any = net.apply(variables, x, mutable=["intermediates"])
    seen = traces[1]["intermediates"]["cell"]["cells_0"]
    figure = Figure(figsize=(8, 5), layout="constrained")
    top, bottom = figure.subplots(2, sharex=True)
    snn.plot.raster(seen["spikes"][0][0], dt=1e-3, ax=top)
    snn.plot.membrane(
        seen["v"][0][0], dt=1e-3, spikes=seen["spikes"][0][0], threshold=1.5, neurons=[0], ax=bottom
    )
    figure.savefig(out, dpi=120)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
