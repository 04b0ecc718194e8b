"""Initialisers against membranes that float64 NumPy drives by written-out equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn
from flax_snn.cells import weights
from flax_snn.initializers import fluctuation_driven, lsuv

DT, TAU, SYN = 1e-3, 10e-3, 4e-3
P = 0.1  # spikes per step and input: the Bernoulli factor 1 - p shows
KEY = jax.random.key(0)

Update = Callable[..., np.ndarray]


def leaky(gain: float, decay: float) -> Update:
    return lambda v, i, x: (decay * v + gain * x, i)


def norse(v: np.ndarray, i: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    jump = i + x
    return v + 0.1 * (0.2 - v + jump), 0.8 * jump


def zenke(v: np.ndarray, i: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.exp(-0.1), np.exp(-0.2)
    return a * v + (1 - a) * i, b * i + x


def tutorial(v: np.ndarray, i: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return 0.95 * v + 0.05 * 20.0 * i, 0.9 * i + 0.1 * x


def snntorch(v: np.ndarray, i: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    i = 0.7 * i + x
    return 0.9 * v + i, i


# Dynamics, their free membrane written out, rest and threshold.
NEURONS: dict[str, tuple[snn.LIFDynamics, Update, float, float]] = {
    "exact": (snn.LIFDynamics(TAU), leaky(1 - np.exp(-0.1), np.exp(-0.1)), 0.0, 1.0),
    "snntorch_leaky": (snn.conventions.snntorch_leaky(0.9, 1.5), leaky(1.0, 0.9), 0.0, 1.5),
    "snntorch_synaptic": (snn.conventions.snntorch_synaptic(0.7, 0.9), snntorch, 0.0, 1.0),
    "norse": (snn.conventions.norse_lif(v_leak=0.2), norse, 0.2, 1.0),
    "spikingjelly": (
        snn.conventions.spikingjelly_lif(tau=4.0, v_threshold=0.8),
        leaky(0.25, 0.75),
        0.0,
        0.8,
    ),
    "tutorial": (snn.conventions.tutorial(), tutorial, 0.0, 1.0),
    "zenke": (snn.conventions.zenke(), zenke, 0.0, 1.0),
}


def spikes(steps: int, inputs: int, seed: int, p: float = P) -> np.ndarray:
    return (np.random.default_rng(seed).random((steps, inputs)) < p).astype(np.float64)


def run_free(update: Update, current_TxN: np.ndarray, rest: float) -> np.ndarray:
    """Membrane that never spikes, ``(T, N)``, behind its transient."""
    v, i = np.full(current_TxN.shape[1], rest), np.zeros(current_TxN.shape[1])
    trace = []
    for x in current_TxN:
        v, i = update(v, i, x)
        trace.append(v)
    return np.stack(trace)[300:]


def draw(init: Any, *shape: int) -> np.ndarray:
    return np.asarray(init(KEY, shape, jnp.float32), np.float64)


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("mean", [0.0, 0.3])
def test_free_membrane_fluctuates_as_asked(name: str, mean: float) -> None:
    dynamics, update, rest, theta = NEURONS[name]
    xi = 1.5
    init = fluctuation_driven(dynamics, rate=P / dynamics.dt, xi=xi, mean=mean)
    v = (run_free(update, spikes(4300, 300, 1) @ draw(init, 300, 200), rest) - rest) / (
        theta - rest
    )
    # The mean over 200 neurons, whose own means differ; the variance over time of the average one.
    spread = np.sqrt(v.var(axis=0).mean())
    assert abs(v.mean() - mean) < 3 * v.mean(axis=0).std() / np.sqrt(200)
    np.testing.assert_allclose((1 - mean) / spread, xi, rtol=0.03)


@pytest.mark.parametrize("mean", [0.0, 0.4])
def test_several_channels_bring_equal_parts(mean: float) -> None:
    taus = np.array([4e-3, 15e-3])
    dynamics = snn.LIFDynamics(TAU, tuple(taus), DT, discretization="euler")
    w = draw(fluctuation_driven(dynamics, rate=P / DT, xi=2.0, mean=mean), 300, 400)
    currents = np.stack(np.split(spikes(4300, 300, 2) @ w, 2, axis=1), axis=1)
    variances = []
    for channels in ((1, 0), (0, 1), (1, 1)):
        v, i, trace = np.zeros(200), np.zeros((2, 200)), []
        for current in currents * np.reshape(channels, (1, 2, 1)):
            v, i = v + 0.1 * (i.sum(0) - v), (1 - DT / taus)[:, None] * i + current
            trace.append(v)
        settled = np.stack(trace)[300:]
        variances.append(settled.var(axis=0).mean())
    target = ((1 - mean) / 2.0) ** 2
    np.testing.assert_allclose(variances[2], target, rtol=0.06)
    if mean == 0.0:
        np.testing.assert_allclose(variances[:2], target / 2, rtol=0.06)
    assert abs(settled.mean() - mean) < 3 * settled.mean(axis=0).std() / np.sqrt(200)


@pytest.mark.parametrize("own_channel", [True, False])
def test_input_and_recurrent_kernels_share_the_variance(own_channel: bool) -> None:
    if own_channel:
        dynamics, theta = snn.conventions.tutorial(), 1.0
        a, b, b_r, gain, g, g_r = 0.95, 0.9, 0.85, 20.0, 0.1, 0.15
    else:
        dynamics, theta = snn.conventions.zenke(), 1.0
        a, b, b_r, gain, g, g_r = np.exp(-0.1), np.exp(-0.2), np.exp(-0.2), 1.0, 1.0, 1.0
    p_rec = 0.04
    w = draw(fluctuation_driven(dynamics, rate=P / DT, share=0.7), 300, 200)
    r = draw(fluctuation_driven(dynamics, rate=p_rec / DT, share=0.3, recurrent=True), 200, 200)
    parts = []
    for fed_in, fed_back in ((1, 0), (0, 1), (1, 1)):
        current = fed_in * spikes(4300, 300, 3) @ w
        fed = fed_back * spikes(4300, 200, 4, p_rec) @ r
        v, i, j, trace = np.zeros(200), np.zeros(200), np.zeros(200), []
        for x, q in zip(current, fed, strict=True):
            v = a * v + (1 - a) * (gain * i + j)
            i, j = b * i + g * x, b_r * j + g_r * q
            trace.append(v)
        parts.append(np.stack(trace)[300:].var(axis=0).mean())
    np.testing.assert_allclose(parts, [0.7, 0.3, theta], rtol=0.06)


def test_fan_in_of_a_convolution_is_area_times_channels() -> None:
    lif = snn.LIFDynamics(TAU, threshold=2.0)
    init = fluctuation_driven(lif, rate=50.0, xi=2.0, mean=-0.5)
    conv = nn.Conv(512, (3, 5), kernel_init=init)
    w = np.asarray(conv.init(KEY, jnp.zeros((1, 8, 8, 4)))["params"]["kernel"], np.float64)
    a, p, n = np.exp(-0.1), 0.05, 3 * 5 * 4
    center = -0.5 * 2.0 / (n * p)
    variance = (2.0 * 1.5 / 2.0) ** 2 / (n * p * (1 - p)) / ((1 - a) / (1 + a)) - center**2
    # 31 000 draws: the mean is good to 0.6 % of the deviation, that to 0.4 %.
    assert abs(w.mean() - center) < 0.02 * np.sqrt(variance)
    np.testing.assert_allclose(w.std(), np.sqrt(variance), rtol=0.015)


@pytest.mark.parametrize("dt", [1e-3, 1e-5])
def test_the_same_neuron_gets_the_same_weights_at_any_dt(dt: float) -> None:
    """With a synapse weights are per spike: only discretisation errors depend on dt."""
    fine = snn.LIFDynamics(20e-3, 10e-3, dt)
    w = draw(fluctuation_driven(fine, rate=10.0), 100, 200)
    # Poisson input through exp(-t / 10 ms) - exp(-t / 20 ms): integral of the square, by hand.
    e = 20e-3 / 2 - 2 / (1 / 10e-3 + 1 / 20e-3) + 10e-3 / 2
    np.testing.assert_allclose(w.std() * np.sqrt(100 * 10.0 * e), 1.0, rtol=0.02)


def test_default_initialisers_are_what_is_known_without_data() -> None:
    a = np.exp(-DT / 20e-3)
    lif = snn.LIFDynamics()
    for init, share, activity in (
        (weights.active_init, 1.0, 0.02),
        (weights.recurrent_init, 0.3, 0.1),
    ):
        w = draw(init(lif), 12, 20)
        unit = np.asarray(jax.random.normal(KEY, (12, 20)), np.float64)
        expected = unit * share * np.sqrt((1 + a) / (1 - a) / activity / 12)
        np.testing.assert_allclose(w, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rate": 1000.0}, "less than one spike per step"),
        ({"rate": 0.0}, "rate: expected"),
        ({"xi": -1.0}, "xi: expected"),
        ({"mean": 1.0}, "mean: expected .* < 1, got"),
        ({"share": 1.5}, r"share: expected .* in \(0, 1\]"),
        ({"dynamics": snn.LIFDynamics(v_rest=1.2)}, "fires without input"),
        ({"dynamics": snn.conventions.tutorial(input_gain=1e-300)}, "responds to its input"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], words: str) -> None:
    arguments = {"dynamics": snn.LIFDynamics(), "rate": 10.0} | arguments
    with pytest.raises(ValueError, match=words):
        fluctuation_driven(arguments.pop("dynamics"), **arguments)


def test_shapes_that_cannot_be_are_refused(unchecked: None) -> None:
    lif = snn.LIFDynamics()
    with pytest.raises(ValueError, match="shape of a kernel"):
        fluctuation_driven(lif, rate=10.0)(KEY, (5,))
    two = snn.LIFDynamics(tau_syn=(5e-3, 9e-3))
    with pytest.raises(ValueError, match="2 equal blocks"):
        fluctuation_driven(two, rate=10.0)(KEY, (5, 3))
    init = fluctuation_driven(lif, rate=10.0, mean=0.9, xi=3.0)
    with pytest.raises(ValueError, match="at least (.*) inputs") as caught:
        init(KEY, (50, 4))
    enough = int(str(caught.value).split("at least ")[1].split()[0])
    assert draw(init, enough, 4).shape == (enough, 4)
    with pytest.raises(ValueError, match="inputs"):
        init(KEY, (enough - 1, 4))
    with pytest.raises(TypeError, match="expected dynamics"):
        fluctuation_driven(snn.LIFCell(3), rate=10.0)


# Layer-sequential unit variance.

LIF = snn.LIFDynamics(20e-3, 10e-3, 2e-3)
A, B_SYN = np.exp(-0.1), np.exp(-0.2)
K = (A - B_SYN) / (20e-3 / 10e-3 - 1)  # membrane after one step per unit of synaptic current


def drive(current_BxTxN: np.ndarray) -> np.ndarray:
    """Free membrane of `LIF`."""
    v, i = np.zeros(current_BxTxN[:, 0].shape), np.zeros(current_BxTxN[:, 0].shape)
    trace = []
    for x in np.moveaxis(current_BxTxN, 1, 0):
        v, i = A * v + K * i, B_SYN * i + x
        trace.append(v)
    return np.stack(trace, 1)


def batch(*shape: int, p: float = 0.05) -> jax.Array:
    return jnp.asarray(np.random.default_rng(7).random(shape) < p, jnp.float32)


def start(model: nn.Module, x: jax.Array) -> dict[str, Any]:
    """Variables with normal kernels, without compiling ``init``."""
    rng = np.random.default_rng(5)

    def fill(path: Any, leaf: Any) -> jax.Array:
        if path[-1].key in ("kernel", "recurrent_kernel"):
            value = rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1]))
        else:
            value = {"bias": 0.0, "scale": 1.0, "log_tau_mem": np.log(20e-3)}[path[-1].key]
        return jnp.asarray(np.broadcast_to(value, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(model.init, KEY, x))


def scaled(params: Any, factor: float) -> Any:
    return jax.tree.map(lambda w: jnp.asarray(factor * np.asarray(w)), params)


def float64(tree: Any) -> Any:
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def traces_of(net: nn.Module, variables: Any, x: jax.Array) -> Any:
    run = jax.jit(lambda variables, x: net.apply(variables, x, mutable=["intermediates"]))
    return run(variables, x)[1]["intermediates"]


@pytest.mark.parametrize(
    ("depth", "factor"),
    covered_by([(6, 0.01), (6, 100.0), (1, 100.0)], [(1, 100.0)]),
)
def test_every_layer_reaches_the_target(depth: int, factor: float) -> None:
    cells = [snn.LIFCell(24, dynamics=LIF) for _ in range(depth)]
    readout = snn.LeakyIntegratorReadout(5, dynamics=snn.LIDynamics(20e-3, 10e-3, 2e-3))
    net = snn.RNN(snn.Chain([*cells, readout]))
    x = batch(16, 60, 20)
    variables = scaled(start(net, x), factor)
    before = float64(variables)
    new, report = lsuv(net, variables, x, target=1.2)
    jax.tree.map(np.testing.assert_array_equal, float64(variables), before)

    layers, params = traces_of(net, new, x)["cell"], float64(new["params"]["cell"])
    below = np.asarray(x, np.float64)
    for k in range(depth + 1):
        spread = drive(below @ params[f"cells_{k}"]["kernel"]).std()
        np.testing.assert_allclose(spread, 1.2, rtol=1e-3)
        np.testing.assert_allclose(report.layers[k].after, spread, rtol=1e-4)
        if k < depth:
            below = np.asarray(layers[f"cells_{k}"]["spikes"][0], np.float64)
            assert 0.005 < below.mean() < 0.2
    assert [layer.reached for layer in report.layers] == [True] * (depth + 1)
    assert f"cell/cells_{depth}/kernel x " in str(report)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_recurrent_kernels_are_scaled_along(factor: float) -> None:
    net = snn.RNN(snn.RecurrentLIFCell(24, dynamics=LIF), time_major=True)
    x = batch(60, 16, 20)
    old = start(net, x)
    new, report = lsuv(net, scaled(old, factor), x, tolerance=0.01)
    params, old = (float64(tree["params"]["cell"]) for tree in (new, old))
    ratios = [params[name] / old[name] for name in ("kernel", "recurrent_kernel")]
    np.testing.assert_allclose(ratios[0].mean(), ratios[1].mean(), rtol=1e-5)

    s = np.asarray(traces_of(net, new, x)["cell"]["spikes"][0], np.float64)
    before = np.concatenate([np.zeros_like(s[:1]), s[:-1]])
    current = np.asarray(x, np.float64) @ params["kernel"] + before @ params["recurrent_kernel"]
    spread = drive(np.moveaxis(current, 0, 1)).std()
    np.testing.assert_allclose(spread, 1.0, rtol=0.011)
    np.testing.assert_allclose(report.layers[0].after, spread, rtol=1e-4)
    assert report.layers[0].weights == ("cell/kernel", "cell/recurrent_kernel")


def test_convolutions_in_front_of_neurons() -> None:
    flat = lambda s: s.reshape(*s.shape[:2], -1)  # noqa: E731
    net = nn.Sequential(
        [nn.Conv(3, (3, 3)), snn.LIF(dynamics=LIF), flat, nn.Dense(6), snn.LIF(dynamics=LIF)]
    )
    x = batch(8, 40, 5, 5, 2, p=0.03)
    variables = start(net, x)
    new, report = lsuv(net, variables, x)
    conv = nn.Conv(3, (3, 3)).apply({"params": new["params"]["layers_0"]}, x)
    hidden = np.asarray(traces_of(net, new, x)["layers_1"]["cell"]["spikes"][0], np.float64)
    dense = hidden.reshape(8, 40, -1) @ float64(new["params"]["layers_3"]["kernel"])
    for current in (np.asarray(conv, np.float64), dense):
        np.testing.assert_allclose(drive(current).std(), 1.0, rtol=1e-3)
    assert [layer.weights for layer in report.layers] == [
        ("layers_0/kernel",),
        ("layers_3/kernel",),
    ]


class Branches(nn.Module):
    """Products computed early, a sum, a norm, weights in a row, an unweighted layer, a bias."""

    @nn.compact
    def __call__(self, x: jax.Array, gain: float = 1.0) -> jax.Array:
        early, other = nn.Dense(8, name="a")(x), nn.Dense(8, name="b")(gain * x)
        a = snn.LIF(dynamics=LIF, name="lif_a")(early)
        b = snn.LIF(dynamics=LIF, name="lif_b")(other)
        skip = nn.Dense(8, name="skip")(x)
        h = snn.LIF(dynamics=LIF, name="lif_sum")(nn.Dense(8, name="sum")(a + b) + skip)
        h = nn.LayerNorm(name="norm")(nn.Dense(8, name="before")(h))
        h = snn.LIF(dynamics=LIF, name="lif_norm")(h)
        h = nn.Dense(8, name="second")(nn.Dense(8, use_bias=False, name="first")(h))
        h = snn.LIF(dynamics=LIF, learn=("tau_mem",), name="lif_row")(h)
        return snn.LIF(dynamics=LIF, name="bare")(h)


@pytest.mark.slow
def test_what_drives_a_layer_is_found_by_its_effect() -> None:
    x = batch(8, 40, 10)
    variables = start(Branches(), x)
    bias = jnp.asarray(0.1 * np.random.default_rng(1).normal(size=8), jnp.float32)
    variables["params"]["second"]["bias"] = bias
    new, report = lsuv(Branches(), variables, x, arguments={"gain": 0.1})
    driving = {layer.name.split("/")[0]: set(layer.weights) for layer in report.layers}
    assert driving["lif_a"] == {"a/kernel"} and driving["lif_b"] == {"b/kernel"}
    assert driving["lif_sum"] == {"sum/kernel", "skip/kernel"}
    assert driving["lif_norm"] == {"before/kernel", "norm/scale"}
    assert driving["lif_row"] == {"first/kernel", "second/kernel"}
    assert driving["bare"] == set() and "no weights drive it" in str(report)
    for layer in report.layers[:-1]:
        assert layer.reached and abs(layer.after - 1.0) < 0.02
    # b had a tenth of the input of a; the bias and the time constants stay.
    assert report.layers[1].factor > 5 * report.layers[0].factor
    np.testing.assert_array_equal(new["params"]["second"]["bias"], bias)
    same = [tree["params"]["lif_row"]["cell"]["log_tau_mem"] for tree in (new, variables)]
    np.testing.assert_array_equal(*same)


def test_readouts_can_be_left_out_and_dtypes_stay_and_runs_agree() -> None:
    low = {"param_dtype": jnp.bfloat16}
    net = snn.RNN(snn.Chain([snn.LIFCell(12, **low), snn.LeakyIntegratorReadout(3, **low)]))
    x = batch(8, 30, 10).astype(jnp.uint8)
    variables = {**start(net, x), "intermediates": {"cell": {"v": (jnp.ones(3),)}}}
    runs = [lsuv(net, variables, np.asarray(x), readouts=False, tolerance=0.05) for _ in range(2)]
    (new, report), (again, _) = runs
    jax.tree.map(np.testing.assert_array_equal, new, again)
    assert new["params"]["cell"]["cells_0"]["kernel"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(
        new["params"]["cell"]["cells_1"]["kernel"], variables["params"]["cell"]["cells_1"]["kernel"]
    )
    assert [layer.name for layer in report.layers] == ["cell/cells_0"] and report.layers[0].reached


def test_lsuv_says_what_it_needs(unchecked: None) -> None:
    x = batch(4, 20, 6)
    net = snn.RNN(snn.LIFCell(5))
    variables = start(net, x)
    with pytest.raises(ValueError, match="cell: expected input that moves its membrane"):
        lsuv(net, variables, 0 * x)
    with pytest.raises(ValueError, match="weights in front of it are all 0"):
        lsuv(net, scaled(variables, 0.0), x)
    with pytest.raises(ValueError, match="cell: expected a finite membrane"):
        lsuv(net, scaled(variables, float("nan")), x)
    with pytest.raises(ValueError, match="inputs: expected finite numbers"):
        lsuv(net, variables, x / 0)
    with pytest.raises(ValueError, match=r"stock nn.RNN does: use snn.RNN"):
        lsuv(nn.RNN(snn.LIFCell(5)), variables, x)
    with pytest.raises(ValueError, match="layers of neurons .* got Dense"):
        lsuv(nn.Dense(5), start(nn.Dense(5), x), x)
    with pytest.raises(ValueError, match="expected a batch of sequences"):
        lsuv(net, variables, x[0, 0])
    with pytest.raises(TypeError, match="floating dtype, or spikes"):
        lsuv(net, variables, x.astype(jnp.int32))
    with pytest.raises(TypeError, match="array of numbers"):
        lsuv(net, variables, [[0.0]])
    with pytest.raises(TypeError, match=r"expected a model"):
        lsuv(variables, variables, x)
    with pytest.raises(ValueError, match=r"\{'params': ...\}"):
        lsuv(net, variables["params"], x)
    for name, value in (("target", 0.0), ("tolerance", 1.0), ("max_iterations", 0)):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            lsuv(net, variables, x, **{name: value})


def test_a_target_out_of_reach_is_said() -> None:
    net = snn.RNN(snn.RecurrentLIFCell(8, dynamics=LIF))
    x = batch(4, 30, 6)
    variables = scaled(start(net, x), 30.0)
    _, report = lsuv(net, variables, x, max_iterations=1, tolerance=1e-4)
    assert not report.layers[0].reached and "target not reached" in str(report)
