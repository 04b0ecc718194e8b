"""Adaptive neurons: what the golden traces do not show, against NumPy and closed forms."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

from flax_snn import surrogate
from flax_snn.dynamics.adaptive.adex import AdExDynamics
from flax_snn.dynamics.adaptive.adlif import AdLIFDynamics, AdLIFState, slayer
from flax_snn.dynamics.adaptive.alif import ALIFDynamics, ALIFState
from flax_snn.dynamics.adaptive.izhikevich import IzhikevichDynamics, IzhikevichState
from flax_snn.dynamics.adaptive.lsnn import LSNNDynamics, LSNNState
from flax_snn.dynamics.adaptive.silif import SiLIFDynamics, SiLIFState, boxcar
from flax_snn.dynamics.neuron import Neuron
from flax_snn.dynamics.promises import check_neuron
from flax_snn.dynamics.step import aligned

# Every kind and every variant, by a name for the tests.
NEURONS: dict[str, Neuron] = {
    "alif": ALIFDynamics(),
    "alif_refractory": ALIFDynamics(refractory=4e-3, reset_gradient="flow"),
    "alif_same_step": ALIFDynamics(scheme="same_step", beta=0.3),
    "alif_same_step_flow": ALIFDynamics(scheme="same_step", reset_gradient="flow"),
    "adlif": AdLIFDynamics(),
    "adlif_euler": AdLIFDynamics(scheme="euler", q=60.0, reset_gradient="flow"),
    "silif": SiLIFDynamics(),
    "lsnn": LSNNDynamics(),
    "lsnn_levels": LSNNDynamics(v_rest=0.2, v_reset=-0.3, reset_gradient="stop"),
    "izhikevich": IzhikevichDynamics(),
    "izhikevich_fine": IzhikevichDynamics(substeps=8, reset_gradient="flow", dt=2e-3),
    "adex": AdExDynamics(),
}

every_neuron = pytest.mark.parametrize("neuron", NEURONS.values(), ids=NEURONS)


def nothing(v, theta):
    return 0.0 * (v - theta)


def simulate(neuron: Neuron, x: Any, state: Any = None, values: Any = None) -> Any:
    """States and spikes of neurons without weights, ``x`` of (T, N) in the dtype of the state."""
    x = jnp.asarray(x)
    c = aligned(neuron.coefficients(values), 1, x.dtype)
    if state is None:
        state = neuron.initial_state(jnp.full(x.shape[1:], neuron.v_init, x.dtype))

    def move(state: Any, x: Any) -> Any:
        state, s = neuron.step(c, state, x, neuron.surrogate)
        return state, (state, s)

    return jax.lax.scan(move, state, x)[1]


@every_neuron
def test_promises_of_the_protocol_are_kept(neuron: Neuron):
    check_neuron("test", neuron)
    assert hash(neuron) == hash(neuron.replace()) and neuron == neuron.replace()
    for twin in ("event", "nir", "parallel"):
        assert neuron.lacks(twin) != Neuron.lacks(neuron, twin)  # a reason of its own


@every_neuron
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_a_step_keeps_the_dtypes_of_the_state(neuron: Neuron, recurrent: bool, dtype: Any):
    c = aligned(neuron.coefficients(), 2, dtype)
    x = jax.ShapeDtypeStruct((2, 3), dtype)
    state = jax.eval_shape(lambda v: neuron.initial_state(v, recurrent=recurrent), x)
    feedback = (lambda s: 0.5 * s) if recurrent else None
    after, s = jax.eval_shape(
        lambda state, x: neuron.step(c, state, x, neuron.surrogate, recurrent=feedback), state, x
    )
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.leaves(after) == jax.tree.leaves(state)
    assert (s.shape, s.dtype) == (x.shape, dtype)
    if "refractory" in vars(state) and state.refractory is not None:
        assert state.refractory.dtype == jnp.int32


@every_neuron
def test_description_has_the_numbers(neuron: Neuron):
    text, c = neuron.describe(), vars(neuron.coefficients())
    for name, value in c.items():
        if name not in ("q", "a"):  # in a product with others: of adLIF q, of Izhikevich a
            assert f"{value:g}" in text, f"{name} = {value:g} in {text}"
    assert f"step of {neuron.dt:g} s" in text


def test_description_of_q():
    for scheme in ("symplectic", "euler"):
        neuron = AdLIFDynamics(scheme=scheme, q=90.0, a=0.25)
        beta = math.exp(-1e-3 / 180e-3)
        assert f"+ {(1 - beta) * 90.0:g} (0.25 v" in neuron.describe()


def test_description_says_what_cannot_rest():
    assert "no rest" in IzhikevichDynamics(b=0.28).describe()
    assert "rest at -70 mV" in IzhikevichDynamics(b=0.2).describe()


# --- what may be learned ------------------------------------------------------------------------


@every_neuron
def test_learning_cannot_reach_what_the_constructor_refuses(neuron: Neuron):
    learnable = neuron.learnable(learn=("threshold", "v_reset"))
    for name, each in learnable.items():
        start = float(each.raw(each.value))
        for raw in (start, start - 0.7, start + 0.7, start - 1e3, start + 1e3, -1e9, 1e9):
            with jax.enable_x64(True):
                value = float(each.learned(jnp.asarray([raw]), neuron.values())[0])
            changed = neuron.replace(**{name: value})
            assert all(math.isfinite(v) for v in vars(changed.coefficients()).values())


@pytest.mark.parametrize(
    "name",
    covered_by(NEURONS, ["alif_refractory", "adlif_euler", "silif", "lsnn_levels", "izhikevich"]),
)
def test_gradients_of_values_are_those_of_finite_differences(name: str):
    """Below threshold and without a surrogate every state is smooth in every value."""
    neuron = NEURONS[name].replace(surrogate=surrogate.custom(nothing))
    rng = np.random.default_rng(0)
    millivolts = isinstance(neuron, IzhikevichDynamics | AdExDynamics)
    v = neuron.v_init - 2.0 if millivolts else 0.1
    with jax.enable_x64(True):
        x = jnp.asarray(0.1 * rng.normal(size=(12, 3)))
        state = neuron.initial_state(jnp.full(3, v))
        state = jax.tree.map(lambda z: z + 0.05 if z.dtype == v64 else z, state)
        if getattr(state, "s", None) is not None:  # a spike just before: values of resets act
            state = state.replace(s=jnp.ones(3))
        mix = rng.normal(size=(12, 3))

        def loss(values: Any) -> Any:
            states, s = simulate(neuron, x, state, values)
            floats = [z for z in jax.tree.leaves(states) if z.dtype == v64]
            return sum(jnp.sum(mix * z**2) for z in floats), jnp.sum(s)

        values = {k: jnp.full(3, e.value) for k, e in neuron.learnable().items()}
        gradients, spikes = jax.jit(jax.grad(loss, has_aux=True))(values)
        assert spikes == 0
        compiled = jax.jit(lambda values: loss(values)[0])
        for name, value in values.items():
            h = 1e-5 * float(jnp.maximum(jnp.abs(value[0]), 1e-3))
            ends = [compiled(values | {name: value.at[1].add(sign * h)}) for sign in (1, -1)]
            expected = float(ends[0] - ends[1]) / (2 * h)
            # 1e-16 of the loss by 2 h, and h^2 of the third derivative.
            scale = max(1.0, abs(expected), abs(float(ends[0])) * 1e-9 / h)
            assert abs(float(gradients[name][1]) - expected) <= 1e-6 * scale, name


v64 = jnp.dtype("float64")


def test_decays_become_time_constants_and_back():
    alif = ALIFDynamics.from_decays(alpha=0.95, rho=0.99, dt=2e-3, beta=0.0)
    adlif = AdLIFDynamics.from_decays(alpha=0.9, beta=0.98, a=1.0)
    silif = SiLIFDynamics.from_decays(alpha=0.8, beta=0.97)
    assert np.isclose(alif.tau_mem, -2e-3 / math.log(0.95), rtol=1e-15)
    for neuron, decays in ((alif, (0.95, 0.99)), (adlif, (0.9, 0.98)), (silif, (0.8, 0.97))):
        found = list(vars(neuron.coefficients()).values())[:2]
        np.testing.assert_allclose(found, decays, rtol=1e-15)


def test_values_are_per_neuron_and_known():
    c = ALIFDynamics().coefficients({"tau_mem": jnp.asarray([10e-3, 20e-3], jnp.float32)})
    np.testing.assert_allclose(c.alpha, np.exp([-0.1, -0.05]), rtol=1e-6)
    assert c.alpha.dtype == jnp.float32 and c.theta == 1.0
    with pytest.raises(TypeError, match="expected names among tau_mem.*got 'tau_syn'"):
        ALIFDynamics().coefficients({"tau_syn": 5e-3})


# --- what the neurons do ------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["bellec", "same_step"])
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_refractory_period_counts_the_step_of_the_spike(scheme: Any, steps: int):
    neuron = ALIFDynamics(scheme=scheme, refractory=steps * 1e-3, beta=0.0)
    _, s = simulate(neuron, np.full((40, 1), 2.0, np.float32))
    times = np.flatnonzero(s)
    np.testing.assert_array_equal(np.diff(times), max(steps, 1))
    assert neuron.longest_silence() == max(steps, 1) - 1


def test_a_membrane_at_its_threshold_spikes_in_the_same_step_scheme_only():
    x = np.asarray([[1.0], [0.0]], np.float32)
    for scheme, expected in (("bellec", 0), ("same_step", 1)):
        _, s = simulate(ALIFDynamics(scheme=scheme), x)
        assert int(s[0, 0]) == expected


def test_adaptation_slows_firing():
    for drive, slow, fast in (
        (0.2, ALIFDynamics(beta=0.2), ALIFDynamics(beta=0.0)),
        (4.0, AdLIFDynamics(b=2.0, a=0.0), AdLIFDynamics(b=0.0, a=0.0)),
        (4.0, SiLIFDynamics(b=0.1, a=0.0), SiLIFDynamics(b=0.0, a=0.0)),
        (0.5, LSNNDynamics(beta=0.1), LSNNDynamics(beta=0.0)),
    ):
        x = np.full((1000, 1), drive, np.float32)
        few, many = (int(simulate(n, x)[1].sum()) for n in (slow, fast))
        assert 0 < few < 0.8 * many, type(slow).__name__


def test_lsnn_stops_the_jump_only_where_norse_does():
    def slope(reset_gradient: Any, recurrent: bool) -> float:
        neuron = LSNNDynamics(reset_gradient=reset_gradient)
        c = aligned(neuron.coefficients(), 1, jnp.float32)
        feedback = (lambda s: 0 * s) if recurrent else None

        def jump(v: Any) -> Any:
            state = LSNNState(v=v, i=jnp.zeros(1), a=jnp.zeros(1), s=jnp.zeros(1))
            state, _ = neuron.step(c, state, jnp.zeros(1), neuron.surrogate, recurrent=feedback)
            return state.a[0]

        return float(jax.grad(jump)(jnp.asarray([1.2]))[0])

    h = 1.8 * 0.9 / (1 + 0.08) ** 2  # beta k h(1.08 - 1)
    expected = {("norse", True): 0.0, ("stop", True): h, ("flow", True): h, ("norse", False): h}
    for key, value in expected.items():
        assert slope(*key) == pytest.approx(value, rel=1e-5), key


# --- response below threshold -------------------------------------------------------------------


def static_gain(neuron: Any) -> float:
    """Membrane above rest for one unit of input that lasts, by hand."""
    c = neuron.coefficients()
    if isinstance(neuron, ALIFDynamics):
        return 1.0 / (1.0 - c.alpha)
    if isinstance(neuron, AdLIFDynamics):
        return 1.0 / (1.0 + c.q * c.a)
    if isinstance(neuron, SiLIFDynamics):
        return 1.0 / (1.0 + c.a / (1.0 - c.beta))
    if isinstance(neuron, LSNNDynamics):
        return 1.0 / c.k_syn
    if isinstance(neuron, AdExDynamics):
        return 1.0 / (1.0 + c.a - math.exp((neuron.resting_potential(c) - c.v_t) / c.delta_t))
    return 1.0 / (c.b - (0.08 * neuron.resting_potential(c) + 5.0))


@every_neuron
def test_response_of_the_free_membrane(neuron: Neuron):
    # A sum over 2000 steps in float32 of what a pulse of 0.01 adds to a membrane near 0.2.
    assert neuron.membrane_gain() == pytest.approx(static_gain(neuron), rel=5e-3)
    assert neuron.membrane_power() > 0.0
    assert neuron.resting_distance(neuron.coefficients()) > 0.0


def test_power_of_alif_is_that_of_a_leaky_integrator():
    neuron = ALIFDynamics(reset_gradient="flow")
    alpha = neuron.coefficients().alpha
    assert neuron.membrane_power() == pytest.approx(1.0 / (1.0 - alpha**2), rel=1e-4)


@pytest.mark.parametrize("scheme", ["symplectic", "euler"])
def test_free_oscillation_is_what_a_simulation_does(scheme: Any):
    neuron = AdLIFDynamics(scheme=scheme, q=60.0)
    frequency, factor = neuron.free_oscillation()
    c = neuron.coefficients()
    k = (1 - c.beta) * c.q * c.a
    a = np.array([[c.alpha, -(1 - c.alpha)], [k, c.beta]])
    if scheme == "symplectic":  # w from the new membrane
        a[1] = k * a[0] + [0.0, c.beta]
    values = np.linalg.eigvals(a)
    assert factor == pytest.approx(np.abs(values).max(), rel=1e-12)
    turn = 2 * math.pi * neuron.dt
    assert frequency == pytest.approx(np.abs(np.angle(values)).max() / turn, rel=1e-9)
    with jax.enable_x64(True):
        start = AdLIFState(v=jnp.full(1, 0.3), w=jnp.zeros(1), s=jnp.zeros(1))
        states, s = simulate(neuron, jnp.zeros((50, 1)), start)
    assert not s.any()
    expected = np.linalg.matrix_power(a, 50) @ [0.3, 0.0]
    np.testing.assert_allclose([states.v[-1, 0], states.w[-1, 0]], expected, atol=1e-13)


def test_own_surrogates_are_those_of_the_papers():
    u = jnp.linspace(-1.0, 1.0, 9)
    np.testing.assert_allclose(slayer()(u + 2, 2.0), np.exp(-5 * np.abs(u)), rtol=1e-5)
    np.testing.assert_array_equal(boxcar()(u + 2, 2.0), (u > -0.5) & (u <= 0.5))
    assert repr(slayer()) == "slayer(alpha=5.0, scale=0.4)"


@pytest.mark.parametrize("name", ["alif_same_step", "adlif", "lsnn", "izhikevich"])
def test_a_state_without_spikes_is_refused_by_recurrent_weights(name: str):
    neuron, x = NEURONS[name], jnp.zeros(3)
    c = aligned(neuron.coefficients(), 1, x.dtype)
    with pytest.raises(ValueError, match="expected spikes s of the step before.*recurrent=True"):
        neuron.step(c, neuron.initial_state(x), x, neuron.surrogate, recurrent=lambda s: s)


def test_states_have_the_entries_that_the_next_step_needs():
    v = jnp.zeros((2, 3))
    assert isinstance(ALIFDynamics().initial_state(v), ALIFState)
    assert ALIFDynamics().initial_state(v).s is not None
    assert ALIFDynamics(scheme="same_step").initial_state(v).s is None
    assert AdLIFDynamics().initial_state(v).s is None
    assert isinstance(SiLIFDynamics().initial_state(v), SiLIFState)
    assert isinstance(IzhikevichDynamics().initial_state(v - 65), IzhikevichState)
    assert float(IzhikevichDynamics(b=0.25).initial_state(v - 64).u[0, 0]) == -16.0
