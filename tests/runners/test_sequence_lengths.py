"""Sequences of different lengths: a padded batch gives the numbers of its samples alone.

`sequence_table` lists all public functions, and how each is called.
"""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sequence_table import (
    CALLS,
    DT,
    HOLES,
    LENGTHS,
    MASK,
    NO_TIME_AXIS,
    SPIKES,
    TABLE,
    TARGETS,
    VALUES,
    B,
    C,
    Row,
    T,
    is_of_samples,
    lif_network,
    mean,
    stack,
)

import flax_snn as snn
from flax_snn import diagnosis, initializers, losses, metrics
from flax_snn.sequence_mask import step_mask

ROWS = [(name, k, row) for name, rows in TABLE.items() for k, row in enumerate(rows)]
IDS = [f"{name}-{k}" for name, k, _ in ROWS]
each_row = pytest.mark.parametrize("row", [row for *_, row in ROWS], ids=IDS)
first_rows = pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=f"{name}-{k}", marks=pytest.mark.slow if k else ())
        for name, k, row in ROWS
    ],
)
# By default the first row of each function: the others have other options.
each_jax_row = pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=f"{name}-{k}", marks=pytest.mark.slow if k else ())
        for name, k, row in ROWS
        if row.differentiable
    ],
)


def function_of(name: str) -> Any:
    module, function = name.split(".")
    return getattr(getattr(snn, module), function)


def test_every_public_function_is_in_the_table() -> None:
    rooms = {"losses": losses, "metrics": metrics, "diagnosis": diagnosis}
    rooms["initializers"] = initializers
    public = {
        f"{room}.{name}"
        for room, module in rooms.items()
        for name in module.__all__
        if inspect.isfunction(getattr(module, name))
    }
    assert public == set(TABLE) | set(NO_TIME_AXIS)
    assert not set(TABLE) & set(NO_TIME_AXIS)
    for name in public:
        arguments = set(inspect.signature(function_of(name)).parameters)
        assert ({"seq_lengths", "mask"} <= arguments) == (name in TABLE), name
        assert not (name in NO_TIME_AXIS and {"seq_lengths", "mask"} & arguments), name


@each_row
def test_a_padded_batch_gives_the_numbers_of_its_samples_alone(row: Row) -> None:
    expected = row.alone(MASK)
    found = row.call(*row.padded(np.nan), seq_lengths=LENGTHS)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    for rubbish in (7.0, np.inf):
        found = row.run(*row.padded(rubbish), seq_lengths=LENGTHS)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    full = np.full(B, T)
    everything = row.run(*row.given(list(row.arrays)), seq_lengths=full)
    assert not np.allclose(everything, expected), "padding that counted would not show"


@first_rows
def test_steps_that_a_mask_leaves_out_count_as_cut_out(row: Row) -> None:
    found = row.run(*row.padded(np.nan, HOLES), mask=HOLES)
    np.testing.assert_allclose(found, row.alone(HOLES), rtol=1e-6, atol=1e-6)


@each_jax_row
def test_gradients_are_those_of_the_samples_alone_and_zero_in_padding(row: Row) -> None:
    """Also where padding holds NaN, and where the lengths are only known when the program runs."""
    lengths = jnp.asarray(LENGTHS)

    def summed(x: Any, others: Any, **settings: Any) -> Any:
        return jnp.sum(row.call(x, *others, **settings))

    x, *others = row.padded(np.nan)
    padded = jax.jit(jax.grad(lambda x, y, n: summed(x, y, seq_lengths=n)))(x, others, lengths)
    expected, alone = np.zeros(x.shape), jax.jit(jax.grad(summed))
    weight = 1 / B if row.combine is mean else 1
    for b in range(B):
        cut = [a[b : b + 1] if is_of_samples(a) else a[b : b + 1, MASK[b]] for a in row.arrays]
        grads = alone(jnp.asarray(cut[0]), [jnp.asarray(a) for a in cut[1:]])
        expected[b, MASK[b]] = weight * np.asarray(grads)[0]
    np.testing.assert_allclose(padded, expected, rtol=1e-5, atol=1e-6)
    assert (np.asarray(padded)[~MASK] == 0.0).all()
    assert np.any(expected != 0.0)


