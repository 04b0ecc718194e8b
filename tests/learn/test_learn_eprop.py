"""e-prop against the golden gradients of `tests/golden/eprop`, and NEST's regression example."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by
from learn_cases import TOLERANCES, case, close, far, readout

import flax_snn as snn
from flax_snn.dynamics import Coefficients, Rule
from flax_snn.surrogate import relu_grad

NAMES = ("w_in", "w_rec", "w_out", "b_out")


def network(c: dict[str, Any], dtype: str, *, lif: bool = False) -> tuple[Any, Any]:
    """Returns the network of a case, and its variables."""
    names = ("alpha", "theta") if lif else ("alpha", "rho", "beta", "theta")
    surrogate = relu_grad(height=c["gamma"], width=1.0)
    if lif:
        rule = Rule(reset="soft", reset_time="next", reset_site="sum")
        coefficients = Coefficients(alpha=0.9, c_x=1.0, theta=1.0)
        dynamics: Any = snn.LIFDynamics.from_coefficients(coefficients, dt=1e-3, rule=rule)
    else:
        dynamics = snn.ALIFDynamics(refractory=c["n_ref"] * 1e-3)
    hidden = snn.RecurrentNeuronCell(
        8, dynamics=dynamics, individual=names, surrogate=surrogate, param_dtype=dtype
    )
    last = readout(
        c["kappa"], c["out_scale"], c["w_out"].shape[1], use_bias=True, param_dtype=dtype
    )
    variables = {
        "params": {
            "cell": {
                "cells_0": {"kernel": c["w_in"], "recurrent_kernel": c["w_rec"]},
                "cells_1": {"kernel": c["w_out"], "bias": c["b_out"]},
            }
        },
        "neuron": {"cell": {"cells_0": {name: c[name] for name in names}}},
    }
    model = snn.RNN(snn.Chain([hidden, last]), time_major=True)
    return model, jax.tree.map(lambda a: jnp.asarray(a, dtype), variables)


def batch(c: dict[str, Any], dtype: str) -> Any:
    targets = c["label"] if c["loss"] == "ce" else c["target"].swapaxes(0, 1).astype(dtype)
    return jnp.asarray(c["x"]), jnp.asarray(targets)


def options(c: dict[str, Any]) -> dict[str, Any]:
    mask = np.broadcast_to(c["mask"] > 0, (c["x"].shape[1], c["x"].shape[0]))
    return {
        "mask": jnp.asarray(mask),
        "rate_penalty": c["c_reg"],
        "target_rate": 1e3 * c["f_target"],
    }


def by_name(gradient: Any) -> dict[str, np.ndarray]:
    """Returns the four gradients, without weights from a neuron to itself."""
    hidden, last = gradient["cell"]["cells_0"], gradient["cell"]["cells_1"]
    recurrent = np.array(hidden["recurrent_kernel"])
    np.fill_diagonal(recurrent, 0.0)
    found = (hidden["kernel"], recurrent, last["kernel"], last["bias"])
    return dict(zip(NAMES, map(np.asarray, found), strict=True))


def stored(c: dict[str, Any], rule: str) -> dict[str, np.ndarray]:
    found = {name: np.array(c[f"{rule}_{name}"]) for name in NAMES}
    np.fill_diagonal(found["w_rec"], 0.0)
    return found


def loss_of(c: dict[str, Any]) -> Any:
    return snn.learn.cross_entropy if c["loss"] == "ce" else snn.learn.squared_error


ROWS = [(k, dtype) for k in range(4) for dtype in ("float64", "float32")]


@pytest.mark.parametrize(("k", "dtype"), covered_by(ROWS, [(0, "float32")]))
def test_golden(k: int, dtype: str) -> None:
    c = case("eprop", k)
    for_gradients, for_losses = TOLERANCES[dtype]
    with jax.enable_x64(dtype == "float64"):
        model, variables = network(c, dtype)
        for rule, feedback in (("eprop_sym", "symmetric"), ("eprop_rand", c["feedback"])):
            rule_of_case = functools.partial(
                snn.learn.eprop, model, loss=loss_of(c), feedback=feedback, **options(c), chunk=17
            )
            loss, gradient = jax.jit(rule_of_case)(variables, batch=batch(c, dtype))
            assert jax.tree.structure(gradient) == jax.tree.structure(variables["params"])
            assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(gradient))
            close(loss, c["E"], for_losses)
            found, expected = by_name(gradient), stored(c, rule)
            for name in NAMES:
                close(found[name], expected[name], for_gradients)
            # Controls: neither BPTT nor the other feedback would pass.
            other = "eprop_rand" if rule == "eprop_sym" else "eprop_sym"
            far(found["w_in"], stored(c, other)["w_in"])
            far(found["w_rec"], stored(c, "bptt")["w_rec"])


# What NEST 3.10 publishes for its regression example; within 6e-8 of the TensorFlow original.
NEST_LOSSES = [
    101.964356999041,
    103.466731126205,
    103.340607074771,
    103.680244037686,
    104.412775748752,
]


def nest(c: dict[str, Any], dtype: str) -> tuple[Any, Any]:
    """The network of NEST's examples: ``v = alpha v + (1 - alpha) x - v_th z``, readout alike."""
    alpha, kappa = (float(np.exp(-c["dt_ms"] / c[tau])) for tau in ("tau", "tau_out"))
    shared = {"surrogate": relu_grad(height=c["gamma"], width=1.0), "param_dtype": dtype}
    size = c["n_rec"]
    if c["adapt"]:
        # Their membrane has gain 1 - alpha and ours 1: our weights are theirs times that.
        gain, rho = 1.0 - alpha, float(np.exp(-c["dt_ms"] / c["tau_a"]))
        dynamics: Any = snn.ALIFDynamics.from_decays(
            alpha=alpha, rho=rho, threshold=c["v_th"], refractory=c["t_ref"] * 1e-3
        )
        beta = np.where(np.arange(size) < c["n_lif"], 0.0, c["adapt"])
        hidden = snn.RecurrentNeuronCell(size, dynamics=dynamics, individual=("beta",), **shared)
        neuron = {"neuron": {"cell": {"cells_0": {"beta": beta}}}}
    else:
        gain, neuron = 1.0, {}
        rule = Rule(fire=">=", reset="soft", reset_time="next", reset_site="sum")
        coefficients = Coefficients(alpha=alpha, c_x=1.0 - alpha, theta=c["v_th"])
        dynamics = snn.LIFDynamics.from_coefficients(coefficients, dt=1e-3, rule=rule)
        hidden = snn.RecurrentNeuronCell(size, dynamics=dynamics, **shared)
    last = readout(kappa, 1.0 - kappa, c["n_out"], param_dtype=dtype)
    params = {
        "cells_0": {
            "kernel": gain * c["w_in"].astype(np.float64),
            "recurrent_kernel": gain * c["w_rec"].astype(np.float64),
        },
        "cells_1": {"kernel": c["w_out"]},
    }
    variables = {"params": {"cell": params}, **neuron}
    model = snn.RNN(snn.Chain([hidden, last]))
    return (model, gain), jax.tree.map(lambda a: jnp.asarray(a, dtype), variables)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["nest_regression", "nest_alif"])
