"""Files that cannot be trained on: one message that names the fault, code 2, nothing written."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from train.command_line import run_command
from train.tasks.spikes import archive
from train.tasks.spikes.task import Spikes

N = 40
LABELS = np.arange(N) % 2
RASTER = np.random.default_rng(0).integers(0, 2, (N, 10, 5)).astype(np.uint8)
EVENTS = np.argwhere(RASTER)
SAMPLE, STEP, UNIT = EVENTS.T


def changed(row: int, column: int, value: Any) -> np.ndarray:
    events = EVENTS.astype(type(value))
    events[row, column] = value
    return events


def timed(**times: Any) -> dict[str, Any]:
    return {"sample": SAMPLE, "unit": UNIT, "labels": LABELS, **times}


# Arrays of an .npz, and what the message says.
ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"raster": RASTER}, "has no labels"),
    "no spikes": ({"labels": LABELS}, "has no spikes. A file of spikes is"),
    "no spike at all": ({"raster": RASTER * 0, "labels": LABELS}, "has no spikes at all"),
    "no events": ({"events": EVENTS[:0], "labels": LABELS}, "has no spikes at all"),
    "wrong keys": ({"spikes": RASTER, "y": LABELS}, "unknown names, spikes, y"),
    "one key too many": ({"raster": RASTER, "labels": LABELS, "id": LABELS}, "unknown names, id"),
    "two forms": ({"raster": RASTER, "events": EVENTS, "labels": LABELS}, "raster and events"),
    "fewer labels": ({"raster": RASTER, "labels": LABELS[:-3]}, "40 samples and 37 labels"),
    "fewer labels than samples of events": (
        {"events": EVENTS, "labels": LABELS[:-3]},
        "a spike of sample 39 and 37 labels",
    ),
    "no samples": ({"raster": RASTER[:0], "labels": LABELS[:0]}, "got int64 (0,)"),
    "few samples": ({"raster": RASTER[:3], "labels": LABELS[:3]}, "no sample is left for"),
    "a negative step": (
        {"events": changed(3, 1, -1), "labels": LABELS},
        "step: expected whole numbers from 0 to 2147483647, got -1 in spike 3",
    ),
    "a fraction of a step": (
        {"events": changed(3, 1, 1.5), "labels": LABELS},
        "got 1.5 in spike 3; times in seconds are named time",
    ),
    "NaN as a step": ({"events": changed(4, 1, np.nan), "labels": LABELS}, "got nan in spike 4"),
    "a step beyond all integers": (
        {"events": changed(3, 1, 1e30), "labels": LABELS},
        "got 1e+30 in spike 3",
    ),
    "too many steps": (
        {"events": changed(3, 1, 10**9), "labels": LABELS},
        "at most 65534 steps, got 1000000001",
    ),
    "too many units": (
        {"events": changed(3, 2, 10**5), "labels": LABELS},
        "at most 65535 inputs, got 100001 units",
    ),
    "a raster beyond the memory": (
        {"events": np.concatenate([changed(3, 1, 60_000), [[1, 0, 60_000]]]), "labels": LABELS},
        "115 GB for a batch of 8 of them, 60001 steps x 60007 inputs and neurons",
    ),
    "NaN as a time": (timed(time=np.where(STEP == 9, np.nan, 1e-3)), "time: expected seconds from"),
    "a negative time": (timed(time=STEP * -1e-3), "time: expected seconds from 0 on, got -0.00"),
    "times in whole numbers": (timed(time=STEP), "whole numbers of steps are named step"),
    "times beyond all steps": (timed(time=STEP * 1e30), "9e+33 steps of dt"),
    "step and time": (timed(step=STEP, time=STEP * 1e-3), "one of `step` and `time`"),
    "columns of two lengths": (timed(step=STEP[:-1]), "arrays (spikes,) of one length"),
    "two columns": ({"events": EVENTS[:, :2], "labels": LABELS}, "events: expected (spikes, 3)"),
    "NaN in a raster": (
        {"raster": np.where(RASTER == 0, np.nan, 1.0), "labels": LABELS},
        "raster: expected finite numbers, got nan at [0, ",
    ),
    "too many spikes in a slot": (
        {"raster": RASTER.astype(np.int64) * 300, "labels": LABELS},
        "spike counts from 0 to 255, got 0 to 300",
    ),
    "negative counts": ({"raster": RASTER.astype(int) - 1, "labels": LABELS}, "got -1 to 0"),
    "a raster without units": ({"raster": RASTER[:, :, 0], "labels": LABELS}, "uint8 (40, 10)"),
    "complex numbers": ({"raster": RASTER * 1j, "labels": LABELS}, "got complex128"),
    "one class": ({"raster": RASTER, "labels": LABELS * 0 + 3}, "all labels are 3"),
    "a negative class": ({"raster": RASTER, "labels": LABELS - 1}, "classes from 0 on, got -1"),
    "a class of 41 bits": (
        {"raster": RASTER, "labels": LABELS * 2**40},
        "2 different ones up to 1099511627776",
    ),
    "words as labels": (
        {"raster": RASTER, "labels": np.array(["a", "b"] * 20)},
        "np.unique(labels, return_inverse=True)[1]",
    ),
    "one-hot labels": ({"raster": RASTER, "labels": np.eye(2, dtype=int)[LABELS]}, "argmax(1)"),
    "NaN as a value": (
        {"raster": RASTER, "labels": np.where(LABELS, np.nan, 1.0)},
        "expected finite values, got nan of sample 1",
    ),
    "one value": ({"raster": RASTER, "labels": LABELS * 0.0}, "values to predict are all the same"),
    "values and spiking outputs": (
        {"raster": RASTER, "labels": LABELS + 0.5},
        "add --readout mean, max or last",
    ),
    "a length beyond the steps": (
        {"raster": RASTER, "labels": LABELS, "lengths": LABELS + 10},
        "lengths of at most 10 steps, got 11",
    ),
    "a length of 0": ({"raster": RASTER, "labels": LABELS, "lengths": LABELS}, "from 1 on, got 0"),
    "half a step": (
        {"raster": RASTER, "labels": LABELS, "lengths": LABELS + 0.5},
        "lengths: expected whole numbers of steps",
    ),
    "an unknown part": (
        {"raster": RASTER, "labels": LABELS, "part": np.array(["train", "val"] * 20)},
        "expected the words train, validation, test, got ['train', 'val']",
    ),
    "no part for the test": (
        {"raster": RASTER, "labels": LABELS, "part": np.array(["train"] * 40)},
        "no sample is left for validation and test",
    ),
    "a class that training lacks": (
        {
            "raster": RASTER,
            "labels": np.arange(N) // 14,
            "part": np.array(["train"] * 20 + ["validation"] * 5 + ["test"] * 15),
        },
        "the test part has samples of class 2, of which training has none",
    ),
}


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command on a file; returns its one message."""

    def run(path: Path, *more: str) -> str:
        flags = ["--hidden", "4", "--batch-size", "8", "--epochs", "1"]
        workdir = tmp_path / "run"
        code = run_command(
            Spikes(), ["--file", str(path), *flags, "--workdir", str(workdir), *more]
        )
        shown = capsys.readouterr()
        assert code == 2 and not shown.out and not workdir.exists()
        (line,) = shown.err.splitlines()
        assert line.startswith("python -m train.spikes: error: --") and len(line) < 600
        return line

    return run


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_cannot_be_trained_on(
    name: str, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, words = ARRAYS[name]
    monkeypatch.setattr("train.settings.size.memory", lambda: 25 * 10**9)
    np.savez(tmp_path / "a.npz", **found)
    assert words in refused(tmp_path / "a.npz")


def contents(name: str) -> bytes:
    """Returns what a broken file holds."""
    whole = io.BytesIO()
    np.savez(whole, raster=RASTER, labels=LABELS)
    every = whole.getvalue()
    flipped = bytearray(every)
    flipped[300] ^= 255
    single = io.BytesIO()
    np.save(single, RASTER)
    return {
        "empty": b"",
        "cut": every[: len(every) // 2],
        "flipped": bytes(flipped),
        "text": b"sample,step,unit\n",
        "single": single.getvalue(),
    }[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "it is empty"),
        ("cut", "it is cut, or of another kind"),
        ("flipped", "Bad CRC-32 for file 'raster.npy'"),
        ("text", "it is cut, or of another kind"),
        ("single", "it is cut, or of another kind"),
    ],
)
def test_files_that_are_no_archive(
    name: str, words: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "a.npz").write_bytes(contents(name))
    assert words in refused(tmp_path / "a.npz")


