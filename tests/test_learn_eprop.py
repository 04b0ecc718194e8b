"""e-prop against the golden gradients of `tests/golden/eprop`, and NEST's regression example."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
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


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("k", range(4))
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
