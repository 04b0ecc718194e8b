"""Which axis is time: layers behind convolutions, several batch axes, and single sequences."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import losses

B, T, H, W, C = 2, 5, 3, 2, 4
RNG = np.random.default_rng(0)
SPIKES = (RNG.random((B, T, H, W, C)) < 0.4).astype(np.float32)
VALUES = RNG.normal(size=(B, T, H, W, C)).astype(np.float32)
TARGETS = RNG.normal(size=(B, H, W, C)).astype(np.float32)
LABELS = np.array([20, 3], np.int32)
LENGTHS = np.array([4, 2], np.int32)

Loss = Callable[..., Any]

# Each maps an array (B, T, *N), and what it is compared with, to a number or to values (B, *N).
SEQUENCES: dict[str, tuple[Loss, np.ndarray, np.ndarray | None]] = {
    "spike_count_logits": (losses.spike_count_logits, SPIKES, None),
    "membrane_logits": (losses.membrane_logits, VALUES, None),
    "membrane_readout": (losses.membrane_readout, VALUES, None),
    "first_spike_times": (functools.partial(losses.first_spike_times, dt=1e-3), SPIKES, None),
    "rate_coded_cross_entropy": (
        functools.partial(losses.rate_coded_cross_entropy, population=3),
        SPIKES,
        LABELS % 8,
    ),
    "membrane_cross_entropy": (losses.membrane_cross_entropy, VALUES, LABELS),
    "membrane_mean_squared_error": (
        functools.partial(losses.membrane_mean_squared_error, per_sample=True),
        VALUES,
        TARGETS,
    ),
    "mean_squared_error": (
        functools.partial(losses.mean_squared_error, time_axis=1, per_sample=True),
        VALUES,
        VALUES[:, ::-1],
    ),
    **{
        f"{name}, {average}": (
            functools.partial(getattr(losses, name), **{bound: value}, average=average, **dt),
            SPIKES,
            None,
        )
        for average in ("batch", "population", "none")
        for name, bound, value, dt in [
            ("lower_count_regularizer", "lower", 2.5, {}),
            ("upper_count_regularizer", "upper", 1.0, {}),
            ("spike_rate_regularizer", "upper", 300.0, {"dt": 1e-3}),
        ]
    },
}


@pytest.mark.parametrize("lengths", [pytest.param(None, marks=pytest.mark.slow), LENGTHS])
@pytest.mark.parametrize("name", SEQUENCES)
def test_several_feature_axes_are_those_flattened_into_one(name: str, lengths: Any) -> None:
    loss, x, other = SEQUENCES[name]
    flat, settings = x.reshape(B, T, -1), {} if lengths is None else {"seq_lengths": lengths}
    others, flat_others = [], []
    if other is not None:
        others = [jnp.asarray(other)]
        # Labels have one axis, targets those of the features, in the last case after those of time.
        kept = other.shape[: {1: 1, 4: 1, 5: 2}[other.ndim]]
        flat_others = [jnp.asarray(other.reshape(*kept, -1) if other.ndim > 1 else other)]
    loss = jax.jit(loss)
    found = np.asarray(loss(jnp.asarray(x), *others, **settings))
    expected = np.asarray(loss(jnp.asarray(flat), *flat_others, **settings))
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-6)
    assert np.any(expected != 0.0)


def test_penalties_of_a_convolution_are_those_of_numpy() -> None:
    counts = SPIKES.astype(np.float64).sum(axis=1)
    found = losses.upper_count_regularizer(jnp.asarray(SPIKES), 1.5)
    expected = np.mean(np.maximum(counts.mean(axis=(1, 2, 3)) - 1.5, 0.0) ** 2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    found = losses.lower_count_regularizer(jnp.asarray(SPIKES), 2.0, average="batch")
    expected = np.mean(np.maximum(2.0 - counts.mean(axis=0), 0.0) ** 2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_class_for_each_pixel() -> None:
    labels = RNG.integers(0, C, (B, H, W)).astype(np.int32)
    each = losses.rate_coded_cross_entropy(
        jnp.asarray(SPIKES), jnp.asarray(labels), time_axis=1, per_sample=True
    )
    for b, h, w in np.ndindex(B, H, W):
        z = SPIKES[b, :, h, w].astype(np.float64).sum(axis=0)
        expected = np.log(np.exp(z).sum()) - z[labels[b, h, w]]
        np.testing.assert_allclose(each[b, h, w], expected, rtol=1e-5)
    mean = losses.rate_coded_cross_entropy(
        jnp.asarray(SPIKES), jnp.asarray(labels), time_axis=1, seq_lengths=np.array([T, 0])
    )
    np.testing.assert_allclose(mean, np.mean(np.asarray(each)[0]), rtol=1e-6)


@pytest.mark.slow
def test_batch_axes_are_those_of_labels_and_lengths_or_said() -> None:
    x = RNG.random((2, 3, T, C)).astype(np.float32)
    labels = RNG.integers(0, C, (2, 3)).astype(np.int32)
    lengths = RNG.integers(1, T, (2, 3)).astype(np.int32)
    flat, y = jnp.asarray(x.reshape(6, T, C)), jnp.asarray(labels.reshape(6))
    found = losses.rate_coded_cross_entropy(jnp.asarray(x), jnp.asarray(labels))
    np.testing.assert_allclose(found, losses.rate_coded_cross_entropy(flat, y), rtol=1e-6)
    for settings, flat_settings in [
        ({"time_axis": 2}, {}),
        ({"time_axis": -2}, {}),
        ({"seq_lengths": lengths}, {"seq_lengths": lengths.reshape(6)}),
        (
            {"mask": np.arange(T) < lengths[..., None]},
            {"mask": np.arange(T) < lengths.reshape(6, 1)},
        ),
    ]:
        found = losses.membrane_readout(jnp.asarray(x), **settings)
        expected = losses.membrane_readout(flat, **flat_settings)
        np.testing.assert_array_equal(np.asarray(found).reshape(6, C), expected)
        penalty = losses.upper_count_regularizer(jnp.asarray(x), 0.1, **settings)
        expected = losses.upper_count_regularizer(flat, 0.1, **flat_settings)
        np.testing.assert_allclose(penalty, expected, rtol=1e-6)


def test_single_sequences_and_vmap() -> None:
    x, y = jnp.asarray(SPIKES[..., 0, 0, :]), jnp.asarray(LABELS % C)
    each = losses.rate_coded_cross_entropy(x, y, per_sample=True)
    alone = jax.vmap(losses.rate_coded_cross_entropy)(x, y)
    np.testing.assert_allclose(alone, each, rtol=1e-6)
    lengths = jnp.asarray(LENGTHS)
    counts = jax.vmap(lambda s, n: losses.spike_count_logits(s, seq_lengths=n))(x, lengths)
    np.testing.assert_array_equal(counts, losses.spike_count_logits(x, seq_lengths=lengths))
    conv = losses.upper_count_regularizer(jnp.asarray(SPIKES[0]), 0.5, time_axis=0)
    np.testing.assert_allclose(
        conv, losses.upper_count_regularizer(jnp.asarray(SPIKES[:1]), 0.5), rtol=1e-6
    )


def test_a_time_axis_that_cannot_be_is_refused(unchecked: None) -> None:
    x = jnp.asarray(SPIKES)
    for axis in (4, -1, 5, -6):
        with pytest.raises(ValueError, match=f"time_axis={axis} is to be the axis of time"):
            losses.spike_count_logits(x, time_axis=axis)
    for axis in (1.0, True, "time"):
        with pytest.raises(TypeError, match="time_axis: expected an integer"):
            losses.upper_count_regularizer(x, 1.0, time_axis=axis)
    with pytest.raises(ValueError, match=r"seq_lengths: expected shape \(2, 5\), got shape \(2,\)"):
        losses.spike_count_logits(x, time_axis=2, seq_lengths=LENGTHS)
    with pytest.raises(ValueError, match="seq_lengths: expected a time axis of logits, got .*None"):
        losses.softmax_cross_entropy(x[:, 0, 0, 0], jnp.asarray(LABELS % C), seq_lengths=LENGTHS)
    with pytest.raises(ValueError, match="mask: expected a time axis of predictions"):
        losses.mean_squared_error(x, x, mask=np.ones((B, T), bool))


@pytest.mark.parametrize("name", ["membrane_readout", "upper_count_regularizer, population"])
def test_sizes_may_be_symbols(unchecked: None, name: str) -> None:
    """Exported once, a function with lengths serves any batch and any number of steps."""
    function, x, _ = SEQUENCES[name]
    flat = jnp.asarray(x.reshape(B, T, -1))
    batch, steps = jax.export.symbolic_shape("b, t")
    exported = jax.export.export(jax.jit(lambda x, n: function(x, seq_lengths=n)))(
        jax.ShapeDtypeStruct((batch, steps, flat.shape[-1]), flat.dtype),
        jax.ShapeDtypeStruct((batch,), jnp.int32),
    )
    found = exported.call(flat, jnp.asarray(LENGTHS))
    np.testing.assert_allclose(found, function(flat, seq_lengths=LENGTHS), rtol=1e-6)
