"""What bad input to the learning rules gets: the reason, and what to do."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from covering_rows import covered_by

import flax_snn as snn
from flax_snn import learn

B, T, F, N, C = 2, 6, 4, 5, 3
X = jnp.ones((B, T, F))
LABELS = jnp.array([0, 2])


@dataclasses.dataclass(frozen=True)
class Inhibiting(snn.Neuron):
    """A neuron whose membrane loses the mean of the layer: neurons see each other in a step."""

    def initial_state(self, v_init: Any, *, recurrent: bool = False) -> Any:
        return {"v": v_init}

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> Any:
        return {"theta": 1.0}

    def step(self, c, state, x, surrogate=None, *, recurrent=None, noise=None):  # type: ignore[no-untyped-def]
        if recurrent is not None:
            x = x + recurrent(snn.dynamics.spike(state["v"], surrogate, False, c["theta"]))
        v = 0.9 * state["v"] + x - 0.1 * jnp.mean(state["v"], axis=-1, keepdims=True)
        return {"v": v}, snn.dynamics.spike(v, surrogate, False, c["theta"])


def chain(*cells: Any) -> Any:
    return snn.RNN(snn.Chain(list(cells)))


LEAKY = snn.LeakyIntegratorReadout(C)
GOOD = chain(snn.RecurrentLIFCell(N), LEAKY)
FORWARD = chain(snn.LIFCell(N), LEAKY)

MODELS: list[tuple[str, Any, type[Exception], list[str]]] = [
    ("eprop", snn.RecurrentLIFCell(N), TypeError, ["runner", "snn.RNN(RecurrentLIFCell"]),
    ("eprop", nn.Sequential([nn.Dense(3)]), TypeError, ["runner over cells", "snn.learn.ottt"]),
    ("eprop", nn.RNN(nn.GRUCell(3)), TypeError, ["cells of neurons", "GRUCell"]),
    ("eprop", snn.RNN(snn.Chain([snn.LIFCell(3), LEAKY]), reverse=True), ValueError, ["reverse"]),
    ("eprop", chain(snn.RecurrentLIFCell(N)), ValueError, ["readout", "d_rtrl"]),
    (
        "eprop",
        chain(snn.RecurrentLIFCell(N), snn.RecurrentLIFCell(N), LEAKY),
        ValueError,
        ["The gradient of cell/cells_0 would miss all paths through the state of cell/cells_1"],
    ),
    (
        "eprop",
        chain(snn.RecurrentLIFCell(N), snn.LeakyIntegratorReadout(C, learn=("tau_mem",))),
        ValueError,
        ["one time constant for all outputs", "cell/cells_1"],
    ),
    (
        "eprop",
        chain(
            snn.RecurrentLIFCell(N),
            snn.LeakyIntegratorReadout(C, dynamics=snn.LIDynamics(v_min=0.0)),
        ),
        ValueError,
        ["linear filter", "v_min"],
    ),
    (
        "eprop",
        chain(snn.RecurrentNeuronCell(N, dynamics=Inhibiting()), LEAKY),
        ValueError,
        ["Inhibiting", "reads other neurons", "keep no trace"],
    ),
    (
        "d_rtrl",
        chain(snn.NeuronCell(N, dynamics=Inhibiting()), LEAKY),
        ValueError,
        ["Inhibiting", "reads other neurons"],
    ),
    (
        "eprop",
        chain(snn.RecurrentLIFCell(N, dynamics=snn.LIFDynamics(noise_std=0.1)), LEAKY),
        ValueError,
        ["draws membrane noise"],
    ),
    ("ottt", GOOD, ValueError, ["recurrent weights", "eprop"]),
    (
        "ottt",
        chain(snn.LIFCell(N, dynamics=snn.LIFDynamics(tau_syn=5e-3)), LEAKY),
        ValueError,
        ["only memory is a membrane", "synapse"],
    ),
    ("ottt", chain(snn.ALIFCell(N), LEAKY), ValueError, ["ALIFDynamics", "d_rtrl"]),
    ("ottt", chain(snn.LIFCell(N, learn=("tau_mem",)), LEAKY), ValueError, ["learn=", "one trace"]),
    (
        "ottt",
        nn.Sequential([nn.Dense(N), nn.LayerNorm(), snn.LIF()]),
        ValueError,
        ["LayerNorm", "bias, scale", "not that of a trace"],
    ),
    ("ottt", nn.Sequential([nn.Dense(N)]), ValueError, ["layers of neurons", "none"]),
    (
        "ottt",
        nn.Sequential([nn.Dense(N), snn.LIF(), lambda s: s.mean(1)]),
        ValueError,
        ["(B, T, C)", "over time"],
    ),
    ("ottt", nn.Sequential([nn.Dense(N), nn.RNN(nn.GRUCell(N))]), TypeError, ["GRUCell"]),
    (
        "d_rtrl",
        chain(snn.LIFCell(N), snn.LIFCell(N, dynamics=snn.LIFDynamics(tau_syn=5e-3)), LEAKY),
        ValueError,
        ["LIFDynamics in layer 2 of 3", "gradient of the layers below would be 0", "tau_syn=None"],
    ),
]


@pytest.mark.parametrize("k", covered_by(list(range(len(MODELS))), [0, 8, 11]))
def test_models_that_a_rule_does_not_fit(k: int, unchecked: None) -> None:
    rule, model, error, words = MODELS[k]
    variables: Any = {"params": {}}
    if not isinstance(model, nn.RNNCellBase):
        variables = model.init({"params": jax.random.key(0), "noise": jax.random.key(1)}, X)
        variables = {"params": variables.get("params", {})}
    with pytest.raises(error) as raised:
        learn.RULES[rule](model, variables, (X, LABELS), learn.cross_entropy)
    for word in words:
        assert word in str(raised.value)


def variables_of(model: Any) -> Any:
    return model.init(jax.random.key(0), X)


CALLS: list[tuple[dict[str, Any], type[Exception], list[str]]] = [
    ({"batch": X}, TypeError, ["pair (inputs, targets)"]),
    ({"batch": (X[0], LABELS)}, ValueError, ["(B, T, F)", "(6, 4)"]),
    ({"batch": (X[:, :0], LABELS)}, ValueError, ["at least one"]),
    ({"batch": (X, jnp.zeros((B, C)))}, ValueError, ["shape (2, 6, ...)", "broadcast_to"]),
    ({"loss": snn.losses.membrane_cross_entropy}, ValueError, ["single steps", "whole sequences"]),
    ({"loss": "mse"}, TypeError, ["function", "squared_error"]),
    ({"loss": lambda y, t: y}, ValueError, ["one value for each sample", "(2,)"]),
    ({"loss": lambda y, t: jnp.sum(y), "mask": jnp.ones((B, T), bool)}, ValueError, ["mask"]),
    ({"loss": learn.squared_error}, ValueError, ["squared_error: targets"]),
    ({"mask": jnp.ones((T,), bool)}, ValueError, ["mask", "(2, 6)"]),
    ({"seq_lengths": jnp.array([1, 9])}, ValueError, ["seq_lengths", "0 to 6"]),
    ({"variables": {"cell": {}}}, ValueError, ["params", "model.init"]),
    ({"feedback": "symetric"}, ValueError, ["symmetric"]),
    ({"feedback": "random"}, ValueError, ["with_feedback(key, variables)"]),
    ({"feedback": "adaptive"}, ValueError, ["adaptive=True"]),
    ({"feedback": jnp.ones((C, N))}, ValueError, ["(5, 3)", "(3, 5)"]),
    ({"rate_penalty": -1.0}, ValueError, ["rate_penalty", ">= 0"]),
    ({"chunk": 0}, ValueError, ["chunk", ">= 1"]),
]


@pytest.mark.parametrize("row", CALLS, ids=[f"{[*r[0]][0]}-{k}" for k, r in enumerate(CALLS)])
def test_arguments(row: Any, unchecked: None) -> None:
    changed, error, words = row
    given = {"batch": (X, LABELS), "loss": learn.cross_entropy, "variables": variables_of(GOOD)}
    with pytest.raises(error) as raised:
        learn.eprop(GOOD, **(given | changed))
    for word in words:
        assert word in str(raised.value)


def test_streams(unchecked: None) -> None:
    with pytest.raises(ValueError, match="needs the whole sequence"):
        learn.Stream(GOOD, learn.cross_entropy, rule="bptt")
    with pytest.raises(ValueError, match="did you mean|eprop"):
        learn.Stream(GOOD, learn.cross_entropy, rule="e-prop")
    with pytest.raises(TypeError, match="a rule"):
        learn.Stream(GOOD, learn.cross_entropy, rule=learn.eprop)
    with pytest.raises(ValueError, match="rate term"):
        learn.Stream(GOOD, learn.cross_entropy, rule=learn.EProp(rate_penalty=1.0))
    with pytest.raises(ValueError, match="whole sequences"):
        learn.Stream(GOOD, snn.losses.rate_coded_cross_entropy)
    stream = learn.Stream(FORWARD, learn.cross_entropy)
    variables = variables_of(FORWARD)
    carry = stream.start(variables, X[:1, 0])
    with pytest.raises(ValueError, match="carry of this model and batch"):
        stream.step(variables, carry, (X[:, 0], LABELS))


def test_feedback_needs_a_readout() -> None:
    with pytest.raises(ValueError, match="chain with a readout"):
        learn.with_feedback(jax.random.key(0), {"params": {"kernel": jnp.ones((2, 2))}})
