"""Spiking Heidelberg Digits: rasters, the split, published recipes, on files of the layout."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np
import pytest

import train as app
from train.errors import ConfigError
from train.settings import RunOptions
from train.shd import main
from train.tasks.shd.settings import RECIPES, SHDConfig
from train.tasks.shd.task import SHD

GOLDEN = Path(__file__).parents[2] / "golden" / "datasets"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of their own for the tests, shared by all of them."""
    folder = tmp_path_factory.getbasetemp() / "data_cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.delenv("FLAX_SNN_DATA_DIR", raising=False)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden file as training and as test part."""
    found = tmp_path_factory.mktemp("shd")
    for part in ("train", "test"):
        (found / f"shd_{part}.h5").write_bytes((GOLDEN / "shd_tiny.h5").read_bytes())
    return found


def load(folder: Path, settings: Any = None) -> Any:
    task, options = SHD(), RunOptions(data_dir=folder)
    settings = task.with_data(settings or SHDConfig(), options)
    return task.load(settings, options)


def test_rasters_are_the_spikes_of_the_file(folder: Path) -> None:
    data = load(folder)
    with h5py.File(folder / "shd_test.h5") as file:
        times, units = file["spikes/times"][:], file["spikes/units"][:]
        labels = file["labels"][:]
    np.testing.assert_array_equal(data.test.labels, labels)
    for row, (t, u) in enumerate(zip(times, units, strict=True)):
        expected = np.zeros((100, 140), int)
        # float16 has the times to half a millisecond: within a step, not on its edge.
        for step, unit in zip(np.floor(t.astype(float) / 10e-3 + 1e-9), u // 5, strict=True):
            if step < 100:
                expected[int(step), unit] += 1
        np.testing.assert_array_equal(data.test.inputs[row], expected)
        active = np.flatnonzero(expected.any(1))
        assert data.test.lengths[row] == (active[-1] + 1 if len(active) else 1)
    assert data.test.inputs.sum() > 100


def test_validation_is_cut_from_the_training_part(folder: Path) -> None:
    settings = SHDConfig()
    settings = dataclasses.replace(
        settings, data=dataclasses.replace(settings.data, validation=0.5)
    )
    data = load(folder, settings)
    assert len(data.train.labels) + len(data.validation.labels) == len(data.test.labels) == 20
    assert len(data.validation.labels) > 0
    # All samples of the training file, each once: here the file is that of the test.
    rows = sorted(np.asarray(x).tobytes() for part in data[:2] for x in part.inputs)
    assert rows == sorted(np.asarray(x).tobytes() for x in data.test.inputs)
    with pytest.raises(ConfigError, match="--validation"):
        load(
            folder,
            dataclasses.replace(settings, data=dataclasses.replace(settings.data, validation=0.01)),
        )


@pytest.mark.slow
def test_recipes_are_those_that_were_published() -> None:
    lif, adlif, delays = (RECIPES[name]() for name in ("lif", "adlif", "delays"))
    for name, settings in zip(RECIPES, (lif, adlif, delays), strict=True):
        SHD(name).check(settings)
    sizes = {
        name: sum(
            x.size
            for x in jax.tree.leaves(
                jax.eval_shape(SHD(name).build(RECIPES[name]()).init, jax.random.key(0))
            )
        )
        for name in RECIPES
    }
    # Weights, and what each neuron learns: 2 time constants; with a and b; one delay a weight.
    assert sizes["lif"] == 140 * 128 + 128 * 128 + 128 * 20 + 2 * 128
    assert sizes["adlif"] == 140 * 360 + 3 * 360 * 360 + 360 * 20 + 4 * 2 * 360
    assert sizes["delays"] == 2 * (140 * 256 + 256 * 256) + 256 * 20 + 2 * 2 * 256


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    ["lif", *(pytest.param(name, marks=pytest.mark.slow) for name in ("adlif", "delays"))],
)
def test_recipes_run_on_a_file_of_the_layout(recipe: str, folder: Path, tmp_path: Path) -> None:
    flags = ["--epochs", "1", "--batch-size", "5", "--validation", "0.5", "--quiet", "--no-plots"]
    flags += ["--hidden", "8", "--workdir", str(tmp_path), "--data-dir", str(folder)]
    with jax.numpy_dtype_promotion("standard"):
        assert main(["--recipe", recipe, *flags]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    restored = app.restore(tmp_path)
    assert restored.accuracy() == pytest.approx(result["test_accuracy"])
    stored = restored.settings.network
    assert (stored.neuron, stored.max_delay) == {
        "lif": ("lif", 0.0),
        "adlif": ("adlif", 0.0),
        "delays": ("lif", 0.25),
    }[recipe]


def test_bad_input(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*flags: str) -> str:
        assert main([*flags, "--workdir", str(tmp_path / "run"), "--quiet"]) == 2
        assert not (tmp_path / "run").exists()
        return capsys.readouterr().err

    assert "--recipe: expected lif, adlif, delays, got 'gru'" in said("--recipe", "gru")
    assert "--pool: expected a divisor of the 700 channels" in said(
        "--pool", "3", "--data-dir", str(folder)
    )
    assert "zenkelab.org" in said()
    assert "there is no shd_train.h5" in said("--data-dir", str(tmp_path))
    for name in ("shd_train.h5", "shd_test.h5"):
        (tmp_path / name).write_bytes((GOLDEN / "bad" / "shd_nan_time.h5").read_bytes())
    with pytest.raises(ConfigError, match="shd_train.h5"):
        load(tmp_path)
