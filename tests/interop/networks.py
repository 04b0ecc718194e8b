"""Random networks of flax_snn that go out to each peer, by target and kind.

Each is active: every population fires in 2 to 50 % of its slots, seeds are tried until one is.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import flax_snn as snn
from flax_snn import conventions

DT = 1e-3
STEPS, BATCH = 40, 64


@dataclasses.dataclass(frozen=True)
class Kind:
    """A network with what it takes to write it.

    Attributes:
      module: the network.
      features: of its input, channels last.
      allow: what metadata may carry.
      gains: weights are scaled by one of these.
    """

    module: nn.Module
    features: tuple[int, ...]
    allow: tuple[str, ...] = ()
    gains: tuple[float, ...] = (0.5, 0.1, 0.2, 0.3, 1.0, 2.0, 3.0)


def chain(*cells: nn.RNNCellBase) -> nn.Module:
    return snn.RNN(snn.Chain(list(cells)))


def cuba(method: str, dt: float = DT) -> snn.LIFDynamics:
    """A synapse whose current acts in the step of its input."""
    rule = snn.dynamics.Rule(
        discretization=snn.dynamics.Discretization(method, "unit", "leak"),  # type: ignore[arg-type]
        entry="new",
        channels=1,
    )
    parameters = snn.dynamics.LIFParameters(tau_mem=12e-3, tau_syn=4e-3)
    return snn.LIFDynamics.from_parts(parameters, dt, rule)


def dense(
    first: Any, second: Any, *, recurrent: bool = False, learn: tuple[str, ...] = ()
) -> nn.Module:
    """Dense - neurons - dense - neurons."""
    front = snn.RecurrentLIFCell if recurrent else snn.LIFCell
    back = snn.LIFCell if second.spikes else snn.LeakyIntegratorReadout
    return chain(
        front(10, dynamics=first, use_bias=True, learn=learn),
        back(6, dynamics=second, use_bias=True),
    )


def conv(
    neuron: Any, last: Any, pool: Any = None, *, padding: Any = "SAME", strides: int = 1
) -> nn.Module:
    """Convolution of a map that is not square - neurons - pool - flatten - dense - neurons."""
    front = nn.Conv(3, (3, 3), strides=(strides, strides), padding=padding)
    end = snn.RNN(snn.LIFCell(5, dynamics=last, use_bias=True))
    middle = [pool] if pool is not None else []
    return nn.Sequential([front, snn.LIF(dynamics=neuron), *middle, snn.nir.Flatten(), end])


def plain(method: str) -> dict[str, Kind]:
    """Networks of neurons as NIR has them."""
    how = "euler" if method == "euler" else "exact"
    lif = snn.LIFDynamics(tau_mem=10e-3, discretization=how)
    fast = snn.LIFDynamics(tau_mem=5e-3, threshold=0.8, discretization=how)
    synaptic = cuba("euler" if method == "euler" else "exponential")
    integrator = snn.LIDynamics(tau_mem=8e-3, discretization=how)
    side = [(1, 1), (1, 1)]
    return {
        "lif": Kind(dense(lif, fast), (12,)),
        "cuba": Kind(dense(synaptic, synaptic), (12,)),
        "random taus": Kind(dense(lif, fast, learn=("tau_mem",)), (12,)),
        "li readout": Kind(dense(lif, integrator), (12,)),
        "recurrent": Kind(dense(lif, fast, recurrent=True), (12,)),
        "recurrent cuba": Kind(dense(synaptic, synaptic, recurrent=True), (12,)),
        "conv, pool": Kind(conv(lif, fast, snn.nir.AvgPool((2, 2))), (8, 6, 2)),
        "conv, sums": Kind(conv(lif, fast, snn.nir.SumPool((2, 2))), (8, 6, 2)),
        "conv, stride": Kind(conv(lif, fast, padding=side, strides=2), (8, 6, 2)),
        "no reset": Kind(dense(*(_without_reset(method, tau) for tau in (10e-3, 5e-3))), (12,)),
        "default synapse": Kind(
            dense(*(snn.LIFDynamics(tau_mem=12e-3, tau_syn=4e-3, discretization=how),) * 2), (12,)
        ),
    }


def _without_reset(method: str, tau: float) -> snn.LIFDynamics:
    how = "euler" if method == "euler" else "exact"
    return snn.LIFDynamics(tau_mem=tau, reset="none", discretization=how)


def sinabs() -> dict[str, Kind]:
    lif = conventions.sinabs_lif(tau_mem=10.0, norm_input=False, dt=DT)
    beyond = ("soft_reset", "several_spikes")
    return {
        "its own lif": Kind(dense(lif, lif), (12,), beyond),
        "its own conv": Kind(
            nn.Sequential(
                [
                    nn.Conv(3, (3, 3)),
                    snn.LIF(dynamics=counting()),
                    snn.nir.SumPool((2, 2)),
                    snn.nir.Flatten(),
                    snn.RNN(snn.LIFCell(5, dynamics=lif, use_bias=True)),
                ]
            ),
            (8, 6, 2),
            (*beyond, "lower_bound"),
        ),
    }


def counting() -> snn.LIFDynamics:
    """Integrate and fire, several spikes per step, bounded below."""
    rule = snn.dynamics.Rule(fire="floor", reset="soft", reset_gradient="flow")
    numbers = snn.dynamics.Coefficients(alpha=1.0, c_x=1.0, theta=1.0, v_min=-1.0)
    return snn.LIFDynamics.from_coefficients(numbers, dt=DT, rule=rule)


def rockpool() -> dict[str, Kind]:
    lif = conventions.rockpool(tau_mem=20e-3, tau_syn=5e-3, dt=DT)
    beyond = ("soft_reset", "several_spikes")
    front = snn.LIFCell(10, dynamics=lif)
    looped = snn.RecurrentLIFCell(10, dynamics=lif)
    end = snn.LIFCell(6, dynamics=lif)
    return {
        "its own cuba": Kind(chain(front, end), (12,), beyond),
        "its own recurrent": Kind(chain(looped, end), (12,), beyond),
    }


NETWORKS: dict[str, dict[str, Kind]] = {
    "snntorch": plain("euler"),
    "spikingjelly": plain("euler"),
    "norse": plain("euler"),
    "jaxpike": plain("exp"),
    "spyx": plain("euler"),
    "sinabs": plain("exp") | sinabs(),
    "rockpool": plain("exp") | rockpool(),
}


def traces_of(
    module: nn.Module, variables: Any, x: Any
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Output ``(B, T, ...)``, and spikes and membranes of each population, in order."""
    output, traces = jax.jit(lambda v, x: module.apply(v, x, mutable=["intermediates"]))(
        variables, x
    )
    leaves = jax.tree_util.tree_leaves_with_path(traces)
    named = [(jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in leaves]
    found = sorted(named, key=lambda each: each[0])
    spikes, membranes = (
        [leaf for text, leaf in found if f"['{name}']" in text] for name in ("spikes", "v")
    )
    return np.asarray(output), spikes, membranes


def lively(kind: Kind, seed: int) -> tuple[Any, np.ndarray]:
    """Variables and input with which every population fires in 2 to 50 % of its slots."""
    rng = np.random.default_rng(seed)
    x = (rng.random((BATCH, STEPS, *kind.features)) < 0.3).astype(np.float32)
    init = jax.jit(kind.module.init)
    for trial in range(40):
        start = init(jax.random.key(seed + trial), jnp.asarray(x[:1, :2]))
        for gain in kind.gains:
            variables = jax.tree_util.tree_map_with_path(
                lambda path, leaf, gain=gain, trial=trial: _drawn(path, leaf, gain, trial), start
            )
            _, spikes, _ = traces_of(kind.module, variables, x)
            if all(0.02 <= np.mean(s > 0) <= 0.5 for s in spikes):
                return variables, x
    raise RuntimeError("no seed gives a network that is neither silent nor saturated")


def _drawn(path: Any, leaf: Any, gain: float, trial: int) -> Any:
    """Weights more positive than negative, biases not 0, time constants apart."""
    name = jax.tree_util.keystr(path)
    key = jax.random.key(sum(name.encode()) + trial)
    if "log_tau" in name:
        return leaf + 0.4 * jax.random.uniform(key, leaf.shape, minval=-1.0)
    if "bias" in name:
        return 0.1 * jax.random.uniform(key, leaf.shape)
    return gain * (leaf + 0.3 * jnp.abs(leaf))
