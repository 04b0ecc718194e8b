"""Where the first NaN comes up: in every kind of place, and first where it is first."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.diagnosis import diagnose, first_not_finite

X = jnp.asarray((np.random.default_rng(0).random((2, 12, 3)) < 0.3).astype(np.float32))
NET = nn.Sequential([nn.Dense(4), snn.LIF(), snn.RNN(snn.LeakyIntegratorReadout(2))])
VARIABLES = NET.init(jax.random.key(0), X)


def with_param(layer: str, name: str, value: float) -> Any:
    """The variables with one number of a parameter replaced."""
    params = jax.tree.map(lambda x: x, VARIABLES["params"])
    place = params[layer]["cell"] if layer == "layers_2" else params[layer]
    place[name] = place[name].at[(0,) * place[name].ndim].set(value)
    return {"params": params}


@pytest.mark.slow
def test_finite_numbers_are_no_finding() -> None:
    assert first_not_finite(NET, VARIABLES, X) is None
    assert first_not_finite(NET, VARIABLES, X, loss=jnp.sum) is None


def test_inputs_come_first() -> None:
    bad = X.at[1, 5, 2].set(jnp.nan)
    both = with_param("layers_0", "kernel", jnp.inf)
    assert first_not_finite(NET, both, bad) == "inputs: nan at [1, 5, 2]"
    assert (
        first_not_finite(NET, VARIABLES, X.at[0, 0, 0].set(-jnp.inf)) == "inputs: -inf at [0, 0, 0]"
    )


def test_variables_are_named() -> None:
    found = first_not_finite(NET, with_param("layers_2", "kernel", jnp.nan), X)
    assert found == "variables: nan at params/layers_2/cell/kernel[0, 0]"


def test_numbers_beyond_the_range_are_found_in_their_layer() -> None:
    # All parameters are finite, their product is not.
    found = first_not_finite(NET, with_param("layers_0", "kernel", 3e38), 10.0 * X)
    assert found is not None and found.startswith("layers_0: what it returns: inf at ")


class Poisoned(nn.Module):
    """Current that is not a number in one step, behind which neurons are silent for ever."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Dense(4, name="weights")(x)
        x = x.at[0, 3, 1].set(jnp.nan)
        spikes = snn.LIF(name="neurons")(x)
        return nn.Dense(2, name="readout")(spikes)


def test_a_silent_neuron_is_found_by_its_membrane() -> None:
    model = Poisoned()
    variables = model.init(jax.random.key(0), X)
    assert np.isfinite(model.apply(variables, X)).all()  # nothing to see from outside
    found = first_not_finite(model, variables, X)
    assert found is not None and found.startswith("neurons") and "v: nan at [0, 3, 1]" in found


def test_a_chain_of_cells_names_the_cell() -> None:
    class Bad(snn.LIFCell):
        def integrate(self, carry: Any, current: Any, *more: Any, **others: Any) -> Any:
            return super().integrate(carry, current / 0.0 * 0.0, *more, **others)

    net = snn.RNN(snn.Chain((snn.LIFCell(4), Bad(3), snn.LeakyIntegratorReadout(2))))
    variables = net.init(jax.random.key(0), X)
    found = first_not_finite(net, variables, X)
    assert found is not None and found.startswith("cell/cells_1") and "nan" in found


def test_the_gradient_is_looked_at_where_a_loss_is_given() -> None:
    def loss(output: Any) -> Any:
        # Its value is 0 at 0, its derivative infinite.
        return jnp.sum(jnp.sqrt(jnp.abs(output[:, 0])))

    still = jnp.zeros_like(X)
    assert first_not_finite(NET, VARIABLES, still) is None
    found = first_not_finite(NET, VARIABLES, still, loss=loss)
    assert found is not None and found.startswith("gradient: nan at ")
    found = first_not_finite(NET, VARIABLES, X, loss=lambda y: jnp.log(-1.0 - jnp.sum(y**2)))
    assert found == "loss: nan"


@pytest.mark.slow
def test_missing_spikes_of_the_event_layers_are_no_finding() -> None:
    net = snn.event.RNN(snn.LIFCell(3, dynamics=snn.LIFDynamics(tau_syn=5e-3)), duration=0.05)
    spikes = snn.event.from_raster(X, dt=1e-3)
    assert np.isinf(spikes.time).any()  # empty slots
    variables = net.init(jax.random.key(0), spikes)
    assert first_not_finite(net, variables, spikes) is None
    worse = spikes.replace(time=spikes.time.at[0, 0].set(jnp.nan))
    assert first_not_finite(net, variables, worse) == "inputs: nan at [0, 0]"


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(TypeError, match="a model"):
        first_not_finite(jnp.sum, VARIABLES, X)
    with pytest.raises(ValueError, match="variables"):
        first_not_finite(NET, {}, X)


def test_the_diagnosis_refuses_such_inputs() -> None:
    with pytest.raises(ValueError, match="finite numbers, got NaN or infinity"):
        diagnose(NET, VARIABLES, X.at[0, 0, 0].set(jnp.nan))
