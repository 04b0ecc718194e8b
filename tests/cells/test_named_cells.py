"""Cells with a name of their own are `NeuronCell` with their neuron."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn


@pytest.mark.parametrize(
    ("named", "general", "dynamics"),
    [
        ("ALIFCell", "NeuronCell", "ALIFDynamics"),
        ("AdLIFCell", "NeuronCell", "AdLIFDynamics"),
        ("RecurrentALIFCell", "RecurrentNeuronCell", "ALIFDynamics"),
        ("RecurrentAdLIFCell", "RecurrentNeuronCell", "AdLIFDynamics"),
    ],
)
def test_a_named_cell_is_the_general_one_with_its_neuron(
    named: str, general: str, dynamics: str
) -> None:
    def found(name: str) -> Any:
        return getattr(snn, name)

    cell = found(named)(6)
    other = found(general)(6, dynamics=found(dynamics)())
    x = jax.random.bernoulli(jax.random.key(0), 0.3, (2, 30, 4)).astype(jnp.float32)
    variables = snn.RNN(cell).init(jax.random.key(1), x)
    variables = jax.tree.map(lambda w: 3.0 * w, variables)
    spikes = snn.RNN(cell).apply(variables, x)
    assert 0 < float(spikes.mean()) < 1
    np.testing.assert_array_equal(spikes, snn.RNN(other).apply(variables, x))
