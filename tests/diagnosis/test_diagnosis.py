"""Diagnosis against spikes counted by NumPy, and its words for layers in trouble."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.diagnosis import Diagnosis, LayerDiagnosis, compare, diagnose

DT = 2e-3
LIF = snn.LIFDynamics(tau_mem=20e-3, dt=DT, v_rest=0.25, threshold=1.25, v_reset=0.1)
PLAIN = snn.LIFDynamics(tau_mem=20e-3, dt=DT)
F, N = 6, 10


def batch(*shape: int, p: float = 0.1) -> jax.Array:
    return jnp.asarray(np.random.default_rng(3).random(shape) < p, jnp.float32)


def kernel(rows: int, columns: int, scale: float = 1.0, center: float = 0.0) -> np.ndarray:
    return np.random.default_rng(4).normal(center, scale, (rows, columns)).astype(np.float32)


def single(dynamics: snn.LIFDynamics = PLAIN, neurons: int = N) -> nn.Module:
    return snn.RNN(snn.LIFCell(neurons, dynamics=dynamics))


def weights(w: Any) -> dict[str, Any]:
    return {"params": {"cell": {"kernel": jnp.asarray(w)}}}


def layer_of(net: nn.Module, variables: Any, x: jax.Array, **arguments: Any) -> LayerDiagnosis:
    (layer,) = diagnose(net, variables, x, **arguments).layers
    return layer


def test_figures_are_those_of_numpy() -> None:
    x, w = batch(8, 40, F), kernel(F, N, 8.0)
    cell = snn.LIFCell(N, dynamics=LIF)
    layer = layer_of(snn.RNN(cell), weights(w), x)

    a, v = np.exp(-0.1), np.full((8, N), 0.25)
    free, trace, spikes = np.zeros((8, N)), [], []
    for current in np.moveaxis(np.asarray(x, np.float64) @ np.asarray(w, np.float64), 1, 0):
        v = a * v + (1 - a) * (0.25 + current)
        free = a * free + (1 - a) * current
        spikes.append(v > 1.25)
        v = np.where(v > 1.25, 0.1, v)
        trace.append(free)
    fired, membrane = np.stack(spikes), np.stack(trace)  # rest 0, distance 1
    rates = fired.mean(axis=(0, 1))
    np.testing.assert_allclose(layer.activity, fired.mean(), rtol=1e-6)
    np.testing.assert_allclose(layer.rate, fired.mean() / DT, rtol=1e-6)
    np.testing.assert_allclose(layer.silent, (rates == 0).mean(), rtol=1e-6)
    np.testing.assert_allclose(layer.saturated, (rates >= 0.25).mean(), rtol=1e-6)
    np.testing.assert_allclose([layer.mean, layer.spread], [membrane.mean(), membrane.std()], 1e-4)
    assert (layer.name, layer.neurons, layer.spiking) == ("cell", N, True)
    assert 0.02 < layer.activity < 0.2


CASES: dict[str, tuple[Any, str, str]] = {
    "healthy": (kernel(F, N, 3.0), "healthy", ""),
    "silent": (kernel(F, N, 0.01), "silent", "initializers.lsuv"),
    "held down": (kernel(F, N, 0.5, center=-6.0), "silent", "weights of zero mean"),
    "few": (kernel(F, N, 9.0) * (np.arange(N) < 4), "nearly silent", "larger target"),
    "weak": (kernel(F, N, 1.8), "nearly silent", "longer tau_mem"),
    "saturated": (kernel(F, N, 400.0), "saturated", "refractory period"),
    "runs away": (kernel(F, N, 80.0), "runs away", "shorter tau_mem"),
    "no input": (kernel(F, N, 0.0), "no input", "layers below are silent"),
    "nan": (np.full((F, N), np.nan), "not finite", "last good checkpoint"),
    "infinite": (kernel(F, N, 1e38), "not finite", "NaN or infinite"),
}


@pytest.mark.parametrize("name", CASES)
def test_words_for_a_layer(name: str) -> None:
    w, verdict, words = CASES[name]
    net, x = single(), batch(8, 40, F, p=0.5 if name == "saturated" else 0.1)
    result = diagnose(net, weights(w), x)
    (layer,) = result.layers
    assert layer.verdict == verdict, layer
    assert words in layer.advice and result.healthy == (verdict == "healthy")
    assert (f"{verdict} (cell): " in str(result)) != result.healthy
    # Never reset, the membrane of a saturated layer does not look small.
    assert verdict not in ("saturated", "runs away") or layer.spread > 5.0


def test_a_refractory_period_lowers_the_line_of_saturation() -> None:
    x, w = jnp.ones((2, 60, F)), kernel(F, N, 0.1, center=1.0)
    free, held = (
        layer_of(single(snn.LIFDynamics(tau_mem=20e-3, dt=DT, refractory=hold)), weights(w), x)
        for hold in (0.0, 8e-3)
    )
    # Constant input: a spike in every second step at most; held for 4 steps, in every sixth.
    assert free.activity > 0.25 and free.verdict == "saturated"
    assert held.activity < 0.25 and held.verdict == "saturated"


def test_layers_of_any_model_in_order_and_step_by_step() -> None:
    class Steps(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            cell = snn.LIFCell(N, dynamics=LIF, name="cell")
            carry, outputs = cell.initialize_carry(None, x[:, 0].shape), []
            for t in range(x.shape[1]):
                carry, s = cell(carry, x[:, t])
                outputs.append(s)
            return jnp.stack(outputs, axis=1)

    x, w = batch(8, 6, F), kernel(F, N, 8.0)
    by_hand, by_runner = layer_of(Steps(), weights(w), x), layer_of(single(LIF), weights(w), x)
    for name in ("rate", "silent", "mean", "spread", "neurons"):
        np.testing.assert_allclose(getattr(by_hand, name), getattr(by_runner, name), rtol=1e-5)
    assert by_hand.rate > 0.0

    conv = nn.Sequential([nn.Conv(3, (3, 3)), snn.LIF(), nn.Dense(2), snn.LeakyIntegrator()])
    images = batch(2, 10, 4, 4, 1)
    shapes = jax.eval_shape(conv.init, jax.random.key(0), images)
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5, leaf.dtype), shapes)
    hidden, readout = diagnose(conv, variables, images, dt=1.0).layers
    assert [hidden.name, readout.name] == ["layers_1/cell", "layers_3/cell"]
    assert [hidden.neurons, readout.neurons] == [48, 32]
    assert hidden.rate == hidden.activity and np.isnan(readout.rate) and not readout.spiking


def test_before_and_after_side_by_side() -> None:
    net, x = single(), batch(8, 40, F)
    before = diagnose(net, weights(kernel(F, N, 0.01)), x)
    after = diagnose(net, weights(kernel(F, N, 3.0)), x)
    old, new = before.layers[0], after.layers[0]
    header, row = compare(before, after).split("\n")
    assert header.split()[:3] == ["layer", "rate", "(Hz)"]
    assert f"0.0 -> {new.rate:.1f} " in row and row.endswith(" silent -> healthy")
    assert f"{old.spread:.2f} -> {new.spread:.2f}" in row
    assert "silent (cell): at most one in ten neurons spikes" in compare(after, before)
    with pytest.raises(ValueError, match=r"diagnoses of one model, got layers \['cell'\], \[\]"):
        compare(before, Diagnosis(()))


def test_results_are_repeatable_and_variables_untouched() -> None:
    noisy = snn.LIFDynamics(tau_mem=20e-3, dt=DT, noise_std=0.3)
    net, x, variables = single(noisy), batch(8, 40, F), weights(kernel(F, N, 3.0))
    copy = jax.tree.map(np.array, variables)
    first, second = (
        diagnose(net, variables, x, rngs={"noise": jax.random.key(1)}) for _ in range(2)
    )
    assert first == second
    jax.tree.map(np.testing.assert_array_equal, variables, copy)
    with pytest.raises(ValueError, match="RNG stream 'noise'"):
        diagnose(net, variables, x)


def test_diagnose_says_what_it_needs(unchecked: None) -> None:
    net, x, variables = single(), batch(8, 40, F), weights(kernel(F, N))
    with pytest.raises(ValueError, match=r"cell: its traces are lost .* use snn.RNN"):
        diagnose(nn.RNN(snn.LIFCell(N)), variables, x)
    with pytest.raises(ValueError, match="expected a model with layers of neurons"):
        diagnose(nn.Dense(N), {"params": {"kernel": kernel(F, N), "bias": kernel(1, N)[0]}}, x)
    with pytest.raises(ValueError, match="expected a batch of sequences"):
        diagnose(net, variables, x[0, 0])
    with pytest.raises(ValueError, match="no empty axis"):
        diagnose(net, variables, x[:0])
    with pytest.raises(TypeError, match="array of numbers"):
        diagnose(net, variables, np.array(["a", "b"]))
    with pytest.raises(ValueError, match="inputs: expected finite numbers"):
        diagnose(net, variables, jnp.full((2, 5, F), jnp.nan))
    with pytest.raises(ValueError, match="dt: expected a finite number of seconds > 0"):
        diagnose(net, variables, x, dt=0.0)

    class Stacked(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            loop = nn.scan(
                lambda cell, carry, x: cell(carry, x),
                variable_broadcast="params",
                variable_axes={"intermediates": 0},
                split_rngs={"params": False},
                in_axes=1,
            )
            cell = snn.LIFCell(N, name="cell")
            return loop(cell, cell.initialize_carry(None, x[:, 0].shape), x)[1]

    with pytest.raises(ValueError, match="not in a loop of your own"):
        diagnose(Stacked(), variables, x)


class Mixed(nn.Module):
    """Layers that are judged, and recurrent ones that are not."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = snn.RNN(snn.LIFCell(N, dynamics=PLAIN, name="spiking"))(x)
        x = nn.RNN(nn.SimpleCell(4, name="rates"))(x)
        cells = [snn.LIFCell(5, dynamics=PLAIN), nn.GRUCell(3)]
        return snn.RNN(snn.Chain(cells, name="chain"))(x)


