"""The one step against its template, written again in float64 NumPy with its derivative.

The template is that of the reference of all conventions: every switch and every coefficient. Its
numbers are duals, a value and a slope along one direction, so that the surrogate and the gradient
through the reset are compared as well, in forward mode, and by the transpose in reverse mode.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.dynamics import Coefficients, Rule, initial_state, step
from flax_snn.typing import LIFState

B, N, T = 2, 3, 7
SLOPE = 3.0


class Dual:
    """A float64 array with its slope along one direction."""

    __array_priority__ = 1.0
    __array_ufunc__ = None

    def __init__(self, value: Any, slope: Any = 0.0) -> None:
        self.value = np.asarray(value, np.float64)
        self.slope = np.broadcast_to(slope, self.value.shape)

    def __add__(self, other: Any) -> Dual:
        other = dual(other)
        value = self.value + other.value
        return Dual(value, self.slope + other.slope)

    def __neg__(self) -> Dual:
        return Dual(-self.value, -self.slope)

    def __sub__(self, other: Any) -> Dual:
        return self + -dual(other)

    def __rsub__(self, other: Any) -> Dual:
        return dual(other) + -self

    def __mul__(self, other: Any) -> Dual:
        other = dual(other)
        slope = self.value * other.slope + self.slope * other.value
        return Dual(self.value * other.value, slope)

    def __matmul__(self, other: Dual) -> Dual:
        slope = self.value @ other.slope + self.slope @ other.value
        return Dual(self.value @ other.value, slope)

    def columns(self, k: int) -> Dual:
        """Block k of N columns."""
        which = np.s_[:, k * N : (k + 1) * N]
        return Dual(self.value[which], self.slope[which])

    __radd__, __rmul__ = __add__, __mul__


def dual(x: Any) -> Dual:
    return x if isinstance(x, Dual) else Dual(x)


def detached(x: Dual) -> Dual:
    return Dual(x.value)


def where(condition: np.ndarray, x: Dual, y: Dual) -> Dual:
    return Dual(np.where(condition, x.value, y.value), np.where(condition, x.slope, y.slope))


@dataclasses.dataclass
class Template:
    """The template of the reference, line by line. Keeps the margin of its decisions."""

    rule: Rule
    c: dict[str, Any]
    matrix: Dual | None
    margin: float = np.inf

    def fire(self, v: Dual) -> Dual:
        theta, test = self.c["theta"], self.rule.fire
        u = v.value - theta.value
        self.margin = min(self.margin, np.abs(u).min())
        by_v = 1.0 / (1.0 + SLOPE * np.abs(u)) ** 2
        by_theta = -by_v
        if test == "floor":
            ratio = v.value / theta.value
            self.margin = min(self.margin, np.abs(ratio - np.round(ratio)).min())
            s = np.where(u >= 0, np.floor(ratio), 0.0)
            s = s if self.rule.max_spikes is None else np.minimum(s, self.rule.max_spikes)
            by_theta = -by_v * ratio
        elif test == "half":
            s = np.where(u > 0, 1.0, np.where(u == 0, 0.5, 0.0))
        else:
            s = ((u >= 0) if test == ">=" else (u > 0)) * 1.0
        return Dual(s, by_v * v.slope + by_theta * theta.slope)

    def reset(self, v: Dual, s: Dual) -> Dual:
        if self.rule.reset == "soft":
            span = self.c["theta"]
            return v - (span - self.c["v_reset"] if self.rule.reset_span else span) * s
        if self.rule.reset_gradient == "spike_only":
            return v - (detached(v) - self.c["v_reset"]) * s
        return (1.0 - s) * v + self.c["v_reset"] * s

    def step(self, state: dict[str, Any], x: list[Dual], noise: np.ndarray) -> Any:
        rule, c = self.rule, self.c
        v, i, s_prev, n = state["v"], state["i"], state["s"], state["n"]
        detach = rule.reset_gradient == "stop" or (
            rule.reset_gradient == "stop_if_recurrent" and self.matrix is not None
        )
        spiking, resets = rule.fire != "none", rule.reset != "none"
        later = resets and rule.reset_time != "same"

        r = self.fire(v) if spiking else None
        gate = detached(r) if spiking and (detach or rule.reset_time == "give-back") else r
        fed: list[Any] = [0.0] * max(rule.channels, 1)
        own: Any = 0.0
        if self.matrix is not None:
            q = s_prev if rule.emit == "new" or rule.recurrent_lag else r
            current = q @ self.matrix
            if rule.recurrent_channel:
                own = current
            else:
                fed = [current.columns(k) for k in range(len(fed))]
        driven = [a + b for a, b in zip(x, fed, strict=True)]
        into = driven[: rule.channels] + [own] * rule.recurrent_channel

        i_new = [b * a + g * z for b, a, g, z in zip(c["beta"], i, c["g"], into, strict=True)]
        if later and rule.reset_site == "state":
            v = self.reset(v, gate)
        v = c["alpha"] * v
        for k in range(len(i)):
            if rule.entry in ("old", "jump"):
                v = v + c["c_old"][k] * i[k]
            if rule.entry == "new":
                v = v + c["c_new"][k] * i_new[k]
        if rule.entry in ("direct", "jump"):
            v = v + c["c_x"] * driven[0]
        v = v + c["bias"]
        if rule.noisy:
            v = v + c["noise_std"] * noise
        if later and rule.reset_site == "sum":
            v = self.reset(v, gate)
        held = n > 0
        if rule.hold:  # a held membrane does not reach the fire test
            v = where(held, c["v_reset"] + 0.0 * v, v)

        s = r if rule.emit == "old" else self.fire(v) if spiking else v
        in_reset = detached(s) if detach else s
        if resets and rule.reset_time == "same":
            v = self.reset(v, in_reset)
        elif resets and rule.reset_time == "give-back":
            v = self.reset(v, in_reset - gate)
        if rule.hold:
            v = where(held, c["v_reset"] + 0.0 * v, v)
            n = np.where(s.value > 0, rule.hold, np.maximum(n - 1, 0))
        if c["v_min"] is not None:
            self.margin = min(self.margin, np.abs(v.value - c["v_min"].value).min())
            v = where(v.value > c["v_min"].value, v, c["v_min"] + 0.0 * v)
        return {"v": v, "i": i_new, "s": s, "n": n}, s if spiking else v


@st.composite
def rules(draw: Any) -> Rule:
    """Draw any rule that the switches allow."""
    pick = lambda *options: draw(st.sampled_from(options))  # noqa: E731
    entry = pick("direct", "old", "new", "jump")
    fire = pick(">", ">=", "half", "floor", "none")
    emit = pick("new", "old") if fire != "none" else "new"
    resets = ("none",) if fire == "none" else ("soft", "none", *(("hard",) * (fire != "floor")))
    reset = pick(*resets)
    times = ("next", "give-back") if emit == "old" and reset != "none" else None
    return Rule(
        entry=entry,
        channels=0 if entry == "direct" else 1 if entry == "jump" else pick(1, 2),
        recurrent_channel=entry in ("old", "new") and draw(st.booleans()),
        fire=fire,
        max_spikes=pick(None, 2) if fire == "floor" else None,
        emit=emit,
        reset=reset,
        reset_time=pick(*(times or ("same", "next", "give-back"))),
        reset_site=pick("state", "sum"),
        reset_gradient=pick("flow", "stop", "stop_if_recurrent", "spike_only"),
        reset_span=reset == "soft" and draw(st.booleans()),
        recurrent_lag=emit == "old" and draw(st.booleans()),
        hold=0 if fire == "none" else pick(0, 0, 1, 2),
        noisy=draw(st.booleans()),
    )


def numbers(rule: Rule, rng: np.random.Generator, per_neuron: bool) -> Coefficients:
    """Draw all coefficients that a rule uses, as arrays ready to broadcast."""
    shape = (1, N) if per_neuron else ()
    draw = lambda low, high: jnp.asarray(rng.uniform(low, high, shape))  # noqa: E731
    each = lambda low, high: tuple(draw(low, high) for _ in range(rule.all_channels))  # noqa: E731
    back_to_0 = rule.reset_time == "give-back" and rule.reset == "hard"
    return Coefficients(
        alpha=draw(0.3, 1.0),
        theta=None if rule.fire == "none" else draw(0.3, 1.2),
        beta=each(0.2, 1.0),
        g=each(0.3, 1.5),
        c_old=each(0.2, 1.5) if rule.entry in ("old", "jump") else None,
        c_new=each(0.2, 1.5) if rule.entry == "new" else None,
        c_x=draw(0.3, 1.5) if rule.entry in ("direct", "jump") else None,
        bias=draw(-0.2, 0.4),
        v_reset=(0.0 * draw(0, 1) if back_to_0 else draw(-0.6, 0.25)) if uses(rule) else None,
        v_min=draw(-0.9, -0.7) if rng.random() < 0.5 else None,
        noise_std=draw(0.1, 0.4) if rule.noisy else None,
    )


def uses(rule: Rule) -> bool:
    return rule.reset == "hard" or rule.reset_span or rule.hold > 0


def rollout(rule: Rule, surrogate: Any, noise: jax.Array, recurrent: bool, p: Any) -> Any:
    """Run `step` over time; return every membrane, current and spike, and the held steps."""
    feedback = None
    if recurrent:

        def feedback(s: jax.Array) -> Any:
            currents = s @ p["matrix"]
            blocks = 1 if rule.recurrent_channel else max(rule.channels, 1)
            return currents if blocks == 1 else tuple(jnp.split(currents, blocks, axis=-1))

    like = initial_state(rule, p["v"], recurrent=recurrent)
    i = p["i"] if len(p["i"]) > 1 else p["i"][0] if p["i"] else None
    state = LIFState(
        v=p["v"], i=i, s=None if like.s is None else p["s"], refractory=like.refractory
    )
    out: list[Any] = []
    held = []
    for t in range(T):
        x = tuple(channel[t] for channel in p["x"])
        state, s = step(
            rule,
            p["c"],
            state,
            x if len(x) > 1 else x[0],
            surrogate,
            recurrent=feedback,
            noise=noise[t] if rule.noisy else None,
        )
        assert jax.tree.structure(state) == jax.tree.structure(dataclasses.replace(like, i=i))
        out.append((state.v, state.i, s))
        held.append(state.refractory)
    return out, held


@pytest.mark.slow
@pytest.mark.usefixtures("x64", "unchecked")
@hypothesis.given(rules(), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
@hypothesis.settings(max_examples=3)
def test_any_rule_is_the_template_with_its_gradient(
    rule: Rule, recurrent: bool, per_neuron: bool, seed: int
) -> None:
    margin = check(rule, recurrent and rule.fire != "none", per_neuron, seed)
    hypothesis.assume(margin > 1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("x64", "unchecked")
@hypothesis.given(rules(), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
@hypothesis.settings(max_examples=50)
def test_many_rules_are_the_template_with_its_gradient(
    rule: Rule, recurrent: bool, per_neuron: bool, seed: int
) -> None:
    margin = check(rule, recurrent and rule.fire != "none", per_neuron, seed)
    hypothesis.assume(margin > 1e-9)


@pytest.mark.usefixtures("x64", "unchecked")
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("reset_time", ["same", "next", "give-back"])
@pytest.mark.parametrize("gradient", ["flow", "stop", "stop_if_recurrent", "spike_only"])
def test_every_reset_is_the_template_with_its_gradient(
    reset: Any, reset_time: Any, gradient: Any
) -> None:
    site = "state" if gradient in ("flow", "spike_only") else "sum"
    rule = Rule(
        reset=reset, reset_time=reset_time, reset_site=site, reset_gradient=gradient, fire=">="
    )
    assert check(rule, gradient == "stop_if_recurrent", per_neuron=True, seed=5) > 1e-9


def check(rule: Rule, recurrent: bool, per_neuron: bool, seed: int) -> float:
    """Compare step and template on random numbers; return the margin of the decisions.

    Below a margin of 1e-9 nothing is compared.
    """
    rng = np.random.default_rng(seed)
    blocks = 1 if rule.recurrent_channel else max(rule.channels, 1)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape))  # noqa: E731
    p: dict[str, Any] = {
        "c": numbers(rule, rng, per_neuron),
        "x": tuple(2.0 * normal(T, B, N) for _ in range(max(rule.channels, 1))),
        "v": 0.7 * normal(B, N),
        "i": tuple(normal(B, N) for _ in range(rule.all_channels)),
        "s": jnp.asarray(rng.integers(0, 2, (B, N)), jnp.float64),
        "matrix": normal(N, N * blocks),
    }
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), p)
    noise = normal(T, B, N)

    # The oracle.
    duals = jax.tree.map(Dual, p, direction)
    fields = {f.name: getattr(duals["c"], f.name) for f in dataclasses.fields(Coefficients)}
    template = Template(rule, fields, duals["matrix"] if recurrent else None)
    state = {"v": duals["v"], "i": duals["i"], "s": duals["s"], "n": np.zeros((B, N), np.int32)}
    expected, expected_held = [], []
    for t in range(T):
        x = [Dual(channel.value[t], channel.slope[t]) for channel in duals["x"]]
        state, s = template.step(state, x, np.asarray(noise[t]))
        expected.append((state["v"], state["i"], s))
        expected_held.append(state["n"])
    if template.margin <= 1e-9:
        return template.margin

    def run(p: Any) -> Any:
        return rollout(rule, snn.surrogate.superspike(SLOPE), noise, recurrent, p)

    (out, held), (slopes, _) = jax.jvp(run, (p,), (direction,))
    for t in range(T):
        s_expected = expected[t][2]
        if rule.fire != "none":
            np.testing.assert_array_equal(out[t][2], s_expected.value)
        flat = [expected[t][0], *expected[t][1], s_expected]
        for actual, wanted in zip(jax.tree.leaves(out[t]), flat, strict=True):
            np.testing.assert_allclose(actual, wanted.value, rtol=1e-10, atol=1e-10)
        for actual, wanted in zip(jax.tree.leaves(slopes[t]), flat, strict=True):
            scale = 1.0 + np.abs(wanted.slope).max()
            np.testing.assert_allclose(actual, wanted.slope, rtol=1e-9, atol=1e-9 * scale)
        if rule.hold:
            np.testing.assert_array_equal(held[t], expected_held[t])

    # Reverse mode: the transpose, with random weights on everything that came out.
    weights = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), out)
    _, back = jax.vjp(lambda p: run(p)[0], p)
    (gradient,) = back(weights)
    left = sum(float(jnp.vdot(a, b)) for a, b in both(gradient, direction))
    right = sum(float(jnp.vdot(a, b)) for a, b in both(weights, slopes))
    np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9 * (1.0 + abs(right)))
    return template.margin


def both(a: Any, b: Any) -> Any:
    return zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
