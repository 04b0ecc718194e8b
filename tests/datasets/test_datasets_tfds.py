"""Randman on disk is Randman in memory, bit for bit; what is damaged or another is refused."""

import dataclasses
import fcntl
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from flax_snn.datasets import Randman, RandmanSettings, randman, tfds_randman
from flax_snn.datasets.tfds_randman import (
    RandmanBuilder,
    RandmanConfig,
    RandmanSource,
    prepare_randman,
    stored_settings,
)

ROOT = Path(__file__).resolve().parents[2]

DATA = randman(
    classes=3, samples_per_class=20, units=4, dim=2, alpha=2.0, steps=20, spikes_per_unit=2, seed=5
)
PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_dir with `DATA` in it, for tests that do not change it."""
    root = tmp_path_factory.mktemp("tfds")
    prepare_randman(DATA.settings, root)
    return root


@pytest.fixture
def damaged(root: Path, tmp_path: Path) -> Path:
    """The folder of `DATA` in another data_dir, to be damaged: ``tmp_path / "data"``."""
    shutil.copytree(root, tmp_path / "data")
    (info,) = (tmp_path / "data").rglob("dataset_info.json")
    return info.parent


@pytest.mark.parametrize("part", PARTS)
def test_what_is_read_is_what_the_generator_gives(root, part):
    want: Randman = getattr(DATA.split(), part)
    got = RandmanSource(prepare_randman(DATA.settings, root), part).read()
    for field in ("times", "units", "labels", "x", "order", "manifold_seeds"):
        wanted, read = getattr(want, field), getattr(got, field)
        assert read.dtype == wanted.dtype, field
        np.testing.assert_array_equal(read, wanted, field)
    assert got.settings == want.settings
    # The test can fail: float32, as TFDS stores numbers by default, does not hold these times.
    assert (want.times.astype(np.float32) != want.times).any()


@pytest.mark.parametrize("part", PARTS)
def test_rasters_hold_each_spike_in_its_step(root, part):
    source = RandmanSource(prepare_randman(DATA.settings, root), part)
    samples: Randman = getattr(DATA.split(), part)
    whole = source.batch(range(len(source)))
    assert whole["inputs"].dtype == np.uint8 and whole["label"].dtype == np.int32
    np.testing.assert_array_equal(whole["inputs"], samples.raster())
    assert source.nbytes == whole["inputs"].nbytes + whole["label"].nbytes
    for row in range(len(source)):
        item = source[row]
        counts = np.zeros((20, 4), int)
        for time, unit in zip(samples.times[row], samples.units[row], strict=True):
            counts[int(time), unit] += 1
        np.testing.assert_array_equal(item["inputs"], counts)
        assert item["label"] == samples.labels[row]
        np.testing.assert_array_equal(item["x"], samples.x[row])


def test_rows_come_in_the_order_asked_for(root):
    source = RandmanSource(prepare_randman(DATA.settings, root), "train")
    rows = np.array([7, 3, 3, 40])
    np.testing.assert_array_equal(source.batch(rows)["x"], DATA.split().train.x[rows])


def test_tfds_opens_the_folder_without_this_package(root):
    (info,) = root.rglob("dataset_info.json")
    builder = tfds.builder_from_directory(info.parent)
    assert stored_settings(builder) == DATA.settings
    np.testing.assert_array_equal(RandmanSource(builder, "test").read().x, DATA.split().test.x)
    assert builder.info.splits["train"].num_examples == 48
    assert builder.info.features["label"].num_classes == 3


def test_without_a_configuration_the_builder_has_the_defaults_of_randman(tmp_path):
    settings = RandmanBuilder(data_dir=tmp_path).builder_config.settings
    # As its docstring has them.
    assert settings == RandmanSettings(
        classes=10,
        samples_per_class=1000,
        units=20,
        dim=1,
        alpha=1.0,
        steps=100,
        dt=2e-3,
        step_frac=0.5,
        offset_frac=0.0,
        spikes_per_unit=1,
        variant="numpy",
        f_max=1000,
        prec=1e-3,
        use_bias=False,
        beta=0.0,
        seed=0,
    )


def test_what_is_there_is_not_made_again(root, monkeypatch):
    monkeypatch.setattr(tfds_randman, "randman", None)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    prepare_randman(DATA.settings, root)
    assert before == {path: path.stat().st_mtime_ns for path in root.rglob("*")}


def test_an_interrupted_preparation_leaves_nothing_that_counts(tmp_path, monkeypatch):
    write = RandmanBuilder._generate_examples

    def stop(self, part):
        examples = write(self, part)
        yield next(examples)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RandmanBuilder, "_generate_examples", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare_randman(DATA.settings, tmp_path)
    assert not list(tmp_path.rglob("*array_record*"))
    source = RandmanSource(prepare_randman(DATA.settings, tmp_path), "train")
    np.testing.assert_array_equal(source.read().times, DATA.split().train.times)


def test_what_a_killed_preparation_leaves_does_not_count(damaged, tmp_path):
    # TFDS renames at the end; a process killed before leaves its folder under this name.
    left = damaged.rename(damaged.with_name(f"incomplete.ABCDEF_{damaged.name}"))
    (left / "dataset_info.json").unlink()
    builder = prepare_randman(DATA.settings, tmp_path / "data")
    assert builder.data_path.name == damaged.name
    assert len(RandmanSource(builder, "train")) == 48


def test_what_a_killed_preparation_leaves_goes_where_another_has_finished(damaged, tmp_path):
    """Two prepare at once, one is killed, and the other one finishes."""
    left = Path(shutil.copytree(damaged, damaged.with_name(f"incomplete.ABCDEF_{damaged.name}")))
    prepare_randman(DATA.settings, tmp_path / "data")
    assert not left.exists() and damaged.exists()
    # While someone is at work nothing is removed: it may be theirs.
    left.mkdir()
    with open(damaged.parent / ".preparing", "w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        prepare_randman(DATA.settings, tmp_path / "data")
    assert left.exists()


def test_of_two_that_prepare_at_once_the_first_to_finish_wins(tmp_path, monkeypatch):
    write = RandmanBuilder._generate_examples
    others = []

    def overtaken(self, part):
        if not others:
            others.append(self)
            others.append(prepare_randman(DATA.settings, tmp_path))
        return write(self, part)

    monkeypatch.setattr(RandmanBuilder, "_generate_examples", overtaken)
    builder = prepare_randman(DATA.settings, tmp_path)
    assert builder.data_dir == others[1].data_dir
    np.testing.assert_array_equal(RandmanSource(builder, "test").read().x, DATA.split().test.x)
    assert not list(tmp_path.rglob("incomplete*"))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[next(k for k, byte in enumerate(content) if byte > 99 and k > 100)] ^= 1
    path.write_bytes(content)


RECORDS = "randman-train.array_record-00000-of-00001"


@pytest.mark.parametrize("name", ["dataset_info.json", "metadata.json", RECORDS])
@pytest.mark.parametrize("harm", [Path.unlink, empty, cut])
def test_a_damaged_file_is_refused(damaged, tmp_path, name, harm):
    harm(damaged / name)
    with pytest.raises(ValueError, match="delete that folder") as caught:
        RandmanSource(prepare_randman(DATA.settings, tmp_path / "data"), "train").read()
    assert str(damaged) in str(caught.value)


def test_a_changed_byte_is_found(damaged, tmp_path):
    flip(damaged / RECORDS)
    with pytest.raises(ValueError, match="delete that folder"):
        RandmanSource(prepare_randman(DATA.settings, tmp_path / "data"), "train").read()


def test_an_empty_folder_is_refused(damaged, tmp_path):
    shutil.rmtree(damaged)
    damaged.mkdir()
    with pytest.raises(ValueError, match="delete that folder"):
        prepare_randman(DATA.settings, tmp_path / "data")


def test_other_settings_in_the_folder_are_refused(damaged, tmp_path):
    path = damaged / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["settings"]["seed"] = 6
    path.write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match=r"seed=5.*got.*seed=6.*delete that folder"):
        prepare_randman(DATA.settings, tmp_path / "data")


def test_another_number_of_samples_is_refused(damaged, tmp_path):
    path = damaged / "dataset_info.json"
    info = json.loads(path.read_text())
    info["splits"][0]["shardLengths"] = ["47"]
    path.write_text(json.dumps(info))
    with pytest.raises(ValueError, match="47 samples of train, not 48; delete that folder"):
        RandmanSource(prepare_randman(DATA.settings, tmp_path / "data"), "train")


def test_what_is_not_there_is_refused(root, tmp_path, unchecked):
    there = prepare_randman(DATA.settings, root)
    with pytest.raises(ValueError, match="one of .*'validation'.*got 'val'"):
        RandmanSource(there, "val")
    for rows in ([48], [-1], []):
        with pytest.raises(ValueError, match=r"rows in \[0, 48\)"):
            RandmanSource(there, "train").batch(rows)
    absent = RandmanBuilder(config=RandmanConfig(DATA.settings), data_dir=tmp_path)
    with pytest.raises(ValueError, match="no such folder; prepare it"):
        RandmanSource(absent, "train")
    uneven = dataclasses.replace(DATA.settings, samples_per_class=15)
    with pytest.raises(ValueError, match="multiple of 10.*got 15"):
        prepare_randman(uneven, tmp_path)
    assert not list(tmp_path.iterdir())


CHANGES = {
    "classes": 4,
    "samples_per_class": 30,
    "units": 5,
    "dim": 3,
    "alpha": 2.0000001,
    "steps": 21,
    "dt": 1e-3,
    "step_frac": 0.75,
    "offset_frac": 0.25,
    "spikes_per_unit": 3,
    "variant": "torch",
    "f_max": 999,
    "prec": 1e-4,
    "use_bias": True,
    "beta": 0.5,
    "seed": 6,
}


def test_each_setting_has_a_folder_of_its_own():
    assert set(CHANGES) == {field.name for field in dataclasses.fields(DATA.settings)}
    base = dataclasses.replace(DATA.settings, variant="torch")
    settings = [DATA.settings, *(dataclasses.replace(base, **{n: v}) for n, v in CHANGES.items())]
    names = {RandmanConfig(each).name for each in settings}
    assert len(names) == len(settings)
    # The same on file systems that ignore case.
    assert all(re.fullmatch(r"[a-z0-9.-]+", name) for name in names)


def test_equal_settings_share_a_folder():
    written = dataclasses.replace(DATA.settings, alpha=2, seed=np.int64(5), dt=np.float64(2e-3))
    assert RandmanConfig(written).name == RandmanConfig(DATA.settings).name


def test_a_folder_keeps_its_name():
    """What was prepared by an earlier release is found: change the version, not the name."""
    assert RandmanConfig(DATA.settings).name == NAME


NAME = "numpy-classes3-units4-dim2-alpha2-steps20-seed5-fe79341c806d"


@pytest.mark.parametrize("change", [{"seed": 10**200}, {"alpha": 1e20}, {"alpha": 1e-20}])
def test_extreme_settings_make_names_that_file_systems_take(change):
    name = RandmanConfig(dataclasses.replace(DATA.settings, variant="paper", **change)).name
    assert re.fullmatch(r"[a-z0-9.-]{1,200}", name)


def test_neither_tensorflow_nor_network_nor_a_word_on_the_screen(tmp_path):
    code = """
import socket, sys
def refuse(*_, **__): raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
from flax_snn.datasets import randman
from flax_snn.datasets.tfds_randman import RandmanSource, prepare_randman
settings = randman(classes=2, samples_per_class=10, units=3, alpha=2.0, steps=20).settings
for _ in range(2):
    RandmanSource(prepare_randman(settings), "train").read()
assert not [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras")]
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env=os.environ | {"TFDS_DATA_DIR": str(tmp_path / "here")},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert list((tmp_path / "here").rglob("dataset_info.json"))


def test_progress_bars_of_others_are_left_alone(tmp_path, capsys):
    from tensorflow_datasets.core.utils import tqdm_utils

    tfds.enable_progress_bar()
    prepare_randman(DATA.settings, tmp_path)
    capsys.readouterr()
    assert list(tqdm_utils.tqdm(range(3), desc="another data set")) == [0, 1, 2]
    assert "another data set: 100%" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["tensorflow_datasets", "array_record"])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package}.*'flax-snn\[data\]'"):
        runpy.run_path(str(ROOT / "flax_snn" / "datasets" / "tfds_prepare.py"))
