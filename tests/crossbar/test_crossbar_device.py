"""What a device is made of: presets, order of effects, and everything that is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn import crossbar
from flax_snn.crossbar import Converter, Device, Faults, IRDrop, chip
from flax_snn.crossbar.noise import quick_normal
from flax_snn.crossbar.product import product

WEIGHTS = np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)


def made(device, key=0, **maps):
    return chip.program(device, jnp.asarray(WEIGHTS), jax.random.key(key), **maps)


def weights_of(found):
    """Weights as a chip of one tile has them."""
    return np.asarray(found.reading.matrix) * np.asarray(found.reading.scale)


def test_presets_have_the_constants_of_the_reference():
    pcm, reram = Device.pcm(), Device.reram()
    assert (pcm.g_min, pcm.g_max, reram.g_min, reram.g_max) == (0.0, 25.0, 0.0, 40.0)
    assert pcm.programming.coefficients == (0.26348, 1.9650, -1.1731)
    assert pcm.drift.mean == (-0.0155, 0.0244, 0.049, 0.1)
    assert pcm.drift.spread == (-0.0125, -0.0059, 0.008, 0.045)
    assert (pcm.drift.t0, pcm.read_noise.t_read) == (20.0, 250e-9)
    assert reram.relaxation.times == (1.0, 86400.0, 172800.0)
    assert reram.relaxation.coefficients[1] == (0.701, 22.086, -50.773, 47.095, -16.458)
    for device in (pcm, reram):
        assert (device.dac, device.adc) == (Converter(7, 1.0), Converter(9, 12.0))
        assert (device.output_noise, device.tiles) == (0.06, (512, 512))
    assert (pcm.drift_compensation, reram.drift_compensation) == ("global", None)
    assert Device.ideal() == Device()


def test_a_device_is_a_static_argument():
    assert hash(Device.pcm()) == hash(Device.pcm())
    assert Device.pcm(faults=Faults(0.01)) != Device.pcm()


@pytest.mark.parametrize("levels", [2, 3, 17])
def test_levels(levels):
    device = Device(levels=levels, g_min=2.0, g_max=30.0)
    g = np.asarray(made(device).target, np.float64)
    step = 28.0 / (levels - 1)
    expected = 28.0 * np.maximum(np.stack([WEIGHTS, -WEIGHTS]) / np.abs(WEIGHTS).max(), 0)
    np.testing.assert_allclose(g, 2.0 + step * np.round(expected / step), rtol=1e-5)
    assert len(np.unique(weights_of(made(device)))) <= 2 * levels - 1


def test_converters_round_halves_to_even_and_clip():
    converter = Converter(3, 3.0)  # steps of 1
    x = jnp.array([0.5, 1.5, 2.5, -0.5, 2.9, 3.4, -7.0])
    np.testing.assert_array_equal(converter.convert(x), [0, 2, 2, 0, 3, 3, -3])
    slope = jax.grad(lambda x: jnp.sum(converter.convert(x)))(x)
    np.testing.assert_array_equal(slope, [1, 1, 1, 1, 1, 0, 0])
    assert converter.step == 1.0
    assert float(Converter(7, 1.0).convert(jnp.ones(()))) == 1.0


def test_stuck_devices_follow_no_other_effect():
    device = Device.pcm(g_min=1.0, faults=Faults(low=0.2, high=0.1), read_noise=None)
    found = chip.read(made(device), 3600.0, jax.random.key(1), None)
    faults = np.asarray(found.faults)
    share = [np.mean(faults == value) for value in (-1, 1)]
    np.testing.assert_allclose(share, [0.2, 0.1], atol=5 * np.sqrt(0.2 * 0.8 / faults.size))
    span = 24.0 * np.asarray(found.reading.matrix)
    both = (faults[0] == 1) & (faults[1] == -1)
    assert both.any()
    np.testing.assert_allclose(span[both], 24.0, rtol=1e-6)
    np.testing.assert_allclose(span[(faults[0] == 1) & (faults[1] == 1)], 0.0, atol=1e-6)
    # The others are those of a chip without faults.
    other = chip.read(made(device.replace(faults=None)), 3600.0, jax.random.key(1), None)
    fine = np.all(faults == 0, axis=0)
    matrices = (np.asarray(each.reading.matrix)[fine] for each in (found, other))
    np.testing.assert_allclose(*matrices, rtol=1e-4, atol=1e-7)


def test_a_pair_stuck_high_at_its_second_device_is_minus_w_max():
    faults = np.zeros((2, 30, 20), np.int8)
    faults[1, 3, 4] = 1
    device = Device(w_max=5.0)
    zeros = chip.program(device, jnp.zeros((30, 20)), jax.random.key(0), faults=faults)
    expected = np.zeros((30, 20))
    expected[3, 4] = -5.0
    np.testing.assert_array_equal(weights_of(zeros), expected)


def test_write_verify_leaves_few_devices_beyond_its_tolerance():
    noise = crossbar.ProgrammingNoise()
    target = jnp.full((50_000,), 12.5)
    once = noise.write(jax.random.key(0), target, 25.0)
    loop = crossbar.WriteVerify(iterations=3, tolerance=0.02)
    again = loop.write(noise, jax.random.key(0), target, 25.0)

    def missed(g):
        return np.mean(np.abs(np.asarray(g) - 12.5) > 0.5)

    # A device stays beyond the tolerance where all four programmings miss.
    expected = missed(once) ** 4
    np.testing.assert_allclose(missed(again), expected, atol=5 * np.sqrt(expected / 50_000))


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (Device.pcm().with_noise(2.0), Device.pcm()),
        *(
            pytest.param(worse, Device.pcm(**better), marks=pytest.mark.slow)
            for worse, better in [
                (Device.pcm(faults=Faults(0.05, 0.05)), {"faults": Faults(0.01, 0.01)}),
                (Device.pcm(levels=3), {"levels": 9}),
                (Device.pcm(output_noise=0.2), {}),
                (Device.pcm(ir_drop=IRDrop(20.0)), {}),
                (Device.pcm(tiles=(5, 512)), {}),
            ]
        ),
    ],
)
def test_more_of_an_effect_is_more_error(worse, better):
    x = jax.random.uniform(jax.random.key(3), (40, 30))

    def error(device):
        def one(key):
            found = chip.program(device, jnp.asarray(WEIGHTS), key)
            y = product(device, found.reading, x, jax.random.fold_in(key, 1))
            return jnp.mean((y - x @ WEIGHTS) ** 2)

        return float(jnp.mean(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(4), 30))))

    assert error(worse) > error(better)


def test_drift_compensation_by_hand():
    device = Device.pcm(tiles=(16, 20), read_noise=None, drift_compensation="global")
    first = made(device)
    later = chip.read(first, 86400.0, jax.random.key(0), "global")
    for k, rows in enumerate((slice(0, 15), slice(15, 30))):
        before, after = (
            np.abs(np.asarray(each.reading.matrix, np.float64)[rows]).mean()
            for each in (first, later)
        )
        alpha = np.asarray(later.reading.scale[k] / later.w_max[k])
        np.testing.assert_allclose(alpha, before / after, rtol=1e-5)
    column = chip.read(first, 86400.0, jax.random.key(0), "column")
    before, after = (
        np.abs(np.asarray(each.reading.matrix, np.float64)[:15]).mean(axis=0)
        for each in (first, later)
    )
    alpha = np.asarray(column.reading.scale[0] / column.w_max[0])
    np.testing.assert_allclose(alpha, before / after, rtol=1e-5)


def test_scale_is_that_of_each_tile_or_column():
    magnitude = np.abs(WEIGHTS)
    whole = made(Device()).w_max
    np.testing.assert_array_equal(whole, np.full((1, 20), magnitude.max()))
    tiled = made(Device(tiles=(10, 8))).w_max  # columns 7 + 7 + 6
    for row, rows in enumerate((slice(0, 10), slice(10, 20), slice(20, 30))):
        for columns in (slice(0, 7), slice(7, 14), slice(14, 20)):
            expected = magnitude[rows, columns].max()
            assert np.all(np.asarray(tiled[row, columns]) == expected)
    column = made(Device(scaling="column")).w_max
    np.testing.assert_array_equal(column[0], magnitude.max(axis=0))
    assert np.all(
        np.isfinite(weights_of(chip.program(Device(), jnp.zeros((3, 4)), jax.random.key(0))))
    )


def test_bound_management_of_a_vector_depends_on_it_alone():
    device = Device(adc=Converter(9, 1.0), bound_management="vector", w_max=1.0)
    weights = jnp.full((4, 2), 0.9)
    found = chip.program(device, weights, jax.random.key(0))
    x = jnp.array([[1.0, 1.0, 1.0, 1.0], [0.1, 0.1, 0.1, 0.1]])
    y = product(device, found.reading, x, None)
    # 3.6 of a bound of 1 is halved twice; steps are then four times as wide.
    step = 1.0 / 255
    expected = [4 * step * np.round(0.9 / step), step * np.round(0.36 / step)]
    np.testing.assert_allclose(y[:, 0], expected, rtol=1e-5)
    alone = product(device, found.reading, x[1:], None)
    np.testing.assert_array_equal(alone, y[1:])
    assert np.all(
        np.isfinite(jax.grad(lambda x: jnp.sum(product(device, found.reading, x, None)))(x))
    )


def test_spikes_skip_the_dac_and_silence_is_silent():
    device = Device(dac=Converter(3, 0.5), input_scaling="abs_max", w_max=10.0)
    found = made(device)
    spikes = (np.random.default_rng(1).random((6, 30)) < 0.3).astype(np.float32)
    spikes[2] = 0.0
    y = product(device, found.reading, jnp.asarray(spikes), None)
    np.testing.assert_allclose(y, spikes @ WEIGHTS, atol=1e-5)
    assert np.all(np.asarray(y)[2] == 0.0)
    graded = product(device, found.reading, jnp.asarray(0.8 * spikes), None)
    assert np.abs(np.asarray(graded) - 0.8 * spikes @ WEIGHTS).max() > 0.1


@pytest.mark.parametrize("shape", [(7,), (300, 127), (3, 65_537)])
def test_quick_normal_numbers(shape):
    drawn = np.asarray(quick_normal(jax.random.key(0), shape, jnp.float32), np.float64)
    assert drawn.shape == shape
    assert np.abs(drawn).max() < 4.4
    if drawn.size > 1000:
        n = drawn.size
        assert abs(drawn.mean()) < 5 / np.sqrt(n)
        assert abs(drawn.var() - 1) < 5 * np.sqrt(2 / n)
        assert abs((drawn**4).mean() - 3) < 5 * np.sqrt(96 / n)
        flat = drawn.ravel()
        assert abs(np.mean(flat[1:] * flat[:-1])) < 5 / np.sqrt(n)


BAD = [
    (lambda: Device(output_noise=-0.1), "output_noise: expected a finite number >= 0, got -0.1"),
    (lambda: crossbar.ProgrammingNoise(scale=-1.0), "scale: .* >= 0, got -1"),
    (lambda: crossbar.ProgrammingNoise((0.1, -0.5)), "polynomial >= 0 on .* reaches -0.4"),
    (lambda: crossbar.ReadNoise(scale=float("nan")), "scale: .* got nan"),
    (lambda: Device(tiles=(0, 512)), "tiles: rows: expected a whole number >= 1, got 0"),
    (lambda: Device(tiles=512), r"expected \(rows, columns\), got 512"),
    (lambda: Device(g_min=25.0), "g_max: expected a finite number > 25"),
    (lambda: Device(levels=1), "levels: expected a whole number >= 2"),
    (lambda: Device(w_max=0.0), "w_max: .* > 0"),
    (lambda: Converter(1, 1.0), "bits: expected a whole number >= 2"),
    (lambda: Converter(7, 0.0), "bound: .* > 0"),
    (lambda: Faults(low=0.7, high=0.4), r"expected low \+ high <= 1"),
    (lambda: Faults(low=-0.1), "low: .* >= 0"),
    (lambda: Device(input_scaling="max"), "input_scaling: expected None, 'abs_max' or a number"),
    (lambda: Device(bound_management="vector"), "expected adc=Converter"),
    (lambda: Device(bound_management="each", adc=Converter(9, 1.0)), "expected one of None"),
    (lambda: Device(scaling="row"), "scaling: expected one of 'tile', 'column'"),
    (lambda: Device(drift_compensation="local"), "drift_compensation: expected one of"),
    (lambda: Device.reram(drift=crossbar.Drift()), "no drift beside it"),
    (lambda: Device(write_verify=crossbar.WriteVerify()), "expected programming="),
    (lambda: Device.pcm().with_noise(-1.0), "factor: .* >= 0"),
    (lambda: crossbar.Drift(t0=0.0), "t0: .* > 0"),
    (lambda: crossbar.Drift(mean=(0.0, 1.0)), r"mean: expected \(slope, offset, low, high\)"),
    (lambda: crossbar.Relaxation(times=(1.0,)), "got 3 for 1 times"),
    (lambda: IRDrop(scale=-1.0), "scale: .* >= 0"),
    (lambda: crossbar.Training(noise=-1.0), "noise: .* >= 0"),
    (lambda: crossbar.clip_weights(jnp.ones(3), 1.0), "factor: .* > 1"),
    (lambda: crossbar.nodal_currents(np.ones((2, 3)), np.ones(3), 1.0), r"got \(2, 3\) and \(3,\)"),
    (lambda: crossbar.nodal_currents(-np.ones((2, 3)), np.ones(2), 1.0), "conductances >= 0"),
    (lambda: crossbar.nodal_currents(np.ones((2, 3)), np.ones(2), 0.0), "row_resistance: .* > 0"),
    (lambda: made(Device(w_max=0.5)), "within w_max=0.5, .* raise w_max"),
    (
        lambda: chip.program(Device(), jnp.array([[jnp.nan]]), jax.random.key(0)),
        "finite weights, got inf or NaN",
    ),
    (lambda: made(Device(), faults=np.zeros((30, 20), int)), r"fault map of shape \(2, 30, 20\)"),
    (lambda: made(Device(), faults=np.full((2, 30, 20), 3)), r"and 1 \(stuck high\), got \[3\]"),
]


@pytest.mark.parametrize(("make", "words"), BAD, ids=[words[:30] for _, words in BAD])
def test_nonsense_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Device(programming=0.1),
        lambda: Device(dac=7),
        lambda: snn.crossbar.DotGeneral("pcm"),
        lambda: snn.crossbar.DotGeneral(Device(), training=2.0),
        lambda: made(Device(), faults=np.zeros((2, 30, 20))),
    ],
)
def test_other_types_are_refused(make):
    with pytest.raises(TypeError, match="expected a"):
        make()


def test_weights_beyond_the_range_are_nan_where_they_cannot_be_checked():
    found = jax.jit(lambda w: chip.program(Device(w_max=0.5), w, jax.random.key(0)))(WEIGHTS)
    assert np.all(np.isnan(found.reading.scale))


def test_times_without_data_are_refused():
    found = made(Device.reram())
    with pytest.raises(ValueError, match="1, 86400, 172800 s, got 3600 s; between them nothing"):
        chip.read(found, 3600.0, jax.random.key(0), None)
    with pytest.raises(ValueError, match="pass a Python number"):
        jax.jit(lambda t: chip.read(found, t, jax.random.key(0), None))(86400.0)


def test_clip_weights():
    weights = WEIGHTS + 1
    clipped = crossbar.clip_weights({"kernel": jnp.asarray(weights)}, 1.5)["kernel"]
    bound = 1.5 * np.sqrt(np.mean(weights.astype(np.float64) ** 2))
    np.testing.assert_allclose(clipped, np.clip(weights, -bound, bound), rtol=1e-6)
