"""Crossbars under the layers of Flax: digital where ideal, and the circuit by hand where not."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from flax_snn import crossbar
from flax_snn.crossbar import Converter, Device, Faults, IRDrop, Training
from flax_snn.crossbar.noise import quick_normal

KEY = jax.random.key(0)


def on(device, **options):
    return functools.partial(crossbar.DotGeneral, device, **options)


def convolution(device):
    return functools.partial(crossbar.ConvGeneralDilated, device)


def inputs(*shape):
    return jax.random.uniform(jax.random.key(7), shape, minval=-1.0)


LAYERS = {
    "dense": (lambda make: nn.Dense(9, dot_general_cls=make), (5, 30)),
    "dense, more axes": (lambda make: nn.Dense(9, dot_general_cls=make), (2, 3, 30)),
    "several axes": (
        lambda make: nn.DenseGeneral((4, 3), (-2, -1), dot_general_cls=make),
        (2, 5, 6),
    ),
    "first axis": (lambda make: nn.DenseGeneral(4, 1, dot_general_cls=make), (2, 5, 6)),
    "attention": (
        lambda make: nn.MultiHeadDotProductAttention(
            2, qkv_dot_general_cls=make, out_dot_general_cls=make
        ),
        (2, 5, 8),
    ),
}

CONVOLUTIONS = {
    "plain": ({"features": 6, "kernel_size": (3, 3)}, (2, 8, 8, 3)),
    "not square": ({"features": 4, "kernel_size": (3, 5), "strides": (2, 1)}, (2, 9, 10, 2)),
    "dilated": ({"features": 4, "kernel_size": (3,), "kernel_dilation": (2,)}, (2, 12, 3)),
    "padded": (
        {"features": 4, "kernel_size": (3, 3), "padding": ((1, 2), (0, 1))},
        (1, 6, 5, 2),
    ),
    "groups": ({"features": 6, "kernel_size": (3, 3), "feature_group_count": 3}, (2, 6, 6, 9)),
    "depthwise": ({"features": 8, "kernel_size": (3, 3), "feature_group_count": 4}, (2, 6, 6, 4)),
}


def rows(names, *, common):
    """Names, all but the common ones marked as slow."""
    slow = pytest.mark.slow
    return [name if name in common else pytest.param(name, marks=slow) for name in names]


TILES = pytest.mark.parametrize(
    "tiles", [pytest.param(None, marks=pytest.mark.slow), (7, 2)], ids=["one tile", "tiles"]
)


@TILES
@pytest.mark.parametrize("name", rows(LAYERS, common=("several axes",)))
def test_an_ideal_crossbar_is_the_digital_layer(name, tiles):
    make, shape = LAYERS[name]
    layer, digital, x = make(on(Device.ideal(tiles=tiles))), make(None), inputs(*shape)
    variables = layer.init(KEY, x)
    jax.tree.map(np.testing.assert_array_equal, variables, digital.init(KEY, x))

    def loss(layer, variables, x):
        return jnp.sum(jnp.sin(layer.apply(variables, x)))

    np.testing.assert_allclose(
        jax.jit(layer.apply)(variables, x), digital.apply(variables, x), atol=3e-6
    )
    found, expected = (
        jax.jit(jax.grad(functools.partial(loss, each), (0, 1)))(variables, x)
        for each in (layer, digital)
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), found, expected)
    chip = crossbar.program(layer, variables, KEY, x)
    np.testing.assert_allclose(layer.apply(chip, x), digital.apply(variables, x), atol=3e-6)


@TILES
@pytest.mark.parametrize("name", rows(CONVOLUTIONS, common=("depthwise",)))
def test_an_ideal_crossbar_is_the_digital_convolution(name, tiles):
    fields, shape = CONVOLUTIONS[name]
    device, x = Device.ideal(tiles=tiles), inputs(*shape)
    layer = nn.Conv(**fields, conv_general_dilated_cls=convolution(device))
    digital = nn.Conv(**fields)
    variables = layer.init(KEY, x)
    jax.tree.map(np.testing.assert_array_equal, variables, digital.init(KEY, x))
    np.testing.assert_allclose(
        jax.jit(layer.apply)(variables, x), digital.apply(variables, x), atol=3e-6
    )
    chip = crossbar.program(layer, variables, KEY, x)
    np.testing.assert_allclose(layer.apply(chip, x), digital.apply(variables, x), atol=3e-6)

    def loss(variables, layer):
        return jnp.sum(jnp.sin(layer.apply(variables, x)))

    found, expected = (
        jax.jit(jax.grad(functools.partial(loss, layer=each)))(variables)
        for each in (layer, digital)
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=2e-5), found, expected)


def test_groups_of_a_convolution_have_crossbars_of_their_own():
    device = Device.pcm(faults=Faults(0.1, 0.1))
    layer = nn.Conv(6, (3, 3), feature_group_count=3, conv_general_dilated_cls=convolution(device))
    x = inputs(2, 6, 6, 9)
    chip = crossbar.program(layer, layer.init(KEY, x), KEY, x)
    (held,) = jax.tree.leaves(
        chip["crossbar"], is_leaf=lambda leaf: isinstance(leaf, crossbar.Programmed)
    )
    assert held.target.shape == (3, 2, 27, 2)
    maps = crossbar.fault_map(chip)["ConvGeneralDilated_0"]
    assert maps.shape == (3, 2, 27, 2) and not np.array_equal(maps[0], maps[1])
    later = crossbar.at_time(chip, 60.0, jax.random.key(4))
    y = layer.apply(later, x, rngs={"reading": KEY})
    assert y.shape == (2, 6, 6, 6) and np.all(np.isfinite(y))


DEVICE = Device(
    g_min=1.0,
    g_max=21.0,
    levels=9,
    programming=crossbar.ProgrammingNoise(),
    dac=Converter(5, 0.8),
    adc=Converter(6, 2.0),
    input_scaling=1.5,
    tiles=(12, 5),
    ir_drop=IRDrop(wire_conductance=1e3),
    drift=crossbar.Drift(),
    drift_compensation="global",
)


def by_hand(held, kernel, x):
    """The circuit of DEVICE in float64 NumPy, from the conductances of a chip."""
    g, total = np.asarray(held.written, np.float64), 0.0
    age = (float(held.time) + 20.0) / 20.0
    g_t = g * age ** -np.asarray(held.draw, np.float64)
    n, m = kernel.shape
    for rows in np.array_split(np.arange(n), -(-n // 12)):
        block = np.zeros((len(x), m))
        for columns in np.array_split(np.arange(m), -(-m // 5)):
            cut = np.ix_(rows, columns)
            w_max = np.abs(kernel[cut]).max()
            first, matrix = ((h[0][cut] - h[1][cut]) / 20.0 for h in (g, g_t))
            driven = np.clip(np.round(x[:, rows] / 1.5 / 0.8 * 15) / 15, -1, 1) * 0.8
            count = len(rows)
            a = count / 1e3 * (np.abs(driven) @ np.abs(matrix))
            c = a * (a * (0.05 * a - 0.2) + 0.5)
            position = 1 - (1 - np.arange(count) / count) ** 2
            y = driven @ matrix - c * (driven @ (matrix * position[:, None]))
            y = np.clip(np.round(y / 2.0 * 31) / 31, -1, 1) * 2.0
            alpha = np.abs(first).mean() / np.abs(matrix).mean()
            block[:, columns] = y * w_max * 1.5 * alpha
        total = total + block
    return total


@pytest.mark.parametrize("seconds", [0.0, 3600.0])
def test_the_whole_circuit_by_hand(seconds):
    layer = nn.Dense(9, use_bias=False, dot_general_cls=on(DEVICE))
    x = inputs(40, 30)
    variables = layer.init(KEY, x)
    chip = crossbar.program(layer, variables, jax.random.key(1), x)
    chip = crossbar.at_time(chip, seconds)
    held = chip["crossbar"]["DotGeneral_0"]["chip"]
    expected = by_hand(held, np.asarray(variables["params"]["kernel"], np.float64), np.asarray(x))
    found = np.asarray(layer.apply(chip, x))
    # Float32 may round another way next to a half step: one level, in few of the outputs.
    close = np.abs(found - expected) <= 1e-4
    assert np.mean(close) > 0.98
    assert np.abs(found - expected).max() < 0.5


def test_the_gradient_goes_through_the_chip_to_the_clean_weights():
    """d loss / d x sees the conductances, d loss / d w is that of the product: straight-through."""
    layer = nn.Dense(
        9, use_bias=False, dot_general_cls=on(Device.pcm(dac=None, adc=None, output_noise=0.0))
    )
    x = inputs(5, 30)
    variables = layer.init(KEY, x)
    chip = crossbar.at_time(crossbar.program(layer, variables, KEY, x), 3600.0, KEY)
    held = chip["crossbar"]["DotGeneral_0"]["chip"]
    seen = np.asarray(held.reading.matrix) * np.asarray(held.reading.scale)
    alpha = np.asarray(held.reading.scale / held.w_max)
    cotangent = np.random.default_rng(0).normal(size=(5, 9)).astype(np.float32)

    def loss(params, x):
        return jnp.sum(cotangent * layer.apply({**chip, "params": params}, x))

    d_params, d_x = jax.grad(loss, (0, 1))(variables["params"], x)
    np.testing.assert_allclose(d_x, cotangent @ seen.T, rtol=1e-4, atol=1e-5)
    expected = alpha * (np.asarray(x).T @ cotangent)
    np.testing.assert_allclose(d_params["kernel"], expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_is_zero_where_the_converters_clip():
    device = Device(adc=Converter(4, 0.1), w_max=1.0)
    layer = nn.Dense(1, use_bias=False, dot_general_cls=on(device))
    variables = {"params": {"kernel": jnp.array([[0.5], [0.5]])}}
    x = jnp.array([[0.05, 0.05], [1.0, 1.0]])

    def loss(x):
        return jnp.sum(layer.apply(variables, x))

    np.testing.assert_allclose(jax.grad(loss)(x), [[0.5, 0.5], [0.0, 0.0]])
    forward = jax.jvp(loss, (x,), (jnp.ones((2, 2)),))[1]
    np.testing.assert_allclose(forward, 1.0)


def test_training_meets_a_chip_of_its_own_in_each_call():
    device = Device.pcm(dac=None, adc=None, output_noise=0.0)
    layer = nn.Dense(9, dot_general_cls=on(device))
    x = inputs(5, 30)
    variables = layer.init(KEY, x)

    def call(key, **options):
        model = nn.Dense(9, dot_general_cls=on(device, **options))
        return model.apply(variables, x, rngs={"programming": jax.random.key(key)})

    np.testing.assert_array_equal(call(1), call(1))
    assert not np.allclose(call(1), call(2), atol=1e-3)
    digital = nn.Dense(9).apply(variables, x)
    errors = [
        float(jnp.std(call(1, training=Training(noise=n)) - digital)) for n in (0.0, 1.0, 3.0)
    ]
    assert errors[0] < errors[1] < errors[2]
    aged = Training(time=365 * 86400.0)
    assert float(jnp.std(call(1, training=aged) - digital)) > errors[1]
    more = Training(normal=0.2)
    assert float(jnp.std(call(1, training=more) - digital)) > errors[1]


def test_training_for_the_faults_of_one_chip():
    """Without noise, what training meets is the kernel with its stuck devices replaced."""
    layer = nn.Dense(9, use_bias=False, dot_general_cls=on(Device(g_min=5.0)))
    variables = layer.init(KEY, jnp.eye(30))
    faults = np.random.default_rng(0).integers(-1, 2, (2, 30, 9)).astype(np.int8)
    given = {**variables, "crossbar": {"DotGeneral_0": {"faults": faults}}}
    found = layer.apply(given, jnp.eye(30), rngs={"programming": KEY})
    kernel = np.asarray(variables["params"]["kernel"], np.float64)
    share = kernel / np.abs(kernel).max()
    pair = np.where(faults == 0, np.maximum(np.stack([share, -share]), 0), faults == 1)
    np.testing.assert_allclose(found, (pair[0] - pair[1]) * np.abs(kernel).max(), atol=1e-6)


def test_extra_noise_of_the_weights_has_its_size():
    layer = nn.Dense(
        200, use_bias=False, dot_general_cls=on(Device.ideal(), training=Training(normal=0.1))
    )
    x = jnp.eye(50)
    variables = layer.init(KEY, x)
    seen = layer.apply(variables, x, rngs={"programming": KEY})
    kernel = np.asarray(variables["params"]["kernel"])
    noise = (np.asarray(seen) - kernel) / np.abs(kernel).max()
    np.testing.assert_allclose(noise.std(), 0.1, rtol=5 / np.sqrt(2 * noise.size))


@pytest.mark.slow
def test_jit_and_vmap_over_chips_are_a_loop():
    device = Device.pcm(faults=Faults(0.02, 0.02))
    layer, x = nn.Dense(9, dot_general_cls=on(device)), inputs(5, 30)
    variables = layer.init(KEY, x)

    def run(key):
        chip = crossbar.program(layer, variables, key, x)
        chip = crossbar.at_time(chip, 60.0, jax.random.fold_in(key, 1))
        return layer.apply(chip, x, rngs={"reading": key})

    keys = jax.random.split(jax.random.key(3), 3)
    loop = np.stack([run(key) for key in keys])
    np.testing.assert_allclose(jax.jit(jax.vmap(run))(keys), loop, atol=0.2)
    assert np.mean(np.abs(jax.jit(jax.vmap(run))(keys) - loop) < 1e-5) > 0.97


def test_a_chip_keeps_its_faults_and_can_be_given_them():
    device, x = Device.pcm(faults=Faults(0.1, 0.05)), inputs(5, 30)
    layer = nn.Dense(9, dot_general_cls=on(device))
    variables = layer.init(KEY, x)
    program = functools.partial(crossbar.program, layer, variables)
    first = program(jax.random.key(1), x, fault_key=jax.random.key(9))
    again = program(jax.random.key(2), x, fault_key=jax.random.key(9))
    maps = [crossbar.fault_map(each)["DotGeneral_0"] for each in (first, again)]
    np.testing.assert_array_equal(*maps)
    written = [each["crossbar"]["DotGeneral_0"]["chip"].written for each in (first, again)]
    assert not np.array_equal(*written)
    given = program(jax.random.key(3), x, faults=crossbar.fault_map(first))
    np.testing.assert_array_equal(crossbar.fault_map(given)["DotGeneral_0"], maps[0])
    later = crossbar.at_time(first, 86400.0, KEY)
    np.testing.assert_array_equal(crossbar.fault_map(later)["DotGeneral_0"], maps[0])


def test_any_time_follows_any_other():
    layer, x = nn.Dense(9, dot_general_cls=on(Device.pcm())), inputs(5, 30)
    chip = crossbar.program(layer, layer.init(KEY, x), KEY, x)
    day = crossbar.at_time(chip, 86400.0, KEY)
    back = crossbar.at_time(crossbar.at_time(day, 31_536_000.0, KEY), 86400.0, KEY)
    jax.tree.map(np.testing.assert_array_equal, day, back)
    assert float(day["crossbar"]["DotGeneral_0"]["chip"].time) == 86400.0
    plain = crossbar.at_time(chip, 86400.0, KEY, drift_compensation=None)
    scale = plain["crossbar"]["DotGeneral_0"]["chip"]
    np.testing.assert_array_equal(scale.reading.scale, scale.w_max)


def test_chips_are_saved_in_checkpoints(tmp_path):
    layer, x = nn.Dense(9, dot_general_cls=on(Device.pcm(faults=Faults(0.01)))), inputs(5, 30)
    chip = crossbar.at_time(crossbar.program(layer, layer.init(KEY, x), KEY, x), 60.0, KEY)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "chip", chip)
        checkpointer.wait_until_finished()
        like = jax.eval_shape(lambda: crossbar.program(layer, layer.init(KEY, x), KEY, x))
        restored = checkpointer.restore(tmp_path / "chip", like)
    jax.tree.map(np.testing.assert_array_equal, restored, chip)
    rngs = {"reading": KEY}
    found, expected = (layer.apply(each, x, rngs=rngs) for each in (restored, chip))
    np.testing.assert_array_equal(found, expected)


def test_lower_precision_of_a_layer_is_its_own():
    layer = nn.Dense(9, dtype=jnp.bfloat16, dot_general_cls=on(Device.ideal()))
    x = inputs(5, 30)
    variables = layer.init(KEY, x)
    found = layer.apply(variables, x)
    assert found.dtype == jnp.bfloat16
    expected = nn.Dense(9, dtype=jnp.bfloat16).apply(variables, x)
    np.testing.assert_allclose(found.astype(jnp.float32), expected.astype(jnp.float32), atol=0.05)
    double = nn.Dense(9, dot_general_cls=on(Device.ideal()))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
        assert double.apply(wide, np.asarray(x, np.float64)).dtype == np.float64


PCM = Device.pcm()


def dense(device=PCM):
    layer, x = nn.Dense(9, dot_general_cls=on(device)), inputs(5, 30)
    return layer, layer.init(KEY, x), x


def test_evaluation_before_programming():
    layer, variables, x = dense()
    with pytest.raises(ValueError, match="DotGeneral_0: nothing is programmed. .*program"):
        layer.apply(variables, x, rngs={"reading": KEY})
    with pytest.raises(ValueError, match="nothing is programmed: expected the variables"):
        crossbar.at_time(variables, 1.0, KEY)


def test_missing_streams():
    layer, variables, x = dense()
    chip = crossbar.program(layer, variables, KEY, x)
    with pytest.raises(ValueError, match="needs the stream 'reading': pass rngs="):
        layer.apply(chip, x)
    with pytest.raises(ValueError, match="needs the stream 'reading'"):
        layer.apply(variables, x, rngs={"programming": KEY})
    with pytest.raises(ValueError, match="DotGeneral_0 has read noise; expected a random key"):
        crossbar.at_time(chip, 1.0)


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), np.array([1.0, 2.0])])
def test_times_that_are_none(seconds):
    layer, variables, x = dense()
    chip = crossbar.program(layer, variables, KEY, x)
    with pytest.raises(
        (TypeError, ValueError), match="seconds: expected a finite number of seconds >= 0"
    ):
        crossbar.at_time(chip, seconds, KEY)
    with pytest.raises(ValueError, match="drift_compensation: expected one of None"):
        crossbar.at_time(chip, 1.0, KEY, drift_compensation="row")


def test_programs_that_fit_nothing():
    layer, variables, x = dense()
    with pytest.raises(ValueError, match="expected a model with a layer on a crossbar"):
        crossbar.program(nn.Dense(9), variables, KEY, x)
    with pytest.raises(
        ValueError, match=r"DotGeneral_0: expected a fault map of shape \(2, 30, 9\)"
    ):
        crossbar.program(
            layer, variables, KEY, x, faults={"DotGeneral_0": np.zeros((2, 9, 30), np.int8)}
        )
    with pytest.raises(ValueError, match="faults for Dense_3: expected layers among DotGeneral_0"):
        crossbar.program(layer, variables, KEY, x, faults={"Dense_3": np.zeros(3, np.int8)})
    wide = {"params": jax.tree.map(lambda leaf: 10 * leaf, variables["params"])}
    narrow = nn.Dense(9, dot_general_cls=on(Device(w_max=0.1)))
    with pytest.raises(ValueError, match="DotGeneral_0: expected weights within w_max=0.1"):
        crossbar.program(narrow, wide, KEY, x)
    broken = {"params": jax.tree.map(lambda leaf: leaf * jnp.nan, variables["params"])}
    with pytest.raises(ValueError, match="expected finite weights"):
        crossbar.program(layer, broken, KEY, x)


def test_chips_of_another_layer_or_device():
    layer, variables, x = dense()
    chip = crossbar.program(layer, variables, KEY, x)
    other = nn.Dense(9, dot_general_cls=on(Device.pcm(g_max=30.0)))
    with pytest.raises(ValueError, match="another device .*g_max 25.0, not 30.0"):
        other.apply(chip, x, rngs={"reading": KEY})
    grown = {"params": {"kernel": jnp.ones((30, 4)), "bias": jnp.ones(4)}}
    with pytest.raises(ValueError, match=r"kernel of shape \(30, 4\), got one .*\(30, 9\)"):
        nn.Dense(4, dot_general_cls=on(Device.pcm())).apply(
            {**chip, **grown}, x, rngs={"reading": KEY}
        )


def test_products_that_no_crossbar_computes():
    layer = nn.DenseGeneral(4, axis=-1, batch_dims=(0,), dot_general_cls=on(Device.ideal()))
    with pytest.raises(ValueError, match="without batch axes"):
        layer.init(KEY, inputs(2, 5, 6))


def test_noise_of_a_product_is_fresh_in_each_call():
    layer, variables, x = dense(Device(output_noise=0.06))
    calls = [
        np.asarray(layer.apply(variables, x, rngs={"reading": jax.random.key(k)}))
        for k in (0, 0, 1)
    ]
    np.testing.assert_array_equal(calls[0], calls[1])
    assert not np.allclose(calls[0], calls[2], atol=1e-4)
    assert np.std(quick_normal(KEY, (1000,), jnp.float32)) > 0.9


def test_edges_of_the_inputs():
    layer, variables, x = dense(Device.pcm(input_scaling="abs_max"))
    chip = crossbar.program(layer, variables, KEY, x)
    rngs = {"reading": KEY}
    assert layer.apply(chip, x[:0], rngs=rngs).shape == (0, 9)
    broken = layer.apply(chip, x.at[1, 2].set(jnp.nan), rngs=rngs)
    assert np.all(np.isnan(broken[1])) and np.all(np.isfinite(broken[0]))
    silent = layer.apply(chip, jnp.zeros((2, 30)), rngs=rngs)
    bias = np.asarray(variables["params"]["bias"])
    np.testing.assert_array_equal(silent, np.broadcast_to(bias, (2, 9)))
    with pytest.raises(ValueError, match=r"at least one input and one output, got shape \(0, 9\)"):
        layer.clone(kernel_init=nn.initializers.zeros).init(KEY, x[:, :0])
