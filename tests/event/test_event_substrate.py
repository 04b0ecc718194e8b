"""The imperfect substrate: how its neurons differ, what becomes of spikes, and the loop with it."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import LIFCell, LIFDynamics, event
from flax_snn.dynamics import LIFParameters

NEURON = LIFParameters(tau_mem=20e-3, tau_syn=5e-3, threshold=1.0, v_rest=0.2, v_reset=0.1)
SPREAD = {"tau_mem": 0.1, "tau_syn": 0.2, "threshold": 0.3}


def kernel_function(t, tau_mem, tau_syn):
    """K(t) as a difference of exponentials, 0 before the arrival."""
    t = np.maximum(t, 0.0)
    a, b = 1 / tau_mem, 1 / tau_syn
    return a / (b - a) * (np.exp(-a * t) - np.exp(-b * t))


def test_factors_of_mismatch_are_log_normal_and_independent():
    size = 20_000
    chip = event.mismatched(NEURON, jax.random.key(0), size, **SPREAD)
    meant = {"tau_mem": 20e-3, "tau_syn": 5e-3, "threshold": 0.8}  # the threshold above rest
    drawn = {name: np.asarray(getattr(chip, name), np.float64) for name in SPREAD}
    drawn["threshold"] -= NEURON.v_rest
    logs = np.array([np.log(drawn[name] / meant[name]) for name in SPREAD])
    spread = np.array(list(SPREAD.values()))
    # Four standard errors of a mean, of a deviation, of a correlation.
    np.testing.assert_array_less(np.abs(logs.mean(axis=1)), 4 * spread / size**0.5)
    np.testing.assert_allclose(logs.std(axis=1), spread, rtol=4 / (2 * size) ** 0.5)
    np.testing.assert_allclose(np.corrcoef(logs), np.eye(3), atol=4 / size**0.5)
    for name in ("v_rest", "v_reset", "refractory", "resistance", "bias"):
        assert getattr(chip, name) == getattr(NEURON, name)


def test_a_chip_is_its_key():
    draw = jax.jit(lambda key: event.mismatched(NEURON, key, 5, **SPREAD))
    one, again, other = (draw(jax.random.key(k)) for k in (1, 1, 2))
    for name in SPREAD:
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
        assert (getattr(one, name) != getattr(other, name)).all()


def test_without_deviation_neurons_are_what_they_were_meant_to_be():
    assert event.mismatched(NEURON, jax.random.key(0), 4) == NEURON
    only = event.mismatched(NEURON, jax.random.key(0), 4, tau_syn=0.1)
    assert only.tau_syn.shape == (4,) and only.tau_mem == NEURON.tau_mem
    several = NEURON.replace(tau_mem=jnp.array([10e-3, 40e-3]))
    chip = event.mismatched(several, jax.random.key(0), 2, tau_mem=0.1)
    same = event.mismatched(NEURON, jax.random.key(0), 2, tau_mem=0.1)
    np.testing.assert_allclose(chip.tau_mem, same.tau_mem * jnp.array([0.5, 2.0]), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_each_neuron_of_a_chip_spikes_by_its_own_numbers():
    rng = np.random.default_rng(0)
    times, kernel = np.sort(rng.uniform(0, 20e-3, (3, 6))), rng.uniform(0.3, 1.9, (6, 8))
    chip = event.mismatched(NEURON, jax.random.key(3), 8, **SPREAD, dtype=jnp.float64)
    inputs = event.from_times(jnp.asarray(times))
    found = np.asarray(jax.jit(event.first_spikes)(inputs, jnp.asarray(kernel), chip))
    numbers = {name: np.asarray(getattr(chip, name)) for name in SPREAD}
    fine = np.linspace(0, 120e-3, 60_001)
    fired = 0
    for sample in range(3):
        for n in range(8):
            taus = numbers["tau_mem"][n], numbers["tau_syn"][n]
            response = kernel_function(fine[:, None] - times[sample], *taus)
            above = NEURON.v_rest + response @ kernel[:, n] > numbers["threshold"][n]
            if not above.any():
                assert found[sample, n] == math.inf
                continue
            # The crossing lies in the step of 2 us that ends above threshold.
            last = fine[np.argmax(above)]
            assert last - 2e-6 <= found[sample, n] <= last
            fired += 1
    assert 12 <= fired < 24


def some_spikes(batch: int = 400, size: int = 20) -> event.Spikes:
    """Spikes of which a quarter are none."""
    rng = np.random.default_rng(1)
    times = rng.uniform(0, 30e-3, (batch, size)).astype(np.float32)
    times[rng.random(times.shape) < 0.25] = np.inf
    spikes = event.from_times(jnp.asarray(times))
    return spikes.replace(overflow=jnp.zeros(batch, jnp.int32))


def assert_in_order(spikes: event.Spikes) -> None:
    time, index = np.asarray(spikes.time), np.asarray(spikes.index)
    assert (time[:, 1:] >= time[:, :-1]).all() and (time >= 0).all()
    np.testing.assert_array_equal(index == -1, np.isposinf(time))


def test_jitter_shifts_each_spike_by_its_own_normal_number():
    before, jitter = some_spikes(), 0.5e-3
    after = jax.jit(lambda key: event.disturbed(before, key, jitter=jitter))(jax.random.key(5))
    assert_in_order(after)
    assert after.size == before.size
    t, u = (np.asarray(s.first_times(), np.float64) for s in (before, after))
    np.testing.assert_array_equal(np.isposinf(t), np.isposinf(u))
    late = np.isfinite(t) & (t > 5 * jitter)  # where no spike is reflected
    shift = (u[late] - t[late]) / jitter
    count = shift.size
    assert abs(shift.mean()) < 4 / count**0.5
    assert abs(shift.std() - 1) < 4 / (2 * count) ** 0.5
    # Normal: 4.55 % beyond two deviations.
    assert abs(np.mean(np.abs(shift) > 2) - 0.0455) < 4 * (0.0455 / count) ** 0.5
    assert abs(np.corrcoef(shift[1:], shift[:-1])[0, 1]) < 4 / count**0.5


def test_spikes_before_time_0_come_as_long_after_it():
    none = event.from_times(jnp.zeros((2000, 1)))
    after = event.disturbed(none, jax.random.key(0), jitter=1e-3)
    assert_in_order(after)
    # The mean of |z| is sqrt(2 / pi), its deviation sqrt(1 - 2 / pi).
    mean = float(after.time.mean()) / 1e-3
    assert abs(mean - (2 / math.pi) ** 0.5) < 4 * ((1 - 2 / math.pi) / 2000) ** 0.5


def test_spikes_are_lost_with_the_probability_given():
    before = some_spikes()
    after = event.disturbed(before, jax.random.key(2), drop=0.1)
    assert_in_order(after)
    t, u = np.asarray(before.first_times()), np.asarray(after.first_times())
    kept = np.isfinite(u)
    np.testing.assert_array_equal(t[kept], u[kept])  # and no other changes
    count = np.isfinite(t).sum()
    share = 1 - kept.sum() / count
    assert abs(share - 0.1) < 4 * (0.09 / count) ** 0.5
    np.testing.assert_array_equal(after.lost(), np.zeros(len(t)))
    other = event.disturbed(before, jax.random.key(3), drop=0.1)
    assert (np.isfinite(np.asarray(other.first_times())) != kept).any()


def test_nothing_happens_to_spikes_on_a_perfect_substrate():
    before = some_spikes(5)
    after = event.disturbed(before, jax.random.key(0))
    np.testing.assert_array_equal(before.time, after.time)
    np.testing.assert_array_equal(before.index, after.index)


def test_weights_take_the_nearest_of_the_levels():
    rng = np.random.default_rng(4)
    kernel = rng.normal(size=(7, 9)).astype(np.float32)
    found = np.asarray(event.quantized(jnp.asarray(kernel), 3), np.float64)
    levels = np.arange(-7, 8) / 7 * np.abs(kernel).max()
    nearest = levels[np.abs(kernel[..., None] - levels).argmin(axis=-1)]
    np.testing.assert_allclose(found, nearest, rtol=1e-6, atol=1e-6)
    again = event.quantized(jnp.asarray(found, jnp.float32), 3)
    np.testing.assert_allclose(again, nearest, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(event.quantized(jnp.zeros((2, 2)), 6), np.zeros((2, 2)))


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_in_the_loop_the_gradient_is_that_of_the_model_at_the_spikes_of_the_chip():
    """dt/dw = -K(t - t_i) / V'(t), with t the spike of the chip and K, V of the model."""
    rng = np.random.default_rng(6)
    times, kernel = np.sort(rng.uniform(0, 10e-3, (2, 5))), rng.uniform(1.0, 2.4, (5, 4))
    tau_mem, tau_syn, theta, floor = 20e-3, 5e-3, 1.0, 0.2
    dynamics = LIFDynamics(tau_mem=tau_mem, tau_syn=tau_syn, threshold=theta)
    inputs = event.from_times(jnp.asarray(times))
    chip = event.mismatched(dynamics.parameters, jax.random.key(0), 4, **SPREAD, dtype=jnp.float64)
    layer = nn.Sequential(
        [
            event.RNN(
                LIFCell(4, dynamics=dynamics, param_dtype=jnp.float64),
                method="first_spike",
                slope_floor=floor,
            )
        ]
    )

    def loss(kernel):
        out = event.first_spikes(inputs, jax.lax.stop_gradient(kernel), chip)
        spikes = event.disturbed(event.from_times(out), jax.random.key(1), jitter=1e-3, drop=0.2)
        variables = {
            "params": {"layers_0": {"cell": {"kernel": kernel}}},
            "recorded": {"layers_0": {"spikes": spikes}},
        }
        found = layer.apply(variables, inputs)
        first = found.first_times()
        return jnp.sum(jnp.where(jnp.isfinite(first), first, 0.0)), (found, spikes)

    (_, (found, spikes)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        jnp.asarray(kernel)
    )
    np.testing.assert_array_equal(found.time, spikes.time)
    np.testing.assert_array_equal(found.index, spikes.index)
    first = np.asarray(spikes.first_times())
    expected, floored = np.zeros_like(kernel), 0
    for sample, neuron in zip(*np.nonzero(np.isfinite(first)), strict=True):
        since = first[sample, neuron] - times[sample]
        current = np.sum(kernel[:, neuron] * np.exp(-since / tau_syn), where=since > 0)
        slope = max(current - theta, floor * theta) / tau_mem
        floored += current - theta < floor * theta
        expected[:, neuron] -= kernel_function(since, tau_mem, tau_syn) / slope
    assert 4 <= np.isfinite(first).sum() < 8 and floored < 4
    np.testing.assert_allclose(gradient, expected, rtol=1e-9)


