"""Adaptive neurons against the golden traces of `tests/golden/adaptive`, forward and backward."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

from flax_snn import surrogate
from flax_snn.dynamics.adaptive.adlif import AdLIFCoefficients, AdLIFDynamics, AdLIFState
from flax_snn.dynamics.adaptive.alif import ALIFCoefficients, ALIFDynamics
from flax_snn.dynamics.adaptive.lsnn import LSNNCoefficients, LSNNDynamics, LSNNState
from flax_snn.dynamics.adaptive.silif import SiLIFCoefficients, SiLIFDynamics, SiLIFState
from flax_snn.dynamics.neuron import Neuron

GOLDEN = Path(__file__).parents[1] / "golden" / "adaptive"
CASES = 4

# Of the README beside the files, relative to max(1, max abs): traces, gradients.
TOLERANCES = {"float64": (1e-12, 1e-10), "float32": (2e-5, 3e-5)}


def slayer(v, theta, alpha, c):
    return c * alpha / 2.0 * jnp.exp(-alpha * jnp.abs(v - theta))


def boxcar(v, theta):
    return ((v - theta > -0.5) & (v - theta <= 0.5)).astype(v.dtype)


# The derivatives by what the files call them.
SURROGATES = {
    "0.3/theta * max(0, 1 - abs(u)/theta)": surrogate.relu_grad(height=0.3, width=1.0),
    "1 / (1 + (pi u)^2)  (atan, alpha 2)": surrogate.arctan(alpha=2.0),
    "0.3 * max(0, 1 - abs(u))": surrogate.piecewise_linear(slope=1.0, scale=0.3),
    "c alpha/2 exp(-alpha abs(u)), alpha 5, c 0.4": surrogate.custom(slayer, alpha=5.0, c=0.4),
    "1 where -0.5 < u <= 0.5, else 0": surrogate.custom(boxcar),
    "1 / (1 + abs(u))^2": surrogate.superspike(slope=1.0),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """How one file is run.

    Attributes:
      neuron: makes the neuron of ``n_ref`` and of fields such as ``reset_gradient``.
      coefficients: makes the coefficients of the parameters in the file.
      start: makes the first state of the parameters, initial states and zeros.
      traces: which entry of the state each trace is; ``u`` is compared where it is no entry, too.
    """

    neuron: Callable[..., Neuron]
    coefficients: Callable[..., Any]
    start: Callable[..., Any]
    traces: dict[str, str]


def adlif(scheme: str, traces: dict[str, str]) -> Row:
    return Row(
        neuron=lambda n_ref, **fields: AdLIFDynamics(scheme=scheme, **fields),
        coefficients=lambda p: AdLIFCoefficients(**p),
        start=lambda p, first, zeros: AdLIFState(v=zeros, w=zeros, s=zeros),
        traces=traces,
    )


def alif(scheme: str, traces: dict[str, str]) -> Row:
    return Row(
        neuron=lambda n_ref, **fields: ALIFDynamics(
            scheme=scheme, refractory=n_ref * 1e-3, **fields
        ),
        coefficients=lambda p: ALIFCoefficients(**p),
        start=None,
        traces=traces,
    )


def norse_coefficients(p: dict[str, Any]) -> LSNNCoefficients:
    dt = 1e-3
    return LSNNCoefficients(
        k_mem=dt * p["tau_mem_inv"],
        k_syn=dt * p["tau_syn_inv"],
        k_adapt=dt * p["tau_adapt_inv"],
        beta=p["beta"],
        theta=p["v_th"],
        v_rest=p["v_leak"],
        v_reset=p["v_reset"],
    )


def norse_start(p: dict[str, Any], first: Any, zeros: Any) -> LSNNState:
    """Starts at v_leak and v_th, through which no gradient of theirs flows in the package."""
    fixed = jax.lax.stop_gradient(p)
    return LSNNState(
        v=zeros + fixed["v_leak"], i=zeros, a=zeros + fixed["v_th"] - p["v_th"], s=zeros
    )


ROWS = {
    "alif_bellec": alif("bellec", {"u": "v", "a": "a"}),
    "sparx_alif": alif("same_step", {"v": "v", "a": "a"}),
    "ef_adlif": adlif("euler", {"u": "v", "a": "w"}),
    "se_adlif": adlif("symplectic", {"v": "v", "a": "w"}),
    "silif": Row(
        neuron=lambda n_ref, **fields: SiLIFDynamics(**fields),
        coefficients=lambda p: SiLIFCoefficients(**p),
        start=lambda p, first, zeros: SiLIFState(v=first["u0"], w=first["w0"], s=first["s0"]),
        traces={"u": "v", "a": "w"},
    ),
    "norse_lsnn": Row(
        neuron=lambda n_ref, **fields: LSNNDynamics(**fields),
        coefficients=norse_coefficients,
        start=norse_start,
        traces={"v": "v", "i": "i", "a": "a"},
    ),
}


@functools.cache
def case(stem: str, k: int) -> dict[str, Any]:
    with np.load(GOLDEN / f"{stem}.npz") as file:
        assert int(file["n_cases"]) == CASES
        arrays = {name[3:]: file[name] for name in file.files if name.startswith(f"c{k}_")}
    return arrays | {"params": json.loads(str(arrays["params"]))}


@functools.partial(jax.jit, static_argnums=(0, 1))
def run(stem: str, neurons: tuple[Neuron, ...], given: Any, s0: Any, weights: Any) -> Any:
    """Spikes and states of the first neuron, and gradients of ``sum(weights s)`` of each.

    Args:
      stem: row.
      neurons: the neuron with the reset stopped, and open.
      given: ``x``, ``wrec``, parameters and initial states, by the names of the file.
      s0: first spikes.
      weights: what the spikes are weighted with.
    """
    row = ROWS[stem]

    def loss(given: Any, neuron: Neuron) -> Any:
        x = given["x"]
        p = {name[2:]: value[None] for name, value in given.items() if name.startswith("p_")}
        c = row.coefficients(p)
        zeros = jnp.zeros_like(x[0])
        if row.start is None:
            start = neuron.initial_state(zeros, recurrent=True)
        else:
            start = row.start(p, given | {"s0": s0}, zeros)
        wrec = given.get("wrec")
        recurrent = None if wrec is None else lambda s: s @ wrec

        def move(state: Any, x: Any) -> Any:
            state, s = neuron.step(c, state, x, neuron.surrogate, recurrent=recurrent)
            return state, (state, s)

        _, (states, spikes) = jax.lax.scan(move, start, x)
        return jnp.sum(weights * spikes), (states, spikes)

    found = [jax.value_and_grad(loss, has_aux=True)(given, neuron) for neuron in neurons]
    (_, seen), _ = found[0]
    return seen, [gradient for _, gradient in found]


# Rows of one kind of neuron and one dtype are compiled once.
TABLE = [(stem, k, dtype) for dtype in TOLERANCES for stem in ROWS for k in range(CASES)]


@pytest.mark.parametrize(
    ("stem", "k", "dtype"), covered_by(TABLE, [row for row in TABLE if row[2] == "float64"])
)
def test_golden(stem: str, k: int, dtype: str):
    with jax.enable_x64(dtype == "float64"):
        check(stem, k, dtype)


def check(stem: str, k: int, dtype: str) -> None:
    file, row = case(stem, k), ROWS[stem]
    params = file["params"]
    norse = stem == "norse_lsnn"
    resets = {"g": "norse"} if norse else {"g": "stop", "gf": "flow"}
    neurons = tuple(
        row.neuron(
            params.get("n_ref", 1),
            surrogate=SURROGATES[params["surrogate"]],
            reset_gradient=reset,
        )
        for reset in resets.values()
    )
    names = ["x", "wrec", "u0", "w0", *(name for name in file if name.startswith("p_"))]
    given = {name: jnp.asarray(file[name], dtype) for name in names if name in file}
    s0 = jnp.asarray(file["s0"], dtype) if "s0" in file else None
    weights = jnp.asarray(file["C"], dtype)
    (states, spikes), gradients = run(stem, neurons, given, s0, weights)

    np.testing.assert_array_equal(spikes, file["s"])
    for trace, entry in row.traces.items():
        found = np.asarray(getattr(states, entry))
        if norse and trace == "a":
            found = found + file["p_v_th"].astype(dtype)  # the file has the whole threshold
        assert found.dtype == dtype
        close(f"{trace}", found, file[trace], TOLERANCES[dtype][0])
    silent = file["s"] == 0
    if "v" in file:  # without a reset the membrane after the step is that at the fire test
        close("u", np.asarray(states.v)[silent], file["u"][silent], TOLERANCES[dtype][0])

    for prefix, found in zip(resets, gradients, strict=True):
        expected = {name for name in file if name.startswith(f"{prefix}_")}
        assert expected == {f"{prefix}_{name.removeprefix('p_')}" for name in given}
        for name, value in found.items():
            # README: the diagonal of g_wrec is 0 under `no_autapses`. In the files it is not: they
            # have the whole derivative, which is what is compared here.
            value = np.asarray(value)
            name = f"{prefix}_{name.removeprefix('p_')}"
            close(name, value, file[name], TOLERANCES[dtype][1])


def close(name: str, found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert found.shape == expected.shape, name
    scale = max(1.0, float(np.abs(expected).max()))
    error = float(np.abs(found.astype(np.float64) - expected).max()) / scale
    assert math.isfinite(error) and error <= tolerance, f"{name}: {error:.2e} of {scale:.3g}"
