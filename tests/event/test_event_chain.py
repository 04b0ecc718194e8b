"""A chain in continuous time: its tree of parameters, budgets of its layers, what it sows."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from event_layer import QUICK

import flax_snn as snn
from flax_snn.event import Membrane, Spikes

LIF = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3, dt=1e-4, refractory=1e-3, v_reset=-0.2)
LI = snn.LIDynamics(tau_mem=10e-3, tau_syn=5e-3, dt=1e-4)
INIT = nn.initializers.uniform(20.0)
INPUTS = snn.event.from_times(jnp.array([[1e-3, 4e-3, 2e-3], [3e-3, jnp.inf, 0.5e-3]]))
SIZES = (4, 3, 5)


def drawn(low: float, high: float) -> Any:
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, low, high)


FIRST = snn.LIFCell(4, dynamics=LIF, kernel_init=INIT, values={"tau_mem": drawn(15e-3, 25e-3)})
SECOND = snn.RecurrentLIFCell(3, dynamics=LIF, kernel_init=INIT, learn=("tau_mem", "v_reset"))
THIRD = snn.LIFCell(5, dynamics=LIF, kernel_init=INIT, learn=("threshold",))
READOUT = snn.LeakyIntegratorReadout(2, dynamics=LI, kernel_init=INIT)

CHAINS = {
    "flat": snn.Chain([FIRST, SECOND, THIRD, READOUT]),
    "nested": snn.Chain([snn.Chain([FIRST, SECOND]), snn.Chain([snn.Chain([THIRD]), READOUT])]),
    "one": snn.Chain([THIRD]),
}


def jitted(layer: Any, **options: Any) -> Any:
    return jax.jit(functools.partial(layer.apply, **options), compiler_options=QUICK)


@functools.cache
def variables_of(name: str) -> Any:
    init = jax.jit(snn.event.RNN(CHAINS[name]).init, compiler_options=QUICK)
    return init(jax.random.key(0), INPUTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHAINS)
def test_the_tree_of_parameters_is_that_of_the_other_runners(name: str) -> None:
    """The same collections, names, shapes and first values, drawn and given ones among them."""
    raster = snn.event.to_raster(INPUTS, dt=1e-4, steps=60)
    expected = jax.jit(snn.RNN(CHAINS[name]).init)(jax.random.key(0), raster)
    assert set(expected) == ({"params"} if name == "one" else {"params", "neuron"})
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    jax.tree.map(close, variables_of(name), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flat", "nested"])
def test_variables_serve_both_runners_and_each_layer_sows_what_it_saw(name: str) -> None:
    """Traces stand at the same paths; spikes of each layer lie at most two steps apart."""
    chain, dt = CHAINS[name], 1e-4
    raster = snn.event.to_raster(INPUTS, dt=dt, steps=200)
    grid = snn.RNN(chain)
    for variables in (variables_of(name), grid.init(jax.random.key(0), raster)):
        options = {"mutable": ["intermediates"]}
        layer = snn.event.RNN(chain, duration=20e-3, budget=100)
        out, seen = jitted(layer, **options)(variables, INPUTS)
        v, traces = jitted(grid, **options)(variables, raster)
        at = jnp.arange(200, dtype=jnp.float32) * dt
        # An input spike that comes a step later moves the readout by up to its rise in a step.
        np.testing.assert_allclose(out.at(at), v, rtol=0, atol=0.1 * float(np.abs(v).max()))
        leaf: Any = lambda x: isinstance(x, Spikes | Membrane | jax.Array)  # noqa: E731
        flat = dict(jax.tree_util.tree_leaves_with_path(seen, is_leaf=leaf))
        expected = dict(jax.tree_util.tree_leaves_with_path(traces))
        assert flat.keys() == expected.keys()
        layers = [path for path, value in flat.items() if isinstance(value, Spikes)]
        assert len(layers) == 3 and len(flat) == 7
        for path in layers:
            first = np.asarray(flat[path].first_times())
            steps = np.asarray(expected[path]) > 0
            on_grid = np.where(steps.any(axis=1), np.argmax(steps, axis=1) * dt, np.inf)
            assert np.isfinite(first).any()
            np.testing.assert_allclose(first, on_grid, rtol=0, atol=3 * dt)


@pytest.mark.slow
def test_nothing_is_sown_unless_asked_for() -> None:
    layer = snn.event.RNN(CHAINS["flat"])
    shapes = jax.eval_shape(layer.init, jax.random.key(0), INPUTS)
    assert "intermediates" not in shapes
    apply = functools.partial(layer.apply, mutable=["other"])
    _, changed = jax.eval_shape(apply, variables_of("flat"), INPUTS)
    assert not changed


@pytest.mark.parametrize(
    ("options", "slots"),
    [
        ({}, (16, 12, 20)),
        ({"budget": 7}, (7, 7, 7)),
        ({"budget": (30, None, 7, None)}, (30, 12, 7)),
        ({"max_spikes": 2}, (8, 6, 10)),
        ({"max_spikes": [1, 3, None, None], "budget": (None, None, 9, None)}, (4, 9, 9)),
    ],
)
def test_a_budget_for_each_layer(options: Any, slots: Any) -> None:
    layer = snn.event.RNN(CHAINS["nested"], duration=20e-3, **options)
    apply = functools.partial(layer.apply, mutable=["intermediates"])
    _, seen = jax.eval_shape(apply, variables_of("nested"), INPUTS)
    parts = seen["intermediates"]["cell"]
    found = (
        parts["cells_0"]["cells_0"]["spikes"][0],
        parts["cells_0"]["cells_1"]["spikes"][0],
        parts["cells_1"]["cells_0"]["cells_0"]["spikes"][0],
    )
    assert tuple(s.time.shape[1] for s in found) == slots
    assert tuple(s.size for s in found) == SIZES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": (4, 4)}, r"one entry for each of the 4, got 2 entries, \(4, 4\)"),
        ({"max_spikes": (1,) * 5}, "max_spikes: expected .* each of the 4, got 5 entries"),
        ({"budget": (4, 0, 4, None)}, r"budget\[1\]: expected a whole number >= 1, got 0"),
        ({"budget": (4, 4, 2.5, None)}, r"budget\[2\]: expected a whole number >= 1, got 2.5"),
        ({"budget": (4, 4, 4, 4)}, r"budget\[3\]: expected None for a LeakyIntegratorReadout"),
    ],
)
def test_budgets_that_do_not_fit(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        snn.event.RNN(CHAINS["nested"], **options)


@pytest.mark.slow
def test_an_overflow_names_its_layer() -> None:
    layer = snn.event.RNN(CHAINS["nested"], duration=20e-3, budget=(None, 1, None, None))
    with pytest.raises(
        OverflowError, match=r"RNN\(cells_0/cells_1, RecurrentLIFCell\): .* budget="
    ):
        layer.apply(variables_of("nested"), INPUTS)
    # Inside jit nothing raises; what each layer lost stands with its spikes.
    _, seen = jitted(layer, mutable=["intermediates"])(variables_of("nested"), INPUTS)
    parts = seen["intermediates"]["cell"]["cells_0"]
    lost = [int(parts[f"cells_{k}"]["spikes"][0].overflow.max()) for k in range(2)]
    assert lost[0] == 0 and lost[1] > 0


def test_delays_keep_their_names() -> None:
    layer = snn.event.RNN(
        CHAINS["nested"], delays="axonal", recurrent_delays="dendritic", duration=20e-3
    )
    params = jax.eval_shape(layer.init, jax.random.key(0), INPUTS)["params"]
    shapes = {name: p.shape for name, p in params.items() if name != "cell"}
    assert shapes == {
        "log_delay_0": (3, 1),
        "log_delay_1": (4, 1),
        "log_delay_2": (3, 1),
        "log_delay_3": (5, 1),
        "log_recurrent_delay_1": (1, 3),
    }
    assert params["cell"].keys() == variables_of("nested")["params"]["cell"].keys()