@pytest.mark.slow
def test_recurrent_layers_of_other_kinds_are_named() -> None:
    net, x = Mixed(), batch(2, 20, F)
    variables = jax.jit(net.init)(jax.random.key(0), x)
    result = diagnose(net, variables, x)
    assert [layer.name for layer in result.layers] == ["spiking", "LIFCell_0"]
    assert dict(result.not_covered) == {
        "rates": "SimpleCell is not a snn.NeuronCell",
        "GRUCell_0": "GRUCell is not a snn.NeuronCell",
    }
    assert "not covered (rates): SimpleCell is not a snn.NeuronCell" in str(result)
    assert diagnose(single(), weights(kernel(F, N)), x).not_covered == ()


class OwnMembrane(snn.LIFCell):
    """A cell that steps its neurons in a way of its own."""

    def __call__(self, carry: Any, x: jax.Array) -> Any:
        return carry, jnp.zeros((*x.shape[:-1], self.features))


def test_cells_that_do_not_step_their_neurons_here_are_named() -> None:
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = snn.RNN(OwnMembrane(N, name="own"))(x)
            return snn.RNN(snn.LIFCell(N, dynamics=PLAIN, name="usual"))(x)

    x = batch(2, 20, F)
    result = diagnose(Two(), Two().init(jax.random.key(0), x), x)
    assert [layer.name for layer in result.layers] == ["usual"]
    assert [name for name, _ in result.not_covered] == ["own"]


