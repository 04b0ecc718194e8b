"""Diagonal RTRL against the golden gradients of `tests/golden/eprop/d_rtrl.npz`."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by
from learn_cases import TOLERANCES, case, close, far, readout

import flax_snn as snn
from flax_snn.dynamics import Coefficients, Rule
from flax_snn.dynamics.adaptive.adlif import slayer
from flax_snn.surrogate import relu_grad


def cell_of(c: dict[str, Any], k: int, dtype: str) -> tuple[Any, dict[str, Any]]:
    """Returns the cell of a layer, and the coefficients of its neurons."""
    kind = c["cells"][k]
    values = {n.removeprefix(f"p{k}_"): c[n] for n in c if n.startswith(f"p{k}_")}
    surrogate = relu_grad(height=0.5, width=1.0)
    if kind == "lif":
        rule = Rule(reset="soft", reset_time="next", reset_site="sum", reset_gradient="flow")
        coefficients = Coefficients(alpha=0.9, c_x=1.0, theta=1.0)
        dynamics: Any = snn.LIFDynamics.from_coefficients(coefficients, dt=1e-3, rule=rule)
    elif kind == "alif":
        dynamics = snn.ALIFDynamics()
    else:
        dynamics, surrogate = snn.AdLIFDynamics(), slayer()
    cell = snn.RecurrentNeuronCell(
        len(c[f"w_rec{k}"]),
        dynamics=dynamics,
        individual=tuple(values),
        surrogate=surrogate,
        param_dtype=dtype,
    )
    return cell, values


def network(c: dict[str, Any], dtype: str) -> tuple[Any, Any]:
    cells, params, neurons = [], {}, {}
    for k in range(len(c["cells"])):
        cell, values = cell_of(c, k, dtype)
        cells.append(cell)
        params[f"cells_{k}"] = {"kernel": c[f"w_in{k}"], "recurrent_kernel": c[f"w_rec{k}"]}
        neurons[f"cells_{k}"] = values
    cells.append(readout(0.0, 1.0, 2, use_bias=True, param_dtype=dtype))
    params[f"cells_{len(c['cells'])}"] = {"kernel": c["w_out"], "bias": c["b_out"]}
    variables = {"params": {"cell": params}, "neuron": {"cell": neurons}}
    model = snn.RNN(snn.Chain(cells), time_major=True)
    return model, jax.tree.map(lambda a: jnp.asarray(a, dtype), variables)


def by_name(gradient: Any) -> dict[str, np.ndarray]:
    cells = gradient["cell"]
    last = len(cells) - 1
    found = {"w_out": cells[f"cells_{last}"]["kernel"], "b_out": cells[f"cells_{last}"]["bias"]}
    for k in range(last):
        found[f"w_in{k}"] = cells[f"cells_{k}"]["kernel"]
        found[f"w_rec{k}"] = cells[f"cells_{k}"]["recurrent_kernel"]
    return {name: np.asarray(array) for name, array in found.items()}


ROWS = [(k, dtype) for k in range(4) for dtype in ("float64", "float32")]


@pytest.mark.parametrize(("k", "dtype"), covered_by(ROWS, [(3, "float64")]))
def test_golden(k: int, dtype: str) -> None:
    c = case("d_rtrl", k)
    for_gradients, for_losses = TOLERANCES[dtype]
    with jax.enable_x64(dtype == "float64"):
        model, variables = network(c, dtype)
        batch = (jnp.asarray(c["x"]), jnp.asarray(c["target"].swapaxes(0, 1), dtype))
        rule = functools.partial(snn.learn.d_rtrl, model, loss=snn.learn.squared_error, chunk=13)
        loss, gradient = jax.jit(rule)(variables, batch=batch)
    close(loss, c["E"], for_losses)
    found = by_name(gradient)
    for name, array in found.items():
        close(array, c[f"drtrl_{name}"], for_gradients)
    # Controls: full BPTT is another gradient; with two layers the lower one misses what the upper
    # one remembers, by the distance that the file holds.
    far(found["w_rec0"], c["bptt_w_rec0"])
    cut = c["bptt_cut_w_in0"]
    distance = np.linalg.norm(found["w_in0"] - cut) / np.linalg.norm(cut)
    assert distance == pytest.approx(c["distance_to_cut"]["w_in0"], rel=1e-4, abs=1e-5)


UPPER: dict[str, Any] = {
    "lif": snn.LIFDynamics(),
    "synapse": snn.LIFDynamics(tau_syn=5e-3),
    "alif": snn.ALIFDynamics(),
    "adlif": snn.AdLIFDynamics(),
}


@pytest.mark.parametrize("name", covered_by(UPPER, ["synapse"]))
def test_what_is_refused_would_never_train_the_layers_below(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = snn.RNN(snn.Chain([snn.LIFCell(6), snn.NeuronCell(4, dynamics=UPPER[name])]))
    x = (jax.random.uniform(jax.random.key(0), (3, 30, 5)) < 0.3).astype(jnp.float32)
    variables = jax.tree.map(lambda w: 6.0 * w, jax.jit(model.init)(jax.random.key(1), x))

    def below() -> Any:
        batch = (x, jnp.array([0, 1, 2]))
        _, gradient = snn.learn.d_rtrl(model, variables, batch, snn.learn.cross_entropy)
        return gradient["cell"]["cells_0"]["kernel"]

    try:
        below()
        refused = False
    except ValueError as error:
        assert "answers in the next one" in str(error)
        refused = True
    # The module has the name of its function in the package.
    module = importlib.import_module("flax_snn.learn.d_rtrl")
    monkeypatch.setattr(module, "check_same_step", lambda *arguments: None)
    assert bool(jnp.all(below() == 0.0)) == refused == (name == "synapse")
