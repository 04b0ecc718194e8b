"""What a neuron that breaks a promise of the protocol is told when a cell of it is made."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.dynamics.dependence import used

B, T, F, N = 3, 20, 6, 5


def threshold_of(v: Any, surrogate: Any, c: Any) -> Any:
    return snn.dynamics.spike(v, surrogate, False, c["theta"])


def leaky(self: Any, c: Any, state: Any, x: Any, surrogate: Any = None, **kind: Any) -> Any:
    """A leaky neuron that is never reset and feeds back the spikes of the step before."""
    if kind["recurrent"] is not None:
        x = x + kind["recurrent"](threshold_of(state["v"], surrogate, c))
    v = c["a"] * state["v"] + x
    return {**state, "v": v}, threshold_of(v, surrogate, c)


def neuron(**answers: Any) -> snn.Neuron:
    """A neuron with some answers changed."""
    given: dict[str, Any] = {
        "initial_state": lambda self, v, *, recurrent=False: {"v": v},
        "coefficients": lambda self, values=None, *, dtype=None: {"a": 0.9, "theta": 1.0},
        "step": leaky,
        "__module__": __name__,
    }
    return dataclasses.dataclass(frozen=True)(type("Mine", (snn.Neuron,), {**given, **answers}))()


def stepping(change: Callable[..., Any]) -> Any:
    """A step that returns something else than the state after it and its spikes."""

    def step(self: Any, c: Any, state: Any, x: Any, surrogate: Any = None, **kind: Any) -> Any:
        return change(*leaky(self, c, state, x, surrogate, **kind))

    return step


def numbers(**more: Any) -> Any:
    return lambda self, values=None, *, dtype=None: {"a": 0.9, "theta": 1.0, **more}


def learning(**found: Any) -> Any:
    return lambda self, learn=(): found


TAU = snn.dynamics.time_constant(10e-3, 1e-3)
STRAY = property(lambda self: 2)

BROKEN: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "dt is 0": ({"dt": 0.0}, ValueError, "Mine: dt: expected a finite number of seconds > 0"),
    "dt is text": ({"dt": "1ms"}, TypeError, "Mine: dt: .* got '1ms'"),
    "spikes is text": ({"spikes": "no"}, TypeError, "Mine: spikes: expected True or False"),
    "noisy is a number": ({"noisy": 1}, TypeError, "Mine: noisy: expected True or False, got 1"),
    "blocks": ({"blocks": 0}, ValueError, "Mine: blocks: expected a whole number >= 1, got 0"),
    "start is nan": ({"v_init": float("nan")}, ValueError, "Mine: v_init: expected a finite"),
    "start is text": ({"v_init": "rest"}, TypeError, "Mine: v_init: .* one per neuron"),
    "a start is nan": ({"v_init": (0.0, np.nan)}, ValueError, "Mine: v_init: expected a finite"),
    "coefficient is nan": (
        {"coefficients": numbers(b=np.nan)},
        ValueError,
        r"Mine.coefficients: expected numbers, got \['b'\] = nan",
    ),
    "coefficient is text": (
        {"coefficients": numbers(mode="soft")},
        TypeError,
        r"Mine.coefficients: expected numbers, got \['mode'\] = 'soft'; a choice is a field",
    ),
    "no coefficients": (
        {"coefficients": lambda self, values=None, *, dtype=None: None},
        TypeError,
        "Mine.coefficients: expected a dict or a dataclass of numbers, got None",
    ),
    "coefficients without dtype": (
        {"coefficients": lambda self, values=None: {"a": 0.9, "theta": 1.0}},
        TypeError,
        r"expected a method coefficients\(self, values=None, \*, dtype=None\), got .*'dtype'",
    ),
    "learnable without a domain": (
        {"learnable": learning(tau=10e-3)},
        TypeError,
        "Mine.learnable: expected a mapping from names to values with a domain.*got .*0.01",
    ),
    "learnable is a list": (
        {"learnable": lambda self, learn=(): ["tau"]},
        TypeError,
        r"Mine.learnable: expected a mapping .* got \['tau'\]",
    ),
    "learnable without effect": (
        {"learnable": learning(tau=TAU)},
        ValueError,
        "Mine.coefficients: expected coefficients that depend on 'tau'.*would change nothing",
    ),
    "state is text": (
        {"initial_state": lambda self, v, *, recurrent=False: {"v": v, "kind": "on"}},
        TypeError,
        "Mine.initial_state: expected a result, got TypeError",
    ),
    "state without recurrent": (
        {"initial_state": lambda self, v: {"v": v}},
        TypeError,
        r"expected a method initial_state\(self, v_init, \*, recurrent=False\), got",
    ),
    "membrane is None": (
        {"membrane": lambda self, state: None},
        ValueError,
        "expected a membrane of the shape and dtype of v_init, .* got None",
    ),
    "step without noise": (
        {"step": lambda self, c, state, x, surrogate=None, *, recurrent=None: (state, x)},
        TypeError,
        r"expected a method step\(self, coefficients, .*, noise=None\), got .*'noise'",
    ),
    "step of three arguments": (
        {"step": lambda self, c, state, x: (state, x)},
        TypeError,
        "expected a method step.*too many positional arguments",
    ),
    "step returns the state": (
        {"step": stepping(lambda state, spikes: state)},
        TypeError,
        "Mine.step: expected a tuple of the state after the step and the output, got dict",
    ),
    "step returns three": (
        {"step": stepping(lambda state, spikes: (state, spikes, spikes))},
        TypeError,
        "Mine.step: expected a tuple of .* got a tuple of 3",
    ),
    "step raises": (
        {"coefficients": lambda self, values=None, *, dtype=None: {"theta": 1.0}},
        ValueError,
        "Mine.step: expected a result, got KeyError: 'a'; it was called with .*'theta'",
    ),
    "step of one block": (
        {"blocks": STRAY},
        TypeError,
        r"Mine.step: expected a result, got TypeError: .*'current': \('\(2, 3\) float32', '",
    ),
    "no output": (
        {"step": stepping(lambda state, spikes: (state, None))},
        ValueError,
        r"Mine.step: expected an output of the shape of the membrane, \(2, 3\), got None",
    ),
    "output is bool": (
        {"step": stepping(lambda state, spikes: (state, spikes > 0))},
        TypeError,
        "Mine.step: expected an output of a floating dtype.*got bool; .*snn.dynamics.spike",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_promise_is_named(fault: str, unchecked: None) -> None:
    answers, error, words = BROKEN[fault]
    with pytest.raises(error, match=words) as caught:
        snn.NeuronCell(N, dynamics=neuron(**answers))
    assert str(caught.value).startswith("NeuronCell: Mine")


def late(self: Any, c: Any, state: Any, x: Any, surrogate: Any = None, **kind: Any) -> Any:
    """Feeds back spikes of the membrane that the current has moved already."""
    v = c["a"] * state["v"] + x
    spikes = threshold_of(v, surrogate, c)
    return {"v": v + kind["recurrent"](spikes)}, spikes


def deaf(self: Any, c: Any, state: Any, x: Any, surrogate: Any = None, **kind: Any) -> Any:
    return leaky(self, c, state, x, surrogate, recurrent=None)


def twice(self: Any, c: Any, state: Any, x: Any, surrogate: Any = None, **kind: Any) -> Any:
    return leaky(self, c, state, x + kind["recurrent"](state["v"]), surrogate, **kind)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (deaf, "without a call of it: its recurrent weights would do nothing"),
        (twice, r"expected to call recurrent\(spikes\) once, got 2 calls"),
        (late, "spikes that depend on the current; feed back those of the step before"),
    ],
)
def test_a_recurrent_cell_needs_a_neuron_that_feeds_back(step: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        snn.RecurrentNeuronCell(N, dynamics=neuron(step=step))
    assert str(caught.value).startswith("RecurrentNeuronCell: Mine.step")
    if step is deaf:
        snn.NeuronCell(N, dynamics=neuron(step=step))


def test_what_results_depend_on() -> None:
    def function(x: Any) -> Any:
        a, b, c = x
        return jnp.where(a > 0, jnp.sin(b), 1.0), (c - c).shape[0]

    x = tuple(jnp.ones(3) for _ in range(3))
    assert used(function, x) == [True, True, False]
    gradients = jax.grad(lambda x: function(x)[0].sum())(x)
    assert [bool(jnp.any(g)) for g in gradients] == [False, True, False]


def ring(self: Any, c: Any, state: Any, x: Any, surrogate: Any = None, **kind: Any) -> Any:
    """A leaky neuron whose potential comes back three steps later."""
    after, spikes = leaky(self, c, state, x + 0.05 * state["line"][0], surrogate, **kind)
    line = jnp.concatenate([state["line"][1:], after["v"][None]])
    return {"v": after["v"], "line": line}, spikes


def counting(self: Any, c: Any, state: Any, x: Any, surrogate: Any = None, **kind: Any) -> Any:
    """A leaky neuron that takes every second input."""
    on = (state["count"] % 2 == 0).astype(x.dtype)
    after, spikes = leaky(self, c, state, x * on, surrogate, **kind)
    return {"v": after["v"], "count": state["count"] + 1}, spikes


SHARED = {
    "delay line": neuron(
        initial_state=lambda self, v, *, recurrent=False: {"v": v, "line": jnp.stack([v] * 3)},
        step=ring,
    ),
    "counter": neuron(
        initial_state=lambda self, v, *, recurrent=False: {"v": v, "count": jnp.zeros((), int)},
        step=counting,
    ),
    "counter of Python": neuron(
        initial_state=lambda self, v, *, recurrent=False: {"v": v, "count": 0}, step=counting
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SHARED))
def test_states_that_samples_share_run_as_in_flax(name: str) -> None:
    """The delay line is as deep as the batch, so that its shape alone would not give it away."""
    chain = snn.Chain([snn.RecurrentNeuronCell(N, dynamics=SHARED[name]), snn.LIFCell(2)])
    x = (jax.random.uniform(jax.random.key(0), (B, T, F)) < 0.3).astype(jnp.float32)
    variables = jax.jit(nn.RNN(chain).init)(jax.random.key(1), x)
    variables = jax.tree.map(lambda w: 2 * w, variables)

    def loss(net: Any, variables: Any, x: Any) -> Any:
        out = net.apply(variables, x)
        return jnp.sum(out @ jnp.arange(1.0, 3.0)), out

    for inputs in (x, x[:2, None], x[0]):
        found, expected = (
            jax.jit(jax.value_and_grad(functools.partial(loss, net), has_aux=True))(
                variables, inputs
            )
            for net in (snn.RNN(chain), nn.RNN(chain))
        )
        assert float(expected[0][1].sum()) > 0
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, expected)
    with pytest.raises(ValueError, match="cannot run this: .* does not begin with the batch axes"):
        snn.RNN(chain, implementation="fused").apply(variables, x)
    lengths = jnp.array([4, 9, 20])
    with pytest.raises(ValueError, match="seq_lengths: expected a carry whose entries begin"):
        snn.RNN(chain).apply(variables, x, seq_lengths=lengths, return_carry=True)