def test_an_event_layer_beside_others_is_named() -> None:
    class Both(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            events = snn.event.from_times(jnp.full((2, F), 1e-3))
            neurons = snn.LIFDynamics(tau_mem=20e-3, tau_syn=10e-3)
            cell = snn.LIFCell(3, dynamics=neurons, name="events")
            snn.event.RNN(cell, budget=4, duration=0.02)(events)
            return snn.RNN(snn.LIFCell(N, dynamics=PLAIN, name="steps"))(x)

    x = batch(2, 20, F)
    result = diagnose(Both(), jax.jit(Both().init)(jax.random.key(0), x), x)
    assert [name for name, _ in result.not_covered] == ["events"]
    assert "continuous" in result.not_covered[0][1]


class State(NamedTuple):
    v: jax.Array


@dataclasses.dataclass(frozen=True)
class AboveOne(snn.Neuron):
    """Integrates without a leak, and spikes at a membrane of 1, which no coefficient names."""

    dt: float = 1e-3

    def initial_state(self, v_init: Any, *, recurrent: bool = False) -> State:
        return State(v_init)

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> dict[str, Any]:
        return {"gain": 0.5}

    def step(self, coefficients: Any, state: State, current: Any, *_: Any, **unused: Any) -> Any:
        v = state.v + coefficients["gain"] * current
        s = jnp.where(v > 1.0, 1.0, 0.0)
        return State(v - s), s


def test_a_membrane_that_cannot_be_measured_without_resets_is_named() -> None:
    x, w = jnp.ones((2, 20, F)), np.full((F, N), 0.05)
    net = snn.RNN(snn.NeuronCell(N, dynamics=AboveOne()))
    result = diagnose(net, weights(jnp.asarray(w, jnp.float32)), x)
    # The input is 0.3: 0.15 a step and a spike in every seventh.
    assert result.layers[0].activity == pytest.approx(2 / 20)
    assert result.layers[0].spread < 1.0
    ((name, reason),) = result.not_covered
    assert name == "membrane of cell" and reason.startswith("AboveOne has no threshold")
    assert "its spikes are judged" in str(result)


class Normalised(nn.Module):
    fixed: bool | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        running = (not train) if self.fixed is None else None
        x = nn.BatchNorm(use_running_average=self.fixed, name="norm")(x, running)
        return snn.RNN(snn.LIFCell(N, dynamics=PLAIN, name="spiking"))(x)


@pytest.mark.parametrize(
    "fixed", [None, *(pytest.param(f, marks=pytest.mark.slow) for f in (True, False))]
)
def test_batch_norm_has_two_modes(fixed: bool | None) -> None:
    """The running statistics say that inputs are 100 times as wide as they are."""
    net, x = Normalised(fixed), batch(8, 40, F)
    variables = jax.jit(net.init)(jax.random.key(0), x)
    variables["params"]["spiking"]["kernel"] = jnp.asarray(kernel(F, N, 1.0))
    variables["batch_stats"]["norm"]["var"] = jnp.full(F, 1e4)
    copy = jax.tree.map(np.array, variables)
    training = diagnose(net, variables, x, use_running_average=False)
    evaluation = diagnose(net, variables, x, use_running_average=True)
    assert training.batch_norms == (("norm", False),)
    assert evaluation.batch_norms == (("norm", True),)
    assert (training.layers[0].verdict, evaluation.layers[0].verdict) == ("healthy", "silent")
    assert "BatchNorm (norm): statistics of this batch, as in training" in str(training)
    assert "BatchNorm (norm): running statistics, as in evaluation" in str(evaluation)
    jax.tree.map(np.testing.assert_array_equal, variables, copy)

    raw = np.asarray(x, np.float64)
    normalised = (raw - raw.mean(axis=(0, 1))) / raw.std(axis=(0, 1))
    for result, inputs in [(training, normalised), (evaluation, raw / 100.0)]:
        free, trace = np.zeros((8, N)), []
        for current in np.moveaxis(inputs @ kernel(F, N, 1.0).astype(np.float64), 1, 0):
            free = np.exp(-0.1) * free + (1 - np.exp(-0.1)) * current
            trace.append(free)
        assert result.layers[0].spread == pytest.approx(np.std(trace), rel=1e-3)

    default = diagnose(net, variables, x)
    by_argument = diagnose(net, variables, x, arguments={"train": False})
    assert default == (evaluation if fixed else training)
    assert by_argument == (training if fixed is False else evaluation)

    scaled, _ = snn.initializers.lsuv(net, variables, x, use_running_average=True)
    jax.tree.map(np.testing.assert_array_equal, scaled["batch_stats"], copy["batch_stats"])
    after = diagnose(net, scaled, x, use_running_average=True).layers[0]
    assert after.spread == pytest.approx(1.0, abs=0.02)
    with pytest.raises(ValueError, match="input that moves its membrane|finite membrane"):
        snn.initializers.lsuv(net, variables, 0 * x, use_running_average=True)


@pytest.mark.slow
def test_layers_too_dense_for_the_events_that_were_asked_for_are_named() -> None:
    """Shares against NumPy; the result is right at any density, so no layer is unhealthy."""
    chain = snn.Chain([snn.LIFCell(9), snn.LIFCell(4, dot_general_cls=snn.EventDotGeneral)])
    x = np.random.default_rng(0).normal(size=(3, 20, 8)).astype(np.float32)
    x[:, ::2] = 0.0
    for products, asked in (
        ("auto", ("cell/cells_1",)),
        ("event", ("cell/cells_0", "cell/cells_1")),
    ):
        model = snn.RNN(chain, products=products)
        variables = jax.jit(nn.RNN(chain).init)(jax.random.key(0), x)
        found = dict(diagnose(model, variables, x).event_densities)
        assert set(found) == set(asked)
        hidden = nn.RNN(chain.cells[0]).apply(
            {"params": {"cell": variables["params"]["cell"]["cells_0"]}}, x
        )
        np.testing.assert_allclose(
            found["cell/cells_1"], np.mean(np.asarray(hidden) != 0), rtol=1e-6
        )
        if products == "event":
            np.testing.assert_allclose(found["cell/cells_0"], np.mean(x != 0), rtol=1e-6)
            text = str(diagnose(model, variables, x))
            assert "right but slow (cell/cells_0: 50% of the inputs are not zero): events" in text
    assert not dict(diagnose(snn.RNN(snn.LIFCell(4)), *lone(x)).event_densities)


def lone(x: np.ndarray) -> tuple[Any, np.ndarray]:
    return snn.RNN(snn.LIFCell(4)).init(jax.random.key(0), x), x
