"""Devices and circuit against aihwkit 1.2.0 and a nodal solver; see tests/golden/crossbar."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import crossbar
from flax_snn.crossbar import Converter, Device, IRDrop, chip
from flax_snn.crossbar.product import product

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "crossbar"
DRAWS = 50_000


@functools.cache
def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files}


def within_errors(found, mean, std, samples):
    """Means of ``(..., draws)`` within 5 standard errors of golden ones, spreads within 3 %."""
    found = np.asarray(found, np.float64)
    error = np.sqrt(std**2 / samples + found.var(axis=-1) / found.shape[-1])
    assert np.all(np.abs(found.mean(axis=-1) - mean) <= 5 * error + 1e-7)
    scattered = std > 1e-6
    np.testing.assert_allclose(found.std(axis=-1)[scattered], std[scattered], rtol=0.03)


@pytest.mark.parametrize("bounds", [(0, 25), (2, 30)])
def test_differential_mapping(bounds):
    file, (low, high) = golden("differential_mapping"), bounds
    device = Device(g_min=float(low), g_max=float(high))
    found = chip.program(device, jnp.asarray(file["weight"]), jax.random.key(0))
    name = f"_{low}_{high}"
    np.testing.assert_allclose(found.target[0], file[f"g_plus{name}"], atol=3e-6)
    np.testing.assert_allclose(found.target[1], file[f"g_minus{name}"], atol=3e-6)
    weight = np.asarray(found.reading.matrix) * np.asarray(found.reading.scale)
    np.testing.assert_allclose(weight, file[f"back{name}"], atol=1e-6)
    np.testing.assert_allclose(
        (high - low) / np.asarray(found.w_max), file[f"scale_ratio{name}"], rtol=1e-6
    )


CIRCUITS = {
    "dac7": ("x", {"dac": Converter(7, 1.0)}),
    "dac4_clip": ("x_big", {"dac": Converter(4, 1.0)}),
    "adc8": ("x", {"adc": Converter(8, 12.0)}),
    "adc5_clip": ("x", {"adc": Converter(5, 1.5)}),
    "abs_max_dac6_adc8": (
        "x_big",
        {"dac": Converter(6, 1.0), "adc": Converter(8, 10.0), "input_scaling": "abs_max"},
    ),
    "abs_max_bound_iterative": (
        "x_big",
        {
            "dac": Converter(7, 1.0),
            "adc": Converter(9, 1.0),
            "input_scaling": "abs_max",
            "bound_management": "batch",
        },
    ),
    "ir_drop_1": ("x", {"ir_drop": IRDrop()}),
    "ir_drop_half": ("x", {"ir_drop": IRDrop(scale=0.5)}),
    "ir_drop_ratio": ("x", {"ir_drop": IRDrop(wire_conductance=1e4)}),
}


def on_crossbar(device, x, key=None):
    weight = jnp.asarray(golden("matmul")["weight"].T)
    found = chip.program(device.replace(w_max=1.0), weight, jax.random.key(0))
    return product(found.device, found.reading, jnp.asarray(x), key)


@pytest.mark.parametrize("name", CIRCUITS)
def test_deterministic_circuit(name):
    inputs, effects = CIRCUITS[name]
    found = on_crossbar(Device(**effects), golden("matmul")[inputs])
    np.testing.assert_allclose(found, golden("matmul")[f"y_{name}"], atol=2e-6)


NOISES = {
    "out_noise": ("x", {"output_noise": 0.06}),
    "inp_noise": ("x", {"input_noise": 0.05}),
    "both_abs_max": (
        "x",
        {"output_noise": 0.06, "input_noise": 0.02, "input_scaling": "abs_max"},
    ),
}


@pytest.mark.parametrize("name", NOISES)
def test_noise_of_the_circuit(name):
    """What the noise adds to the product, and how much it scatters."""
    file, (inputs, effects) = golden("matmul"), NOISES[name]
    repeats, samples = 4000, int(file["repeats"])
    reads = functools.partial(on_crossbar, Device(**effects), file[inputs])
    found = jax.jit(jax.vmap(reads))(jax.random.split(jax.random.key(1), repeats))
    added = np.asarray(found, np.float64) - file[inputs] @ file["weight"].T
    mean, std = file[f"noise_mean_{name}"], file[f"noise_std_{name}"]
    error = np.sqrt(std**2 / samples + added.var(axis=0) / repeats)
    assert np.all(np.abs(added.mean(axis=0) - mean) <= 5 * error + 1e-6)
    # The error of a spread is spread / sqrt(2 n).
    slack = 5 * np.sqrt((1 / samples + 1 / repeats) / 2)
    np.testing.assert_allclose(added.std(axis=0), std, rtol=slack)


def devices(name, key):
    target = jnp.broadcast_to(
        jnp.asarray(golden(name)["g_target"], jnp.float32)[:, None],
        (
            len(golden(name)["g_target"]),
            DRAWS,
        ),
    )
    return target, jax.random.split(jax.random.key(key), 3)


def test_programming_and_drift_exponents():
    file = golden("pcm_statistics")
    target, (write, draw, _) = devices("pcm_statistics", 2)
    samples = int(file["samples"])
    found = crossbar.ProgrammingNoise().write(write, target, 25.0)
    within_errors(found, file["prog_mean"], file["prog_std"], samples)
    zero = np.mean(np.asarray(found) == 0, axis=-1)
    np.testing.assert_allclose(zero, file["prog_zero_fraction"], atol=5 * 0.5 / np.sqrt(DRAWS))
    sigma = crossbar.ProgrammingNoise().sigma(target[:, 0], 25.0)
    np.testing.assert_allclose(sigma, file["form_sigma_prog"], rtol=1e-6)
    nu = crossbar.Drift().draw(draw, target, 25.0)
    within_errors(nu, file["nu_mean"], file["nu_std"], samples)


@pytest.mark.parametrize("k", range(5))
def test_drift_and_read_noise(k):
    file = golden("pcm_statistics")
    name, t = str(file["times_names"][k]), float(file["times"][k])
    target, (write, draw, read) = devices("pcm_statistics", 3)
    samples = int(file["samples"])
    written = crossbar.ProgrammingNoise().write(write, target, 25.0)
    drift, noise = crossbar.Drift(), crossbar.ReadNoise()
    g = drift.at(written, drift.draw(draw, target, 25.0), jnp.float32(t))
    within_errors(g, file[f"drift_mean_{name}"], file[f"drift_std_{name}"], samples)
    if name == "t0":
        np.testing.assert_array_equal(g, written)
    full = noise.read(read, g, written, 25.0, jnp.float32(t))
    within_errors(full, file[f"full_mean_{name}"], file[f"full_std_{name}"], samples)
    only = noise.read(read, target, target, 25.0, jnp.float32(t))
    within_errors(only, file[f"read_only_mean_{name}"], file[f"read_only_std_{name}"], samples)


@pytest.mark.parametrize(("name", "t"), [("1s", 1.0), ("1d", 86400.0), ("2d", 172800.0)])
def test_relaxation(name, t):
    file = golden("reram_wan2022_statistics")
    target, (draw, _, _) = devices("reram_wan2022_statistics", 4)
    relaxation = crossbar.Relaxation()
    g = relaxation.at(target, relaxation.draw(draw, target), 40.0, t)
    within_errors(g, file[f"mean_{name}"], file[f"std_{name}"], int(file["samples"]))


@pytest.mark.slow
@pytest.mark.parametrize("compensation", [None, "global"])
def test_layer_over_time(compensation):
    """The relative error of a layer, and the slope of its outputs.

    aihwkit lets the difference of a pair drift, not each device: that shifts slopes by up to 0.003
    beyond what 5 standard errors of its 200 repeats allow for.
    """
    file, repeats = golden("over_time"), 400
    weight, x = jnp.asarray(file["weight"].T), jnp.asarray(file["x"])
    ideal = x @ weight
    device = Device.pcm(dac=None, adc=None, output_noise=0.0)

    def look(key):
        program_key, read_key = jax.random.split(key)
        made = chip.program(device, weight, program_key)

        def error(t):
            seen = chip.read(made, t, read_key, compensation)
            y = product(device, seen.reading, x, None)
            return jnp.sqrt(jnp.mean((y - ideal) ** 2)) / jnp.std(ideal), jnp.sum(
                y * ideal
            ) / jnp.sum(ideal**2)

        return jnp.array([error(float(t)) for t in file["times"]])

    found = np.asarray(jax.jit(jax.vmap(look))(jax.random.split(jax.random.key(5), repeats)))
    kind = "plain" if compensation is None else "compensated"
    for column, what in enumerate(("relative_error", "slope")):
        mean, std = file[f"{what}_mean_{kind}"], file[f"{what}_std_{kind}"]
        values = found[:, :, column]
        error = np.sqrt(std**2 / int(file["repeats"]) + values.var(axis=0) / repeats)
        assert np.all(np.abs(values.mean(axis=0) - mean) <= 5 * error + 0.003)


@pytest.mark.parametrize("size", ["4x3", "16x8"])
@pytest.mark.parametrize("resistance", ["0.15", "1", "10", "100"])
def test_nodal_currents(size, resistance):
    file = golden("nodal")
    found = crossbar.nodal_currents(file[f"g_{size}"], file[f"v_{size}"], float(resistance))
    np.testing.assert_allclose(found, file[f"i_{size}_r{resistance}"], rtol=1e-10)
    ideal = crossbar.nodal_currents(file[f"g_{size}"], file[f"v_{size}"], 1e-9)
    np.testing.assert_allclose(ideal, file[f"ideal_{size}"], rtol=1e-6)
