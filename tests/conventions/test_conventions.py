"""Every convention against traces of the framework itself, in two precisions."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by, first_of_each

import flax_snn as snn

GOLDEN = Path(__file__).parents[1] / "golden" / "dynamics"
STEMS = sorted(path.stem for path in GOLDEN.glob("*.npz"))
MULTI_SPIKE = ("rockpool", "rockpool_torch", "sinabs_lif")
FILES = {stem: np.load(GOLDEN / f"{stem}.npz") for stem in STEMS}
CASES = [(stem, k) for stem in STEMS for k in range(int(FILES[stem]["n_cases"]))]


def recorded(array: str) -> list[tuple[str, int, str]]:
    """Return the cases with a float32 array of that name, and those with a float64 one ("64").

    Not every framework computes in float64, and not every source defines a gradient.
    """
    return [
        (stem, k, suffix)
        for stem, k in CASES
        for suffix in ("", "64")
        if f"c{k}_{array}{suffix}" in FILES[stem]
    ]


@functools.cache
def load(stem: str, k: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the parameters and the arrays of one golden case."""
    file, prefix = FILES[stem], f"c{k}_"
    arrays = {name[len(prefix) :]: file[name] for name in file.files if name.startswith(prefix)}
    return json.loads(str(arrays.pop("params"))), arrays


def dynamics_of(stem: str, k: int) -> Any:
    return getattr(snn.conventions, stem)(**load(stem, k)[0]["peer_params"])


def build(stem: str, k: int, dtype: Any) -> Any:
    """Return the weightless cell of a golden case and its variables."""
    meta, arrays = load(stem, k)
    dynamics = dynamics_of(stem, k)
    if meta["kind"] == "leak":
        return snn.LeakyIntegratorReadout(dynamics=dynamics, param_dtype=dtype), {}
    if "wrec" in arrays:
        kernel = jnp.asarray(arrays["wrec"], dtype)
        cell = snn.RecurrentLIFCell(dynamics=dynamics, param_dtype=dtype)
        return cell, {"params": {"recurrent_kernel": kernel}}
    return snn.LIFCell(dynamics=dynamics, param_dtype=dtype), {}


def run(cell: Any, variables: Any, x: jax.Array, carry: Any = None) -> Any:
    """Run a cell step by step; return the final state and the stacked states and outputs."""
    carry = cell.initialize_carry(None, x.shape[1:]) if carry is None else carry

    def body(carry: Any, x_t: jax.Array) -> Any:
        carry, out = cell.apply(variables, carry, x_t)
        return carry, (carry, out)

    return jax.lax.scan(body, carry, x)


def channels(state: Any) -> dict[str, jax.Array]:
    """Return the synaptic currents of a state by their golden names."""
    if state.i is None:
        return {}
    if not isinstance(state.i, tuple):
        return {"i": state.i}
    return {"i": state.i[0], "ir": state.i[1]}


def rule_of(case: tuple[str, int]) -> Any:
    return case[0], dynamics_of(*case).rule


def covering() -> list[tuple[str, int, str]]:
    """The first case of each rule that a convention makes, in its highest precision."""
    highest = {(stem, k): suffix for stem, k, suffix in recorded("v")}  # float64 comes last
    return [(stem, k, highest[stem, k]) for stem, k in first_of_each(CASES, rule_of)]


@pytest.mark.parametrize(("stem", "k", "suffix"), covered_by(recorded("v"), covering()))
def test_golden_trace_and_gradient(stem: str, k: int, suffix: str) -> None:
    with jax.enable_x64(bool(suffix)):
        check_golden(stem, k, suffix)


def check_golden(stem: str, k: int, suffix: str) -> None:
    meta, golden = load(stem, k)
    dtype = jnp.float64 if suffix else jnp.float32
    cell, variables = build(stem, k, dtype)
    x = jnp.asarray(golden["x"], dtype)
    weights = {name: jnp.asarray(golden[name], dtype) for name in ("R", "Q") if name in golden}
    fires, has_gradient = meta["kind"] == "fire", f"grad_x{suffix}" in golden

    def loss(x: jax.Array) -> Any:
        final, (states, out) = run(cell, variables, x)
        value = jnp.sum(states.v * weights["R"])
        value = value + jnp.sum(out * weights["Q"]) if fires else value
        return value, (final, states, out)

    if has_gradient:
        gradient, (final, states, out) = jax.jit(jax.grad(loss, has_aux=True))(x)
    else:
        final, (states, out) = jax.jit(lambda x: run(cell, variables, x))(x)

    v_golden = golden[f"v{suffix}"]
    scale = max(1.0, np.abs(v_golden).max())
    loose = 5e-5 if stem in MULTI_SPIKE else 3e-6
    tolerance = 1e-12 * scale if suffix else loose * scale
    if fires:
        np.testing.assert_array_equal(out, golden[f"s{suffix}"])
    np.testing.assert_allclose(states.v, v_golden, rtol=0, atol=tolerance)
    for name, current in channels(states).items():
        i_golden = golden[f"{name}{suffix}"]
        i_scale = max(1.0, np.abs(i_golden).max())
        atol = (1e-12 if suffix else 5e-6) * i_scale
        np.testing.assert_allclose(current, i_golden, rtol=0, atol=atol)
    if "refr" in golden:
        np.testing.assert_array_equal(states.refractory, golden["refr"])
    np.testing.assert_allclose(final.v, golden["v_final"], rtol=0, atol=loose * scale)
    if has_gradient:
        expected = golden[f"grad_x{suffix}"]
        scale = max(1.0, np.abs(expected).max())
        atol = (1e-6 if suffix else 1e-5) * scale
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=atol)


def test_every_convention_has_its_traces_and_the_readme_counts_them() -> None:
    """With gradients, but for the two whose sources define none."""
    assert set(STEMS) == set(snn.conventions.__all__)
    assert {stem for stem, _ in CASES} == set(STEMS)
    traces, gradients = set(recorded("v")), set(recorded("grad_x"))
    assert {(stem, k) for stem, k, suffix in traces if not suffix} == set(CASES)
    without = {"network", "refractory"}
    assert gradients == {case for case in traces if case[0] not in without}
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    counts = f"{len(STEMS)} conventions, tested against {len(CASES)} traces"
    assert counts in " ".join(readme.split()), f"README.md: write {counts!r}"


@pytest.mark.parametrize("stem", ["tutorial", "spyx_rlif", "norse_lif", "zenke", "snntorch_leaky"])
def test_a_trace_goes_on_from_its_state(stem: str) -> None:
    _, golden = load(stem, 0)
    cell, variables = build(stem, 0, jnp.float32)
    x, scale = jnp.asarray(golden["x"]), max(1.0, np.abs(golden["v"]).max())
    first, _ = run(cell, variables, x[:25])
    final, (states, out) = run(cell, variables, x[25:], first)
    np.testing.assert_array_equal(out, golden["s"][25:])
    np.testing.assert_allclose(states.v, golden["v"][25:], rtol=0, atol=3e-6 * scale)
    for name, current in channels(final).items():
        np.testing.assert_allclose(current, golden[f"{name}_final"], rtol=0, atol=1e-5)
    if final.s is not None:
        np.testing.assert_array_equal(final.s, golden["s_final"])