@each_jax_row
def test_a_sample_without_data_is_left_out(row: Row) -> None:
    """It is no part of a mean, has the value 0 itself, and no gradient."""
    x, *others = row.padded(np.nan)
    lengths = jnp.asarray([7, 0, 1], jnp.int32)

    def summed(x: Any, lengths: Any) -> Any:
        return jnp.sum(row.call(x, *others, seq_lengths=lengths))

    found = np.asarray(row.run(x, *others, seq_lengths=lengths))
    both = [a[np.array([0, 2])] for a in (x, *others)]
    expected = np.asarray(row.run(*both, seq_lengths=lengths[np.array([0, 2])]))
    if row.combine is stack:
        np.testing.assert_allclose(found[[0, 2]], expected, rtol=1e-6, atol=1e-7)
        assert (found[1] == 0.0).all()
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    nothing = jnp.zeros(B, jnp.int32)
    value, grads = jax.jit(jax.value_and_grad(summed))(x, nothing)
    assert value == 0.0 and (np.asarray(grads) == 0.0).all()


@each_jax_row
def test_lengths_that_cannot_be_checked_count_as_0_and_as_all(row: Row) -> None:
    x, *others = row.padded()
    call = jax.jit(lambda n: row.call(x, *others, seq_lengths=n))
    outside, inside = jnp.asarray([99, -2, 1], jnp.int32), jnp.asarray([T, 0, 1], jnp.int32)
    np.testing.assert_array_equal(call(outside), call(inside))


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"seq_lengths": np.array([7, -1, 1])}, ValueError, "seq_lengths: expected 0 to 7, .* got -1"),
    ({"seq_lengths": np.array([8, 3, 1])}, ValueError, "seq_lengths: expected 0 to 7, .* to 8"),
    ({"seq_lengths": np.array([7, 3])}, ValueError, r"seq_lengths: expected shape \(3,\)"),
    ({"seq_lengths": np.array([7.0, 3.0, 1.0])}, TypeError, "seq_lengths: expected integers"),
    ({"seq_lengths": [7, 3, 1]}, TypeError, "seq_lengths: expected integers"),
    ({"mask": MASK.astype(np.int32)}, TypeError, "mask: expected an array of booleans, got int32"),
    ({"mask": MASK[:, :5]}, ValueError, r"mask: expected shape \(3, 7\), got shape \(3, 5\)"),
    ({"mask": MASK, "seq_lengths": LENGTHS}, ValueError, "expected one of the two, got both"),
]


@pytest.mark.parametrize("name", sorted(CALLS))
def test_lengths_and_masks_that_cannot_be_are_refused(unchecked: None, name: str) -> None:
    row = CALLS[name]
    assert set(CALLS) == set(TABLE)
    for settings, error, words in BAD:
        with pytest.raises(error, match=words):
            row.call(*row.given(list(row.arrays)), **settings)


@pytest.mark.parametrize("name", ["metrics.accuracy", "diagnosis.diagnose", "initializers.lsuv"])
def test_what_runs_outside_jit_refuses_a_batch_without_data(name: str) -> None:
    row = CALLS[name]
    with pytest.raises(ValueError, match="expected at least one step with data"):
        row.call(*row.given(list(row.arrays)), seq_lengths=np.zeros(B, np.int32))


def test_lengths_of_narrow_types_count_beyond_their_range() -> None:
    """T = 300 does not fit into uint8, nor does the comparison wrap around."""
    found = np.asarray(step_mask((2,), 300, seq_lengths=np.array([255, 3], np.uint8)))
    np.testing.assert_array_equal(found.sum(axis=1), [255, 3])
    found = np.asarray(step_mask((2,), 300, seq_lengths=np.array([127, 0], np.int8)))
    np.testing.assert_array_equal(found.sum(axis=1), [127, 0])


@pytest.mark.parametrize("power", [1, 2])
def test_penalties_on_the_batch_average_each_sample_over_its_own_steps(power: int) -> None:
    rate = np.mean([SPIKES[b, :n].mean(axis=0, dtype=np.float64) for b, n in enumerate(LENGTHS)], 0)
    count = np.mean([SPIKES[b, :n].sum(axis=0, dtype=np.float64) for b, n in enumerate(LENGTHS)], 0)
    s = np.where(MASK[..., None], SPIKES, np.nan)
    settings: dict[str, Any] = {"average": "batch", "power": power, "seq_lengths": LENGTHS}
    found = losses.spike_rate_regularizer(jnp.asarray(s), DT, upper=90.0, **settings)
    expected = np.mean(np.maximum(rate / DT - 90.0, 0.0) ** power)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    found = losses.lower_count_regularizer(jnp.asarray(s), 1.5, **settings)
    np.testing.assert_allclose(found, np.mean(np.maximum(1.5 - count, 0.0) ** power), rtol=1e-5)
    empty = losses.lower_count_regularizer(
        jnp.asarray(s), 1.5, average="batch", seq_lengths=np.zeros(B, np.int32)
    )
    assert expected > 0.0 and empty == 0.0


