"""What networks cost: values of the NeuroBench harness, and counts in NumPy from spikes alone."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn import metrics

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
RNG = np.random.default_rng(0)
B, T, F, N = 6, 20, 5, 8
X = (RNG.random((B, T, F)) < 0.3).astype(np.float32)
VALUES = (RNG.normal(size=(B, T, F)) * (RNG.random((B, T, F)) < 0.5)).astype(np.float32)
FAST = snn.LIFDynamics(tau_mem=5e-3)


def of_snntorch(name: str) -> tuple[nn.Module, dict[str, Any], np.ndarray, Any, dict[str, Any]]:
    """A golden network as a Linen model: channels last, so a dense layer behind them is turned."""
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    arrays = np.load(GOLDEN / f"{name}.npz")
    x, layers, params, grid = arrays["x"].astype(np.float32), [], {}, None
    if x.ndim == 5:
        x = x.transpose(0, 1, 3, 4, 2)
    for spec in golden["layers"]:
        i, here = spec["index"], f"layers_{len(layers)}"
        names = {k: spec[k] for k in ("beta", "threshold", "reset_delay") if k in spec}
        bias = {"bias": arrays[f"b{i}"]} if f"b{i}" in arrays else {}
        if spec["type"] == "Linear":
            w = arrays[f"w{i}"].T
            if grid is not None:
                w = w.reshape(grid[2], *grid[:2], -1).transpose(1, 2, 0, 3).reshape(w.shape)
            layers.append(nn.Dense(w.shape[1], use_bias=bool(bias)))
            params[here] = {"kernel": w, **bias}
        elif spec["type"] == "Conv2d":
            w = arrays[f"w{i}"].transpose(2, 3, 1, 0)
            layers.append(nn.Conv(w.shape[-1], w.shape[:2], padding=spec["padding"][0]))
            params[here] = {"kernel": w, **bias}
            grid = (*x.shape[2:4], w.shape[-1])
        elif spec["type"] == "AvgPool2d":
            grid = (grid[0] // 2, grid[1] // 2, grid[2])
            layers.append(functools.partial(halved, shape=grid))
        elif spec["type"] == "Flatten":
            layers.append(lambda x: x.reshape(*x.shape[:2], -1))
        else:
            kind = {"Leaky": snn.conventions.snntorch_leaky}.get(
                spec["type"], snn.conventions.snntorch_synaptic
            )
            alpha = {"alpha": spec["alpha"]} if "alpha" in spec else {}
            layers.append(snn.LIF(kind(**alpha, **names, reset_mechanism=spec["reset"])))
    return nn.Sequential(layers), {"params": params}, x, arrays["y"], golden


def halved(x: Any, shape: tuple[int, ...]) -> Any:
    """Average pooling of 2 x 2; `nn.avg_pool` mixes dtypes."""
    height, width, channels = shape
    return x.reshape(*x.shape[:2], height, 2, width, 2, channels).mean(axis=(3, 5))


SHOWN = ("spikes_sparse", "analog_input")
NAMES = sorted(path.stem for path in GOLDEN.glob("*.json"))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in SHOWN else pytest.mark.slow) for n in NAMES]
)
def test_all_values_are_those_of_the_neurobench_harness(name: str) -> None:
    model, variables, x, y, golden = of_snntorch(name)
    assert len(NAMES) == 6
    np.testing.assert_array_equal(model.apply(variables, x), y)
    batch = int(golden["batch"])
    found = metrics.workload(model, variables, x, batch_size=batch)
    harness, counted = golden["neurobench"], golden["counted"]
    operations = harness["SynapticOperations"]
    assert found["effective_macs"] == operations["Effective_MACs"]
    assert found["effective_acs"] == operations["Effective_ACs"]
    assert found["dense"] == operations["Dense"]
    assert found["membrane_updates"] == harness["MembraneUpdates"]
    costs = harness["NeuronOperations"]
    assert found["neuron_operations"] == pytest.approx(costs["Effective Neuron Ops"], rel=1e-12)
    assert found["neuron_operations_dense"] == costs["Neuron Dense Ops"]
    assert found["parameter_count"] == harness["ParameterCount"]
    assert found["connection_sparsity"] == counted["ConnectionSparsity"]
    assert round(found["connection_sparsity"], 4) == harness["ConnectionSparsity"]
    # Means of batches and the ratio of all differ in the last digit.
    sparsity = harness["ActivationSparsity"]
    assert found["activation_sparsity"] == pytest.approx(sparsity, abs=1e-12)
    for index, value in harness["ActivationSparsityByLayer"].items():
        layer = next(v for k, v in found["layers"].items() if k.startswith(f"layers_{index}/cell"))
        assert layer["activation_sparsity"] == pytest.approx(value, abs=1e-12)
    assert found["footprint"] == metrics.footprint(variables)
    assert found["footprint"] == counted["Footprint_parameters_only"]
    # snnTorch keeps states as buffers, of the last batch, and some numbers of each layer.
    kinds = [spec["type"] for spec in golden["layers"]]
    numbers = 4 * (5 * kinds.count("Leaky") + 6 * kinds.count("Synaptic"))
    last = len(x) % batch * found["state_per_sample"]
    assert found["footprint"] + last + numbers == harness["Footprint"]
    assert found["samples"] == len(x) and found["steps"] == x.shape[0] * x.shape[1]
    assert found["not_counted"] == []


def network(*cells: Any) -> tuple[nn.Module, Any]:
    model = snn.RNN(snn.Chain(cells) if len(cells) > 1 else cells[0])
    variables = jax.jit(model.init)(jax.random.key(0), jnp.asarray(X))
    return model, jax.tree.map(lambda w: jnp.where(jnp.abs(w) < 0.2, 0.0, 3.0 * w), variables)


def counts(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Pairs of an input and a weight that are not zero, of each sample and step."""
    return ((x != 0)[..., None] & (w != 0)).sum(axis=(-1, -2))