KEY = jax.random.key(0)
BAD = {
    "no parameters": (
        lambda: event.mismatched({"tau_mem": 1e-2}, KEY, 3),
        TypeError,
        "parameters: expected a LIFParameters, got",
    ),
    "no synapse": (
        lambda: event.mismatched(LIFParameters(), KEY, 3, tau_mem=0.1),
        ValueError,
        "tau_syn=None",
    ),
    "no neurons": (lambda: event.mismatched(NEURON, KEY, 0), ValueError, "size: expected a whole"),
    "negative deviation": (
        lambda: event.mismatched(NEURON, KEY, 3, tau_mem=-0.1),
        ValueError,
        "tau_mem: expected a finite number >= 0, got -0.1",
    ),
    "infinite deviation": (
        lambda: event.mismatched(NEURON, KEY, 3, threshold=math.inf),
        ValueError,
        "threshold: expected a finite number >= 0, got inf",
    ),
    "no spikes": (lambda: event.disturbed(jnp.ones((1, 2)), KEY), TypeError, "snn.event.Spikes"),
    "negative jitter": (
        lambda: event.disturbed(some_spikes(2), KEY, jitter=-1.0),
        ValueError,
        "jitter: expected a finite number of seconds >= 0, got -1.0",
    ),
    "no probability": (
        lambda: event.disturbed(some_spikes(2), KEY, drop=1.5),
        ValueError,
        r"drop: expected a probability in \[0, 1\], got 1.5",
    ),
    "jitter of NaN": (
        lambda: event.disturbed(some_spikes(2), KEY, jitter=math.nan),
        ValueError,
        "jitter: expected a finite number of seconds >= 0, got nan",
    ),
    "no bits": (lambda: event.quantized(jnp.ones((2, 2)), 0), ValueError, "bits: expected a whole"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