def pooled_r2(mask: np.ndarray) -> float:
    predicted, true = (x[mask].astype(np.float64) for x in (VALUES, TARGETS))
    variance = np.mean((true - true.mean(axis=0)) ** 2, axis=0)
    return float(np.mean(1.0 - np.mean((true - predicted) ** 2, axis=0) / variance))


def test_r2_is_that_of_all_steps_with_data() -> None:
    values = np.where(MASK[..., None], VALUES, np.nan)
    found = metrics.r2(values, TARGETS, seq_lengths=LENGTHS)
    np.testing.assert_allclose(found, pooled_r2(MASK), rtol=1e-12)
    found = metrics.r2(np.where(HOLES[..., None], VALUES, np.inf), TARGETS, mask=HOLES)
    np.testing.assert_allclose(found, pooled_r2(HOLES), rtol=1e-12)


X = (np.random.default_rng(5).random((4, 40, C)) < 0.3).astype(np.float32)
LONG = np.array([40, 25, 9, 25], np.int32)
DATA = np.arange(40) < LONG[:, None]


def alone(**settings: Any) -> list[Any]:
    net, variables = lif_network()
    return [
        diagnosis.diagnose(net, variables, jnp.asarray(X[b : b + 1, :n]), **settings).layers[0]
        for b, n in enumerate(LONG)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("time_major", [False, True])
def test_a_diagnosis_is_that_of_the_samples_alone(time_major: bool) -> None:
    net, variables = lif_network()
    spikes = np.asarray(net.apply(variables, jnp.asarray(X)))
    active = np.mean([spikes[b, :n].mean(axis=0) for b, n in enumerate(LONG)], axis=0)
    each = alone()
    moments = np.array([[one.mean, one.spread**2 + one.mean**2] for one in each]).mean(axis=0)
    x = np.where(DATA[..., None], X, np.nan)
    if time_major:
        net, x = net.clone(time_major=True), x.swapaxes(0, 1)
    for settings in ({"seq_lengths": LONG}, {"mask": DATA}):
        (found,) = diagnosis.diagnose(
            net, variables, jnp.asarray(x), time_major=time_major, **settings
        ).layers
        np.testing.assert_allclose(found.mean, moments[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.spread, (moments[1] - moments[0] ** 2) ** 0.5, rtol=1e-5)
        activity = np.mean([one.activity for one in each])
        np.testing.assert_allclose([found.activity, found.rate], [activity, activity / 1e-3], 1e-5)
        np.testing.assert_allclose(found.silent, np.mean(active == 0), rtol=1e-6)
        np.testing.assert_allclose(found.saturated, np.mean(active >= 0.25), rtol=1e-6)
    assert activity > 0.02 and 0.0 < found.saturated < 1.0


@pytest.mark.parametrize("settings", [{"seq_lengths": np.full(4, 25)}, {"seq_lengths": LONG}])
def test_lsuv_scales_by_data_alone(settings: dict[str, Any]) -> None:
    """Of equal lengths: as the batch cut to them. Of others: to the spread that diagnosis finds."""
    net, variables = lif_network()
    lengths = settings["seq_lengths"]
    x = jnp.asarray(np.where((np.arange(40) < lengths[:, None])[..., None], X, np.inf))
    scaled, report = initializers.lsuv(net, variables, x, **settings)
    (layer,) = diagnosis.diagnose(net, scaled, x, **settings).layers
    np.testing.assert_allclose([report.layers[0].after, layer.spread], 1.0, atol=0.02)
    np.testing.assert_allclose(report.layers[0].after, layer.spread, rtol=1e-5)
    if (lengths == 25).all():
        cut, _ = initializers.lsuv(net, variables, jnp.asarray(X[:, :25]))
        for one, other in zip(jax.tree.leaves(scaled), jax.tree.leaves(cut), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)


def test_layers_over_other_steps_than_the_lengths_are_refused() -> None:
    class Halved(snn.RNN):
        def __call__(self, inputs: Any, **arguments: Any) -> Any:
            return super().__call__(inputs[:, ::2], **arguments)

    net = Halved(snn.LIFCell(3))
    variables = net.init(jax.random.key(0), jnp.zeros((1, 2, C)))
    with pytest.raises(ValueError, match=r"cell to run over batch and time \(4, 40\)"):
        diagnosis.diagnose(net, variables, jnp.asarray(X), seq_lengths=LONG)