def test_recurrent_weights_are_counted_with_the_spikes_of_the_step_before() -> None:
    model, variables = network(snn.RecurrentLIFCell(N, dynamics=FAST))
    s = np.asarray(model.apply(variables, jnp.asarray(X)))
    w, r = (np.asarray(variables["params"]["cell"][k]) for k in ("kernel", "recurrent_kernel"))
    found = metrics.workload(model, variables, X)
    before = np.concatenate([np.zeros_like(s[:, :1]), s[:, :-1]], axis=1)
    expected = [counts(X, w).sum() / B, counts(before, r).sum() / B]
    layers = [found["layers"][f"cell/{k}"] for k in ("kernel", "recurrent_kernel")]
    assert [layer["effective_acs"] for layer in layers] == expected
    assert min(expected) > 0 and found["effective_acs"] == sum(expected)
    assert found["dense"] == T * (F * N + N * N) and found["effective_macs"] == 0
    zeros = (w == 0).sum() + (r == 0).sum()
    assert found["connection_sparsity"] == zeros / (w.size + r.size) > 0
    assert found["activation_sparsity"] == pytest.approx(1 - s.mean(), abs=1e-7)
    assert found["neuron_operations"] is None  # NeuroBench has no number for RLeaky


class Loop(nn.Module):
    """Calls its cells step by step, as a user may."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        cells = snn.LIFCell(N, dynamics=FAST), snn.LeakyIntegratorReadout(3)
        carries = [c.initialize_carry(jax.random.key(0), (len(x), F)) for c in cells]
        outputs = []
        for t in range(x.shape[1]):
            y = x[:, t]
            for k, cell in enumerate(cells):
                carries[k], y = cell(carries[k], y)
            outputs.append(y)
        return jnp.stack(outputs, 1)


class Merged(nn.Module):
    """Merges batch and time for a layer of Flax, and runs weightless neurons."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        batch, steps = x.shape[:2]
        y = nn.Dense(N, use_bias=False, name="first")(x.reshape(batch * steps, -1))
        y = snn.LIF(FAST, name="neurons")(y.reshape(batch, steps, -1))
        y = nn.Dense(3, use_bias=False, name="second")(y)
        return snn.LeakyIntegrator(name="readout")(y)


