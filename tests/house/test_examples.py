"""The simulation examples: their numbers, and that each leaves the picture that it promises."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

import flax_snn as snn
from examples import network, refractory, tutorial_network


def printed(capsys, pattern: str) -> list[float]:
    """Numbers that stand in the groups of a pattern in what was printed."""
    found = re.search(pattern, capsys.readouterr().out)
    assert found
    return [float(group) for group in found.groups()]


def is_picture(path: Path) -> bool:
    pixels = matplotlib.image.imread(path)[..., :3]
    return min(pixels.shape[:2]) > 400 and pixels.std() > 0.05


@pytest.mark.parametrize("t_ref", [0.0, 1e-3, 5e-3])
def test_rates_follow_the_closed_form(t_ref):
    currents = np.array([1e-9, 1.9e-9, 2.1e-9, 3e-9, 5e-9, 10e-9])
    rates = refractory.simulated_rates(t_ref, currents, seconds=0.4)
    tau, rest, theta = 10e-3, -70e-3, -50e-3
    assert (rates[:2] == 0.0).all()  # 2 nA are needed.
    v_inf = rest + 1e7 * currents[2:]
    interval = t_ref + tau * np.log((v_inf - rest) / (v_inf - theta))
    np.testing.assert_allclose(refractory.closed_form(t_ref, currents)[2:], 1.0 / interval)
    # At most one step until the threshold is seen and one that resets; Euler's method decays
    # faster than the exponential by dt / (2 tau).
    dt = refractory.DT_RATES
    longer = 1.0 / rates[2:] - interval
    assert (longer < 2 * dt).all()
    assert (longer > -dt / (2 * tau) * interval).all()


def test_neurons_are_held_for_the_refractory_period():
    current = refractory.noisy_step(20, np.random.default_rng(0))
    spikes, v = refractory.simulate(refractory.neuron(3e-3), current)
    held = round(3e-3 / refractory.DT) + 1  # The step of the spike, and the period.
    steps, neurons = np.nonzero(spikes)
    assert 40 < steps.size < 200
    for t, n in zip(steps, neurons, strict=True):
        window = slice(t, min(t + held, len(v)))
        np.testing.assert_allclose(v[window, n], refractory.V_RESET, rtol=1e-6)
        assert spikes[window, n].sum() == 1
        if t + held < len(v):
            assert v[t + held, n] != v[t, n]


@pytest.mark.slow
def test_refractory_prints_its_rate_and_saves_its_picture(tmp_path, capsys):
    out = tmp_path / "refractory.png"
    refractory.main(["--out", str(out), "--neurons", "20", "--seconds", "0.1", "--t-ref", "1e-3"])
    rate, silent = printed(capsys, r"step: ([\d.]+) Hz; ([\d.]+) Hz")
    # tau ln(30 / 10) + t_ref = 11.99 ms; noise adds spikes, the run starts from rest.
    assert silent == pytest.approx(83.4, abs=0.1)
    assert rate == pytest.approx(silent, rel=0.1)
    assert is_picture(out)


def test_every_neuron_hears_a_tenth_of_either_kind():
    matrix = network.weights(200, 1.0, np.random.default_rng(0))
    excitatory, inhibitory = matrix[:160], matrix[160:]
    assert (np.diag(matrix) == 0.0).all()
    # One less where a neuron drew itself.
    assert set((excitatory > 0).sum(axis=0)) == {15, 16} and (excitatory >= 0).all()
    assert set((inhibitory < 0).sum(axis=0)) == {3, 4} and (inhibitory <= 0).all()
    assert np.isclose(inhibitory.min(), -10.0 * excitatory.max())


def test_network_runs_the_equations_of_the_reference():
    """v <- v + dt/tau (v_reset - v + x + s W); s = v >= theta resets, in float64."""
    rng = np.random.default_rng(7)
    steps, neurons = 150, 60
    matrix = network.weights(neurons, 1.0, rng).astype(np.float32)
    current = network.drive(steps, neurons, rng).astype(np.float32)
    v = rng.uniform(network.V_RESET, network.THETA, neurons).astype(np.float32)
    spikes = network.simulate(matrix, current, v)

    v, w, nearest = v.astype(np.float64), matrix.astype(np.float64), np.inf
    expected = []
    for x in current.astype(np.float64):
        nearest = min(nearest, np.abs(v - network.THETA).min())
        s = v >= network.THETA
        v = v + network.DT / network.TAU_M * (network.V_RESET - v + x + s @ w)
        v = np.where(s, network.V_RESET, v)
        expected.append(s)
    # No decision nearer than rounding may add up to: 4e-6 mV in each of the tau / dt = 40 steps.
    assert nearest > 1e-3
    assert np.mean(expected) > 0.005
    np.testing.assert_array_equal(spikes, np.array(expected))


@pytest.mark.slow
def test_network_is_active_irregular_and_asynchronous(tmp_path, capsys):
    out = tmp_path / "network.png"
    network.main(["--out", str(out), "--seconds", "0.5"])
    excitatory, inhibitory, cv, synchrony = printed(
        capsys,
        r"excitatory: ([\d.]+) Hz\ninhibitory: ([\d.]+) Hz\n.*intervals: ([\d.]+)\n"
        r"synchrony: ([\d.]+)",
    )
    assert 10.0 < excitatory < 30.0 and 10.0 < inhibitory < 30.0
    assert 0.7 < cv < 1.1
    assert synchrony < 0.15
    assert is_picture(out)


@pytest.mark.slow
def test_neurons_without_the_matrix_fire_faster_and_more_regularly(tmp_path, capsys):
    out = str(tmp_path / "network.png")
    network.main(["--out", out, "--seconds", "0.5", "--neurons", "100", "--coupling", "0"])
    rate, cv = printed(capsys, r"excitatory: ([\d.]+) Hz\n.*\n.*intervals: ([\d.]+)\n")
    # Without noise: an interval of tau ln(30 / 15) and the step that resets, 69.6 Hz.
    assert rate == pytest.approx(69.6, rel=0.05)
    assert cv < 0.45


def test_measures_of_irregularity_and_synchrony():
    rng = np.random.default_rng(0)
    poisson = (rng.random((20_000, 100)) < 0.01).astype(np.float32)
    assert network.irregularity(poisson) == pytest.approx(1.0, abs=0.03)
    assert network.synchrony(poisson) == pytest.approx(0.1, abs=0.01)  # 1 / sqrt(N)
    together = np.tile(poisson[:, :1], (1, 50))
    assert network.synchrony(together) == pytest.approx(1.0, rel=1e-4)  # float32
    regular = np.zeros((1000, 3), np.float32)
    regular[::20] = 1.0
    assert network.irregularity(regular) == 0.0


def layer_with_tangent(x, dx, kernel, dkernel, recurrent, drecurrent):
    """A layer of the tutorial's neurons over (T, B, F), and its derivative along a direction.

    Written from the reference page; the derivative by hand: surrogate 1 / (1 + 10 |u|)^2 for the
    spike, nothing through the reset.
    """
    alpha, beta, beta_rec, gain, theta = 0.95, 0.9, 0.85, 20.0, 1.0
    zeros = np.zeros((x.shape[1], kernel.shape[1]))
    v, i, i_r, s = zeros, zeros, zeros, zeros
    dv, di, di_r, ds = zeros, zeros, zeros, zeros
    out, dout, membranes = [], [], []
    for x_t, dx_t in zip(x, dx, strict=True):
        keep = 1.0 - (v > theta)
        v = alpha * keep * v + (1 - alpha) * (gain * i + i_r)
        dv = alpha * keep * dv + (1 - alpha) * (gain * di + di_r)
        i = beta * i + (1 - beta) * (x_t @ kernel)
        di = beta * di + (1 - beta) * (dx_t @ kernel + x_t @ dkernel)
        i_r = beta_rec * i_r + (1 - beta_rec) * (s @ recurrent)
        di_r = beta_rec * di_r + (1 - beta_rec) * (ds @ recurrent + s @ drecurrent)
        s = (v > theta).astype(np.float64)
        ds = dv / (1.0 + 10.0 * np.abs(v - theta)) ** 2
        out.append(s), dout.append(ds), membranes.append(v)
    return np.array(out), np.array(dout), np.array(membranes)


@pytest.mark.usefixtures("x64")
def test_tutorial_network_runs_the_equations_of_the_tutorial():
    inputs, _ = tutorial_network.data(4, seed=0)
    x = jnp.asarray(inputs, jnp.float64)
    net = snn.RNN(tutorial_network.network(jnp.float64))
    variables = jax.jit(net.init)(jax.random.key(1), x)
    output, traces = net.apply({"params": variables["params"]}, x, mutable=["intermediates"])
    weights = np.random.default_rng(0).normal(size=output.shape)
    params = variables["params"]
    key = jax.random.key(2)
    direction = jax.tree.map(lambda p: jax.random.normal(key, p.shape, p.dtype), params)
    gradient_of = jax.jit(jax.grad(lambda p: (net.apply({"params": p}, x) * weights).sum()))
    gradient = gradient_of(params)

    hidden, last = params["cell"]["cells_0"], params["cell"]["cells_1"]
    d_hidden, d_last = direction["cell"]["cells_0"], direction["cell"]["cells_1"]
    none = np.zeros((2, 2))
    x_TxBxF = np.asarray(inputs, np.float64).swapaxes(0, 1)
    s, ds, v = layer_with_tangent(
        x_TxBxF,
        np.zeros_like(x_TxBxF),
        *(
            np.asarray(p)
            for name in ("kernel", "recurrent_kernel")
            for p in (hidden[name], d_hidden[name])
        ),
    )
    out, dout, _ = layer_with_tangent(
        s, ds, np.asarray(last["kernel"]), np.asarray(d_last["kernel"]), none, none
    )
    assert 0.01 < s.mean() < 0.2 and 0.01 < out.mean() < 0.3
    sown = traces["intermediates"]["cell"]["cells_0"]
    np.testing.assert_array_equal(np.asarray(sown["spikes"][0]).swapaxes(0, 1), s)
    np.testing.assert_array_equal(np.asarray(output).swapaxes(0, 1), out)
    # float64: rounding of sums over 100 steps.
    np.testing.assert_allclose(np.asarray(sown["v"][0]).swapaxes(0, 1), v, rtol=0, atol=1e-11)
    along = sum(
        float((g * d).sum())
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    expected = float((dout.swapaxes(0, 1) * weights).sum())
    assert abs(expected) > 0.1 and along == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_tutorial_network_prints_its_equations_and_saves_its_picture(tmp_path, capsys):
    out = tmp_path / "tutorial.png"
    tutorial_network.main(["--out", str(out), "--samples", "10"])
    text = capsys.readouterr().out
    for equation in ("i_new = 0.9 i + 0.1 x", "i_r_new = 0.85 i_r + 0.15 s_prev W", "0.05 i_r"):
        assert equation in text
    rates = {name: float(hz) for name, hz in re.findall(r"(\w+): \d+ neurons, ([\d.]+) Hz", text)}
    assert rates["input"] == 10.0  # One spike per unit in 100 ms.
    assert 5.0 < rates["hidden"] < 50.0 and 5.0 < rates["output"] < 150.0
    assert is_picture(out)
