"""Delayed weights against golden currents and gradients of sparx and dcls."""

import json
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn
from flax_snn.layers import delay_taps, rounded_taps

GOLDEN = Path(__file__).parents[1] / "golden" / "delays"

SHAPES = {"gauss": 5, "dcls": 4, "integer_synapse": 2, "integer_axon": 2}
CASES = [(stem, k) for stem, count in SHAPES.items() for k in range(count)]
LEARNED = [case for case in CASES if "integer" not in case[0]]

# From golden/delays/README.md, relative to max(1, largest magnitude): currents, gradients, and
# gradients of delays where the taps are narrow.
TOLERANCES = {"float64": (1e-12, 1e-10, 1e-10), "float32": (1e-6, 3e-6, 5e-5)}

IMPLEMENTATIONS = ["convolution", "frequency"]


def case_of(stem: str, k: int) -> dict[str, Any]:
    with np.load(GOLDEN / f"{stem}.npz") as file:
        assert int(file["n_cases"]) == SHAPES[stem]
        case = {name[3:]: file[name] for name in file if name.startswith(f"c{k}_")}
    case["params"] = json.loads(str(case["params"]))
    return case


def assert_near(found: Any, expected: np.ndarray, tolerance: float) -> None:
    assert found.shape == expected.shape
    error = np.max(np.abs(np.asarray(found, np.float64) - expected))
    assert error <= tolerance * max(1.0, np.max(np.abs(expected)))


def layer_of(case: dict[str, Any], dtype: str, **more: Any) -> tuple[snn.DelayedDense, dict]:
    options: dict[str, Any] = {"max_delay": int(case["K"]) - 1, "time_major": True}
    options |= {"epsilon": case["params"]["eps"], "param_dtype": jnp.dtype(dtype)}
    if case["params"]["kind"].startswith("integer"):
        kind = case["params"]["kind"].removeprefix("integer_")
        options |= {"kind": kind, "rounded": True}
    layer = snn.DelayedDense(case["w"].shape[1], **(options | more))
    arrays = {"kernel": case["w"], "delay": case["d"], "bias": case["bias"]}
    return layer, {name: jnp.asarray(a, dtype) for name, a in arrays.items()}


def functional(layer: snn.DelayedDense, case: dict[str, Any], **arguments: Any) -> Any:
    def value(params: dict, x: jax.Array, sigma: Any = None) -> tuple[jax.Array, jax.Array]:
        y = layer.apply({"params": params}, x, sigma=sigma, **arguments)
        return jnp.sum(y * jnp.asarray(case["C"], y.dtype)), y

    return value


@pytest.mark.parametrize(
    ("stem", "k", "dtype", "implementation"),
    covered_by(
        [(*case, dtype, how) for case in CASES for dtype in TOLERANCES for how in IMPLEMENTATIONS],
        [
            *((stem, 0, "float64", "frequency") for stem in SHAPES),
            ("dcls", 1, "float32", "frequency"),
            ("integer_axon", 1, "float32", "frequency"),
            ("gauss", 3, "float64", "frequency"),
            ("gauss", 3, "float32", "convolution"),
            ("dcls", 2, "float64", "convolution"),
        ],
    ),
)
def test_currents_and_gradients_are_those_of_the_golden_files(stem, k, dtype, implementation, x64):
    case = case_of(stem, k)
    layer, params = layer_of(case, dtype, implementation=implementation)
    x = jnp.asarray(case["x"], dtype)
    of_y, of_gradients, of_delays = TOLERANCES[dtype]
    sigma = (
        jnp.asarray(case["sigma"], dtype) + case["params"]["sigma_added"]
        if "sigma" in case
        else None
    )
    if sigma is not None:
        sigma = jnp.abs(sigma)
    which = (0, 1) if sigma is None else (0, 1, 2)
    gradient = jax.grad(functional(layer, case), which, has_aux=True)
    (found, *others), y = jax.jit(gradient)(params, x, sigma)
    assert y.dtype == jnp.dtype(dtype)
    assert_near(y, case["y"], of_y)
    assert_near(found["kernel"], case["g_w"], of_gradients)
    assert_near(found["bias"], case["g_bias"], of_gradients)
    assert_near(others[0], case["g_x"], of_gradients)
    if sigma is None:
        assert not np.any(found["delay"])
        return
    narrow = float(np.min(case["sigma"])) + case["params"]["sigma_added"] < 0.1
    assert_near(found["delay"], case["g_d"], of_delays if narrow else of_gradients)
    assert_near(others[1], case["g_sigma"], of_delays if narrow else of_gradients)


