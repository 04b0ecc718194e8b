"""Fashion-MNIST: parts, encodings, augmentation, and runs on the first images of the data set."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import train as app
from train.command_line import run_command
from train.errors import ConfigError
from train.settings import RunOptions
from train.store.settings_json import from_json, to_json
from train.tasks.fashion_mnist.encoding import Images
from train.tasks.fashion_mnist.network import _product
from train.tasks.fashion_mnist.settings import FashionConfig, FashionData
from train.tasks.fashion_mnist.task import FILES, FashionMNIST

GOLDEN = Path(__file__).parents[2] / "golden" / "datasets"
FOLDER = GOLDEN / "fashion-mnist"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of their own for the tests, shared by all of them."""
    folder = tmp_path_factory.getbasetemp() / "data_cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.delenv("FLAX_SNN_DATA_DIR", raising=False)
    return folder


def load(folder: Path = FOLDER) -> Any:
    task, options = FashionMNIST(), RunOptions(data_dir=folder)
    return task.load(task.with_data(FashionConfig(), options), options)


def run(workdir: Path, *flags: str) -> int:
    """Runs the command in this process."""
    where = ("--workdir", str(workdir), "--data-dir", str(FOLDER))
    # The optimiser multiplies arrays of different dtypes.
    with jax.numpy_dtype_promotion("standard"):
        return run_command(FashionMNIST(), [*flags, *where])


def bytes_of(name: str, header: int) -> np.ndarray:
    """Returns what stands in a file behind its header, read without any reader of ours."""
    return np.frombuffer(
        gzip.decompress((FOLDER / f"{name}.gz").read_bytes()), np.uint8, -1, header
    )


def test_validation_is_the_end_of_the_training_part() -> None:
    data = load()
    images = bytes_of("train-images-idx3-ubyte", 16).reshape(200, 784)
    labels = bytes_of("train-labels-idx1-ubyte", 8)
    # 5000 of 60000; of these 200 a tenth.
    np.testing.assert_array_equal(data.train.inputs, images[:180])
    np.testing.assert_array_equal(data.validation.inputs, images[180:])
    np.testing.assert_array_equal(data.validation.labels, labels[180:])
    np.testing.assert_array_equal(
        data.test.inputs, bytes_of("t10k-images-idx3-ubyte", 16).reshape(100, 784)
    )


def test_direct_current_is_the_brightness_in_each_step() -> None:
    pixels = np.load(GOLDEN / "fashion_latency_expected.npz")["pixels"]
    currents = np.asarray(Images(FashionData(steps=3))(pixels))
    assert currents.shape == (8, 3, 784)
    for step in range(3):
        np.testing.assert_allclose(currents[:, step], pixels / 255.0, rtol=1e-6)


def test_latencies_are_those_of_the_published_code() -> None:
    expected = np.load(GOLDEN / "fashion_latency_expected.npz")
    data = FashionData(
        encoding="latency", steps=100, dt=1e-3, latency_tau=20e-3, latency_threshold=0.2
    )
    raster = np.asarray(Images(data)(expected["pixels"]))
    spikes = expected["latency_steps"] < 100
    # A pixel of 51 is at the threshold; the epsilon of the published code lets it spike late.
    sure = expected["pixels"] != 51
    np.testing.assert_array_equal((raster.sum(1) == 1)[sure], spikes[sure])
    assert raster.sum(1).max() == 1
    both = spikes & sure
    np.testing.assert_array_equal(raster.argmax(1)[both], expected["latency_steps"][both])


def test_training_images_are_moved_and_mirrored() -> None:
    images = load().train.inputs[:40]
    changed = np.asarray(
        Images(FashionData(pixel_shift=2, flip=True)).augment(images, jax.random.key(0), 0.0)
    )
    moves = set()
    for before, after in zip(images, changed, strict=True):
        found = [
            (flip, down, right)
            for flip in (False, True)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if (moved(before.reshape(28, 28), flip, down, right) == after.reshape(28, 28)).all()
        ]
        assert found, "an image is one of its 50 copies"
        moves.add(found[0])
    assert len(moves) > 20
    plain = Images(FashionData()).augment(images, jax.random.key(0), 0.0)
    np.testing.assert_array_equal(plain, images)