FIGURES = (
    "effective_macs",
    "effective_acs",
    "effective_macs_by_sample",
    "effective_acs_by_sample",
    "dense",
    "membrane_updates",
    "activation_sparsity",
    "connection_sparsity",
    "parameter_count",
    "footprint",
    "state_per_sample",
)


@pytest.mark.slow
@pytest.mark.parametrize("x", [X, VALUES], ids=["spikes", "values"])
def test_the_same_network_costs_the_same_however_it_is_written(x: np.ndarray) -> None:
    chain, variables = network(snn.LIFCell(N, dynamics=FAST), snn.LeakyIntegratorReadout(3))
    first, second = (variables["params"]["cell"][f"cells_{k}"]["kernel"] for k in (0, 1))
    loop = {"LIFCell_0": {"kernel": first}, "LeakyIntegratorReadout_0": {"kernel": second}}
    merged = {"first": {"kernel": first}, "second": {"kernel": second}}
    expected = metrics.workload(chain, variables, x)
    spikes = np.asarray(
        snn.RNN(snn.LIFCell(N, dynamics=FAST)).apply(
            {"params": {"cell": {"kernel": first}}}, jnp.asarray(x)
        )
    )
    pairs = [counts(x, np.asarray(first)).sum(), counts(spikes, np.asarray(second)).sum()]
    # Values are MACs in all steps, since the whole batch never happens to be silent.
    name = "effective_acs" if x is X else "effective_macs"
    assert expected["layers"]["cell/cells_0/kernel"][name] == pairs[0] / B
    assert expected["layers"]["cell/cells_1/kernel"]["effective_acs"] == pairs[1] / B > 0
    for model, params in ((Loop(), loop), (Merged(), merged)):
        found = metrics.workload(model, {"params": params}, x)
        assert {k: found[k] for k in FIGURES} == {k: expected[k] for k in FIGURES}
    turned = metrics.workload(
        chain.clone(time_major=True), variables, x.swapaxes(0, 1), time_major=True
    )
    assert {k: turned[k] for k in FIGURES} == {k: expected[k] for k in FIGURES}


def test_a_step_in_which_the_whole_batch_is_silent_counts_as_accumulations() -> None:
    model, variables = network(snn.LIFCell(N, dynamics=FAST))
    w = np.asarray(variables["params"]["cell"]["kernel"])
    x = VALUES.copy()
    x[:, 3] = np.sign(x[:, 3])  # -1, 0, 1 in all samples
    x[:4, 7] = np.sign(x[:4, 7])  # not in the last two
    pairs = counts(x, w)
    found = metrics.workload(model, variables, x)
    assert found["effective_acs"] == pairs[:, 3].sum() / B > 0
    assert found["effective_acs_by_sample"] > found["effective_acs"]
    ternary = np.isin(x, (-1, 0, 1)).all(axis=-1)
    assert found["effective_acs_by_sample"] == pairs[ternary].sum() / B
    halves = metrics.workload(model, variables, x, batch_size=4)  # of 4 samples and of 2
    assert halves["effective_acs"] == (pairs[:, 3].sum() + pairs[:4, 7].sum()) / B
    for name in set(FIGURES) - {"effective_acs", "effective_macs"}:
        assert halves[name] == found[name], name
    assert halves["layers"].keys() == found["layers"].keys()


