"""Izhikevich's neuron against NumPy loops, the published patterns and finite differences."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import surrogate
from flax_snn.dynamics.adaptive.izhikevich import IzhikevichDynamics, IzhikevichState
from flax_snn.dynamics.step import aligned


def nothing(v, theta):
    return 0.0 * (v - theta)


def simulate(neuron: IzhikevichDynamics, x: Any, state: Any = None, values: Any = None) -> Any:
    """States and spikes of neurons without weights, ``x`` of (T, N) in the dtype of the state."""
    x = jnp.asarray(x)
    c = aligned(neuron.coefficients(values), 1, x.dtype)
    if state is None:
        state = neuron.initial_state(jnp.full(x.shape[1:], neuron.v_init, x.dtype))

    def move(state: Any, x: Any) -> Any:
        state, s = neuron.step(c, state, x, neuron.surrogate)
        return state, (state, s)

    return jax.lax.scan(move, state, x)[1]


KINDS = {
    "regular": (0.02, 0.2, -65.0, 8.0),
    "bursting": (0.02, 0.2, -55.0, 4.0),
    "chattering": (0.02, 0.2, -50.0, 2.0),
    "fast": (0.1, 0.2, -65.0, 2.0),
    "low_threshold": (0.02, 0.25, -65.0, 2.0),
}


def izhikevich(kind: str, **fields: Any) -> IzhikevichDynamics:
    return IzhikevichDynamics(**dict(zip("abcd", KINDS[kind], strict=True)), **fields)


def published(
    kind: str, drive: np.ndarray, substeps: int, cut: bool, start: Any = None, dt: float = 1.0
) -> Any:
    """The published loop in float64: v, u after each step, and spikes.

    Args:
      kind: key of `KINDS`.
      drive: input (T,).
      substeps: Euler steps of v in a step.
      cut: whether v waits once it has reached its peak; the published loop goes on.
      start: first v and u.
      dt: length of a step in ms.
    """
    a, b, c, d = KINDS[kind]
    v, u = (-65.0, b * -65.0) if start is None else start
    trace = []
    for x in drive:
        for _ in range(substeps):
            if v < 30.0 or not cut:
                v += dt * (0.04 * v**2 + 5.0 * v + 140.0 - u + x) / substeps
        u += dt * a * (b * v - u)
        fired = v >= 30.0
        if fired:
            v, u = c, u + d
        trace.append((v, u, fired))
    return np.array(trace).T


def test_a_step_of_izhikevich_is_that_of_numpy():
    """One step from many states: whole runs of spiking neurons are chaotic, and a test of luck."""
    rng = np.random.default_rng(3)
    v, u, x = (rng.uniform(*ends, 300) for ends in ((-90, 29), (-20, 20), (-30, 60)))
    for substeps in (1, 2, 5):
        neuron = izhikevich("low_threshold", substeps=substeps)
        with jax.enable_x64(True):
            state = IzhikevichState(v=jnp.asarray(v), u=jnp.asarray(u))
            states, s = simulate(neuron, jnp.asarray(x)[None], state)
        ends = [
            published("low_threshold", np.array([one[2]]), substeps, True, one[:2])[:, 0]
            for one in np.stack([v, u, x], 1)
        ]
        expected = np.array(ends).T
        found = np.array([states.v[0], states.u[0], s[0]])
        np.testing.assert_array_equal(found[2], expected[2])
        assert 20 <= found[2].sum() <= 280
        np.testing.assert_allclose(found[:2], expected[:2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_izhikevich_is_the_numpy_loop(kind: str):
    drive = np.full(100, 10.0)
    v, u, fired = published(kind, drive, substeps=2, cut=True)
    with jax.enable_x64(True):
        states, s = simulate(izhikevich(kind), jnp.asarray(drive)[:, None])
    np.testing.assert_array_equal(s[:, 0], fired)
    assert fired.sum() >= 2
    # Each upstroke multiplies rounding, by up to 10 in a step, and u remembers its height.
    np.testing.assert_allclose(states.v[:, 0], v, atol=1e-6)
    np.testing.assert_allclose(states.u[:, 0], u, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_cutting_spikes_is_nearer_to_the_differential_equations(kind: str):
    """The published loop lets v go on above its peak, which raises u: it fires too seldom."""
    drive = np.full(1000, 10.0)
    ours, theirs = (published(kind, drive, 2, cut)[2].sum() for cut in (True, False))
    exact = published(kind, np.full(20000, 10.0), 1, True, dt=0.05)[2].sum()
    assert abs(ours - exact) < abs(theirs - exact)


def intervals(kind: str, substeps: int = 2) -> np.ndarray:
    """Intervals in ms between spikes of one second with 10 mV/ms."""
    neuron = izhikevich(kind, substeps=substeps)
    _, s = simulate(neuron, np.full((1000, 1), 10.0, np.float32))
    return np.diff(np.flatnonzero(s))


def test_firing_patterns_are_the_published_ones():
    regular, fast, chattering = (intervals(k) for k in ("regular", "fast", "chattering"))
    # Regular spiking adapts: the first interval is the shortest, then about 20 Hz.
    assert regular[0] < 0.7 * regular[-1] and 15 <= len(regular) <= 35
    # Fast spiking is several times faster and does not slow down by much.
    assert len(fast) > 3 * len(regular) and fast[-1] <= 1.5 * fast[1]
    # Chattering: bursts of close spikes with pauses between, many of each.
    assert np.median(chattering) <= 6 and (chattering > 20).sum() >= 8
    # An intrinsically bursting neuron begins with a burst and goes on with single spikes.
    bursting = intervals("bursting")
    assert bursting[0] <= 8 and bursting[-5:].min() > 15


def test_many_substeps_stay_finite_and_agree():
    counts = [len(intervals("regular", substeps)) for substeps in (2, 10, 50)]
    assert max(counts) - min(counts) <= 0.15 * max(counts)


@pytest.mark.parametrize("reset_gradient", ["stop", "flow"])
def test_gradients_through_izhikevich_spikes_are_finite(reset_gradient: Any):
    neuron = IzhikevichDynamics(reset_gradient=reset_gradient, substeps=4)

    def count(x: Any) -> Any:
        return simulate(neuron, x)[1].sum()

    gradient = jax.grad(count)(jnp.full((100, 2), 12.0))
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0.0


def test_small_input_moves_izhikevich_as_its_linear_response():
    neuron = IzhikevichDynamics(v_init=-70.0)
    with jax.enable_x64(True):
        x = jnp.asarray(1e-5 * np.random.default_rng(2).normal(size=(200, 3)))
        states, s = simulate(neuron, x)
        free = neuron.free_membrane(aligned(neuron.coefficients(), 1, x.dtype), x)
        assert not s.any()
        # The rest is the second order of the membrane: 0.04 (1e-5)^2 a step.
        np.testing.assert_allclose(np.asarray(states.v) + 70.0, free, atol=1e-9)
        assert np.abs(np.asarray(free)).max() > 1e-6


def test_inhibition_makes_long_steps_spike_where_the_equations_do_not():
    """What the docstring warns of, and that more substeps are the remedy."""
    for v, substeps, expected in ((-120.0, 2, 0), (-135.0, 2, 1), (-135.0, 20, 0)):
        neuron = izhikevich("regular", substeps=substeps, v_init=v)
        state = IzhikevichState(v=jnp.full(1, v), u=jnp.full(1, -14.0))
        _, s = simulate(neuron, np.zeros((60, 1), np.float32), state)
        assert int(s.sum()) == expected, (v, substeps)


def test_gradients_of_izhikevich_past_spikes_are_those_of_finite_differences():
    """Without a surrogate, what follows spikes is smooth in c and d while they keep their steps."""
    neuron = IzhikevichDynamics(surrogate=surrogate.custom(nothing))
    with jax.enable_x64(True):
        x = jnp.full((60, 1), 20.0)

        @jax.jit
        def recovery(values: Any) -> Any:
            states, s = simulate(neuron, x, values=values)
            return states.u[-1, 0] + states.v[-1, 0], s

        values = {"c": jnp.asarray(-65.0), "d": jnp.asarray(8.0)}
        (_, s), slopes = jax.value_and_grad(recovery, has_aux=True)(values)
        assert s.sum() >= 2
        for name, slope in slopes.items():
            ends = [recovery(values | {name: values[name] + h}) for h in (1e-6, -1e-6)]
            assert all((end[1] == s).all() for end in ends)
            expected = float(ends[0][0] - ends[1][0]) / 2e-6
            assert float(slope) == pytest.approx(expected, rel=1e-5)
            assert abs(expected) > 1e-3
