"""Graphs written for one framework have the same coefficients, or are refused with a reason.

That the frameworks compute the same is measured by tests/interop.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import nir_reference
import numpy as np
import pytest
from covering_rows import covered_by, first_of_each

import flax_snn as snn
from flax_snn import conventions
from flax_snn.dynamics import Discretization, LIFParameters, Rule

EULER = snn.LIFDynamics(tau_mem=8e-3, resistance=2.0, discretization="euler")
EXACT = snn.LIFDynamics(tau_mem=8e-3, resistance=2.0)
CUBA = snn.LIFDynamics.from_parts(
    LIFParameters(tau_mem=12e-3, tau_syn=4e-3, resistance=1.5),
    1e-3,
    Rule(discretization=Discretization("euler", "unit", "leak"), entry="new", channels=1),
)
SEVERAL = ("soft_reset", "several_spikes")


def chain(*cells: nn.RNNCellBase) -> nn.Module:
    return snn.RNN(snn.Chain(list(cells)))


def conv(neuron: Any, padding: Any = "SAME") -> nn.Module:
    front = [nn.Conv(3, (3, 3), padding=padding), snn.LIF(dynamics=neuron), snn.nir.Flatten()]
    return nn.Sequential([*front, snn.RNN(snn.LIFCell(5, dynamics=neuron, use_bias=True))])


RECURRENT = chain(
    snn.RecurrentLIFCell(9, dynamics=CUBA, use_bias=True), snn.LIFCell(5, dynamics=EULER)
)
NO_RESET = chain(
    snn.LIFCell(9, dynamics=snn.LIFDynamics(reset="none", discretization="euler")),
    snn.LIFCell(5, dynamics=snn.LIFDynamics(reset="none", discretization="euler")),
)
ROCKPOOL = chain(
    snn.RecurrentLIFCell(9, dynamics=conventions.rockpool(tau_syn=5e-3)),
    snn.LIFCell(5, dynamics=conventions.rockpool(tau_syn=5e-3)),
)
SINABS = conventions.sinabs_lif(tau_mem=10.0)

FITTING: dict[str, tuple[str, nn.Module, tuple[int, ...], tuple[str, ...]]] = {
    "snntorch, recurrent": ("snntorch-1.0.0", RECURRENT, (7,), ()),
    "snntorch, convolution": ("snntorch-1.0.0", conv(EULER), (6, 4, 2), ()),
    "spikingjelly, recurrent": ("spikingjelly-2.0.0", RECURRENT, (7,), ()),
    "spikingjelly, convolution": ("spikingjelly-2.0.0", conv(EULER), (6, 4, 2), ()),
    "norse, recurrent": ("norse-1.1.0", RECURRENT, (7,), ()),
    "norse, convolution": ("norse-1.1.0", conv(EULER), (6, 4, 2), ()),
    "jaxpike, convolution": ("jaxpike-0.1.4", conv(EXACT), (6, 4, 2), ()),
    "spyx": ("spyx-1.0.0", NO_RESET, (7,), ()),
    "rockpool": ("rockpool-3.1.0", ROCKPOOL, (7,), SEVERAL),
    "sinabs": (
        "sinabs-3.1.3",
        chain(snn.LIFCell(9, dynamics=SINABS), snn.LIFCell(5, dynamics=SINABS)),
        (7,),
        SEVERAL,
    ),
}


def test_every_target_has_a_network() -> None:
    assert {target for target, *_ in FITTING.values()} == set(snn.nir.TARGETS)


@pytest.mark.parametrize(
    "name",
    covered_by(FITTING, first_of_each(FITTING, lambda name: FITTING[name][0].split("-")[0])),
)
def test_the_numbers_stay(name: str) -> None:
    target, network, features, allow = FITTING[name]
    x = (jax.random.uniform(jax.random.key(3), (2, 30, *features)) < 0.3).astype(jnp.float32)
    variables = jax.jit(network.init)(jax.random.key(1), x[:1, :2])
    variables = jax.tree.map(lambda leaf: leaf * (3.0 if len(features) > 1 else 1.0), variables)
    output = np.asarray(jax.jit(network.apply)(variables, x))
    assert 0.02 < np.mean(output > 0) < 0.9
    graph = snn.nir.to_nir(network, variables, features, target=target, allow=allow)
    dt, method = graph.metadata["dt"], graph.metadata["method"]
    again, same = snn.nir.from_nir(graph, dt, method)
    np.testing.assert_array_equal(jax.jit(again.apply)(same, x), output)
    if not allow:
        first = np.moveaxis(np.asarray(x), 1, 0)
        first = first if first.ndim == 3 else np.moveaxis(first, -1, 2)
        loop = nir_reference.run(graph, first, dt, method)
        assert loop["margin"] > 2e-6
        np.testing.assert_array_equal(np.moveaxis(output, 1, 0), loop["output"])


PLAIN = snn.RNN(snn.LIFCell(4, dynamics=EULER))
DELAYED = snn.RNN(snn.LIFCell(4, dynamics=snn.LIFDynamics(tau_syn=5e-3)))

REFUSED: dict[str, tuple[str, nn.Module, tuple[int, ...], str]] = {
    "no delays": ("norse-1.1.0", DELAYED, (3,), "cubalif_lag.*nodes that norse-1.1.0 reads"),
    "no integrators": (
        "snntorch-1.0.0",
        snn.RNN(snn.LeakyIntegratorReadout(4)),
        (3,),
        "'li' .LI.: expected nodes that snntorch-1.0.0 reads",
    ),
    "other neurons": ("sinabs-3.1.3", PLAIN, (3,), "soft_reset and several_spikes, as sinabs"),
    "no recurrence": (
        "jaxpike-0.1.4",
        snn.RNN(snn.RecurrentLIFCell(4, dynamics=EXACT)),
        (3,),
        "without recurrent weights, which jaxpike",
    ),
    "padding": (
        "jaxpike-0.1.4",
        conv(EXACT, [(1, 1), (1, 1)]),
        (6, 4, 2),
        "padding 'same' or 'valid', no dilation, no groups",
    ),
    "reset": (
        "norse-1.1.0",
        snn.RNN(snn.LIFCell(4, dynamics=snn.LIFDynamics(v_reset=-0.5, discretization="euler"))),
        (3,),
        "v_reset: expected 0, as norse-1.1.0 assumes",
    ),
    "rest and reset": (
        "spikingjelly-2.0.0",
        snn.RNN(snn.LIFCell(4, dynamics=snn.LIFDynamics(v_reset=-0.5, discretization="euler"))),
        (3,),
        "v_leak equal to v_reset, as spikingjelly",
    ),
    "maps": (
        "spyx-1.0.0",
        nn.Sequential([nn.Conv(2, (3, 3)), snn.nir.Flatten(), NO_RESET]),
        (6, 4, 2),
        "no feature maps before a matrix in spyx",
    ),
    "no weights to scale": (
        "norse-1.1.0",
        snn.LIF(dynamics=EULER),
        (3,),
        "weights in front of the neurons, to be scaled for norse",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_target_would_read_wrongly(name: str) -> None:
    target, network, features, reason = REFUSED[name]
    variables = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 2, *features)))
    with pytest.raises(snn.nir.NIRError, match=reason):
        snn.nir.to_nir(network, variables, features, target=target)


def test_different_time_constants_in_one_population() -> None:
    network = snn.RNN(snn.LIFCell(4, dynamics=EULER, learn=("tau_mem",)))
    variables = network.init(jax.random.key(0), jnp.zeros((1, 2, 3)))
    variables["params"]["cell"]["log_tau_mem"] += 0.1 * jnp.arange(4.0)
    with pytest.raises(snn.nir.NIRError, match="tau: expected one value for the population"):
        snn.nir.to_nir(network, variables, 3, target="spikingjelly-2.0.0")
    graph = snn.nir.to_nir(network, variables, 3, target="norse-1.1.0")
    assert len(set(graph.nodes["n1_lif"].tau.tolist())) == 4
