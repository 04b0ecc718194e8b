"""What all online rules promise: chunks, streams, exact cases, memory, and what bad input gets."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from examples.learns_online import errors_of
from flax_snn import learn

B, T, F, N, C = 3, 23, 5, 7, 2
SOFT = snn.LIFDynamics(tau_mem=5e-3, reset="soft")


def inputs(seed: int = 0, *features: int) -> jax.Array:
    shape = (B, T, *(features or (F,)))
    return (jax.random.uniform(jax.random.key(seed), shape) < 0.4).astype(jnp.float64)


def targets(seed: int = 1) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (B, T, C), jnp.float64)


def chain(*cells: Any) -> Any:
    return snn.RNN(snn.Chain(list(cells)))


WIDE: dict[str, Any] = {"param_dtype": jnp.float64}


def recurrent(**arguments: Any) -> Any:
    return snn.RecurrentLIFCell(N, **(WIDE | arguments))


def readout(**arguments: Any) -> Any:
    return snn.LeakyIntegratorReadout(C, **(WIDE | arguments))


def pool(x: Any) -> Any:
    """Mean of two by two pixels."""
    *lead, height, width, channels = x.shape
    return x.reshape(*lead, height // 2, 2, width // 2, 2, channels).mean((-4, -2))


def convolutional(**arguments: Any) -> Any:
    conv = functools.partial(nn.Conv, kernel_size=(3, 3), **WIDE)
    lif = functools.partial(snn.LIF, dynamics=SOFT, **WIDE)

    def flat(x: Any) -> Any:
        return x.reshape(*x.shape[:2], -1)

    return nn.Sequential(
        [conv(3), lif(), pool, conv(4), lif(), flat, nn.Dense(C, **WIDE)], **arguments
    )


MODELS: dict[str, tuple[Any, Any, tuple[int, ...]]] = {
    "eprop": (lambda: chain(recurrent(), readout()), learn.EProp(), (F,)),
    "d_rtrl": (lambda: chain(recurrent(), recurrent(), readout()), learn.DRTRL(), (F,)),
    "ottt": (convolutional, learn.OTTT(input_trace=True), (6, 6, 1)),
}


def prepared(rule: str) -> tuple[Any, Any, Any, Any]:
    make, options, features = MODELS[rule]
    model = make()
    x = inputs(0, *features)
    variables = jax.jit(model.init)(jax.random.key(2), x)
    # Strong weights, so that all layers spike.
    scale = 5.0 if rule == "ottt" else 2.0
    variables = jax.tree.map(lambda w: scale * w, variables)
    return model, options, variables, (x, targets())


def assert_close(a: Any, b: Any, tolerance: float = 1e-11) -> None:
    def close(one: Any, other: Any) -> None:
        scale = max(1.0, float(jnp.abs(other).max()))
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale)

    jax.tree.map(close, a, b)


@pytest.mark.slow
@pytest.mark.parametrize("rule", list(MODELS))
def test_steps_of_a_stream_add_up_to_the_sequence(rule: str, x64: None) -> None:
    """One step at a time, chunks of 9 and the whole give one gradient, one loss and one output."""
    model, options, variables, batch = prepared(rule)
    named = {"input_trace": True} if rule == "ottt" else {}
    whole = functools.partial(learn.RULES[rule], model, loss=learn.squared_error, **named)
    stream = learn.Stream(model, learn.squared_error, rule=options)

    @jax.jit
    def by_steps(variables: Any, batch: Any) -> Any:
        def step(carry: Any, now: Any) -> Any:
            learned = stream.step(variables, carry, now)
            return learned.carry, learned[1:]

        sequence = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), batch)
        start = stream.start(variables, sequence[0][0])
        _, found = jax.lax.scan(step, start, sequence)
        return found

    loss, gradient = jax.jit(functools.partial(whole, chunk=9))(variables, batch=batch)
    losses, gradients, outputs = by_steps(variables, batch)
    assert_close(jnp.sum(losses), loss)
    assert_close(jax.tree.map(lambda g: jnp.sum(g, axis=0), gradients), gradient)
    assert_close(jnp.moveaxis(outputs, 0, 1), model.apply(variables, batch[0]))
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_ottt_of_one_layer_with_soft_resets_is_the_full_gradient(x64: None) -> None:
    lif = snn.LIF(SOFT, **WIDE)
    model = nn.Sequential([nn.Dense(N, use_bias=False, **WIDE), lif])
    x = inputs()
    variables = model.init(jax.random.key(2), x)
    batch = (x, jax.random.normal(jax.random.key(3), (B, T, N), jnp.float64))
    given = (model, variables, batch, learn.squared_error)
    _, gradient = learn.ottt(*given, input_trace=True, chunk=6)
    assert_close(gradient, learn.bptt(*given)[1])
    _, without = learn.ottt(*given)
    assert (
        float(jnp.abs(without["layers_0"]["kernel"] - gradient["layers_0"]["kernel"]).max()) > 0.1
    )


@pytest.mark.slow
def test_ottt_of_convolutions_is_its_definition(x64: None) -> None:
    """The gradient of the second convolution, written with NumPy-like traces and one jax.vjp."""
    model, _, variables, (x, goal) = prepared("ottt")
    _, gradient = jax.jit(functools.partial(learn.ottt, model, loss=learn.squared_error))(
        variables, batch=(x, goal)
    )
    params = variables["params"]
    alpha = float(np.exp(-1e-3 / 5e-3))
    conv = [nn.Conv(3, (3, 3), **WIDE), nn.Conv(4, (3, 3), **WIDE)]
    dense = nn.Dense(C, **WIDE)
    surrogate = SOFT.surrogate
    v = [jnp.zeros((B, 6, 6, 3), jnp.float64), jnp.zeros((B, 3, 3, 4), jnp.float64)]
    trace, total = jnp.zeros((B, 3, 3, 3), jnp.float64), 0.0
    for t in range(T):
        first = alpha * v[0] + (1 - alpha) * conv[0].apply({"params": params["layers_0"]}, x[:, t])
        s = (first > 1.0).astype(jnp.float64)
        pooled = pool(s)
        trace = alpha * trace + pooled
        weights = {"params": params["layers_3"]}
        second = alpha * v[1] + (1 - alpha) * conv[1].apply(weights, pooled)
        out = (second > 1.0).astype(jnp.float64)
        v = [first - s, second - out]
        y, back = jax.vjp(
            lambda s: dense.apply({"params": params["layers_6"]}, s), out.reshape(B, -1)
        )
        (d_out,) = back(y - goal[:, t])
        d = d_out.reshape(out.shape) * surrogate(second, jnp.asarray(1.0)) * (1 - alpha)
        of_trace = jax.vjp(lambda w: conv[1].apply({"params": w}, trace), params["layers_3"])[1]  # noqa: B023
        total = total + of_trace(d)[0]["kernel"]
    assert float(jnp.abs(total).max()) > 0
    assert_close(gradient["layers_3"]["kernel"], total)


@pytest.mark.slow
def test_feed_forward_eprop_is_the_full_gradient(x64: None) -> None:
    hidden = snn.LIFCell(N, dynamics=SOFT, learn=("tau_mem",), use_bias=True, **WIDE)
    model = chain(hidden, readout(use_bias=True))
    x = inputs()
    variables = model.init(jax.random.key(2), x)
    given = (model, variables, (x, jnp.array([0, 1, 1])), learn.cross_entropy)
    lengths = jnp.array([T, 9, 1])
    loss, gradient = learn.eprop(*given, seq_lengths=lengths, chunk=8)
    full = learn.bptt(*given, seq_lengths=lengths)
    assert_close((loss, gradient), full)


@pytest.mark.slow
def test_adaptive_feedback_learns_with_the_readout(x64: None) -> None:
    model = chain(recurrent(), readout())
    x = inputs()
    variables = learn.with_feedback(
        jax.random.key(5), model.init(jax.random.key(2), x), adaptive=True
    )
    _, gradient = learn.eprop(
        model, variables, (x, targets()), learn.squared_error, feedback="adaptive"
    )
    np.testing.assert_array_equal(gradient["feedback"], gradient["cell"]["cells_1"]["kernel"])
    assert jax.tree.structure(gradient) == jax.tree.structure(variables["params"])
    fixed = {**variables, "feedback": {"kernel": variables["params"]["feedback"]}}
    _, random = learn.eprop(model, fixed, (x, targets()), learn.squared_error, feedback="random")
    assert_close(random["cell"], gradient["cell"])
    assert not np.asarray(random["feedback"]).any()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_sequence() -> None:
    def bytes_of(rule: str, steps: int) -> int:
        cells = [snn.RecurrentLIFCell(16), snn.LeakyIntegratorReadout(C)]
        if rule == "ottt":
            cells[0] = snn.LIFCell(16)
        model = chain(*cells)
        x = jax.ShapeDtypeStruct((4, steps, 8), jnp.float32)
        labels = jax.ShapeDtypeStruct((4,), jnp.int32)
        variables = jax.eval_shape(model.init, jax.random.key(0), x)
        one = functools.partial(learn.RULES[rule], model, loss=learn.cross_entropy)
        compiled = jax.jit(one).lower(variables, batch=(x, labels)).compile()
        memory: int = compiled.memory_analysis().temp_size_in_bytes
        return memory

    for rule in ("eprop", "d_rtrl", "ottt"):
        # From a sequence on that is longer than one chunk.
        assert bytes_of(rule, 2000) <= 1.1 * bytes_of(rule, 500), rule
    assert bytes_of("bptt", 2000) > 2 * bytes_of("bptt", 500)


@pytest.mark.slow
@pytest.mark.optimizer
def test_a_stream_follows_a_task_that_changes() -> None:
    """Updates in each step: the error falls before and after the change; without, it is large."""
    learning, stopped = errors_of(4000, "eprop", 1e-3)
    np.testing.assert_array_equal(learning[:2000], stopped[:2000])
    assert learning[1500:2000].mean() < 0.7 * learning[:500].mean()
    assert learning[3500:].mean() < 0.2 * stopped[3500:].mean()


@pytest.mark.slow
def test_a_table_says_how_far_each_rule_is_from_bptt(x64: None) -> None:
    model = chain(recurrent(dynamics=SOFT), readout())
    x = inputs()
    variables = model.init(jax.random.key(2), x)
    table = learn.compare_gradients(model, variables, (x, targets()))
    assert set(table.cosines) == {"eprop", "d_rtrl"}
    assert "recurrent" in table.refused["ottt"]
    cosines = table.cosines["eprop"]
    assert cosines["cell/cells_1/kernel"] == pytest.approx(1.0, abs=1e-12)
    assert 0.0 < cosines["cell/cells_0/recurrent_kernel"] < 1.0 - 1e-6
    # The definition, for one entry.
    given = (model, variables, (x, targets()), learn.squared_error)
    a, b = (
        np.ravel(rule(*given)[1]["cell"]["cells_0"]["kernel"]) for rule in (learn.eprop, learn.bptt)
    )
    norms = np.linalg.norm(a), np.linalg.norm(b)
    assert cosines["cell/cells_0/kernel"] == pytest.approx(a @ b / (norms[0] * norms[1]))
    assert table.ratios["eprop"]["cell/cells_0/kernel"] == pytest.approx(norms[0] / norms[1])
    assert "cell/cells_0/recurrent_kernel" in str(table)
    assert "ottt: " in str(table)
