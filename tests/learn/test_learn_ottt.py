"""OTTT against the golden gradients of `tests/golden/eprop/ottt.npz`, and its properties."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by
from learn_cases import TOLERANCES, case, close, far

import flax_snn as snn
from flax_snn.dynamics import Coefficients, Rule

SURROGATES = {
    "1/(1+(pi u)^2)": snn.surrogate.arctan(alpha=2.0),
    "4 sig(4u)(1-sig(4u))": snn.surrogate.sigmoid(slope=4.0),
}


def neuron(c: dict[str, Any]) -> snn.LIFDynamics:
    """``u = lam (u - theta s_old) + x`` with the reset stopped."""
    rule = Rule(reset="soft", reset_time="next", reset_site="state")
    coefficients = Coefficients(alpha=c["lam"], c_x=1.0, theta=c["theta"])
    return snn.LIFDynamics.from_coefficients(
        coefficients, dt=1e-3, rule=rule, surrogate=SURROGATES[c["surrogate"]]
    )


def sizes(c: dict[str, Any]) -> list[int]:
    return [c[f"w{k}"].shape[1] for k in (1, 2, 3)]


def of_modules(c: dict[str, Any], dtype: str) -> tuple[Any, Any]:
    """The network of weights and neurons as layers of their own."""
    dense = functools.partial(nn.Dense, param_dtype=dtype)
    lif = functools.partial(snn.LIF, dynamics=neuron(c), param_dtype=dtype)
    a, b, last = sizes(c)
    model = nn.Sequential([dense(a), lif(), dense(b), lif(), dense(last)])
    params = {
        f"layers_{2 * k}": {"kernel": c[f"w{k + 1}"], "bias": c[f"b{k + 1}"]} for k in range(3)
    }
    return model, {"params": jax.tree.map(lambda a: jnp.asarray(a, dtype), params)}


def of_cells(c: dict[str, Any], dtype: str) -> tuple[Any, Any]:
    """The network as a chain of cells, whose readout has no memory, but a kernel of its own."""
    cell = functools.partial(snn.LIFCell, dynamics=neuron(c), use_bias=True, param_dtype=dtype)
    a, b, last = sizes(c)
    chain = snn.Chain([cell(a), cell(b)])
    model = nn.Sequential([snn.RNN(chain), nn.Dense(last, param_dtype=dtype)])
    params = {
        "layers_0": {
            "cell": {
                f"cells_{k}": {"kernel": c[f"w{k + 1}"], "bias": c[f"b{k + 1}"]} for k in range(2)
            }
        },
        "layers_1": {"kernel": c["w3"], "bias": c["b3"]},
    }
    return model, {"params": jax.tree.map(lambda a: jnp.asarray(a, dtype), params)}


def leaves(gradient: Any) -> dict[str, np.ndarray]:
    """Returns the gradients by the names of the files; layers are in order in both networks."""
    found = jax.tree_util.tree_leaves_with_path(gradient)
    kernels = [np.asarray(leaf) for path, leaf in found if path[-1].key == "kernel"]
    biases = [np.asarray(leaf) for path, leaf in found if path[-1].key == "bias"]
    named = {f"w{k + 1}": array for k, array in enumerate(kernels)}
    return named | {f"b{k + 1}": array for k, array in enumerate(biases)}


def batch(c: dict[str, Any], dtype: str) -> Any:
    targets = c["label"] if c["loss"] == "ce" else c["target"].swapaxes(0, 1).astype(dtype)
    return jnp.asarray(c["x"].swapaxes(0, 1), dtype), jnp.asarray(targets)


ROWS = [(k, dtype) for k in range(3) for dtype in ("float64", "float32")]


@pytest.mark.parametrize(("k", "dtype"), covered_by(ROWS, [(1, "float64")]))
def test_golden(k: int, dtype: str) -> None:
    c = case("ottt", k)
    for_gradients, for_losses = TOLERANCES[dtype]
    loss_of_step = snn.learn.cross_entropy if c["loss"] == "ce" else snn.learn.squared_error
    with jax.enable_x64(dtype == "float64"):
        for network, trace in ((of_modules, False), (of_cells, True)):
            model, variables = network(c, dtype)
            rule = functools.partial(
                snn.learn.ottt, model, loss=loss_of_step, input_trace=trace, chunk=7
            )
            loss, gradient = jax.jit(rule)(variables, batch=batch(c, dtype))
            close(loss, c["E"], for_losses)
            assert jax.tree.structure(gradient) == jax.tree.structure(variables["params"])
            found = leaves(gradient)
            expected = {name: c[f"ottt_{name}"] for name in found}
            if trace:
                expected["w1"] = c["ottt_w1_trace"]
            for name, array in found.items():
                close(array, expected[name], for_gradients)
            for name in ("w1", "b2", "w3"):  # no part is BPTT
                far(found[name], c[f"bptt_{name}"])
