"""Every surrogate against its formula in float64 NumPy, and as the derivative of the spike."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn
from flax_snn.dynamics import fire
from flax_snn.surrogate import Surrogate

pytestmark = pytest.mark.usefixtures("unchecked")


def parabola(v: Any, theta: Any, half_width: float) -> Any:
    """Work for NumPy and JAX alike: the function of the custom surrogate."""
    return (
        0.75 / half_width * (1.0 - ((v - theta) / half_width) ** 2) * (abs(v - theta) < half_width)
    )


def bump(v: jax.Array, theta: jax.Array, half_width: float) -> jax.Array:
    inside = (jnp.abs(v - theta) < half_width).astype(v.dtype)
    return 0.75 / half_width * (1.0 - jnp.square((v - theta) / half_width)) * inside


def relu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0.0, x, 0.0)


def relu_grad(v: Any, theta: Any) -> Any:
    span = theta - (-0.25)
    return relu(0.4 * (0.5 - abs(v - theta) / span)) / span


@dataclasses.dataclass(frozen=True)
class Row:
    """A surrogate, its formula, its area under ds/dv (``None``: not finite), where it bends."""

    surrogate: Surrogate
    formula: Callable[[Any, Any], Any]
    area: Callable[[float], float] | None
    symmetric: bool = True
    kinks: tuple[float, ...] = (0.0,)


s = snn.surrogate
ROWS = {
    "superspike": Row(s.superspike(5.0), lambda v, t: (1 + 5 * abs(v - t)) ** -2.0, lambda t: 0.4),
    "sigmoid": Row(
        s.sigmoid(3.0), lambda v, t: 0.75 / np.cosh(1.5 * (v - t)) ** 2, lambda t: 1.0, kinks=()
    ),
    "arctan": Row(
        s.arctan(1.5),
        lambda v, t: 0.75 / (1 + (0.75 * math.pi * (v - t)) ** 2),
        lambda t: 1.0,
        kinks=(),
    ),
    "piecewise_linear": Row(
        s.piecewise_linear(2.0, 0.3),
        lambda v, t: 0.3 * relu(1 - 2 * abs(v - t)),
        lambda t: 0.15,
        kinks=(-0.5, 0.0, 0.5),
    ),
    "triangular": Row(
        s.triangular(0.5),
        lambda v, t: 2 * relu(1 - 2 * abs(v - t)),
        lambda t: 1.0,
        kinks=(-0.5, 0.0, 0.5),
    ),
    "gaussian": Row(
        s.gaussian(0.4),
        lambda v, t: np.exp(-((v - t) ** 2) / 0.32) / math.sqrt(0.32 * math.pi),
        lambda t: 1.0,
        kinks=(),
    ),
    "straight_through": Row(s.straight_through(), lambda v, t: 1.0 + 0.0 * (v - t), None, kinks=()),
    "single_exponential": Row(
        s.single_exponential(0.5, 0.8),
        lambda v, t: 1.6 / t * np.exp(-2 * abs(v - t) / t),
        lambda t: 1.6,
    ),
    "step_pwl": Row(
        s.step_pwl(0.5),
        lambda v, t: np.where(v >= t - 0.5, 1 / t, 0.0),
        None,
        symmetric=False,
        kinks=(-0.5,),
    ),
    "relu_grad": Row(s.relu_grad(0.4, 0.5, -0.25), relu_grad, lambda t: 0.4 * 0.5**2),
    "custom": Row(
        s.custom(bump, half_width=0.5),
        lambda v, t: parabola(v, t, 0.5),
        lambda t: 1.0,
        kinks=(-0.5, 0.5),
    ),
}
every_surrogate = pytest.mark.parametrize("name", ROWS)
RNG = np.random.default_rng(0)
V = RNG.uniform(-2.0, 3.0, (40, 6))
THETA = RNG.uniform(0.3, 1.8, (1, 6))


@every_surrogate
def test_formula(name: str, x64: None) -> None:
    row = ROWS[name]
    expected = np.broadcast_to(row.formula(V, THETA), V.shape)
    np.testing.assert_allclose(row.surrogate(jnp.asarray(V), jnp.asarray(THETA)), expected, 1e-12)
    # The threshold of the vocabulary is 1.
    np.testing.assert_allclose(row.surrogate(jnp.asarray(V)), row.formula(V, 1.0), 1e-12)


@every_surrogate
def test_float32_stays_float32(name: str) -> None:
    v = jnp.asarray(V, jnp.float32)
    h = ROWS[name].surrogate(v, jnp.asarray(THETA, jnp.float32))
    assert h.dtype == jnp.float32
    clear = abs(V - THETA + 0.5) > 1e-3  # of the jumps of step_pwl and the custom one
    expected = np.broadcast_to(ROWS[name].formula(V, THETA), V.shape)
    np.testing.assert_allclose(h[clear], expected[clear], rtol=2e-5, atol=1e-6)


@every_surrogate
def test_symmetry(name: str, x64: None) -> None:
    distance, theta = jnp.linspace(0.01, 4.0, 100), jnp.asarray(0.75)
    above = ROWS[name].surrogate(theta + distance, theta)
    below = ROWS[name].surrogate(theta - distance, theta)
    if ROWS[name].symmetric:
        np.testing.assert_allclose(above, below, rtol=1e-12, atol=1e-14)
    else:
        assert float(jnp.abs(above - below).max()) > 0.5


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.area is not None])
@pytest.mark.parametrize("theta", [0.5, 1.25])
def test_area(name: str, theta: float, x64: None) -> None:
    # Midpoint rule in the angle of u = tan(angle), which reaches the tails of the arctangent.
    angle = (np.arange(200_000) + 0.5) / 200_000 * math.pi - math.pi / 2
    h = ROWS[name].surrogate(jnp.asarray(theta + np.tan(angle)), jnp.asarray(theta))
    area = np.sum(np.asarray(h) / np.cos(angle) ** 2) * math.pi / 200_000
    expected = ROWS[name].area(theta)
    np.testing.assert_allclose(area, expected, rtol=1e-4)


def test_fast_sigmoid_is_superspike() -> None:
    assert s.fast_sigmoid is s.superspike
    assert s.fast_sigmoid(25.0) == s.superspike(25.0)


# As the derivative of the spike.

TESTS = {
    ">": lambda v, t: (v > t) * 1.0,
    ">=": lambda v, t: (v >= t) * 1.0,
    "half": lambda v, t: (v > t) * 0.5 + (v >= t) * 0.5,
    "floor": lambda v, t: np.where(v >= t, np.floor(v / t), 0.0),
}


@every_surrogate
def test_forward_is_the_exact_spike_and_backward_the_surrogate(name: str, x64: None) -> None:
    row = ROWS[name]
    weights = RNG.normal(size=V.shape)
    dv, dtheta = RNG.normal(size=V.shape), RNG.normal(size=THETA.shape)
    h = row.formula(V, THETA)

    for test, expected in TESTS.items():

        def spikes(v: jax.Array, theta: jax.Array, test: str = test) -> jax.Array:
            return fire(test, None, row.surrogate, v, theta)

        s, back = jax.vjp(spikes, V, THETA)
        np.testing.assert_array_equal(s, expected(V, THETA))
        # d(v / theta)/d theta = -v / theta^2, which is -v / theta of the derivative by v.
        by_theta = -h * (V / THETA if test == "floor" else 1.0)
        to_v, to_theta = back(jnp.asarray(weights))
        np.testing.assert_allclose(to_v, weights * h, rtol=1e-12, atol=1e-15)
        total = (weights * by_theta).sum(axis=0, keepdims=True)
        np.testing.assert_allclose(to_theta, total, rtol=1e-11, atol=1e-12)

        s, slope = jax.jvp(spikes, (V, THETA), (dv, dtheta))
        np.testing.assert_array_equal(s, expected(V, THETA))
        np.testing.assert_allclose(slope, h * dv + by_theta * dtheta, rtol=1e-11, atol=1e-13)


@every_surrogate
def test_second_derivatives(name: str, x64: None) -> None:
    row = ROWS[name]

    def slope(v: jax.Array, theta: jax.Array) -> jax.Array:
        return jax.grad(lambda v: fire(">", None, row.surrogate, v, theta))(v)

    by_v = jax.jit(jax.vmap(jax.grad(slope)))
    by_theta = jax.jit(jax.vmap(jax.jacfwd(slope, argnums=1)))
    v = V.ravel()
    theta = np.broadcast_to(THETA, V.shape).ravel()
    bends = np.stack([theta + kink for kink in row.kinks or (0.0,)])
    clear = np.abs(v - bends).min(axis=0) > 1e-3
    step = 1e-5
    right, left = row.formula(v + step, theta), row.formula(v - step, theta)
    numerical = (right - left) / (2 * step)
    np.testing.assert_allclose(by_v(v, theta)[clear], numerical[clear], rtol=2e-4, atol=1e-6)
    higher, lower = row.formula(v, theta + step), row.formula(v, theta - step)
    numerical = (higher - lower) / (2 * step)
    np.testing.assert_allclose(by_theta(v, theta)[clear], numerical[clear], rtol=2e-4, atol=1e-6)

    # Exactly at the kinks, in numbers that floating point holds exactly.
    theta = np.full(len(row.kinks) + 1, 0.75)
    v = theta + np.array([*row.kinks, 0.0])
    assert np.isfinite(by_v(v, theta)).all() and np.isfinite(by_theta(v, theta)).all()
    if row.symmetric:
        np.testing.assert_array_equal(by_v(v, theta)[-1], 0.0)


@pytest.mark.parametrize("name", [name for name in ROWS if name != "custom"])
@pytest.mark.parametrize("v", [-1e20, -1e4, 1e4, 1e20])
def test_far_from_threshold_nothing_is_nan_in_float32(name: str, v: float) -> None:
    h = ROWS[name].surrogate
    value, slope = jax.value_and_grad(lambda v: h(v, jnp.float32(1.0)))(jnp.float32(v))
    assert np.isfinite(value) and np.isfinite(slope) and value >= 0.0


LARGE = [-3.4e38, -3e38, 3e38, 3.4e38]


NAMES = [name for name in ROWS if name != "custom"]


@pytest.mark.parametrize(
    ("name", "v"),
    # Each surrogate at one of the ends, each end with a few surrogates.
    covered_by(
        [(name, v) for name in NAMES for v in LARGE],
        [(name, LARGE[k % len(LARGE)]) for k, name in enumerate(NAMES)],
    ),
)
def test_at_the_ends_of_float32_every_derivative_is_its_limit(name: str, v: float) -> None:
    # All but two surrogates vanish far from the threshold, with all their derivatives.
    limit = {"straight_through": 1.0, "step_pwl": float(v > 0)}.get(name, 0.0)
    h = ROWS[name].surrogate
    by_v = jax.grad(h)
    by_theta = jax.grad(h, argnums=1)
    where = jnp.float32(v), jnp.float32(1.0)
    assert float(h(*where)) == pytest.approx(limit, abs=1e-37)
    slope_by_theta = -limit if name == "step_pwl" else 0.0
    for derivative, expected in (
        (by_v, 0.0),
        (by_theta, slope_by_theta),
        (jax.grad(by_v), 0.0),
        (jax.grad(by_v, argnums=1), 0.0),
    ):
        assert float(derivative(*where)) == pytest.approx(expected, abs=1e-30)

    # The same through the spike: second derivatives of a loss.
    slope = jax.grad(lambda v, t: fire(">", None, h, v, t))
    assert np.isfinite(jax.grad(slope)(*where)) and np.isfinite(jax.grad(slope, 1)(*where))


DIVIDED = {
    "single_exponential": (s.single_exponential(), 0.0),
    "step_pwl": (s.step_pwl(), 0.0),
    "relu_grad": (s.relu_grad(v_reset=0.5), 0.5),
}


@pytest.mark.parametrize("name", DIVIDED)
def test_a_threshold_that_a_surrogate_is_divided_by_is_above_zero(name: str) -> None:
    surrogate, bound = DIVIDED[name]
    assert snn.LIFDynamics(threshold=bound + 0.25, surrogate=surrogate).surrogate is surrogate
    plain = snn.LIFDynamics(threshold=bound, v_reset=bound)  # fires above it, and works
    # The difference of the last two vanishes in float32, or is too small to divide by.
    for theta in (bound, bound - 0.25, bound + 1e-9 * bound, bound + 1e-39):
        if theta == plain.parameters.threshold:
            with pytest.raises(ValueError, match=f"threshold: expected a threshold > {bound:g}"):
                snn.LIFCell(3, dynamics=plain, surrogate=surrogate)
        with pytest.raises(ValueError, match=r"divided by the difference, got .*; raise it"):
            snn.LIFDynamics(threshold=theta, v_reset=theta, surrogate=surrogate)
    for kind in (snn.AdExDynamics, snn.IzhikevichDynamics):
        cell = {"dynamics": kind(), "surrogate": s.relu_grad(v_reset=1e3)}
        with pytest.raises(ValueError, match="divided by the difference"):
            snn.NeuronCell(3, **cell)


def test_learning_keeps_a_threshold_above_what_the_surrogate_is_divided_by() -> None:
    dynamics = snn.LIFDynamics(threshold=1.0, reset="soft", surrogate=s.relu_grad(v_reset=0.9))
    learnable = dynamics.learnable(("threshold",))["threshold"]
    for raw in (-1e30, -5.0, 0.0, 1e30):
        value = float(learnable.learned(jnp.float32(raw), {}))
        assert 0.9 < value < float("inf")
        dynamics.surrogate.check_threshold("threshold", value)


def test_fire_at_equality() -> None:
    v = np.array([0.75, np.nextafter(np.float32(0.75), np.float32(1)), -0.75, 1.5], np.float32)
    expected = {
        ">": [0, 1, 0, 1],
        ">=": [1, 1, 0, 1],
        "half": [0.5, 1, 0, 1],
        "floor": [1, 1, 0, 2],
    }
    for test, spikes in expected.items():
        for f in (fire, jax.jit(fire, static_argnums=(0, 1, 2))):
            out = f(test, None, s.superspike(), jnp.asarray(v), jnp.float32(0.75))
            assert out.dtype == jnp.float32
            np.testing.assert_array_equal(out, spikes)


@pytest.mark.parametrize("constant", [True, False])
def test_as_many_spikes_as_thresholds_also_where_the_threshold_is_compiled_in(
    constant: bool,
) -> None:
    # XLA divides by a constant by multiplying with its rounded reciprocal: v == theta gave 0.
    theta = np.linspace(0.05, 2.0, 150, dtype=np.float32)
    v = np.arange(1, 30, dtype=np.float32)[:, None] * theta
    h = s.superspike()
    if constant:
        spikes = jax.jit(lambda v: fire("floor", None, h, v, jnp.asarray(theta)[None]))(v)
    else:
        spikes = jax.jit(lambda v, t: fire("floor", None, h, v, t))(v, theta[None])
    np.testing.assert_array_equal(spikes, np.floor(v / theta))
    np.testing.assert_array_equal(spikes[0], 1.0)


def test_max_spikes() -> None:
    v = jnp.array([0.4, 0.5, 1.6, 9.0])
    spikes = fire("floor", 3, s.superspike(), v, jnp.float32(0.5))
    np.testing.assert_array_equal(spikes, [0, 1, 3, 3])


def test_spikes_without_a_surrogate_have_no_derivative() -> None:
    np.testing.assert_array_equal(fire(">", None, None, jnp.ones(2), jnp.float32(0.5)), 1.0)
    with pytest.raises(ValueError, match="expected a surrogate"):
        jax.grad(lambda v: fire(">", None, None, v, jnp.float32(0.5)))(1.0)


# As a value.


@every_surrogate
def test_equal_surrogates_do_not_compile_again(name: str) -> None:
    surrogate = ROWS[name].surrogate
    twin = Surrogate(
        "".join(surrogate.name),
        surrogate.derivative,
        tuple(list(surrogate.parameters)),
        surrogate.above,
    )
    assert twin is not surrogate and twin == surrogate and hash(twin) == hash(surrogate)
    traces = []

    def run(h: Surrogate, v: jax.Array) -> jax.Array:
        traces.append(h)
        return h(v, jnp.float32(1.0))

    run = jax.jit(run, static_argnums=0)
    for h in (surrogate, twin, surrogate):
        run(h, jnp.ones(3))
    assert len(traces) == 1
    run(s.superspike(77.0), jnp.ones(3))
    assert len(traces) == 2


def test_an_int_and_a_float_parameter_are_the_same() -> None:
    assert s.superspike(10) == s.superspike(10.0) == s.superspike(np.float32(10))
    assert s.superspike(10) != s.superspike(11)
    assert s.triangular(0.5) != s.gaussian(0.5)


@every_surrogate
def test_repr_is_the_call(name: str) -> None:
    surrogate = ROWS[name].surrogate
    if name == "custom":
        assert repr(surrogate) == "custom:bump(half_width=0.5)"
    else:
        assert eval(repr(surrogate), vars(s)) == surrogate


# At the door.

PARAMETERS = [
    (getattr(s, name), key)
    for name, keys in {
        "superspike": ("slope",),
        "sigmoid": ("slope",),
        "arctan": ("alpha",),
        "piecewise_linear": ("slope", "scale"),
        "triangular": ("width",),
        "gaussian": ("width",),
        "single_exponential": ("width", "scale"),
        "step_pwl": ("window",),
        "relu_grad": ("height", "width"),
    }.items()
    for key in keys
]


@pytest.mark.parametrize(("make", "key"), PARAMETERS)
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, "1", None, True])
def test_bad_parameters_are_refused(make: Any, key: str, value: Any) -> None:
    error = ValueError if isinstance(value, float) else TypeError
    with pytest.raises(error, match=f"{key}: expected a finite number > 0, got"):
        make(**{key: value})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_relu_grad_needs_a_finite_reset(value: float) -> None:
    with pytest.raises(ValueError, match="v_reset: expected a finite number"):
        s.relu_grad(v_reset=value)


def test_custom_refuses_what_is_no_derivative() -> None:
    with pytest.raises(TypeError, match="expected a function"):
        s.custom(1.0)
    with pytest.raises(TypeError, match="half_width: expected a finite number, got 'wide'"):
        s.custom(bump, half_width="wide")
    with pytest.raises(ValueError, match=r"expected ds/dv of the shape of v.* got \(\)"):
        s.custom(lambda v, theta: jnp.sum(v))
    with pytest.raises(ValueError, match=r"got \(2, 1\)"):
        s.custom(lambda v, theta: v[:, :1])