def moved(image: np.ndarray, flip: bool, down: int, right: int) -> np.ndarray:
    image = image[:, ::-1] if flip else image
    found = np.zeros_like(image)
    rows, columns = np.mgrid[:28, :28]
    inside = (rows - down >= 0) & (rows - down < 28) & (columns - right >= 0)
    inside &= columns - right < 28
    found[inside] = image[rows[inside] - down, columns[inside] - right]
    return found


def test_a_constant_current_is_multiplied_once_and_gives_the_same() -> None:
    task, settings = FashionMNIST(), FashionConfig()
    network = dataclasses.replace(settings.network, hidden=(12,), input_gain=8.0)
    settings = dataclasses.replace(settings, network=network)
    model = task.build(settings)
    params = jax.jit(model.init)(jax.random.key(0))
    inputs = model.encode(load().test.inputs[:5])
    once = model.grid.network
    each = once.clone(constant=False)
    outputs = [np.asarray(jax.jit(n.apply)({"params": params}, inputs)) for n in (once, each)]
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-6)
    assert np.abs(outputs[0]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        "--hidden 16 --epochs 6 --learning-rate 1e-2 --dropout 0 --no-flip --pixel-shift 0",
        pytest.param(
            "--architecture conv --channels 4 6 --norm-groups 2 --hidden 16 --steps 4 --epochs 2",
            marks=pytest.mark.slow,
        ),
        pytest.param("--encoding latency --hidden 16 --epochs 2", marks=pytest.mark.slow),
    ],
    ids=["mlp", "conv", "latency"],
)
def test_runs_on_a_few_images(flags: str, tmp_path: Path) -> None:
    assert run(tmp_path, *flags.split(), "--batch-size", "30", "--quiet") == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert (tmp_path / "plots" / "sample.png").exists()
    assert app.restore(tmp_path).accuracy() == pytest.approx(result["test_accuracy"])
    if "--epochs 6" in flags:
        assert result["test_accuracy"] > 0.3  # chance is 0.1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--steps 0", "--steps"),
        ("--pixel-shift 28", "--pixel-shift: expected fewer"),
        ("--latency-threshold 1", "--latency-threshold"),
        ("--jitter 1e-3", "--jitter moves spikes"),
        ("--init fluctuation", "--init fluctuation"),
        ("--channels 2 2 2 2 2", "--channels: expected at most 4"),
        ("--norm-groups -1", "--norm-groups"),
        ("--architecture conv --channels 8 12", "--norm-groups 8: expected a divisor"),
        ("--dropout 1", "--dropout"),
        ("--crossbar pcm", "--crossbar"),
    ],
)
def test_flags_that_cannot_work(
    flags: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "run", *flags.split(), "--batch-size", "30", "--quiet") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    for name in FILES[1:]:
        (tmp_path / f"{name}.gz").write_bytes((FOLDER / f"{name}.gz").read_bytes())
    with pytest.raises(ConfigError, match="there is no train-images.*dataset-fashion-mnist"):
        load(tmp_path)
    whole = (FOLDER / f"{FILES[0]}.gz").read_bytes()
    (tmp_path / f"{FILES[0]}.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="train-images-idx3-ubyte.gz"):
        load(tmp_path)
    small = gzip.decompress(whole)
    header = np.frombuffer(small, ">u4", 4).copy()
    header[2:] = 14, 56  # as many bytes, of another form
    (tmp_path / f"{FILES[0]}.gz").write_bytes(gzip.compress(header.tobytes() + small[16:]))
    with pytest.raises(ConfigError, match="images of 28 x 28 pixels, got .14, 56."):
        load(tmp_path)


@pytest.mark.parametrize("steps", [3, 20])
def test_the_perceptron_is_its_equations_in_numpy(steps: int) -> None:
    """Few steps are written out, many are a loop: both against NumPy in float64."""
    task, settings = FashionMNIST(), FashionConfig()
    settings = dataclasses.replace(
        settings,
        data=dataclasses.replace(settings.data, steps=steps),
        network=dataclasses.replace(settings.network, hidden=(12,), input_gain=8.0),
    )
    model = task.build(settings)
    params = jax.tree.map(np.array, jax.jit(model.init)(jax.random.key(0)))
    params["readout"]["bias"] += np.arange(10, dtype=np.float32) / 10
    images = load().test.inputs[:6]
    output = np.asarray(model.grid.network.apply({"params": params}, model.encode(images)))
    currents = images / 255.0 @ params["Dense_0"]["kernel"].astype(np.float64)
    v, read, data = np.zeros((6, 12)), np.zeros((6, 10)), settings.data
    stays, holds = (
        np.exp(-data.dt / tau) for tau in (settings.network.tau_mem, settings.network.tau_readout)
    )
    fired = 0
    for step in range(steps):
        v = stays * v + (1 - stays) * currents
        spikes = (v > 1).astype(np.float64)
        v[spikes > 0] = 0.0
        fired += int(spikes.sum())
        z = spikes @ params["readout"]["kernel"] + params["readout"]["bias"]
        read = holds * read + (1 - holds) * z
        np.testing.assert_allclose(output[:, step], read, rtol=1e-4, atol=1e-5)
    assert fired > 10


@pytest.mark.parametrize(
    ("pooled", "groups"),
    [
        ("currents", 2),
        pytest.param("spikes", 4, marks=pytest.mark.slow),
        pytest.param("currents", 0, marks=pytest.mark.slow),
    ],
)
def test_the_convolutional_network_is_its_equations_in_numpy(pooled: str, groups: int) -> None:
    task, settings = FashionMNIST(), FashionConfig()
    settings = dataclasses.replace(
        settings,
        data=dataclasses.replace(settings.data, steps=3),
        network=dataclasses.replace(
            settings.network,
            architecture="conv",
            channels=(4, 8),
            hidden=(12,),
            pooled=pooled,
            norm_groups=groups,
        ),
    )
    model = task.build(settings)
    params = jax.tree.map(np.array, jax.jit(model.init)(jax.random.key(0)))
    for k in range(2 if groups else 0):
        params[f"GroupNorm_{k}"]["bias"] += np.linspace(-0.2, 0.3, (4, 8)[k], dtype=np.float32)
        params[f"GroupNorm_{k}"]["scale"] *= np.linspace(0.8, 1.3, (4, 8)[k], dtype=np.float32)
    images = load().test.inputs[:3]
    output = jax.jit(model.grid.network.apply)({"params": params}, model.encode(images))

    stays, holds = (
        np.exp(-settings.data.dt / tau)
        for tau in (settings.network.tau_mem, settings.network.tau_readout)
    )
    wide = jax.tree.map(lambda x: x.astype(np.float64), params)
    v: dict[int, np.ndarray] = {}
    fired = []

    def spikes_of(layer: int, currents: np.ndarray) -> np.ndarray:
        v[layer] = stays * v.get(layer, np.zeros_like(currents)) + (1 - stays) * currents
        spikes = (v[layer] > 1).astype(np.float64)
        v[layer] = np.where(spikes > 0, 0.0, v[layer])
        fired.append(spikes.sum())
        return spikes

    read = np.zeros((3, 10))
    for step in range(3):
        x = (images / 255.0).reshape(3, 28, 28, 1)
        for k in range(2):
            x = convolved(x, wide[f"Conv_{k}"]["kernel"])
            x = maxima(x) if pooled == "currents" else x
            x = normalised(x, groups, wide[f"GroupNorm_{k}"]) if groups else x
            x = spikes_of(k, x)
            x = maxima(x) if pooled == "spikes" else x
        x = spikes_of(2, x.reshape(3, -1) @ wide["Dense_0"]["kernel"])
        read = holds * read + (1 - holds) * (x @ wide["readout"]["kernel"])
        np.testing.assert_allclose(output[:, step], read, rtol=1e-4, atol=1e-5)
    assert min(np.reshape(fired, (3, 3)).sum(axis=0)) > 5, "every layer spikes"


def convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Returns a convolution of 3 x 3 with zeros around the images."""
    height, width = x.shape[1:3]
    around = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [(i, j) for i in range(3) for j in range(3)]
    return np.sum([around[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in taps], 0)


def maxima(x: np.ndarray) -> np.ndarray:
    """Returns the largest of each window of 2 x 2."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def normalised(x: np.ndarray, groups: int, params: dict[str, np.ndarray]) -> np.ndarray:
    """Returns group normalisation as Wu and He, 2018, have it: equation 7 with epsilon 1e-6."""
    each = x.reshape(*x.shape[:3], groups, -1)
    mean = each.mean(axis=(1, 2, 4), keepdims=True)
    spread = np.sqrt(((each - mean) ** 2).mean(axis=(1, 2, 4), keepdims=True) + 1e-6)
    return ((each - mean) / spread).reshape(x.shape) * params["scale"] + params["bias"]


def test_normalised_currents_move_membranes_by_about_the_threshold() -> None:
    """With unit scale of the currents a membrane spreads by sqrt((1 - a) / (1 + a)) as they do."""
    settings = FashionConfig()
    network = dataclasses.replace(
        settings.network, architecture="conv", init="gains", channels=(8, 8), hidden=(2,)
    )
    model = FashionMNIST().build(dataclasses.replace(settings, network=network))
    params = jax.jit(model.init)(jax.random.key(0))
    stays = np.exp(-settings.data.dt / network.tau_mem)
    for layer in ("GroupNorm_0", "GroupNorm_1"):
        np.testing.assert_allclose(
            params[layer]["scale"], np.sqrt((1 + stays) / (1 - stays)), rtol=1e-5
        )


def test_the_product_of_the_readout_has_the_derivatives_of_a_product() -> None:
    rng = np.random.default_rng(0)
    x, kernel, d_y = (rng.normal(size=s).astype(np.float32) for s in ((4, 3, 7), (7, 2), (4, 3, 2)))
    y, pullback = jax.vjp(_product, x, kernel)
    d_x, d_kernel = pullback(d_y)
    # Sums of up to 12 products of numbers near 1, in float32.
    np.testing.assert_allclose(y, x.astype(float) @ kernel, atol=1e-5)
    np.testing.assert_allclose(d_x, d_y.astype(float) @ kernel.T, atol=1e-5)
    np.testing.assert_allclose(d_kernel, np.einsum("btn,btc->nc", x, d_y), atol=1e-5)


def test_convolutional_runs_of_older_versions_keep_their_network() -> None:
    network = dataclasses.replace(FashionConfig().network, architecture="conv")
    stored = to_json("fashion_mnist", dataclasses.replace(FashionConfig(), network=network))
    assert stored["config"]["network"].pop("pooled") == "currents"
    assert stored["config"]["network"].pop("norm_groups") == 8
    older = from_json(FashionConfig, stored | {"version": 4})
    assert older.network == dataclasses.replace(network, pooled="spikes", norm_groups=0)


@pytest.mark.parametrize(("pooled", "sides"), [("currents", (14, 7)), ("spikes", (28, 14))])
def test_what_the_cells_of_convolutions_do_comes_in_their_order(pooled, sides) -> None:
    task, settings = FashionMNIST(), FashionConfig()
    network = dataclasses.replace(
        settings.network,
        architecture="conv",
        channels=(2, 3),
        hidden=(5,),
        input_gain=8.0,
        pooled=pooled,
        norm_groups=1,
    )
    settings = dataclasses.replace(settings, network=network)
    model = task.build(settings)
    params, images = jax.jit(model.init)(jax.random.key(0)), load().test.inputs[:2]
    run = jax.jit(lambda *given: model.run(*given).cells)
    cells = jax.eval_shape(run, params, images, jax.random.key(0))
    neurons = [sides[0] ** 2 * 2, sides[1] ** 2 * 3, 5, 10]
    assert [cell["v"][0].shape[-1] for cell in cells] == neurons
    assert ["spikes" in cell for cell in cells] == [True, True, True, False]
