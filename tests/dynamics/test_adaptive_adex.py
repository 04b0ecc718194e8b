"""AdEx neurons against NumPy loops, the published patterns, bisection and finite differences."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import surrogate
from flax_snn.dynamics.adaptive.adex import AdExDynamics, AdExState
from flax_snn.dynamics.step import aligned

NAMES = ("tau_mem", "v_rest", "a", "tau_w", "b", "v_reset")

# Values in the order of NAMES, and the steady input in mV, of the figures of Naud et al. 2008:
# pF, nS and pA, divided by the leak conductance. The last two: Brette & Gerstner 2005.
KINDS: dict[str, tuple[tuple[float, ...], float]] = {
    "tonic": ((0.200 / 10, -70.0, 2 / 10, 0.030, 0.0, -58.0), 500 / 10),
    "adapting": ((0.200 / 12, -70.0, 2 / 12, 0.300, 60 / 12, -58.0), 500 / 12),
    "initial_burst": ((0.130 / 18, -58.0, 4 / 18, 0.150, 120 / 18, -50.0), 400 / 18),
    "bursting": ((0.200 / 10, -58.0, 2 / 10, 0.120, 100 / 10, -46.0), 210 / 10),
    "accelerating": ((0.200 / 12, -70.0, -10 / 12, 0.300, 0.0, -58.0), 300 / 12),
    "transient": ((0.100 / 10, -65.0, 10 / 10, 0.090, 100 / 10, -47.0), 180 / 10),
    "irregular": ((0.100 / 12, -60.0, -11 / 12, 0.130, 30 / 12, -48.0), 160 / 12),
    "regular": ((0.281 / 30, -70.6, 4 / 30, 0.144, 80.5 / 30, -70.6), 1000 / 30),
    "fast": ((0.281 / 30, -70.6, 4 / 30, 0.144, 0.0, -70.6), 1000 / 30),
}


def nothing(v, theta):
    return 0.0 * (v - theta)


def adex(kind: str, **fields: Any) -> AdExDynamics:
    return AdExDynamics(**dict(zip(NAMES, KINDS[kind][0], strict=True)) | fields)


@functools.partial(jax.jit, static_argnums=0)
def simulate(neuron: AdExDynamics, x: Any, state: Any = None, values: Any = None) -> Any:
    """States and spikes of neurons without weights, ``x`` of (T, N) in the dtype of the state."""
    c = aligned(neuron.coefficients(values), 1, x.dtype)
    if state is None:
        state = neuron.initial_state(jnp.full(x.shape[1:], neuron.v_init, x.dtype))

    def move(state: Any, x: Any) -> Any:
        state, s = neuron.step(c, state, x, neuron.surrogate)
        return state, (state, s)

    return jax.lax.scan(move, state, x)[1]


def every_kind(steps: int, dtype: Any = jnp.float32, **fields: Any) -> Any:
    """States and spikes of all `KINDS` with their steady input, one neuron each."""
    values = {n: jnp.asarray([k[0][i] for k in KINDS.values()]) for i, n in enumerate(NAMES)}
    values = {name: value.astype(dtype) for name, value in values.items()}
    x = jnp.asarray([[k[1] for k in KINDS.values()]], dtype)
    rest = values["v_rest"]
    state = AdExState(v=rest, w=jnp.zeros_like(rest))
    x = jnp.broadcast_to(x, (steps, len(KINDS)))
    return simulate(AdExDynamics(**fields), x, state, values)


@functools.partial(jax.jit, static_argnums=0)
def linear_response(neuron: AdExDynamics, x: Any) -> Any:
    return neuron.free_membrane(aligned(neuron.coefficients(), 1, x.dtype), x)


def by_numpy(
    n: AdExDynamics, drive: np.ndarray, start: Any = None, dt: float = 1e-3, substeps: int = 4
) -> Any:
    """The published loop in float64: v, w after each step (T,), and spikes."""
    v, w = (n.v_rest, 0.0) if start is None else start
    trace, h = [], dt / substeps
    for x in drive:
        for _ in range(substeps):
            if v >= n.v_peak:
                break
            dv = -(v - n.v_rest) + n.delta_t * math.exp((v - n.v_t) / n.delta_t) - w + x
            dw = n.a * (v - n.v_rest) - w
            v, w = min(v + h * dv / n.tau_mem, n.v_peak), w + h * dw / n.tau_w
        fired = v >= n.v_peak
        if fired:
            v, w = n.v_reset, w + n.b
        trace.append((v, w, fired))
    return np.array(trace).T


# --- forward ------------------------------------------------------------------------------------


@pytest.mark.parametrize("substeps", [1, 4])
def test_a_step_is_that_of_numpy(substeps: int):
    rng = np.random.default_rng(3)
    v, w, x = (rng.uniform(*ends, 300) for ends in ((-90, -1), (-20, 20), (-50, 600)))
    neuron = adex("bursting", substeps=substeps, v_t=-48.0, delta_t=3.0, v_peak=20.0)
    with jax.enable_x64(True):
        state = AdExState(v=jnp.asarray(v), w=jnp.asarray(w))
        states, s = simulate(neuron, jnp.asarray(x)[None], state)
        found = np.array([states.v[0], states.w[0], s[0]])
    cases = np.stack([v, w, x], 1)
    ends = [by_numpy(neuron, one[2:], one[:2], substeps=substeps)[:, 0] for one in cases]
    expected = np.array(ends).T
    np.testing.assert_array_equal(found[2], expected[2])
    assert 50 <= found[2].sum() <= 250
    np.testing.assert_allclose(found[:2], expected[:2], rtol=1e-12, atol=1e-12)


def test_traces_are_the_numpy_loop():
    with jax.enable_x64(True):
        states, s = every_kind(200, jnp.float64)
        found = np.array([states.v, states.w, s])
    for k, kind in enumerate(KINDS):
        expected = by_numpy(adex(kind), np.full(200, KINDS[kind][1]))
        np.testing.assert_array_equal(found[2, :, k], expected[2], err_msg=kind)
        # Rounding of a part in 10^16, times up to 10^3 in an upstroke; one of them is chaotic.
        np.testing.assert_allclose(found[:2, :, k], expected[:2], atol=1e-6, err_msg=kind)


def test_firing_patterns_are_the_published_ones():
    _, s = every_kind(1000)
    times = {kind: np.flatnonzero(s[:, k]) for k, kind in enumerate(KINDS)}
    gaps = {kind: np.diff(t) for kind, t in times.items()}
    tonic, fast, adapting, regular = (gaps[k] for k in ("tonic", "fast", "adapting", "regular"))
    for even in (tonic, fast):  # no adaptation beyond the first spikes, and many spikes
        assert len(even) >= 60 and even.max() - even.min() <= 2
    for slowing in (adapting, regular):  # longer and longer intervals, up to a steady one
        assert slowing[-1] > 2 * slowing[0] and (np.diff(slowing) >= -1).all()
        assert abs(slowing[-1] - slowing[-2]) <= 1
    # An initial burst is followed by single spikes.
    burst = gaps["initial_burst"]
    assert (burst[:2] <= 10).all() and burst[2:].min() >= 50 and len(burst) >= 10
    # Regular bursting: bursts of two (the first has three) with long pauses, again and again.
    bursting = gaps["bursting"]
    assert (bursting[:2] <= 10).all() and len(bursting) >= 12
    assert (bursting[2::2] >= 100).all() and (bursting[3::2] <= 10).all()
    faster = gaps["accelerating"]
    assert (np.diff(faster) <= 1).all() and faster[-1] < 0.75 * faster[0]
    assert 1 <= len(times["transient"]) <= 3 and times["transient"].max() < 100


def test_steps_converge_to_the_differential_equations():
    """Intervals between spikes to within two steps: a neuron waits for the end of the step."""
    exact = {}
    for kind in ("adapting", "initial_burst", "bursting", "regular"):
        fired = by_numpy(adex(kind), np.full(35000, KINDS[kind][1]), dt=1e-5, substeps=1)[2]
        exact[kind] = np.diff(np.flatnonzero(fired)) * 1e-5
    for dt, substeps in ((1e-3, 8), (0.25e-3, 4)):
        _, s = every_kind(round(0.35 / dt), dt=dt, substeps=substeps)
        for kind, expected in exact.items():
            found = np.diff(np.flatnonzero(s[:, list(KINDS).index(kind)])) * dt
            assert len(found) == len(expected) >= 4, kind
            assert np.abs(found - expected).max() <= 2 * dt, kind


def test_the_membrane_below_threshold_converges_in_first_order():
    drive, neuron = np.full(40, 17.0), adex("adapting")
    exact = by_numpy(neuron, drive, substeps=2000)[0]
    with jax.enable_x64(True):
        errors = [
            np.abs(simulate(neuron.replace(substeps=n), drive[:, None])[0].v[:, 0] - exact).max()
            for n in (2, 4)
        ]
    assert 1e-2 < errors[1] < 0.2
    assert errors[0] / errors[1] == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(("dtype", "size"), [(jnp.float16, 1e4), (jnp.float32, 1e30)])
def test_absurd_drive_leaves_finite_states(dtype: Any, size: float):
    neuron = AdExDynamics(v_peak=40.0, delta_t=0.25, v_rest=-55.0, b=0.0, substeps=2)
    drive = size * np.array([1.0, -1.0, 1e-2, -1e-2, 0.0])
    x = jnp.asarray(np.repeat([[1.0], [-1.0]], 20, 0) * drive, dtype)

    def loss(x: Any) -> Any:
        states, s = simulate(neuron, x)
        return s.mean() + 1e-3 * states.w[-1].mean(), (states, s)

    gradient, (states, s) = jax.jit(jax.grad(loss, has_aux=True))(x)
    for leaf in (states.v, states.w, gradient):
        assert np.isfinite(leaf).all()
    assert (states.v < neuron.v_peak).all()
    assert s[:20, 0].all() and not s[:20, 1].any()  # at each step, never


# --- derivatives --------------------------------------------------------------------------------


def test_a_substep_multiplies_derivatives_by_two_at_most():
    """And they are exact up to where Euler steps no longer follow the upstroke."""
    neuron = AdExDynamics(v_peak=20.0, substeps=1, dt=0.25e-3, a=0.0)
    with jax.enable_x64(True):
        c = aligned(neuron.coefficients(), 1, jnp.float64)
        v = jnp.linspace(-80.0, 19.9, 400)

        @jax.jit
        def move(v: Any, v_t: Any, delta_t: Any, k_mem: Any) -> Any:
            zeros = jnp.zeros_like(v)
            changed = c.replace(v_t=v_t, delta_t=delta_t, k_mem=k_mem)
            return neuron._integrate(changed, v, zeros, zeros)[0]

        at = (v, *(jnp.full(400, one) for one in (c.v_t, c.delta_t, c.k_mem)))
        one = jnp.ones(400)
        edge = 1.0 / float(c.k_mem)  # of the exponential
        for k, bound in enumerate((2.0, 1.0, 1.0 + math.log(edge), 90.0 + 2.0 * edge)):
            pushed = [one if j == k else 0 * one for j in range(4)]
            slope = jax.jit(lambda *p: jax.jvp(move, at, p)[1])(*pushed)
            assert np.isfinite(slope).all() and np.abs(slope).max() <= bound + 1e-12
            up, down = (
                move(*(p + h * d for p, d in zip(at, pushed, strict=True))) for h in (1e-6, -1e-6)
            )
            followed = np.asarray(v - at[1]) / 2.0 < math.log(edge) - 1e-3
            assert 100 < followed.sum() < 300
            found, expected = np.asarray(slope), np.asarray((up - down) / 2e-6)
            np.testing.assert_allclose(found[followed], expected[followed], rtol=1e-6, atol=1e-7)


def test_a_membrane_stopped_at_its_peak_still_has_the_surrogate():
    neuron = AdExDynamics(substeps=1)
    with jax.enable_x64(True):
        c = aligned(neuron.coefficients(), 1, jnp.float64)
        start = AdExState(v=jnp.full(2, -52.0), w=jnp.zeros(2))

        @jax.jit
        def spikes(x: Any) -> Any:
            return neuron.step(c, start, x, neuron.surrogate)[1]

        x = jnp.asarray([5000.0, 20.0])
        s, slope = jax.jvp(spikes, (x,), (jnp.ones(2),))
    np.testing.assert_array_equal(s, [1.0, 0.0])
    v, _, _ = by_numpy(neuron, np.array([20.0]), (-52.0, 0.0), substeps=1)[:, 0]
    # The first is at its peak, where the surrogate is 1; the second that far below.
    expected = np.array([1.0, 1.0 / (1.0 + 0.05 * (0.0 - v)) ** 2]) * 1e-3 / neuron.tau_mem
    np.testing.assert_allclose(slope, expected, rtol=1e-12)


def test_gradients_through_spikes_are_of_moderate_size():
    """Of input and of every value, with a peak far up, first and second derivatives."""
    neuron = AdExDynamics(v_peak=20.0, substeps=2)
    values = {k: jnp.full(1, e.value) for k, e in neuron.learnable().items()}
    x = jnp.full((60, 1), 41.7)

    def count(values: Any, x: Any) -> Any:
        return simulate(neuron, x, values=values)[1].sum()

    first = jax.grad(count, (0, 1))
    assert count(values, x) >= 3
    (slopes, dx), curved = jax.jit(
        lambda values, x: jax.jvp(lambda x: first(values, x), (x,), (jnp.ones_like(x),))
    )(values, x)
    assert 0.1 < np.abs(dx).max() < 30.0  # in 1/mV
    for name, slope in slopes.items():
        value = abs(float(values[name][0]))
        assert 0.1 < value * abs(float(slope[0])) < 1e5, name
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(curved))


def test_gradients_through_resets_are_finite():
    neuron = AdExDynamics(reset_gradient="flow", substeps=2)
    gradient = jax.jit(jax.grad(lambda x: simulate(neuron, x)[1].sum()))(jnp.full((60, 1), 41.7))
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0.1


def test_gradients_past_spikes_are_those_of_finite_differences():
    """Without surrogate and coupling both values act smoothly while spikes keep their steps."""
    neuron = AdExDynamics(surrogate=surrogate.custom(nothing), a=0.0)
    with jax.enable_x64(True):
        x = jnp.full((60, 1), 40.0)

        @jax.jit
        def end(values: Any) -> Any:
            states, s = simulate(neuron, x, values=values)
            return states.w[-1, 0] + states.v[-1, 0], s

        values = {"v_reset": jnp.asarray(-58.0), "b": jnp.asarray(5.0)}
        (_, s), slopes = jax.jit(jax.value_and_grad(end, has_aux=True))(values)
        assert s.sum() >= 2
        for name, slope in slopes.items():
            ends = [end(values | {name: values[name] + h}) for h in (1e-6, -1e-6)]
            assert all((one[1] == s).all() for one in ends)
            expected = float(ends[0][0] - ends[1][0]) / 2e-6
            assert float(slope) == pytest.approx(expected, rel=1e-5)
            assert abs(expected) > 1e-3


# --- at rest ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [{}, {"v_rest": -52.5}, {"a": -0.9, "v_rest": -60.0}, {"a": 9.0}],
    ids=str,
)
def test_equilibria_are_where_nothing_pulls(fields: Any):
    neuron = AdExDynamics(**fields)
    c = neuron.coefficients()

    def pull(v: float) -> float:
        up = neuron.delta_t * math.exp((v - neuron.v_t) / neuron.delta_t)
        return -(1.0 + neuron.a) * (v - neuron.v_rest) + up

    slowest = neuron.v_t + neuron.delta_t * math.log(1.0 + neuron.a)
    assert pull(slowest) < 0.0
    ends = [(neuron.v_rest, slowest), (neuron.v_peak, slowest)]
    for k, (positive, negative) in enumerate(ends):
        for _ in range(100):
            middle = 0.5 * (positive + negative)
            positive, negative = (middle, negative) if pull(middle) > 0.0 else (positive, middle)
        found = (neuron.resting_potential(c), neuron.threshold_of(c))[k]
        assert found == pytest.approx(positive, abs=1e-9)
        wide = jax.tree.map(jnp.float32, c)
        traced = (neuron.resting_potential(wide), neuron.threshold_of(wide))[k]
        assert float(traced) == pytest.approx(positive, abs=1e-3)


def test_without_a_rest_it_is_the_slowest_potential():
    neuron = AdExDynamics(v_rest=-49.0)
    c = neuron.coefficients()
    slowest = -50.0 + 2.0 * math.log(1.0 + neuron.a)
    assert neuron.resting_potential(c) == neuron.threshold_of(c) == pytest.approx(slowest)
    assert "no rest" in neuron.describe() and "no rest" not in AdExDynamics().describe()
    _, s = simulate(neuron, np.zeros((300, 1), np.float32))
    assert s.sum() >= 2  # as the description says
    x = 1e-3 * np.ones((300, 1), np.float32)
    response = linear_response(neuron, x)
    assert np.isfinite(response).all() and 1e-3 < response.max() < 0.1


def test_small_input_moves_the_membrane_as_its_linear_response():
    neuron = adex("irregular")  # which rests where its upstroke is felt
    rest = float(neuron.resting_potential(neuron.coefficients()))
    neuron = neuron.replace(v_init=rest)
    with jax.enable_x64(True):
        x = jnp.asarray(1e-5 * np.random.default_rng(2).normal(size=(200, 3)))
        states, s = simulate(neuron, x)
        free = linear_response(neuron, x)
    assert not s.any()
    # The rest is the second order of the upstroke and the error of the resting potential.
    np.testing.assert_allclose(np.asarray(states.v) - rest, free, atol=1e-9)
    assert np.abs(np.asarray(free)).max() > 1e-6


def test_a_start_at_rest_follows_rest_and_adaptation_follows_the_start():
    neuron = AdExDynamics(v_rest=-65.0)
    assert neuron.v_init == -65.0 and neuron.replace(v_rest=-60.0).v_init == -60.0
    assert AdExDynamics(v_init=-60.0).replace(v_rest=-65.0).v_init == -60.0
    state = AdExDynamics(a=0.5).initial_state(jnp.full((2, 3), -60.0), recurrent=True)
    np.testing.assert_array_equal(state.w, np.full((2, 3), 5.0))
    np.testing.assert_array_equal(state.s, np.zeros((2, 3)))
