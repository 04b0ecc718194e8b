"""The compiled calls, against a loop in Python, and what they must not depend on."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flax_snn import losses
from train.data.order import epoch_order, padded_order
from train.model.build import build_network
from train.model.encoders import Rasters
from train.run.optimizer import optimizer
from train.run.step import create_state, evaluate, train_batches
from train.settings.network import NetworkConfig
from train.settings.training import TrainingConfig
from train.tasks.randman import RandmanData, load_randman

TRAINING = TrainingConfig(
    epochs=2, batch_size=16, learning_rate=0.02, label_smoothing=0.0, jitter=0.0
)
DATA = RandmanData(classes=3, units=4, alpha=2.0, steps=20, dt=5e-3, samples_per_class=40)
READOUTS = ("spikes", *(pytest.param(r, marks=pytest.mark.slow) for r in ("max", "mean", "last")))


@functools.cache
def model(readout="spikes", recurrent=True):
    config = NetworkConfig(
        hidden=(8,), readout=readout, recurrent=recurrent, readout_gain=8.0, count_scale=1.0
    )
    encode = Rasters(steps=20, features=4, dt=5e-3)
    return build_network(config, encode, steps=20, outputs=3, dt=5e-3, input_rate=10.0)


@functools.cache
def data():
    return load_randman(DATA)


def state_of(readout="spikes", seed=0, training=TRAINING):
    return create_state(model(readout), training, 12, jnp.uint32(seed))


@functools.cache
def compiled(net, training=TRAINING):
    return jax.jit(functools.partial(train_batches, net, training))


def epoch(state, net, number=1, training=TRAINING):
    part = data().train
    order = epoch_order(0, number, len(part.labels), 16)
    return compiled(net, training)(state, part, order)


def same(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool((x == y).all()), a, b))


@pytest.mark.slow
@pytest.mark.optimizer
@pytest.mark.parametrize("readout", READOUTS)
def test_an_epoch_is_a_loop_over_batches(readout):
    part, net = data().train, model(readout)
    state = state_of(readout)
    after, sums = epoch(state, net)

    params, tx = state.params, optax.adamw(LEARNING_RATES, weight_decay=1e-4, mask=is_kernel)
    memory, total = tx.init(params), []

    def loss_of(params, x, y):
        out = net.runner.network.apply({"params": params}, x)
        if readout == "spikes":
            return losses.rate_coded_cross_entropy(out, y)
        return losses.membrane_cross_entropy(out, y, reduce=readout, scale=4.0)

    @jax.jit
    def update(params, memory, x, y):
        loss, grads = jax.value_and_grad(loss_of)(params, x, y)
        updates, memory = tx.update(grads, memory, params)
        return optax.apply_updates(params, updates), memory, loss

    for rows in epoch_order(0, 1, len(part.labels), 16):
        x, y = jnp.asarray(part.inputs[rows], jnp.float32), jnp.asarray(part.labels[rows])
        params, memory, loss = update(params, memory, x, y)
        total.append(float(loss))

    np.testing.assert_allclose(sums.loss / sums.samples, np.mean(total), rtol=1e-4)
    assert float(sums.samples) == 16 * len(total)
    assert int(after.step) == len(total)
    # Two compilations of one sum differ by float32 rounding, which Adam's division enlarges.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), after.params, params
    )


def is_kernel(params):
    """Time constants do not decay."""
    return jax.tree.map(lambda x: x.ndim == 2, params)


def LEARNING_RATES(step):
    """Linear from a tenth to 0.02 over the first of 12 updates, then half a cosine to zero."""
    cosine = 0.02 * 0.5 * (1 + jnp.cos(jnp.pi * (step - 1) / 11))
    return jnp.where(step < 1, 0.002, cosine)


@pytest.mark.slow
@pytest.mark.optimizer
def test_training_is_deterministic_and_starts_from_the_seed():
    (a, _), (b, _) = epoch(state_of(seed=1), model()), epoch(state_of(seed=1), model())
    assert same(a.params, b.params)
    assert not same(state_of(seed=1).params, state_of(seed=2).params)


@pytest.mark.slow
@pytest.mark.optimizer
def test_half_epochs_are_the_whole_epoch():
    part = data().train
    order = epoch_order(0, 1, len(part.labels), 16)
    step = compiled(model())
    whole, _ = step(state_of(), part, order)
    half, _ = step(state_of(), part, order[:3])
    half, _ = step(half, part, order[3:])
    assert same(whole.params, half.params) and same(whole.opt_state, half.opt_state)


def test_the_learning_rate_ends_at_zero():
    tx = optimizer(TrainingConfig(weight_decay=0.0, learning_rate=0.02), 100, layers=1)
    params = {"kernel": jnp.ones(3)}
    state = tx.init(params)
    sizes = []
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(100):
            updates, state = tx.update({"kernel": jnp.ones(3)}, state, params)
            # With constant gradients an update of Adam is the learning rate itself.
            sizes.append(float(-updates["kernel"][0]))
    np.testing.assert_allclose(sizes[:11], 0.02 * np.linspace(0.1, 1.0, 11), rtol=1e-4)
    half_cosine = 0.01 * (1 + np.cos(np.pi * np.arange(90) / 90))
    np.testing.assert_allclose(sizes[10:], half_cosine, rtol=1e-3)


@pytest.mark.optimizer
@pytest.mark.parametrize(
    "size", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 12, 100))]
)
def test_padding_counts_for_nothing(size):
    part, net, params = data().test, model(), state_of().params
    output = jax.jit(net.apply)(params, jnp.asarray(part.inputs), jax.random.key(0))
    logits, spikes = output.z, output.spikes
    found = evaluate(
        net, params, jax.tree.map(jnp.asarray, part), padded_order(len(part.labels), size)
    )
    labels = jnp.asarray(part.labels)
    sums, samples = found.sums, len(part.labels)
    assert float(sums.samples) == samples
    loss = losses.softmax_cross_entropy(logits, labels)
    np.testing.assert_allclose(sums.loss / samples, loss, rtol=1e-5)
    predicted = np.asarray(logits.argmax(-1))
    assert float(sums.points) == (predicted == part.labels).sum()
    for layer, s in zip(sums.activity, spikes, strict=True):
        np.testing.assert_allclose(layer / samples, s.mean(axis=(0, 1)), rtol=1e-5)
        assert (layer > 0).any()
    np.testing.assert_array_equal(
        np.asarray(found.predictions).ravel()[: len(predicted)], predicted
    )


@pytest.mark.optimizer
@pytest.mark.parametrize("readout", READOUTS)
def test_every_weight_gets_a_gradient(readout):
    part, net = data().train, model(readout)
    params = state_of(readout).params

    def loss_of(params):
        output = net.apply(params, jnp.asarray(part.inputs), jax.random.key(0))
        return losses.softmax_cross_entropy(output.z, jnp.asarray(part.labels))

    for grad in jax.tree.leaves(jax.jit(jax.grad(loss_of))(params)):
        assert jnp.isfinite(grad).all() and jnp.any(grad != 0)


def with_training(**changes):
    return dataclasses.replace(TRAINING, **changes)


@functools.cache
def trained(training):
    """Parameters after one epoch."""
    return epoch(state_of(training=training), model(), training=training)[0].params


@pytest.mark.optimizer
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"label_smoothing": 0.2}, marks=pytest.mark.slow),
        {"jitter": 5e-3},
        pytest.param({"lower_rate": 50.0, "rate_strength": 1e-3}, marks=pytest.mark.slow),
        pytest.param({"upper_rate": 1.0, "rate_strength": 1e-3}, marks=pytest.mark.slow),
        pytest.param({"clip_norm": 1e-3}, marks=pytest.mark.slow),
    ],
)
def test_every_setting_of_the_training_is_used(changes):
    assert not same(trained(TRAINING), trained(with_training(**changes)))


@pytest.mark.optimizer
@pytest.mark.parametrize(
    ("name", "rises"),
    [("lower_rate", True), pytest.param("upper_rate", False, marks=pytest.mark.slow)],
)
def test_rate_penalties_pull_the_rates(name, rises):
    training = with_training(**{name: 40.0 if rises else 1.0, "rate_strength": 1.0, "epochs": 4})
    train = jax.jit(functools.partial(train_batches, model(), training))
    state, part, rates = state_of(), data().train, []
    for number in range(1, 5):
        order = epoch_order(0, number, len(part.labels), 16)
        state, sums = train(state, part, order)
        rates.append(float(sums.activity[0].mean() / sums.samples / 5e-3))
    assert (rates[-1] > 1.2 * rates[0]) if rises else (rates[-1] < 0.8 * rates[0])


@pytest.mark.slow
@pytest.mark.optimizer
def test_the_gradient_norm_is_that_of_the_mean_loss():
    part, net, params = data().train, model(), state_of().params
    order = epoch_order(0, 1, len(part.labels), 16)[:1]
    x, y = jnp.asarray(part.inputs[order[0]]), jnp.asarray(part.labels[order[0]])

    def loss_of(params):
        return losses.softmax_cross_entropy(net.apply(params, x, jax.random.key(0)).z, y)

    grads = jax.tree.leaves(jax.jit(jax.grad(loss_of))(params))
    norm = np.sqrt(sum(float((np.asarray(g, np.float64) ** 2).sum()) for g in grads))
    _, sums = compiled(net)(state_of(), part, order)
    assert float(sums.grad_norm / sums.samples) == pytest.approx(norm, rel=1e-4)


@pytest.mark.optimizer
@pytest.mark.slow
def test_rasters_can_be_looked_at_as_events():
    part, net, params = data().test, model(), state_of().params
    inputs = jnp.asarray(part.inputs)
    source, *layers = net.spikes(params, inputs)
    np.testing.assert_array_equal(source.counts(), part.inputs.sum(axis=1))
    np.testing.assert_allclose(source.first_times(), part.inputs.argmax(axis=1) * 5e-3, rtol=1e-6)
    output = jax.jit(net.apply)(params, inputs, jax.random.key(0))
    for events, raster in zip(layers, output.spikes, strict=True):
        np.testing.assert_array_equal(events.counts(), raster.sum(axis=1))
    np.testing.assert_array_equal(net.predict(params, inputs), output.z.argmax(axis=-1))