@pytest.mark.slow
@pytest.mark.parametrize("time_major", [False, True])
def test_padding_counts_in_no_figure(time_major: bool) -> None:
    """A padded batch costs what its samples cost alone, each cut to its length."""
    model, variables = network(
        snn.RecurrentLIFCell(N, dynamics=FAST), snn.LeakyIntegratorReadout(3)
    )
    lengths = np.array([20, 12, 1, 7, 20, 0])
    mask = np.arange(T) < lengths[:, None]
    each = [
        metrics.workload(model, variables, X[b : b + 1, :n]) for b, n in enumerate(lengths) if n
    ]
    x = np.where(mask[..., None], X, np.nan)
    if time_major:
        model, x = model.clone(time_major=True), x.swapaxes(0, 1)
    for given in ({"seq_lengths": lengths}, {"mask": mask}):
        found = metrics.workload(model, variables, x, time_major=time_major, **given)
        assert found["steps"] == lengths.sum()
        for name in ("effective_acs", "dense", "membrane_updates"):
            assert found[name] == pytest.approx(sum(e[name] for e in each) / B, rel=1e-12)
        silent = [(1 - e["activation_sparsity"]) * e["steps"] for e in each]
        expected = 1 - sum(silent) / lengths.sum()
        assert found["activation_sparsity"] == pytest.approx(expected, abs=1e-12)


def test_sums_are_exact_where_float32_is_not() -> None:
    inputs, outputs, steps = 257, 1025, 65  # an odd number above 2^24 in all
    model = nn.Sequential([nn.Dense(outputs, use_bias=False), snn.LIF(FAST)])
    x = jnp.ones((1, steps, inputs))
    variables = {"params": {"layers_0": {"kernel": np.ones((inputs, outputs), np.float32)}}}
    found = metrics.workload(model, variables, x)
    expected = inputs * outputs * steps
    assert expected > 2**24 and int(np.float32(expected)) != expected
    assert found["effective_acs"] == found["dense"] == expected


@pytest.mark.slow
def test_convolutions_count_pairs_without_their_padding() -> None:
    """3 x 3 on 8 x 8, padded by 1: 484 operations for each channel, not 576; groups, strides."""
    convolution = nn.Conv(3, (3, 3), padding=1)
    model = nn.Sequential([convolution, snn.LIF(FAST)])
    x = (np.random.default_rng(1).random((2, 4, 8, 8, 1)) < 0.4).astype(np.float32)
    variables = model.init(jax.random.key(0), x)
    found = metrics.workload(model, variables, x)
    assert found["dense"] == 4 * 3 * 484
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    assert found["effective_acs"] == 3 * (windows != 0).sum() / 2

    strided = nn.Conv(4, (3, 3), strides=2, padding="VALID", feature_group_count=2)
    model = nn.Sequential([strided, snn.LIF(FAST)])
    x = (np.random.default_rng(2).random((2, 4, 7, 7, 2)) < 0.4).astype(np.float32)
    found = metrics.workload(model, model.init(jax.random.key(0), x), x)
    assert found["dense"] == 4 * 3 * 3 * 4 * 9  # steps, positions, channels, weights of one group
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    assert found["effective_acs"] == 2 * (windows != 0).sum() / 2


