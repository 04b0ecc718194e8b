"""Values per neuron, learned or given, and the domains that learning cannot leave."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from covering_rows import covered_by

import flax_snn as snn

X = (jax.random.uniform(jax.random.key(0), (2, 30, 4)) < 0.4).astype(jnp.float32) * 3

ENDS = (-np.inf, -6e4, -104.0, -88.0, -20.0, -7.0, 0.0, 5.0, 20.0, 89.0, 6e4, np.inf)
"""Raw parameters where exponentials leave float32 and float16, and beyond."""


ROWS = [(how, dtype) for how in ("exact", "euler") for dtype in (jnp.float32, jnp.float16)]


@pytest.mark.parametrize(
    ("discretization", "dtype"),
    covered_by(ROWS, [("euler", jnp.float32)]),
)
def test_no_raw_parameter_leaves_the_domain(discretization: str, dtype: Any) -> None:
    names = ("tau_mem", "tau_syn", "threshold", "resistance", "v_reset")
    dynamics = snn.LIFDynamics(tau_syn=5e-3, discretization=discretization)
    cell = snn.LIFCell(4, dynamics=dynamics, learn=names, param_dtype=dtype)
    net = nn.RNN(cell)
    x = X.astype(dtype)
    params = jax.jit(net.init)(jax.random.key(0), x)["params"]["cell"]
    keys = [key for key in params if key != "kernel"]
    assert len(keys) == len(names)

    @jax.jit
    def found(params: Any) -> Any:
        def loss(params: Any) -> Any:
            out = net.apply({"params": {"cell": params}}, x).astype(jnp.float32)
            return jnp.sum(out[..., 1:]), out

        gradients, out = jax.grad(loss, has_aux=True)(params)
        return gradients, out, cell.values_of(params)

    for key in keys:
        for raw in ENDS:
            moved = dict(params, **{key: jnp.full((4,), raw, dtype)})
            gradients, out, values = found(moved)
            for leaf in jax.tree.leaves((gradients, out)):
                assert np.isfinite(np.asarray(leaf, np.float64)).all(), (key, raw)
            one = {name: float(value[0]) for name, value in values.items()}
            # The constructor is the judge: it refuses what is outside.
            snn.LIFDynamics(discretization=discretization, **one)


PUSHED: list[tuple[Any, str, str]] = [
    (snn.LIFDynamics(tau_mem=3e-3, discretization="euler"), "tau_mem", "log_tau_mem"),
    (snn.LIFDynamics(v_reset=0.5, threshold=0.8), "threshold", "log_threshold"),
    (snn.LIFDynamics(v_reset=-0.3), "v_reset", "learned_v_reset"),
    (snn.ALIFDynamics(), "beta", "log_beta"),
]


@pytest.mark.parametrize(("dynamics", "name", "key"), covered_by(PUSHED, PUSHED[:2]))
@pytest.mark.parametrize("sign", covered_by([1.0, -1.0], [-1.0]))
def test_an_optimiser_that_pushes_stays_inside(
    dynamics: Any, name: str, key: str, sign: float
) -> None:
    cell = snn.NeuronCell(3, dynamics=dynamics, learn=(name,))
    net = snn.RNN(cell)
    params: Any = jax.jit(net.init)(jax.random.key(0), X)["params"]
    learned = [k for k in params["cell"] if k not in ("kernel",)]
    assert learned in ([key], [key.replace("log_", "learned_")])
    optimizer = optax.adam(0.1)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        with jax.numpy_dtype_promotion("standard"):
            gradient = jax.grad(lambda p: sign * net.apply({"params": p}, X).sum())(params)
            updates, state = optimizer.update(gradient, state, params)
            return optax.apply_updates(params, updates), state

    state = jax.jit(optimizer.init)(params)
    for k in range(150):
        params, state = step(params, state)
        if k % 30 == 29:
            for value in cell.values_of(params["cell"])[name].tolist():
                dynamics.replace(**{name: value})


def test_inside_the_domain_stored_parameters_mean_what_they_meant() -> None:
    cell = snn.LIFCell(5, learn=("tau_mem", "threshold", "v_reset"))
    raw = jnp.linspace(-6.0, 1.0, 5)
    params = {"log_tau_mem": raw, "log_threshold": 0.3 * raw, "learned_v_reset": raw - 3.0}
    values = cell.values_of(params)
    np.testing.assert_array_equal(values["tau_mem"], jnp.exp(raw))
    np.testing.assert_array_equal(values["threshold"], jnp.exp(0.3 * raw))
    np.testing.assert_array_equal(values["v_reset"], raw - 3.0)


@pytest.mark.slow
@pytest.mark.parametrize("learn", [(), ("tau_mem",)])
def test_given_values_are_those_of_neurons_made_one_by_one(learn: tuple[str, ...]) -> None:
    taus = np.array([4e-3, 9e-3, 30e-3])
    cell = snn.LIFCell(3, values={"tau_mem": taus}, learn=learn)
    variables = jax.jit(nn.RNN(cell).init)(jax.random.key(1), X)
    for runner in (nn.RNN, snn.RNN):
        found = jax.jit(runner(cell).apply)(variables, X)
        for k, tau in enumerate(taus):
            alone = snn.LIFCell(1, dynamics=snn.LIFDynamics(tau_mem=float(tau)))
            kernel = variables["params"]["cell"]["kernel"][:, k : k + 1]
            expected = jax.jit(nn.RNN(alone).apply)({"params": {"cell": {"kernel": kernel}}}, X)
            np.testing.assert_array_equal(found[..., k : k + 1], expected)


def test_initialisers_draw_values_in_their_units() -> None:
    def draw(key: Any, shape: Any, dtype: Any) -> Any:
        return jax.random.uniform(key, shape, dtype, 5e-3, 50e-3)

    given = snn.RNN(snn.LIFCell(400, values={"tau_mem": draw}))
    variables = jax.jit(given.init)(jax.random.key(0), X)
    stored = variables["neuron"]["cell"]["tau_mem"]
    assert 5e-3 <= stored.min() < 7e-3 and 48e-3 < stored.max() <= 50e-3
    learned = snn.LIFCell(400, values={"tau_mem": draw}, learn=("tau_mem",))
    params = jax.jit(snn.RNN(learned).init)(jax.random.key(0), X)["params"]["cell"]
    taus = learned.values_of(params)["tau_mem"]
    assert 5e-3 * (1 - 1e-5) <= taus.min() < 7e-3 and 48e-3 < taus.max() <= 50e-3 * (1 + 1e-5)
    diagnosis = snn.diagnosis.diagnose(given, variables, X)  # sees the collection, too
    assert np.isfinite(diagnosis.layers[0].spread)


def test_time_constants_and_thresholds_are_swept_without_a_new_compilation() -> None:
    start = jax.nn.initializers.constant
    cell = snn.LIFCell(3, values={"tau_mem": start(20e-3), "threshold": start(1.0)})
    model = snn.RNN(cell)
    variables = jax.jit(model.init)(jax.random.key(1), X)
    traced = []

    def spikes(tau_mem: Any, threshold: Any) -> Any:
        traced.append(None)
        values = {"tau_mem": jnp.full(3, tau_mem), "threshold": jnp.full(3, threshold)}
        return model.apply({**variables, "neuron": {"cell": values}}, X)

    compiled = jax.jit(spikes)
    pairs = [(5e-3, 1.0), (20e-3, 0.5), (40e-3, 0.8)]
    expected = []
    for tau, threshold in pairs:
        alone = snn.LIFCell(3, dynamics=snn.LIFDynamics(tau_mem=tau, threshold=threshold))
        expected.append(jax.jit(nn.RNN(alone).apply)({"params": variables["params"]}, X))
        np.testing.assert_array_equal(compiled(tau, threshold), expected[-1])
    assert len(traced) == 1
    assert len({float(each.sum()) for each in expected}) == 3  # The values matter.
    taus, thresholds = jnp.asarray(pairs).T
    np.testing.assert_array_equal(jax.vmap(spikes)(taus, thresholds), jnp.stack(expected))
    slope = jax.grad(lambda tau: spikes(tau, 1.0).sum())(20e-3)
    assert np.isfinite(slope) and slope != 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tau_mem": [1e-3, -1e-3]}, "tau_mem=-0.001 is not possible"),
        ({"speed": [1.0]}, "names among"),
        ({"tau_mem": [], "threshold": [1.0]}, "got none"),
        ({"tau_mem": [1e-2] * 2, "threshold": [1.0] * 3}, "one value per neuron in each"),
        ({"threshold": [0.1, 0.5], "v_reset": [0.0, 0.6]}, "not possible"),
        ({"tau_mem": [float("nan")]}, "not possible"),
        ({"tau_mem": np.ones((2, 3))}, r"got shape \(2, 3\)"),
    ],
)
def test_bad_values_are_refused_when_the_cell_is_made(values: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        snn.LIFCell(2, values=values)


def test_values_of_another_number_of_neurons_are_refused() -> None:
    with pytest.raises(ValueError, match="one value per neuron, 4, got 3"):
        nn.RNN(snn.LIFCell(4, values={"tau_mem": [1e-2, 2e-2, 3e-2]})).init(jax.random.key(0), X)
    wild = nn.initializers.constant(-1.0)
    with pytest.raises(ValueError, match="expected an initialiser of values from"):
        snn.RNN(snn.LIFCell(4, values={"tau_mem": wild})).init(jax.random.key(0), X)
    with pytest.raises(TypeError, match="one number per neuron, or an initialiser"):
        snn.LIFCell(4, values={"tau_mem": "slow"})
    with pytest.raises(TypeError, match="a mapping"):
        snn.LIFCell(4, values=[1.0])
    with pytest.raises(ValueError, match="values_of: expected"):
        snn.LIFCell(4, learn=("tau_mem",)).values_of({"kernel": X})