@pytest.mark.parametrize(
    ("stem", "k", "dtype"),
    covered_by(
        [(*case, dtype) for case in LEARNED for dtype in TOLERANCES],
        [("gauss", 0, "float64"), ("dcls", 3, "float32")],
    ),
)
def test_evaluation_has_one_tap_at_the_rounded_delay(stem, k, dtype, x64):
    case = case_of(stem, k)
    layer, params = layer_of(case, dtype, rounded=True)
    x = jnp.asarray(case["x"], dtype)
    gradient = jax.grad(functional(layer, case), (0, 1), has_aux=True)
    (found, g_x), y = jax.jit(gradient)(params, x)
    of_y, of_gradients, _ = TOLERANCES[dtype]
    assert_near(y, case["y_eval"], of_y)
    assert_near(found["kernel"], case["g_eval_w"], of_gradients)
    assert_near(g_x, case["g_eval_x"], of_gradients)
    taps = rounded_taps(case["d"], int(case["K"]) - 1)
    np.testing.assert_array_equal(np.argmax(taps, axis=0), case["d_eval"])


@pytest.mark.parametrize(("stem", "k"), LEARNED)
def test_taps_times_weights_are_the_golden_kernel(stem, k, x64):
    case = case_of(stem, k)
    sigma = np.abs(case["sigma"]) + case["params"]["sigma_added"]
    last, epsilon = int(case["K"]) - 1, case["params"]["eps"]
    taps = jax.jit(lambda d, sigma: delay_taps(d, sigma, last, epsilon=epsilon))(case["d"], sigma)
    assert_near(np.asarray(taps) * case["w"], case["kernel"], 1e-12)


@pytest.mark.parametrize("k", covered_by(range(SHAPES["dcls"]), [2]))
def test_triangular_taps_are_those_of_dcls(k, x64):
    case = case_of("dcls", k)
    layer, params = layer_of(case, "float64", tap_shape="triangular", epsilon=1e-7)
    sigma = jnp.abs(jnp.asarray(case["sigma"]))
    y = layer.apply({"params": params}, jnp.asarray(case["x"], jnp.float64), sigma=sigma)
    assert_near(y, case["y_max"], 1e-12)


@pytest.mark.parametrize("k", range(SHAPES["dcls"]))
def test_positions_of_dcls_are_delays(k):
    case = case_of("dcls", k)
    last = int(case["K"]) - 1
    assert_near(last - int(case["K"]) // 2 - case["P"], case["d"], 1e-12)
    assert_near(-case["g_P"], case["g_d"], 1e-12)


def test_delays_half_way_between_two_steps_round_to_the_even_one():
    with np.load(GOLDEN / "half_way.npz") as file:
        d, x, w, last = file["d"], file["x"], file["w"], int(file["K"]) - 1
        expected, y = file["d_round_d"], file["y_round_d"]
    taps = rounded_taps(d.astype(np.float32), last)
    np.testing.assert_array_equal(np.argmax(taps, axis=0), expected)
    for kind in ("axon", "dendrite"):
        layer = snn.DelayedDense(
            10,
            last,
            kind=kind,
            rounded=True,
            use_bias=False,
            time_major=True,
            delay_init=nn.initializers.constant(d.astype(np.float32)),
            kernel_init=nn.initializers.constant(w.astype(np.float32)),
        )
        found, _ = jax.jit(layer.init_with_output)(jax.random.key(0), x)
        np.testing.assert_array_equal(found, y)