@pytest.mark.slow
def test_delays_and_crossbars_count_as_the_layer_without_them() -> None:
    """Each input passes a connection once, whatever its taps; reads of devices are all pairs."""
    delayed = snn.RNN(
        snn.Chain(
            (snn.DelayedDenseCell(N, max_delay=4, use_bias=False), snn.LIFCell(dynamics=FAST))
        )
    )
    variables = delayed.init(jax.random.key(0), jnp.asarray(X))
    found = metrics.workload(delayed, variables, X)
    assert found["effective_acs"] == X.sum() * N / B and found["dense"] == T * F * N
    recurrent = snn.RNN(snn.DelayedRecurrentCell(N, dynamics=FAST, max_delay=4))
    variables = recurrent.init(jax.random.key(0), 3.0 * jnp.asarray(X))
    spikes = np.asarray(recurrent.apply(variables, jnp.asarray(X)))
    found = metrics.workload(recurrent, variables, X)
    layer = found["layers"]["cell/recurrent_kernel"]
    assert layer["effective_acs"] == pytest.approx(spikes.sum() * N / B)
    device = functools.partial(snn.crossbar.DotGeneral, snn.crossbar.Device.ideal())
    analog = snn.RNN(snn.LIFCell(N, dynamics=FAST, dot_general_cls=device))
    plain = snn.RNN(snn.LIFCell(N, dynamics=FAST))
    variables = analog.init(jax.random.key(0), jnp.asarray(X))
    on, off = (metrics.workload(m, variables, X) for m in (analog, plain))
    assert on["device_reads"] == on["dense"] == off["dense"] and off["device_reads"] == 0
    assert on["effective_acs"] == off["effective_acs"]


def test_what_is_not_counted_is_named() -> None:
    class Odd(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            y = x @ self.param("own", nn.initializers.ones, (F, N))
            return snn.LIF(FAST)(nn.Dense(N)(y))

    model = Odd()
    found = metrics.workload(model, model.init(jax.random.key(0), X), X)
    assert found["not_counted"] == ["own"]
    assert set(found["layers"]) == {"Dense_0/kernel", "LIF_0/cell"}


def test_what_cannot_be_counted_is_refused(unchecked: None) -> None:
    stock = nn.RNN(snn.LIFCell(N))
    variables = stock.init(jax.random.key(0), jnp.asarray(X))
    with pytest.raises(ValueError, match="lost in a loop that drops them.*use snn.RNN"):
        metrics.workload(stock, variables, X)
    model, variables = network(snn.LIFCell(N))
    with pytest.raises(TypeError, match="expected a model"):
        metrics.workload("net", variables, X)
    with pytest.raises(ValueError, match="variables: expected the variables of the model"):
        metrics.workload(model, {}, X)
    with pytest.raises(ValueError, match="inputs: expected a batch of sequences"):
        metrics.workload(model, variables, X[0, 0])
    with pytest.raises(ValueError, match="batch_size"):
        metrics.workload(model, variables, X, batch_size=0)
    with pytest.raises(ValueError, match="finite numbers"):
        metrics.workload(model, variables, np.where(X > 0, np.nan, X))
    with pytest.raises(TypeError, match="traced array"):
        jax.jit(lambda x: metrics.workload(model, variables, x))(jnp.asarray(X))
    with pytest.raises(TypeError, match="variables: expected the variables of a model"):
        metrics.footprint(3)


def test_a_model_without_connections_has_no_connection_sparsity() -> None:
    found = metrics.workload(snn.LIF(FAST), {"params": {}}, X)
    assert found["connection_sparsity"] is None and found["dense"] == 0
    assert found["activation_sparsity"] is not None and found["footprint"] == 0


def test_energy_is_that_of_the_table(unchecked: None) -> None:
    found = metrics.energy_estimate(10.0, 100.0)
    assert found["picojoules"] == pytest.approx(10 * (3.7 + 0.9) + 100 * 0.9)
    assert found["macs"] == pytest.approx(46.0) and found["acs"] == pytest.approx(90.0)
    assert "Horowitz" in found["source"]
    assert metrics.energy_estimate(1, 0, "int8")["picojoules"] == pytest.approx(0.23)
    own = metrics.OperationEnergy(multiplication=2.0, addition=1.0)
    assert metrics.energy_estimate(1, 1, own)["picojoules"] == 4.0
    for bad in ((-1.0, 0.0), (0.0, np.nan)):
        with pytest.raises(ValueError, match="expected"):
            metrics.energy_estimate(*bad)
    with pytest.raises(ValueError, match="precision: expected"):
        metrics.energy_estimate(1.0, 1.0, "float8")
