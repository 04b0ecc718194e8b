"""The recorded derivative of a step, beside JAX's of the step itself."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.time_loop.layer import Layer, LayerWeights
from flax_snn.time_loop.pullback import pullback, residuals_of_step

KINDS = {
    "LIF": (snn.LIFDynamics(), 3),
    "LIF soft": (snn.LIFDynamics(reset="soft"), 1),
    "LIF synapse": (snn.LIFDynamics(tau_syn=5e-3), 3),
    "LI": (snn.LIDynamics(), 0),
    "ALIF": (snn.ALIFDynamics(), 1),
    "AdLIF": (snn.AdLIFDynamics(), 2),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("traced", [False, True])
def test_recorded_arrays_and_constants_are_the_derivative(kind: str, traced: bool) -> None:
    with jax.enable_x64(True):
        neuron, arrays = KINDS[kind]
        surrogate = snn.surrogate.superspike() if neuron.spikes else None
        layer = Layer(neuron, surrogate, None, jnp.float64, jnp.float64)
        to_array = lambda c: jnp.asarray(c, jnp.float64)  # noqa: E731
        weights = LayerWeights(jax.tree.map(to_array, neuron.coefficients()))
        generator = np.random.default_rng(0)
        draw = lambda like: jnp.asarray(generator.normal(1.0, 0.5, like.shape))  # noqa: E731
        rest = neuron.initial_state(jnp.zeros((3, 5), jnp.float64))
        state = jax.tree.map(draw, rest)
        current = draw(jnp.zeros((3, 5)))
        found = residuals_of_step(layer, weights, state, current, traced=traced)
        assert len(found.arrays) == arrays

        (after, output), back = pullback(layer, weights, state, current, None, traced=traced)
        _, elsewhere = pullback(layer, weights, rest, 0 * current, None, traced=traced)
        again = found.derivative(elsewhere, found.recorded(back))

        def step(state: Any, current: Any) -> Any:
            after, output, _ = layer.step(weights, state, current)
            return (after, output, neuron.membrane(after)) if traced else (after, output)

        cotangents = jax.tree.map(draw, (after, output))
        seen = draw(output) if traced else None
        expected = jax.vjp(step, state, current)[1]((*cotangents, seen) if traced else cotangents)
        actual = again((*cotangents, seen))[:2]
        jax.tree.map(np.testing.assert_array_equal, actual, expected)
