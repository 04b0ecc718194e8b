"""Samples of different lengths: padding counts for nothing, whatever stands in it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.data.parts import Part
from train.model import Model
from train.model.build import build_network
from train.model.encoders import Rasters
from train.model.objectives import squared_error
from train.run.step import create_state, evaluate, train_batches
from train.settings import NetworkConfig, TrainingConfig

STEPS, UNITS, OUTPUTS, DT = 14, 5, 3, 5e-3
LENGTHS = np.array([14, 3, 9, 1, 6], np.int32)
PENALTY = TrainingConfig(
    lower_rate=30.0, upper_rate=40.0, rate_strength=0.1, jitter=0.0, label_smoothing=0.0
)
READOUTS = ("spikes", "first", "max", "mean", "last", "values")


def readouts(*default: str) -> list[Any]:
    """All readouts, those that are not named as slow ones."""
    return [r if r in default else pytest.param(r, marks=pytest.mark.slow) for r in READOUTS]


@functools.cache
def build(readout: str, steps: int) -> Model:
    """Networks that differ in nothing but the number of steps that they are told."""
    values = readout == "values"
    config = NetworkConfig(
        hidden=(7, 6),
        readout="mean" if values else readout,
        input_gain=9.0,
        layer_gain=15.0,
        readout_gain=15.0,
        population=1 if values else 2,
        init="gains",
    )
    encode = Rasters(steps, UNITS, DT)
    objective = squared_error.make(OUTPUTS) if values else None
    return build_network(
        config, encode, steps=steps, outputs=OUTPUTS, dt=DT, input_rate=50.0, values=objective
    )


@functools.cache
def samples(readout: str) -> Part:
    """Spikes everywhere, in the padding too."""
    rng = np.random.default_rng(0)
    inputs = rng.poisson(0.6, (len(LENGTHS), STEPS, UNITS)).astype(np.uint8)
    assert all(inputs[k, n:].any() for k, n in enumerate(LENGTHS) if n < STEPS)
    labels: Any = np.array([0, 1, 2, 1, 0], np.int32)
    if readout == "values":
        labels = rng.uniform(size=(len(LENGTHS), OUTPUTS)).astype(np.float32)
    return Part(inputs, labels, LENGTHS)


@functools.cache
def params(readout: str) -> Any:
    return jax.jit(build(readout, STEPS).init)(jax.random.key(1))


@functools.cache
def alone(readout: str) -> list[dict[str, Any]]:
    """What the network makes of each sample without its padding, told of no lengths."""
    found = []
    part = samples(readout)
    for k, steps in enumerate(LENGTHS):
        model = build(readout, int(steps))
        x, y = jnp.asarray(part.inputs[k : k + 1, :steps]), jnp.asarray(part.labels[k : k + 1])
        output = jax.jit(model.apply)(params(readout), x, jax.random.key(0))
        rasters = [np.asarray(s[0], np.float64) for s in output.spikes]
        found.append(
            {
                "loss": float(model.objective.loss(output.z, y, 0.0)[0]),
                "points": float(model.objective.points(output.z, y)[0]),
                "prediction": np.asarray(model.objective.predict(output.z))[0],
                "counts": [raster.sum(axis=0) for raster in rasters],
            }
        )
    return found


@pytest.mark.parametrize("readout", readouts("spikes"))
def test_a_padded_batch_is_its_samples_alone(readout):
    singles, part = alone(readout), samples(readout)
    model = build(readout, STEPS)
    order = np.array([[0, 1, 2], [3, 4, -1]], np.int32)
    device = jax.tree.map(jnp.asarray, part)
    found = jax.jit(functools.partial(evaluate, model))(params(readout), device, order)
    sums = found.sums
    assert float(sums.samples) == len(LENGTHS)
    # Sums in float32 of numbers that were added up in another order.
    assert float(sums.loss) == pytest.approx(sum(s["loss"] for s in singles), rel=1e-5)
    assert float(sums.points) == pytest.approx(sum(s["points"] for s in singles), rel=1e-5)
    predictions = np.asarray(found.predictions).reshape(-1, *model.objective.label_shape)
    np.testing.assert_allclose(
        predictions[: len(LENGTHS)], [s["prediction"] for s in singles], rtol=1e-5, atol=1e-6
    )
    assert len(sums.activity) == len(model.layers)
    for layer, activity in enumerate(sums.activity):
        shares = [s["counts"][layer] / n for s, n in zip(singles, LENGTHS, strict=True)]
        np.testing.assert_allclose(activity, np.sum(shares, axis=0), rtol=1e-5)
        assert activity.any()


@pytest.mark.parametrize("readout", readouts("spikes"))
def test_the_penalty_is_that_of_the_steps_that_are_data(readout):
    """Rates are means over the samples, each of which counts its own steps, in float64 NumPy."""
    singles, part, model = alone(readout), samples(readout), build(readout, STEPS)

    def penalty(params, inputs, lengths):
        return model.apply(params, inputs, jax.random.key(0), lengths, PENALTY).penalty

    inputs, lengths = jnp.asarray(part.inputs), jnp.asarray(part.lengths)
    found = jax.jit(penalty)(params(readout), inputs, lengths)
    expected = 0.0
    for layer in range(len(model.layers)):
        rates = [s["counts"][layer] / (n * DT) for s, n in zip(singles, LENGTHS, strict=True)]
        rate = np.mean(rates, axis=0)
        excess = np.maximum(30.0 - rate, 0) + np.maximum(rate - 40.0, 0)
        expected += 0.1 * np.mean(excess**2)
    assert expected > 1
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("readout", readouts("first"))
@pytest.mark.optimizer
def test_an_update_does_not_see_the_padding(readout):
    """Other spikes behind the end of the samples lead to the same parameters."""
    part, model = samples(readout), build(readout, STEPS)
    behind = np.arange(STEPS) >= LENGTHS[:, None]
    emptied = part._replace(inputs=np.where(behind[..., None], 0, part.inputs).astype(np.uint8))
    state = jax.jit(functools.partial(create_state, model, PENALTY, 4))(jnp.uint32(0))
    update = jax.jit(functools.partial(train_batches, model, PENALTY))
    order = np.array([[0, 1, 2, 3, 4]], np.int32)
    (one, sums), (other, same) = (update(state, each, order) for each in (part, emptied))
    assert float(sums.grad_norm) > 0
    for a, b in zip(jax.tree.leaves((one, sums)), jax.tree.leaves((other, same)), strict=True):
        np.testing.assert_array_equal(a, b)
    # Whereas without lengths the spikes there count.
    free = update(state, part._replace(lengths=None), order)[1]
    assert float(free.loss) != float(sums.loss)


@pytest.mark.slow
@pytest.mark.parametrize("readout", readouts("max"))
def test_a_sample_of_no_steps_gives_finite_numbers(readout):
    part, model = samples(readout), build(readout, STEPS)
    lengths = jnp.asarray([0, 14, 0, 3, 0], jnp.int32)

    def loss(params):
        output = model.apply(params, jnp.asarray(part.inputs), jax.random.key(0), lengths)
        return model.objective.loss(output.z, jnp.asarray(part.labels), 0.0), output.activity

    losses, activity = jax.jit(loss)(params(readout))
    assert np.isfinite(losses).all()
    for layer in activity:
        assert not np.asarray(layer)[[0, 2, 4]].any() and np.isfinite(layer).all()
    gradients = jax.jit(jax.grad(lambda p: loss(p)[0].mean()))(params(readout))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