def test_regression_examples_of_nest(file: str, x64: None) -> None:
    c = case(file)
    (model, gain), variables = nest(c, "float64")
    batch = (jnp.asarray(c["x"])[None], jnp.asarray(c["target"])[None])
    rule = functools.partial(snn.learn.eprop, model, loss=snn.learn.squared_error, batch=batch)
    options = {"rate_penalty": c["c_reg"], "target_rate": c["f_target_hz"]}

    @jax.jit
    def iterate(variables: Any, feedback: Any) -> Any:
        penalised, gradient = rule(variables, feedback=feedback, **options)
        outputs = model.apply(variables, batch[0])
        loss = 0.5 * jnp.sum((outputs - batch[1]) ** 2) / c["n_out"]
        cells = gradient["cell"]
        recurrent = cells["cells_0"]["recurrent_kernel"]
        cells["cells_0"]["recurrent_kernel"] = recurrent * (1 - jnp.eye(len(recurrent)))
        # dE/dW of their weights is gain times that of ours; a step of theirs, gain squared.
        steps = {"cells_0": c["eta"] * gain**2, "cells_1": c["eta"]}
        params = {
            name: jax.tree.map(lambda w, g, k=steps[name]: w - k * g, cell, cells[name])
            for name, cell in variables["params"]["cell"].items()
        }
        return loss, gradient, variables | {"params": {"cell": params}}

    losses, gradients = [], []
    for _ in range(c["n_iter"]):
        loss, gradient, variables = iterate(variables, c["feedback"].astype(np.float64))
        losses.append(float(loss))
        gradients.append(gradient["cell"])
    np.testing.assert_allclose(losses, c["losses"], rtol=1e-10)
    if file == "nest_regression":
        np.testing.assert_allclose(losses, NEST_LOSSES, rtol=1e-7)
    first = gradients[0]
    close(gain * first["cells_0"]["kernel"], c["g_w_in"], 1e-10)
    close(gain * first["cells_0"]["recurrent_kernel"], c["g_w_rec"], 1e-10)
    close(first["cells_1"]["kernel"], c["g_w_out"], 1e-10)
    end = variables["params"]["cell"]
    close(end["cells_1"]["kernel"], c["w_out_end"], 1e-10)
    close(np.sum(end["cells_0"]["kernel"] / gain, axis=1), c["w_in_end_sum"], 1e-10)
    close(np.sum(end["cells_0"]["recurrent_kernel"] / gain, axis=1), c["w_rec_end_sum"], 1e-10)
