"""Dropout whose mask stays through a sequence."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn

KEY = {"dropout": jax.random.key(3)}


def ones(*shape: int) -> jax.Array:
    return jnp.ones(shape, jnp.float32)


@pytest.mark.parametrize(
    ("shape", "time", "more"),
    [
        ((40, 6, 50), 1, {}),
        ((6, 40, 50), 0, {"time_major": True}),
        ((6, 2000), 0, {"feature_axes": 1}),
        ((8, 10, 6, 50), 2, {"feature_axes": 1}),
        ((8, 6, 4, 4, 20), 1, {}),
    ],
)
def test_each_sample_and_sequence_has_one_mask(shape, time, more):
    layer = snn.SequenceDropout(0.3, deterministic=False, **more)
    y = np.asarray(layer.apply({}, ones(*shape), rngs=KEY))
    first = np.take(y, [0], axis=time)
    np.testing.assert_array_equal(y, np.broadcast_to(first, shape))
    assert set(np.unique(first)) == {0.0, np.float32(1 / 0.7)}
    # Standard error of a share of 2000 and more independent draws is below 0.011.
    assert abs(np.mean(first == 0) - 0.3) < 4 * 0.011
    samples = np.moveaxis(first, time, 0)[0].reshape(-1, shape[-1])
    assert len(np.unique(samples, axis=0)) == len(samples)


def test_whole_channels_are_dropped_in_all_places():
    layer = snn.SequenceDropout(0.5, deterministic=False, whole_channels=True)
    y = np.asarray(layer.apply({}, ones(16, 3, 4, 5, 60), rngs=KEY))
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1, :1], y.shape))
    assert abs(np.mean(y == 0) - 0.5) < 0.07  # four standard errors of 960 draws


def test_evaluation_and_a_rate_of_zero_change_nothing():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4))
    np.testing.assert_array_equal(snn.SequenceDropout(0.9, deterministic=True).apply({}, x), x)
    layer = snn.SequenceDropout(0.0)
    np.testing.assert_array_equal(layer.apply({}, x, deterministic=False, rngs=KEY), x)


def test_chunks_with_the_same_key_share_the_mask():
    layer = snn.SequenceDropout(0.5, deterministic=False)
    x = jax.random.normal(jax.random.key(0), (3, 10, 8))
    whole = layer.apply({}, x, rngs=KEY)
    parts = [layer.apply({}, part, rngs=KEY) for part in (x[:, :4], x[:, 4:])]
    np.testing.assert_array_equal(jnp.concatenate(parts, 1), whole)


@pytest.mark.parametrize("implementation", ["auto", "scan"])
def test_in_a_chain_all_steps_share_the_mask(implementation):
    chain = snn.Chain((snn.LIFCell(8), snn.SequenceDropoutCell(0.5, deterministic=False)))
    x = jnp.ones((3, 10, 4)) * 5
    layer = snn.RNN(chain, implementation=implementation)
    keys = {"params": jax.random.key(0), **KEY}
    variables = jax.jit(layer.init)(keys, x)
    dropped = jax.jit(lambda v: layer.apply(v, x, rngs=KEY))(variables)
    spikes = jax.jit(snn.RNN(snn.LIFCell(8)).apply)(
        {"params": {"cell": variables["params"]["cell"]["cells_0"]}}, x
    )
    kept = np.asarray(dropped).any(1, keepdims=True)
    assert 0 < kept.sum() < spikes.any(1).sum()
    np.testing.assert_array_equal(dropped, np.where(kept, 2 * np.asarray(spikes), 0))


def test_a_stream_with_one_key_keeps_the_mask():
    chain = snn.Chain((snn.LIFCell(8), snn.SequenceDropoutCell(0.5, deterministic=False)))
    x = jnp.ones((3, 10, 4)) * 5
    keys = {"params": jax.random.key(0), **KEY}
    stream = snn.Stateful(chain)
    variables = jax.jit(stream.init)(keys, x[:, 0])
    variables, state = {"params": variables["params"]}, variables["membrane"]
    dropped, _ = stream.apply(
        {**variables, "membrane": state}, x, rngs=KEY, mutable=["membrane"], method="sequence"
    )
    assert 0 < np.mean(dropped != 0) < 0.6
    outputs = []
    for t in range(10):
        out, changed = stream.apply(
            {**variables, "membrane": state}, x[:, t], rngs=KEY, mutable=["membrane"]
        )
        state = changed["membrane"]
        outputs.append(out)
    np.testing.assert_array_equal(jnp.stack(outputs, 1), dropped)


def test_stock_runner_with_its_own_words():
    cell = snn.SequenceDropoutCell(0.5, deterministic=False)
    layer = nn.RNN(cell, split_rngs={"params": False, "dropout": False})
    x = ones(2, 5, 16)
    stock = layer.apply({}, x, rngs=KEY)
    np.testing.assert_array_equal(stock, jnp.broadcast_to(stock[:, :1], x.shape))
    assert set(np.unique(stock)) == {0.0, 2.0}


def test_bad_settings_and_calls(unchecked):
    with pytest.raises(ValueError, match="rate: expected"):
        snn.SequenceDropout(1.2)
    with pytest.raises(TypeError, match="deterministic: expected True or False"):
        snn.SequenceDropoutCell(0.2, deterministic=None)
    layer = snn.SequenceDropout(0.2, deterministic=False)
    with pytest.raises(ValueError, match=r"expected inputs \(B, T, \*features\)"):
        layer.apply({}, ones(3, 4), rngs=KEY)
    with pytest.raises(ValueError, match="expected a time axis before 2 axes"):
        snn.SequenceDropout(0.2, True, feature_axes=2).apply({}, ones(3, 4))
