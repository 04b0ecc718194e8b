"""Networks that are written: they come back bit for bit, and mean the same in a plain loop."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import nir_reference
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn
from flax_snn import conventions

CUBA = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3)
CUBA_LI = snn.LIDynamics(tau_mem=20e-3, tau_syn=5e-3)
EULER = snn.LIFDynamics(
    tau_mem=15e-3, v_rest=-0.1, v_reset=-0.2, resistance=3.0, discretization="euler"
)


def run(*cells: nn.RNNCellBase) -> nn.Module:
    return snn.RNN(snn.Chain(list(cells)))


NETWORKS: dict[str, tuple[nn.Module, tuple[int, ...], float]] = {
    "a layer": (snn.RNN(snn.LIFCell(12)), (7,), 1.0),
    "a chain": (
        run(snn.LIFCell(12, use_bias=True), snn.LIFCell(9), snn.LeakyIntegratorReadout(3)),
        (7,),
        2.0,
    ),
    "stock runners": (
        nn.Sequential([nn.RNN(snn.LIFCell(12)), nn.RNN(snn.LeakyIntegratorReadout(3))]),
        (7,),
        1.0,
    ),
    "synapses": (
        run(snn.LIFCell(12, dynamics=CUBA), snn.LeakyIntegratorReadout(3, dynamics=CUBA_LI)),
        (7,),
        1.5,
    ),
    "recurrent": (
        run(snn.RecurrentLIFCell(12, dynamics=CUBA), snn.RecurrentLIFCell(8), snn.LIFCell(5)),
        (7,),
        2.0,
    ),
    "Euler": (
        run(
            snn.LIFCell(12, dynamics=EULER),
            snn.LIFCell(5, dynamics=snn.LIFDynamics(tau_mem=7e-3, discretization="euler")),
        ),
        (7,),
        1.0,
    ),
    "no reset": (
        run(snn.LIFCell(12, dynamics=snn.LIFDynamics(reset="none")), snn.LIFCell(5)),
        (7,),
        4.0,
    ),
    "late spikes": (
        run(
            snn.RecurrentLIFCell(9, dynamics=snn.LIFDynamics(emit="old", reset_time="next")),
            snn.LIFCell(5),
        ),
        (7,),
        1.5,
    ),
    "late spikes that come back later still": (
        run(
            snn.RecurrentLIFCell(
                9,
                dynamics=snn.LIFDynamics(
                    tau_syn=5e-3, emit="old", reset_time="next", recurrent_lag=True
                ),
            ),
            snn.LIFCell(5),
        ),
        (7,),
        1.5,
    ),
    "layers apart": (
        nn.Sequential([nn.Dense(12), snn.LIF(), nn.Dense(5), snn.LeakyIntegrator()]),
        (7,),
        4.0,
    ),
    "convolution, not square": (
        nn.Sequential(
            [
                nn.Conv(4, (3, 5), padding=[(1, 1), (2, 2)], strides=(2, 1)),
                snn.LIF(dynamics=snn.LIFDynamics(tau_mem=4e-3)),
                snn.nir.AvgPool((2, 2)),
                snn.nir.Flatten(),
                nn.Dense(5, use_bias=False),
                snn.LIF(dynamics=snn.LIFDynamics(tau_mem=4e-3)),
            ]
        ),
        (8, 10, 2),
        8.0,
    ),
    "groups, dilation, pooling": (
        nn.Sequential(
            [
                nn.Conv(4, (3, 3), feature_group_count=2, kernel_dilation=(2, 1), use_bias=False),
                snn.LIF(dynamics=snn.LIFDynamics(tau_mem=3e-3)),
                functools.partial(nn.avg_pool, window_shape=(2, 2), strides=(2, 2)),
                nn.Conv(6, (2, 2), padding="VALID"),
                snn.LIF(dynamics=CUBA),
                snn.nir.SumPool((2, 1), (1, 1), (1, 0)),
                snn.nir.Flatten(),
                snn.RNN(snn.Chain([snn.LIFCell(11), snn.LIFCell(3)])),
            ]
        ),
        (8, 6, 2),
        4.0,
    ),
    "one axis, neurons behind Flatten": (
        nn.Sequential(
            [
                nn.Conv(4, (5,), padding=2),
                snn.LIF(dynamics=snn.LIFDynamics(tau_mem=4e-3)),
                snn.nir.Flatten(),
                snn.LIF(dynamics=snn.LIFDynamics(tau_mem=2e-3, resistance=8.0)),
                nn.Dense(4),
                snn.LeakyIntegrator(),
            ]
        ),
        (16, 3),
        5.0,
    ),
    "nested": (
        nn.Sequential(
            [
                nn.Sequential([nn.Dense(6), snn.LIF()]),
                run(snn.Chain([snn.LIFCell(5)]), snn.LIFCell(4)),
            ]
        ),
        (7,),
        8.0,
    ),
    "delays, scales, thresholds": (
        nn.Sequential(
            [
                snn.nir.Delay((0, 1, 2, 3, 0, 0, 1), 1e-3),
                snn.nir.Scale((7,)),
                nn.Dense(6),
                snn.LeakyIntegrator(),
                snn.nir.Threshold((6,)),
            ]
        ),
        (7,),
        6.0,
    ),
    "one matrix": (nn.Dense(4), (7,), 1.0),
}

# Conventions, and the properties of each that only metadata can hold.
CONVENTIONS: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "zenke": (lambda: conventions.zenke(), ("delayed_reset",)),
    "network": (lambda: conventions.network(), ("fire_at_threshold", "delayed_reset")),
    "rockpool": (lambda: conventions.rockpool(), ("soft_reset", "several_spikes")),
    "sinabs_lif": (lambda: conventions.sinabs_lif(tau_mem=20.0), ("soft_reset", "several_spikes")),
    "sinabs_lif, synapse": (
        lambda: conventions.sinabs_lif(tau_mem=20.0, tau_syn=5.0),
        ("soft_reset", "several_spikes"),
    ),
    "norse_lif": (lambda: conventions.norse_lif(), ()),
    "norse_lif_box": (lambda: conventions.norse_lif_box(), ()),
    "snntorch_leaky": (lambda: conventions.snntorch_leaky(0.9), ("soft_reset",)),
    "snntorch_leaky, zero": (lambda: conventions.snntorch_leaky(0.9, 1.0, "zero"), ()),
    "snntorch_leaky, none": (lambda: conventions.snntorch_leaky(0.9, 1.0, "none"), ()),
    "snntorch_synaptic": (
        lambda: conventions.snntorch_synaptic(0.8, 0.9, 1.0, "zero"),
        ("delayed_reset",),
    ),
    "spikingjelly_lif": (lambda: conventions.spikingjelly_lif(), ("fire_at_threshold",)),
    "spikingjelly_cuba": (lambda: conventions.spikingjelly_cuba(), ("fire_at_threshold",)),
    "spyx_lif": (lambda: conventions.spyx_lif(0.9), ("soft_reset",)),
    "spyx_cubalif": (lambda: conventions.spyx_cubalif(0.8, 0.9), ("soft_reset",)),
    "jaxpike_lif": (lambda: conventions.jaxpike_lif(), ("soft_reset",)),
    "jaxsnn_lif": (lambda: conventions.jaxsnn_lif(), ("fire_at_threshold",)),
    "slax_lif": (lambda: conventions.slax_lif(), ("soft_reset", "fire_at_threshold")),
    "brainpy_lif": (lambda: conventions.brainpy_lif(), ("soft_reset", "fire_at_threshold")),
}


def made(name: str) -> tuple[nn.Module, Any, Any, tuple[int, ...]]:
    """A network with weights that keep it active, and input."""
    network, shape, gain = NETWORKS[name]
    return *initialized(network, shape, gain), shape


def initialized(network: nn.Module, shape: tuple[int, ...], gain: float) -> tuple[Any, Any, Any]:
    x = (jax.random.uniform(jax.random.key(5), (2, 30, *shape)) < 0.2).astype(jnp.float32)
    with jax.numpy_dtype_promotion("standard"):
        variables = jax.jit(network.init)(jax.random.key(1), x[:1, :2])
    return network, jax.tree.map(lambda leaf: leaf * gain, variables), x


def assert_same_again(
    network: Any, variables: Any, x: Any, graph: Any, path: Path, *, tree: bool = True
) -> None:
    snn.nir.save(path, graph)
    about = graph.metadata
    again, same = snn.nir.from_nir(path, about.get("dt", 1e-3), about.get("method", "exp"))
    if tree:
        expected = jax.tree_util.tree_leaves_with_path(variables)
        found = jax.tree_util.tree_leaves_with_path(same)
        assert [p for p, _ in found] == [p for p, _ in expected]
        for (_, a), (_, b) in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    with jax.numpy_dtype_promotion("standard"):
        expected_output = jax.jit(network.apply)(variables, x)
    np.testing.assert_array_equal(jax.jit(again.apply)(same, x), expected_output)


@pytest.mark.filterwarnings("ignore::flax_snn.nir.NIRReadWarning")
@pytest.mark.parametrize(
    "name",
    covered_by(
        NETWORKS,
        [
            "synapses",
            "recurrent",
            "late spikes",
        ],
    ),
)
def test_networks_come_back_bit_for_bit_and_mean_the_same(name: str, tmp_path: Path) -> None:
    network, variables, x, shape = made(name)
    with jax.numpy_dtype_promotion("standard"):  # nn.avg_pool divides by an int
        output = np.asarray(jax.jit(network.apply)(variables, x))
    assert 0.02 < np.mean(output != 0) and np.ptp(output) > 0
    graph = snn.nir.to_nir(network, variables, shape)
    assert_same_again(network, variables, x, graph, tmp_path / "network.nir")

    time_major = np.moveaxis(np.asarray(x), 1, 0)
    if len(shape) > 1:
        time_major = np.moveaxis(time_major, -1, 2)
    loop = nir_reference.run(graph, time_major, 1e-3, graph.metadata.get("method", "exp"))
    found = np.moveaxis(output, 1, 0)
    if set(np.unique(output)) <= {0.0, 1.0}:
        assert loop["margin"] > 1e-6
        np.testing.assert_array_equal(found, loop["output"])
    else:
        np.testing.assert_allclose(found, loop["output"], rtol=2e-5, atol=2e-5)


IN_ALL_RUNS = ("zenke", "sinabs_lif, synapse", "norse_lif", "snntorch_leaky, zero", "spyx_lif")
"""Conventions that cover every case; the others run with the slow tests."""


@pytest.mark.parametrize("recurrent", [pytest.param(False, marks=pytest.mark.slow), True])
@pytest.mark.parametrize(
    "name",
    [
        name if name in IN_ALL_RUNS else pytest.param(name, marks=pytest.mark.slow)
        for name in CONVENTIONS
    ],
)
def test_conventions(name: str, recurrent: bool, tmp_path: Path) -> None:
    """Each names what it needs the metadata for, and comes back bit for bit with them."""
    make, needed = CONVENTIONS[name]
    neuron = make()
    first = (snn.RecurrentLIFCell if recurrent else snn.LIFCell)(9, dynamics=neuron)
    network, variables, x = initialized(run(first, snn.LIFCell(4, dynamics=neuron)), (7,), 1.0)
    assert np.mean(jax.jit(network.apply)(variables, x)) > 0.005
    if needed:
        with pytest.raises(snn.nir.NIRError, match=re.escape(f"pass allow={needed!r}")):
            snn.nir.to_nir(network, variables, 7)
    graph = snn.nir.to_nir(network, variables, 7, allow=needed)
    assert_same_again(network, variables, x, graph, tmp_path / "network.nir")
    if needed == ("soft_reset",):
        same = snn.nir.to_nir(network, variables, 7, allow_soft_reset=True)
        assert same.nodes.keys() == graph.nodes.keys()


TWO = snn.LIFDynamics(tau_mem=20e-3, tau_syn=(3e-3, 8e-3))


@pytest.mark.parametrize(
    ("name", "lag"),
    covered_by(
        [(name, lag) for name in ("tutorial", "two synapses") for lag in ("old", "new")],
        [("two synapses", "old")],
    ),
)
def test_several_synapses_are_a_graph(name: str, lag: str) -> None:
    """An LI for each current in front of the neuron: the same spikes, in another network."""
    neuron = conventions.tutorial() if name == "tutorial" else TWO
    if lag == "new":
        rule = dataclasses.replace(neuron.rule, entry="new")
        numbers = neuron.coefficients()
        numbers = dataclasses.replace(numbers, c_new=numbers.c_old, c_old=0.0)
        neuron = snn.LIFDynamics.from_coefficients(numbers, dt=neuron.dt, rule=rule)
    cells = snn.RecurrentLIFCell(9, dynamics=neuron), snn.LIFCell(5, dynamics=neuron)
    network, variables, x = initialized(run(*cells), (7,), 1.0)
    output = np.asarray(jax.jit(network.apply)(variables, x))
    assert 0.02 < output.mean() < 0.6
    graph = snn.nir.to_nir(network, variables, 7, method="exp")
    loop = nir_reference.run(graph, np.moveaxis(np.asarray(x), 1, 0), neuron.dt, "exp")
    assert loop["margin"] > 2e-6
    np.testing.assert_array_equal(np.moveaxis(output, 1, 0), loop["output"])
    again, same = snn.nir.from_nir(graph, neuron.dt, "exp")
    np.testing.assert_array_equal(jax.jit(again.apply)(same, x), output)


@pytest.mark.slow
def test_learned_parameters_are_written_with_their_values(tmp_path: Path) -> None:
    learned = ("tau_mem", "tau_syn", "threshold", "v_rest")
    network, variables, x = initialized(
        run(
            snn.RecurrentLIFCell(12, dynamics=CUBA, learn=learned),
            snn.LIFCell(5, learn=("resistance", "v_reset")),
        ),
        (7,),
        1.0,
    )
    noise = jax.random.normal(jax.random.key(2), (12,))
    params = variables["params"]["cell"]
    params["cells_0"] |= {
        "log_tau_mem": params["cells_0"]["log_tau_mem"] + 0.3 * noise,
        "log_tau_syn": params["cells_0"]["log_tau_syn"] - 0.2 * noise,
        "learned_v_rest": 0.1 * noise,
    }
    with pytest.raises(snn.nir.NIRError, match="a membrane that does not start at rest"):
        snn.nir.to_nir(network, variables, 7)
    graph = snn.nir.to_nir(network, variables, 7, allow=("start",))
    tau = jnp.exp(params["cells_0"]["log_tau_mem"])
    np.testing.assert_allclose(graph.nodes["cubalif"].tau_mem, tau, rtol=1e-5)
    assert_same_again(network, variables, x, graph, tmp_path / "network.nir", tree=False)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("method", covered_by(["exp", "euler"], ["exp"]))
def test_float64_comes_back_bit_for_bit(method: str, tmp_path: Path) -> None:
    how = "exact" if method == "exp" else "euler"
    lif = snn.LIFDynamics(tau_mem=17e-3, tau_syn=3e-3, resistance=1.7, discretization=how)
    cells = [
        snn.RecurrentLIFCell(6, dynamics=lif, param_dtype=jnp.float64),
        snn.LIFCell(4, dynamics=lif, param_dtype=jnp.float64),
    ]
    network = run(*cells)
    x = (jax.random.uniform(jax.random.key(5), (3, 40, 7)) < 0.2).astype(jnp.float64)
    variables = jax.jit(network.init)(jax.random.key(1), x)
    graph = snn.nir.to_nir(network, variables, 7)
    again, same = snn.nir.from_nir(graph, 1e-3, method, param_dtype=jnp.float64)
    assert jax.tree.leaves(same)[0].dtype == jnp.float64
    np.testing.assert_array_equal(
        jax.jit(again.apply)(same, x), jax.jit(network.apply)(variables, x)
    )


def test_nested_recurrence_is_the_same_network() -> None:
    network, variables, x, shape = made("recurrent")
    flat = snn.nir.to_nir(network, variables, shape)
    nested = snn.nir.to_nir(network, variables, shape, recurrence="nested")
    assert not any(hasattr(node, "nodes") for node in flat.nodes.values())
    assert sum(hasattr(node, "nodes") for node in nested.nodes.values()) == 2
    expected = jax.jit(network.apply)(variables, x)
    for graph in (flat, nested):
        again, same = snn.nir.from_nir(graph, 1e-3, "exp")
        np.testing.assert_array_equal(jax.jit(again.apply)(same, x), expected)


class Custom(nn.Module):
    def __call__(self, inputs: Any) -> Any:
        return inputs


LIF = snn.LIFCell(4)

REFUSED: dict[str, tuple[Any, tuple[int, ...], dict[str, Any], str]] = {
    "module": (nn.Sequential([Custom()]), (3,), {}, "layers_0: cannot export Custom"),
    "function": (nn.Sequential([nn.relu]), (3,), {}, "layers_0: cannot export relu"),
    "norm": (nn.LayerNorm(), (3,), {}, "network: cannot export LayerNorm"),
    "LSTM": (nn.RNN(nn.OptimizedLSTMCell(4)), (3,), {}, "cell: cannot export OptimizedLSTMCell"),
    "Stateful": (snn.Stateful(LIF), (3,), {}, "cannot export Stateful"),
    "time major": (snn.RNN(LIF, time_major=True), (3,), {}, "RNN with time_major=True"),
    "reverse": (snn.RNN(LIF, reverse=True), (3,), {}, "RNN with reverse=True"),
    "dense on a map": (nn.Dense(4), (5, 3), {}, r"flat features, got \(5, 3\)"),
    "bfloat16": (nn.Dense(4, dtype=jnp.bfloat16), (3,), {}, "Dense with dtype=bfloat16"),
    "one side": (nn.Conv(2, (3,), padding=[(1, 0)]), (8, 3), {}, "padding on both sides"),
    "SAME, strides": (nn.Conv(2, (3,), (2,)), (8, 3), {}, "padding on both sides"),
    "circular": (nn.Conv(2, (3,), padding="CIRCULAR"), (8, 3), {}, "'SAME', 'VALID' or numbers"),
    "input dilation": (
        nn.Conv(2, (3,), input_dilation=2, padding=1),
        (8, 3),
        {},
        "no input dilation",
    ),
    "noise": (
        snn.RNN(snn.LIFCell(4, dynamics=snn.LIFDynamics(noise_std=0.1))),
        (3,),
        {},
        "switch it off: deterministic=True",
    ),
    "dt": (snn.RNN(LIF), (3,), {"dt": 2e-3}, "dt: expected 0.001 s, the step of the neurons"),
    "method": (snn.RNN(LIF), (3,), {"method": "euler"}, "method: expected 'exp', by which"),
    "two steps": (
        nn.Sequential([snn.RNN(LIF), snn.RNN(snn.LIFCell(4, dynamics=snn.LIFDynamics(dt=2e-3)))]),
        (3,),
        {},
        "dt: expected 0.002 s, the step of the neurons",
    ),
    "shape": (nn.Dense(4), (0,), {}, "input_shape: expected features of one step"),
    "allow": (nn.Dense(4), (3,), {"allow": ("everything",)}, "allow: expected names among"),
    "target": (nn.Dense(4), (3,), {"target": "lava"}, "target: expected None or one of"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written(name: str) -> None:
    module, shape, given, reason = REFUSED[name]
    x = jnp.zeros((1, 2, *shape))
    try:
        variables = module.init({"params": jax.random.key(0), "noise": jax.random.key(1)}, x)
    except ZeroDivisionError:
        variables = {}
    with pytest.raises(snn.nir.NIRError, match=reason):
        snn.nir.to_nir(module, variables, shape, **given)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    network, variables, _, shape = made("a layer")
    graph = snn.nir.to_nir(network, variables, shape)
    path = tmp_path / "network.nir"
    snn.nir.save(path, graph)
    before = path.read_bytes()
    graph.nodes["lif"].tau = graph.nodes["lif"].tau * 0
    with pytest.raises(snn.nir.NIRError, match="tau: expected numbers > 0"):
        snn.nir.save(path, graph)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["network.nir"]


def test_variables_of_another_network() -> None:
    network, variables, _, shape = made("a chain")
    for wrong in (variables["params"], {}, {"params": variables["params"]["cell"]}):
        with pytest.raises(
            snn.nir.NIRError, match="variables: expected 'kernel' in the collection"
        ):
            snn.nir.to_nir(network, wrong, shape)
    with pytest.raises(snn.nir.NIRError, match="without batch and time"):
        snn.nir.to_nir(network, variables, (1, 10, *shape))
