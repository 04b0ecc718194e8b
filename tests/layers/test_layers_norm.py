"""Batch normalisation through time against NumPy, and folded into the weights before it."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn

B, T, F = 3, 6, 4
SHAPES = [(B, T, F), (B, T, 2, 3, F)]


def currents(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).normal(2.0, 3.0, shape).astype(dtype)


def normalised(x: np.ndarray, steps: np.ndarray | None, scale: Any, bias: Any) -> tuple:
    """Equation at the top of the module over the steps with data, in float64."""
    rows = x[steps] if steps is not None else x
    rows = rows.reshape(-1, x.shape[-1])
    mean, var = rows.mean(0), rows.var(0)
    y = scale * 0.5 * 0.8 * (x - mean) / np.sqrt(var + 1e-5) + bias
    return y, mean, var


def norm(**more: Any) -> snn.ThresholdNorm:
    return snn.ThresholdNorm(
        threshold=0.8,
        gain=0.5,
        scale_init=nn.initializers.uniform(2.0),
        bias_init=nn.initializers.normal(),
        param_dtype=jnp.float64,
        **more,
    )


@pytest.mark.parametrize(
    ("shape", "padding"),
    covered_by(
        [(s, p) for s in SHAPES for p in (None, "seq_lengths", "mask")],
        [(SHAPES[0], None), (SHAPES[0], "mask"), (SHAPES[1], "seq_lengths")],
    ),
)
def test_statistics_are_those_of_the_steps_with_data(shape, padding, x64):
    x = currents(*shape)
    steps, given = None, {}
    if padding is not None:
        lengths = np.array([6, 2, 4])
        steps = np.arange(T) < lengths[:, None]
        x[~steps] = np.nan
        given = {padding: lengths if padding == "seq_lengths" else steps}
    layer = norm()
    init = functools.partial(layer.init, use_running_average=False, **given)
    variables = jax.jit(init)(jax.random.key(0), x)
    params = variables["params"]
    y, changed = jax.jit(
        lambda x: layer.apply(
            variables, x, use_running_average=False, mutable=["batch_stats"], **given
        )
    )(x)
    expected, mean, var = normalised(x, steps, *(np.asarray(params[n]) for n in ("scale", "bias")))
    where = np.ones((B, T), bool) if steps is None else steps
    np.testing.assert_allclose(np.asarray(y)[where], np.asarray(expected)[where], atol=1e-12)
    assert np.all(np.isfinite(y))
    stats = changed["batch_stats"]["norm"]
    # nn.BatchNorm collects 0.9 * old + 0.1 * new, from 0 and 1 on.
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * var, atol=1e-6)


def test_gradient_of_padding_is_zero_and_finite(x64):
    x = currents(B, T, F)
    lengths = np.array([6, 2, 4])
    steps = np.arange(T) < lengths[:, None]
    x[~steps] = np.inf
    layer = norm(use_running_average=False)
    variables = layer.init(jax.random.key(0), x, seq_lengths=lengths)

    def loss(x: jax.Array) -> jax.Array:
        y, _ = layer.apply(variables, x, seq_lengths=lengths, mutable=["batch_stats"])
        return jnp.sum(jnp.where(steps[..., None], y, 0.0) ** 3)

    gradient = jax.jit(jax.grad(loss))(x)
    loss = jax.jit(loss)
    assert not np.any(np.asarray(gradient)[~steps])
    near = np.zeros_like(x)
    near[1, 1, 2] = 1e-5
    # A central difference is wrong by the square of its step and by rounding over it.
    finite = (loss(x + near) - loss(x - near)) / 2e-5
    np.testing.assert_allclose(gradient[1, 1, 2], finite, rtol=1e-6, atol=1e-9)


def networks() -> dict[str, Any]:
    average, wide = {"use_running_average": True}, {"param_dtype": jnp.float64}
    lif = snn.LIF(dynamics=snn.LIFDynamics(tau_mem=5e-3), **wide)
    delayed = snn.DelayedDense(8, 4, rounded=True, **wide)
    return {
        "dense": ([nn.Dense(8, use_bias=False, **wide), norm(**average), lif], (5,)),
        "conv": ([nn.Conv(3, (3, 3), **wide), norm(**average), lif], (4, 4, 2)),
        "delayed": ([delayed, norm(**average), lif, nn.Dense(2, **wide)], (5,)),
    }


def as_trained(variables: Any) -> Any:
    """Variables as training could leave them: statistics and factors away from 0 and 1."""
    rng = np.random.default_rng(7)

    def moved(path: Any, leaf: jax.Array) -> np.ndarray:
        noise = rng.uniform(0.5, 1.5, leaf.shape)
        strong = 8.0 if path[-1].key == "scale" else 1.0  # currents that make spikes
        return ((np.asarray(leaf) + 0.1) * strong * noise).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(moved, variables)


@pytest.mark.parametrize("name", covered_by(["dense", "conv", "delayed"], ["conv", "delayed"]))
def test_folded_network_gives_the_same_spikes(name, x64):
    layers, features = networks()[name]
    network = nn.Sequential(layers)
    x = (np.random.default_rng(3).random((2, 30, *features)) < 0.5).astype(np.float64)
    variables = as_trained(jax.jit(network.init)(jax.random.key(0), x))
    if name == "delayed":
        variables["params"]["layers_0"]["delay"] = np.clip(
            variables["params"]["layers_0"]["delay"], 0, 4
        )
    folded, new = snn.layers.fold_norms(network, variables)
    assert len(folded.layers) == len(layers) - 1
    assert "batch_stats" not in new
    spikes, expected = jax.jit(folded.apply)(new, x), jax.jit(network.apply)(variables, x)
    assert 0.01 < np.mean(expected != 0)
    np.testing.assert_allclose(spikes, expected, atol=1e-12)


def test_a_norm_that_cannot_be_folded_is_refused():
    x = currents(1, 3, 4, dtype=np.float32)
    network = nn.Sequential([snn.LIF(), snn.ThresholdNorm(use_running_average=True)])
    variables = jax.jit(network.init)(jax.random.key(0), x)
    with pytest.raises(ValueError, match=r"layers_1: expected nn.Dense.*got LIF; move it"):
        snn.layers.fold_norms(network, variables)
    network = nn.Sequential([nn.Dense(2), snn.ThresholdNorm(use_running_average=True)])
    variables = jax.jit(network.init)(jax.random.key(0), x)
    with pytest.raises(ValueError, match="expected the collected statistics"):
        snn.layers.fold_norms(network, {"params": variables["params"]})


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"threshold": 0.0}, "threshold: expected a finite number > 0"),
        ({"gain": -1.0}, "gain: expected"),
        ({"epsilon": 0.0}, "epsilon: expected"),
        ({"momentum": 1.5}, "momentum: expected"),
    ],
)
def test_bad_settings(arguments, match):
    with pytest.raises(ValueError, match=match):
        snn.ThresholdNorm(**arguments)


def test_bad_calls(unchecked):
    with pytest.raises(TypeError, match="fold_norms: model: expected"):
        snn.layers.fold_norms(nn.Dense(3), {})
    x = currents(B, T, F, dtype=np.float32)
    layer = snn.ThresholdNorm(use_running_average=False)
    with pytest.raises(ValueError, match="at least one step with data"):
        layer.init(jax.random.key(0), x, seq_lengths=np.zeros(B, int))
    with pytest.raises(ValueError, match="seq_lengths"):
        layer.init(jax.random.key(0), x, seq_lengths=np.array([7, 1, 1]))
    with pytest.raises(TypeError, match="floating dtype"):
        layer.init(jax.random.key(0), x.astype(np.int32))
    with pytest.raises(ValueError, match="inputs: expected"):
        layer.init(jax.random.key(0), x[0, 0, 0])
    with pytest.raises(TypeError, match="no wider than the statistics"), jax.enable_x64(True):
        layer.init(jax.random.key(0), jnp.asarray(x, jnp.float64))


def test_gain_for_neurons_is_that_of_their_response(unchecked):
    """A membrane that averages, v' = a v + (1 - a) x, has variance (1 - a) / (1 + a)."""
    a = np.exp(-1e-3 / 15e-3)
    dynamics = snn.LIFDynamics(tau_mem=15e-3, threshold=0.7, v_rest=0.2)
    layer = snn.ThresholdNorm.for_neurons(dynamics, use_bias=False)
    np.testing.assert_allclose(layer.gain, np.sqrt((1 + a) / (1 - a)), rtol=1e-3)
    np.testing.assert_allclose(layer.threshold, 0.5, rtol=1e-6)
    assert not layer.use_bias
    with pytest.raises(TypeError, match="dynamics: expected a Neuron"):
        snn.ThresholdNorm.for_neurons(snn.LIF)