class _Marks:
    """What marks a file where it is unpickled."""

    def __init__(self, path: Path):
        self._path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self._path}'",)


def test_objects_are_never_unpickled(tmp_path: Path, refused: Callable[..., str]) -> None:
    mark = tmp_path / "was_here"
    labels = np.array([_Marks(mark)] * N, object)
    np.savez(tmp_path / "a.npz", raster=RASTER, labels=labels)
    assert "Python objects, which could run any code" in refused(tmp_path / "a.npz")
    assert not mark.exists()
    np.load(tmp_path / "a.npz", allow_pickle=True)["labels"]
    assert mark.exists()  # it would have been


def test_an_archive_beyond_the_memory_is_not_unpacked(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, raster=np.zeros((1000, 1000, 10), np.uint8), labels=LABELS)
    assert path.stat().st_size < 50_000
    monkeypatch.setattr(archive, "memory", lambda: 5_000_000)
    monkeypatch.setattr(np, "load", lambda *args, **kwargs: pytest.fail("it was unpacked"))
    assert "its arrays take 10 MB, this machine has 5 MB of memory left" in refused(path)


def test_a_header_that_claims_more_than_the_file_has(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**5, 10**5, 10**5)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("raster.npy", header.getvalue() + b"\0" * 100)
    assert "it cannot be read as .npz" in refused(tmp_path / "a.npz")


