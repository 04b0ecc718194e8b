"""`Spikes`: made from times, merged, read; and what they refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn
from flax_snn.dynamics import LIFParameters
from flax_snn.event import Spikes, first_spikes, from_times, merge
from flax_snn.event.spikes import time_order

INF = np.inf
LIF = LIFParameters(tau_mem=2.0, tau_syn=1.0)
KERNEL = jnp.ones((2, 3))


@pytest.mark.parametrize("slots", covered_by([0, 1, 7, 199, 201, 400], [0, 199, 201]))
def test_order_is_stable(slots: int) -> None:
    """Two ways to sort, by the number of slots."""
    times = np.random.default_rng(slots).integers(0, 5, (3, slots)).astype(np.float32)
    times[times == 4] = INF
    expected = np.argsort(times, axis=1, kind="stable")
    np.testing.assert_array_equal(time_order(jnp.asarray(times)), expected)


def test_from_times() -> None:
    times = np.array([[3.0, INF, 1.0, 1.0], [INF] * 4])
    spikes = from_times(jnp.asarray(times, jnp.float32))
    np.testing.assert_array_equal(spikes.time, [[1, 1, 3, INF], [INF] * 4])
    np.testing.assert_array_equal(spikes.index, [[2, 3, 0, -1], [-1] * 4])
    assert spikes.size == 4 and spikes.index.dtype == jnp.int32
    np.testing.assert_array_equal(spikes.first_times(), times)
    np.testing.assert_array_equal(spikes.counts(), np.isfinite(times))
    np.testing.assert_array_equal(spikes.lost(), [0, 0])


def test_gradients_of_times_are_those_of_their_places() -> None:
    times = jnp.array([[3.0, jnp.inf, 1.0], [0.5, 2.0, 0.1]])
    weights = jnp.arange(6.0).reshape(2, 3) + 1.0

    def loss(times: jax.Array) -> jax.Array:
        first = from_times(times).first_times()
        return jnp.sum(weights * jnp.where(jnp.isfinite(first), first, 0.0))

    expected = np.where(np.isfinite(times), weights, 0.0)
    np.testing.assert_array_equal(jax.grad(loss)(times), expected)


def test_first_times_of_several_spikes() -> None:
    spikes = Spikes(jnp.array([[1.0, 2.0, 3.0, jnp.inf]]), jnp.array([[2, 0, 2, -1]], jnp.int32))
    np.testing.assert_array_equal(spikes.first_times(4), [[2.0, INF, 1.0, INF]])
    np.testing.assert_array_equal(spikes.counts(4), [[1, 0, 2, 0]])
    for ask in (spikes.first_times, spikes.counts):
        with pytest.raises(ValueError, match="expected the number of sources.*give size="):
            ask()
        with pytest.raises(ValueError, match="expected size=3, that of the spikes, got 4"):
            getattr(spikes.replace(size=3), ask.__name__)(4)


@pytest.mark.slow
def test_merged_spikes_are_those_of_all_sources() -> None:
    rng = np.random.default_rng(0)
    tables = [rng.uniform(0, 1, (2, n)).astype(np.float32) for n in (3, 1, 4)]
    tables[2][0, 1] = INF
    parts = [from_times(jnp.asarray(t)) for t in tables]
    parts[1] = parts[1].replace(overflow=jnp.array([0, 2], jnp.int32))
    merged = merge(*parts)
    assert merged.size == 8
    whole = np.concatenate(tables, axis=1)
    np.testing.assert_array_equal(merged.first_times(), whole)
    np.testing.assert_array_equal(merged.time, np.sort(whole, axis=1))
    np.testing.assert_array_equal(merged.lost(), [0, 2])


@pytest.mark.slow
def test_a_skip_is_a_wider_layer() -> None:
    """Merged sources act through the rows of one kernel: the same as one layer of all."""
    times = jnp.array([[0.1, 0.6, 0.3, 0.2]])
    kernel = jnp.array([[1.0, 2.0, 1.5], [3.0, 1.0, 0.5], [2.0, 0.3, 2.0], [1.0, 4.0, 1.0]])
    merged = merge(from_times(times[:, :2]), from_times(times[:, 2:]))
    expected = first_spikes(from_times(times), kernel, LIF)
    assert np.isfinite(expected).any()
    np.testing.assert_allclose(first_spikes(merged, kernel, LIF), expected, rtol=1e-6)


def test_merge_refuses() -> None:
    one, two = from_times(jnp.ones((1, 2))), from_times(jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="expected at least one set of spikes, got none"):
        merge()
    with pytest.raises(ValueError, match=r"number of sources, got sizes \[2, None\]; set size="):
        merge(one, one.replace(size=None))
    with pytest.raises(ValueError, match=r"spikes of one batch, got batches \[1, 2\]"):
        merge(one, two)


@pytest.mark.parametrize("bad", [np.nan, -1.0, -INF])
def test_times_that_are_none(bad: float) -> None:
    with pytest.raises(ValueError, match=rf"from_times: expected times >= 0 .* got {bad}"):
        from_times(jnp.array([[1.0, bad]]))


def test_from_times_refuses_other_arrays(unchecked: None) -> None:
    with pytest.raises(TypeError, match="a floating dtype, got int32; give times in seconds"):
        from_times(jnp.ones((1, 2), jnp.int32))
    with pytest.raises(
        ValueError, match=r"expected shape \(B, N\), got shape \(3,\).*times\[None\]"
    ):
        from_times(jnp.ones(3))


def spikes(time: object, index: object, **more: object) -> Spikes:
    return Spikes(jnp.asarray(time, jnp.float32), jnp.asarray(index, jnp.int32), **more)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (spikes([1.0], [0]), ValueError, r"time and index of one shape \(B, K\), got \(1,\)"),
        (spikes([[1.0]], [[0, 1]]), ValueError, r"one shape \(B, K\), got \(1, 1\) and \(1, 2\)"),
        (Spikes(jnp.ones((1, 1), int), jnp.zeros((1, 1), int)), TypeError, "floating times"),
        (Spikes(jnp.ones((1, 1)), jnp.zeros((1, 1))), TypeError, "signed integer index"),
        (spikes([[2.0, 1.0]], [[0, 1]]), ValueError, "ascending order, got unsorted.*sample 0"),
        (spikes([[INF, 1.0]], [[-1, 1]]), ValueError, "ascending order, got unsorted.*sample 0"),
        (spikes([[np.nan, 1.0]], [[0, 1]]), ValueError, "expected times >= 0 in seconds.*got nan"),
        (spikes([[-1.0, 1.0]], [[0, 1]]), ValueError, "expected times >= 0 in seconds.*got -1.0"),
        (spikes([[1.0, 2.0]], [[0, 2]]), ValueError, "index of a source, 0 to 1, .*got 2"),
        (spikes([[1.0, 2.0]], [[0, -1]]), ValueError, "index of a source, 0 to .*got -1"),
        (spikes([[1.0]], [[0]], size=5), ValueError, "spikes of 2 sources.*got 5"),
        (
            spikes([[1.0]], [[0]], overflow=jnp.array([4], jnp.int32)),
            OverflowError,
            "1 of 1 samples had more spikes than slots.*raise budget=",
        ),
    ],
)
def test_layers_refuse_spikes(given: object, error: type[Exception], message: str) -> None:
    for ask in (
        lambda: first_spikes(given, KERNEL, LIF),
        lambda: snn.event.simulate(given, KERNEL, LIF, budget=4),
    ):
        with pytest.raises(error, match=message):
            ask()


def test_layers_refuse_arrays(unchecked: None) -> None:
    with pytest.raises(TypeError, match="expected snn.event.Spikes, got .*; make them with"):
        first_spikes(np.ones((1, 2)), KERNEL, LIF)
