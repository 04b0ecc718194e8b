"""Layers in continuous time against a plain simulator, and what may not change their results."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import event_layer as layers
import event_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by
from event_layer import DIFFERENTIABLE, B, Case, M, N, layer, random_case, spike_loss

import flax_snn as snn
from flax_snn.dynamics import LIFParameters

pytestmark = pytest.mark.usefixtures("x64")

LOSS = spike_loss()
LIF = LIFParameters(tau_mem=2.0, tau_syn=1.0)


@functools.cache
def clear(count: int = 3, **options: Any) -> list[tuple[Case, list[reference.Run]]]:
    """The first cases that are far from decisions."""
    found = layers.clear_cases(range(60), strength=0.7, **options)
    return [next(found) for _ in range(count)]


ROWS = [
    (ratio, options)
    for ratio in (0.5, 1.0, 2.0, 4.7)
    for options in ({}, {"refractory": 0.3}, {"delays": False})
]


@pytest.mark.parametrize(
    ("ratio", "options"), covered_by(ROWS, [(0.5, {"refractory": 0.3})]), ids=str
)
def test_spikes_and_gradients(ratio: float, options: Any) -> None:
    """Gradients of each kind against central differences of the plain simulator."""
    for case, runs in clear(2, ratio=ratio, **options):
        (value, (spikes, _)), grads = layer(case, LOSS)
        layers.assert_same_spikes(spikes, runs)
        assert sum(len(run.spikes) for run in runs) >= 6
        np.testing.assert_allclose(value, LOSS.of(case, runs), rtol=1e-10)
        for names in (("time", "kernel"), ("recurrent_kernel",), ("tau_mem",), ("tau_syn",)):
            layers.assert_gradient(case, LOSS, grads, names)
        layers.assert_gradient(case, LOSS, grads, ("threshold", "v_rest", "v_reset"))
        if options.get("delays", True):
            layers.assert_gradient(case, LOSS, grads, ("delay", "recurrent_delay"))
        if "refractory" in options:
            layers.assert_gradient(case, LOSS, grads, ("refractory",))


@pytest.mark.slow
@pytest.mark.parametrize("delays", [True, False])
def test_a_neuron_may_feed_itself(delays: bool) -> None:
    for case, _ in clear(2, delays=delays):
        kernel = np.diag([0.4, -0.6, 0.3, -0.2])
        network = dataclasses.replace(case.network, recurrent_kernel=kernel)
        case = Case(network, case.time, case.source)
        runs = layers.runs_of(case)
        assert layers.margin(runs) > 1e-4
        (_, (spikes, _)), grads = layer(case, LOSS)
        layers.assert_same_spikes(spikes, runs)
        layers.assert_gradient(case, LOSS, grads, ("recurrent_kernel", "kernel"))


def test_arrivals_within_and_at_the_end_of_the_refractory_period() -> None:
    """Within, only the current changes; at the end, times are the limit from either side."""
    case = next(c for c, runs in clear(3, refractory=0.3) if runs[0].spikes)
    quiet = dataclasses.replace(
        case.network,
        delay=np.zeros((layers.F, N)),
        recurrent_kernel=np.zeros((N, N)),
        kernel=np.full((layers.F, N), 6.0),
    )

    def run(second: float) -> Any:
        time = np.full((B, M), np.inf)
        time[:, :2] = [0.2, second]
        source = np.where(np.isfinite(time), 0, -1)
        now = Case(quiet, time, source)
        (_, (spikes, _)), grads = layer(now, LOSS)
        return now, spikes, grads

    _, spikes, _ = run(np.inf)
    time, neuron = float(spikes.time[0, 0]), int(spikes.index[0, 0])
    end = time + quiet.refractory[neuron]
    now, spikes, grads = run(time + 0.5 * quiet.refractory[neuron])
    layers.assert_same_spikes(spikes, layers.runs_of(now))
    layers.assert_gradient(now, LOSS, grads, ("time", "kernel", "refractory"))
    at = run(end)[1]
    for side in (-1e-9, 1e-9):
        beside = run(end + side)[1]
        np.testing.assert_array_equal(at.index, beside.index)
        np.testing.assert_allclose(at.time, beside.time, rtol=0, atol=1e-8)


def test_runaway_activity_ends_with_an_overflow() -> None:
    case = random_case(0)
    network = dataclasses.replace(case.network, recurrent_kernel=np.full((N, N), 30.0))
    (_, (spikes, _)), grads = layer(Case(network, case.time, case.source), LOSS)
    assert (np.asarray(spikes.overflow) > 0).all()
    assert np.isfinite(spikes.time).all()
    assert all(np.isfinite(g).all() for g in grads.values())


def test_no_input_and_no_output() -> None:
    case = random_case(0)
    nothing = Case(case.network, np.full((B, M), np.inf), np.full((B, M), -1))
    weak = dataclasses.replace(case.network, kernel=0.01 * case.network.kernel)
    for silent in (nothing, Case(weak, case.time, case.source)):
        (value, (spikes, _)), grads = layer(silent, LOSS)
        assert value == 0.0
        assert np.isposinf(spikes.time).all() and (np.asarray(spikes.index) == -1).all()
        assert all((np.asarray(g) == 0).all() for g in grads.values())


@pytest.mark.slow
def test_samples_and_neurons_may_change_places() -> None:
    case, _ = clear()[0]
    (_, (spikes, _)), grads = layer(case, LOSS)
    swapped = Case(case.network, case.time[::-1], case.source[::-1])
    loss = dataclasses.replace(LOSS, spikes=LOSS.spikes[::-1])
    (_, (other, _)), other_grads = layer(swapped, loss)
    np.testing.assert_array_equal(other.time[::-1], spikes.time)
    np.testing.assert_array_equal(other.index[::-1], spikes.index)
    np.testing.assert_allclose(other_grads["kernel"], grads["kernel"], rtol=0, atol=1e-12)

    order = np.array([2, 0, 3, 1])
    changes = {name: getattr(case.network, name)[..., order] for name in DIFFERENTIABLE}
    for name in ("recurrent_kernel", "recurrent_delay"):
        changes[name] = changes[name][order]
    network = dataclasses.replace(case.network, **changes)
    loss = dataclasses.replace(LOSS, spikes=LOSS.spikes[:, order])
    (_, (other, _)), other_grads = layer(Case(network, case.time, case.source), loss)
    np.testing.assert_allclose(other.time, spikes.time, rtol=1e-12)
    back = np.where(np.asarray(other.index) < 0, -1, order[np.asarray(other.index)])
    np.testing.assert_array_equal(back, spikes.index)
    expected = np.asarray(grads["recurrent_kernel"])[order][:, order]
    np.testing.assert_allclose(other_grads["recurrent_kernel"], expected, rtol=0, atol=1e-10)


@pytest.mark.slow
def test_a_sample_does_not_depend_on_the_others() -> None:
    case, _ = clear()[0]
    (_, (both, _)), _ = layer(case, LOSS)
    for b in range(B):
        twice = Case(case.network, case.time[[b, b]], case.source[[b, b]])
        (_, (spikes, _)), _ = layer(twice, LOSS)
        for name in ("time", "index", "overflow"):
            np.testing.assert_array_equal(getattr(spikes, name)[0], getattr(both, name)[b])


def arrays(case: Case) -> tuple[snn.event.Spikes, jax.Array, LIFParameters]:
    p = {name: jnp.asarray(getattr(case.network, name)) for name in DIFFERENTIABLE}
    inputs = snn.event.Spikes(
        jnp.asarray(case.time), jnp.asarray(case.source, jnp.int32), None, layers.F
    )
    return inputs, p["kernel"], layers.parameters_of(p)


def run_of(spikes: snn.event.Spikes, **arguments: Any) -> Any:
    return jax.jit(
        functools.partial(snn.event.simulate, **arguments), compiler_options=layers.QUICK
    )


@pytest.mark.slow
def test_jit_changes_nothing_and_an_end_cuts_off() -> None:
    case, _ = clear(delays=False, recurrence=0.0)[0]
    inputs, kernel, parameters = arrays(case)
    eager = snn.event.simulate(inputs, kernel, parameters, budget=64)
    jitted = run_of(inputs, budget=64)(inputs, kernel, parameters)
    np.testing.assert_allclose(eager.time, jitted.time, rtol=1e-13)
    np.testing.assert_array_equal(eager.index, jitted.index)
    assert eager.time.shape == (B, 64) and eager.index.dtype == jnp.int32
    end = 2.5
    short = run_of(inputs, budget=64, duration=end)(inputs, kernel, parameters)
    before = np.asarray(jitted.time) < end
    assert 0 < before.sum() < np.isfinite(jitted.time).sum()
    np.testing.assert_allclose(short.time, np.where(before, jitted.time, np.inf), rtol=1e-13)


def test_at_most_so_many_spikes_of_a_neuron() -> None:
    case, runs = clear(refractory=0.3, delays=False, recurrence=0.0)[0]
    assert max(np.bincount([n for _, n in runs[0].spikes])) > 2
    inputs, kernel, parameters = arrays(case)
    spikes = run_of(inputs, budget=64, max_spikes=2, duration=layers.DURATION)(
        inputs, kernel, parameters
    )
    layers.assert_same_spikes(spikes, layers.runs_of(case, max_spikes=2))
    assert int(spikes.counts().max()) == 2


@pytest.mark.slow
def test_first_spikes_are_those_of_the_event_loop() -> None:
    """With delays of synapses: another order of arrivals at each neuron; times and gradients."""
    case, _ = clear(recurrence=0.0)[0]
    inputs, kernel, parameters = arrays(case)
    delay = jnp.asarray(case.network.delay)
    weights = jnp.asarray(LOSS.spikes[:, :, 0])

    def loss(event_loop: bool, kernel: Any, delay: Any, parameters: Any, time: Any) -> Any:
        spikes = inputs.replace(time=time)
        if event_loop:
            out = snn.event.simulate(
                spikes, kernel, parameters, budget=N, max_spikes=1, delay=delay
            )
            times = out.first_times()
        else:
            times = snn.event.first_spikes(spikes, kernel, parameters, delay=delay)
        real = jnp.isfinite(times)
        return jnp.sum(weights * jnp.where(real, times, 0.0)), times

    results = []
    for event_loop in (True, False):
        run = jax.value_and_grad(
            functools.partial(loss, event_loop), argnums=(0, 1, 2, 3), has_aux=True
        )
        run = jax.jit(run, compiler_options=layers.QUICK)
        results.append(run(kernel, delay, parameters, inputs.time))
    ((_, a), a_grads), ((_, b), b_grads) = results
    expected = [run.table(N, 64)[:, 0] for run in layers.runs_of(case, max_spikes=1)]
    np.testing.assert_allclose(b, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(a, b, rtol=1e-12)
    assert np.isfinite(b).sum() >= 4
    compare = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-11)
    jax.tree.map(compare, a_grads, b_grads)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["first_spikes", "simulate"])
def test_delays_of_axons_and_dendrites_are_those_of_their_synapses(method: str) -> None:
    case, _ = clear(recurrence=0.0)[0]
    inputs, kernel, parameters = arrays(case)
    weights = jnp.asarray(LOSS.spikes[:, :, 0])

    @functools.partial(jax.jit, compiler_options=layers.QUICK)
    @functools.partial(jax.value_and_grad, has_aux=True)
    def run(delay: Any) -> Any:
        if method == "simulate":
            out = snn.event.simulate(inputs, kernel, parameters, budget=64, delay=delay)
            times = out.first_times()
        else:
            times = snn.event.first_spikes(inputs, kernel, parameters, delay=delay)
        return jnp.sum(weights * jnp.where(jnp.isfinite(times), times, 0.0)), times

    for axis in (0, 1):
        shared = jnp.asarray(case.network.delay.take([0], axis=axis))
        (_, times), gradient = run(shared)
        (_, expected), by_synapse = run(jnp.broadcast_to(shared, kernel.shape))
        np.testing.assert_allclose(times, expected, rtol=1e-13)
        summed = by_synapse.sum(axis=axis, keepdims=True)
        np.testing.assert_allclose(gradient, summed, rtol=0, atol=1e-12)
        assert gradient.any()


@pytest.mark.slow
def test_spikes_without_a_slot() -> None:
    """Flagged under jit, an error outside, and carried on through the layers behind."""
    inputs = snn.event.from_times(jnp.array([[0.1], [jnp.inf]]))
    kernel = jnp.full((1, 1), 40.0)
    simulate = functools.partial(snn.event.simulate, budget=2, parameters=LIF)
    with pytest.raises(OverflowError, match=r"simulate: 1 of 2 samples.*raise budget=.*2 slots"):
        simulate(inputs, kernel)
    run = jax.jit(simulate, compiler_options=layers.QUICK)
    spikes = run(inputs, kernel)
    assert spikes.overflow[0] > 0 and spikes.overflow[1] == 0
    assert np.isfinite(spikes.time[0]).all()
    with pytest.raises(OverflowError, match=r"first_spikes: 1 of 2 samples"):
        snn.event.first_spikes(spikes, kernel, LIF)
    behind = run(inputs.replace(overflow=jnp.array([0, 3], jnp.int32)), 0.1 * kernel / 40)
    assert behind.overflow.tolist() == [0, 3]