def test_paths_that_lead_nowhere(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there is no such file in" in refused(Path("missing.npz"))
    (tmp_path / "a.csv").write_text("1,2,3\n")
    assert "a name that ends in .npz, .h5 or .hdf5" in refused(tmp_path / "a.csv")
    (tmp_path / "folder").mkdir()
    assert "found none for train and test, but no .npz" in refused(tmp_path / "folder")
    np.savez(tmp_path / "folder" / "train_and_test.npz", raster=RASTER, labels=LABELS)
    assert "one of train, valid and test" in refused(tmp_path / "folder")


def test_files_of_a_folder_that_do_not_fit_each_other(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    np.savez(tmp_path / "train.npz", raster=RASTER, labels=LABELS)
    for words, fields in {
        "one form": {"events": EVENTS, "labels": LABELS},
        "one kind": {"raster": RASTER, "labels": LABELS + 0.5},
        "one number of steps": {"raster": RASTER[:, :8], "labels": LABELS},
        "one number of units": {"raster": RASTER[:, :, :3], "labels": LABELS},
        "which training has none": {"raster": RASTER, "labels": LABELS + 1},
    }.items():
        np.savez(tmp_path / "test.npz", **fields)
        assert words in refused(tmp_path)


def test_hdf5_that_is_none(tmp_path: Path, refused: Callable[..., str]) -> None:
    pytest.importorskip("h5py")
    (tmp_path / "a.h5").write_bytes(b"")
    assert "expected an HDF5 file" in refused(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--units 3", "has 5 units, --units is 3"),
        ("--steps 8", "have 10 steps, --steps is 8"),
        ("--validation 0.5 --test 0.5", "leave something to train on"),
        ("--pool 0", "--pool"),
        ("--dt 0", "--dt"),
        ("--dt 2", "--dt 2 is 2000 ms, longer than the time constants"),
        ("--outputs 1", "classes from 0 to 0, as --outputs says, got 1"),
        ("--batch-size 29", "at most the 28 training samples, got 29"),
        ("--batch-size 0", "--batch-size"),
    ],
)
def test_flags_that_do_not_fit_the_file(
    flags: str, words: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    np.savez(tmp_path / "a.npz", raster=RASTER, labels=LABELS)
    assert words in refused(tmp_path / "a.npz", *flags.split())
