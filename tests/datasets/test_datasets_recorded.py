"""Recorded data sets: folders of files as sources, and what is prepared from them on disk."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from flax_snn import datasets
from flax_snn.datasets import Events, Recorded, tfds_prepare, tfds_recorded
from flax_snn.datasets.tfds_recorded import PreparedSource

GOLDEN = Path(__file__).parents[1] / "golden" / "datasets"
ROOT = Path(__file__).resolve().parents[2]


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two digits, two speakers, seven recordings each; the first sample tells which it is."""
    folder = tmp_path_factory.mktemp("recordings")
    for digit in (0, 7):
        for s, speaker in enumerate(("ann", "bob")):
            for index in range(7):
                samples = np.arange(20 + digit) + 1000 * digit + 100 * s + index
                write_wav(folder / f"{digit}_{speaker}_{index}.wav", samples)
    (folder / "README.md").write_text("not a recording")
    return folder


def test_spoken_digits_have_the_official_split(digits: Path) -> None:
    parts = {part: datasets.SpokenDigits(digits, part) for part in ("train", "test", "all")}
    assert {part: len(source) for part, source in parts.items()} == {
        "train": 8,
        "test": 20,
        "all": 28,
    }
    assert set(parts["train"].files) | set(parts["test"].files) == set(parts["all"].files)
    assert (parts["test"].indices < 5).all() and (parts["train"].indices >= 5).all()
    for sample, speaker in zip(parts["train"], parts["train"].speakers, strict=True):
        number = 1000 * sample.label + 100 * (speaker == "bob") + sample.info["index"]
        np.testing.assert_array_equal(sample.data, np.arange(20 + sample.label) + number)
        assert sample.data.dtype == np.int16 and sample.info["speaker"] == speaker


def test_a_speaker_can_be_left_out(digits: Path) -> None:
    rest = datasets.SpokenDigits(digits, without=["bob"])
    alone = datasets.SpokenDigits(digits, speakers=["bob"])
    assert set(rest.speakers) == {"ann"} and set(alone.speakers) == {"bob"}
    assert len(rest) + len(alone) == 28 and not set(rest.files) & set(alone.files)


def test_what_is_wrong_with_a_folder_of_digits_is_said(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="speakers: expected one of 'ann', 'bob', got 'eve'"):
        datasets.SpokenDigits(digits, without=["eve"])
    with pytest.raises(ValueError, match="expected recordings of part 'all'.*none among 28"):
        datasets.SpokenDigits(digits, without=["ann", "bob"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="free-spoken-digit-dataset"):
        datasets.SpokenDigits(tmp_path / "empty")
    for name in ("12_ann_0.wav", "x_ann_0.wav", "3_ann.wav"):
        write_wav(tmp_path / name, np.arange(3))
        with pytest.raises(ValueError, match=rf"{name}: expected a name such as 7_jackson_32"):
            datasets.SpokenDigits(tmp_path)
        (tmp_path / name).unlink()
    write_wav(tmp_path / "3_ann_0.wav", np.arange(3), rate=16000)
    with pytest.raises(ValueError, match=r"3_ann_0.wav: .*rate in Hz of 8000, got 16000"):
        datasets.SpokenDigits(tmp_path)[0]


def test_folders_of_nmnist_are_read_in_order(tmp_path: Path) -> None:
    source = datasets.NMNIST(GOLDEN / "nmnist", "train", complete=False)
    assert source.labels.tolist() == [0, 5, 9]
    assert [sample.info["index"] for sample in source] == ["00002", "00001", "00005"]
    assert source[1].data == datasets.read_nmnist(GOLDEN / "nmnist" / "Train" / "5" / "00001.bin")
    with pytest.raises(ValueError, match="expected 60000 recordings.*got 3"):
        datasets.NMNIST(GOLDEN / "nmnist", "train")
    (tmp_path / "Test" / "ten").mkdir(parents=True)
    with pytest.raises(ValueError, match="expected folders named by their digit, 0 to 9, got ten"):
        datasets.NMNIST(tmp_path, "test")
    shutil.rmtree(tmp_path / "Test" / "ten")
    with pytest.raises(ValueError, match="expected 10000 recordings.*got 0"):
        datasets.NMNIST(tmp_path, "test", complete=False)


def test_lists_and_labels_of_gestures_are_checked(tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "dvsgesture_tiny.aedat", tmp_path / "a.aedat")
    labels = tmp_path / "a_labels.csv"
    (tmp_path / "trials_to_test.txt").write_text("a.aedat\n\n")
    header = "class,startTime_usec,endTime_usec\n"
    for text, reason in {
        "": "line 1: expected class,startTime_usec",
        "class,start,end\n1,0,5\n": "line 1: expected class,startTime_usec",
        header: "and lines of gestures below",
        header + "1,2\n": r"line 2: expected three whole numbers, got '1,2'",
        header + "1,0,9\n0,0,9\n": "line 3: expected a class from 1 to 11, got 0",
        header + "1,9,9\n": "line 2: expected 0 <= start < end, got 9 and 9",
    }.items():
        labels.write_text(text)
        with pytest.raises(ValueError, match=rf"a_labels\.csv, {reason}|{reason}"):
            datasets.DVSGesture(tmp_path, "test")
    labels.write_text(header + "3,1,2\n")
    source = datasets.DVSGesture(tmp_path, "test")
    assert source.labels.tolist() == [2]
    with pytest.raises(ValueError, match=r"a\.aedat, gesture .*expected events, got none"):
        source[0]
    (tmp_path / "trials_to_test.txt").write_text("a.txt\n")
    with pytest.raises(ValueError, match="one recording a line.*got 'a.txt'"):
        datasets.DVSGesture(tmp_path, "test")


def test_speakers_of_a_spike_file_can_be_set_apart() -> None:
    source = datasets.SpikeFile(GOLDEN / "shd_tiny.h5")
    speaker = int(source.speakers[0])
    rest, alone = datasets.speakers_apart(source, (speaker,))
    assert sorted([*rest, *alone]) == list(range(20))
    part = datasets.Subset(source, alone)
    assert {sample.info["speaker"] for sample in part} == {speaker}
    np.testing.assert_array_equal(part.labels, source.labels[alone])
    with pytest.raises(ValueError, match="speakers: expected one of"):
        datasets.speakers_apart(source, (99,))


def test_sources_are_lists(digits: Path) -> None:
    sources: list[Any] = [
        datasets.SpokenDigits(digits),
        datasets.NMNIST(GOLDEN / "nmnist", complete=False),
        datasets.SpikeFile(GOLDEN / "shd_tiny.h5"),
        datasets.fashion_mnist(GOLDEN / "fashion-mnist"),
        datasets.DVSGesture(GOLDEN, recordings=["dvsgesture_tiny"]),
    ]
    sources += [datasets.Subset(sources[0], [1, 2]), datasets.Mapped(sources[0], np.sum)]
    sources.append(datasets.InMemory([1, 2], labels=[0, 1]))
    for source in sources:
        assert isinstance(source, datasets.Source)
        assert len(source) == len(source.labels) and source.labels.dtype == np.int32
        for row in (0, -1):
            assert source[row].label == source.labels[row]
        for row in (len(source), -len(source) - 1):
            with pytest.raises(IndexError, match="row"):
                source[row]
        assert len(list(source)) == len(source)
        assert pickle.loads(pickle.dumps(source))[0].label == source[0].label


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Path:
    """Raw files of all the data sets whose layout the golden files have."""
    folder = tmp_path_factory.mktemp("raw")
    for name in ("shd_train.h5", "shd_test.h5"):
        shutil.copy(GOLDEN / "shd_tiny.h5", folder / name)
    for part in ("train", "test"):
        (folder / f"trials_to_{part}.txt").write_text("dvsgesture_tiny.aedat\n")
    for path in (*GOLDEN.glob("dvsgesture_tiny*"), *(GOLDEN / "fashion-mnist").iterdir()):
        shutil.copy(path, folder)
    for path in digits.iterdir():
        shutil.copy(path, folder)
    return folder


def nmnist(folder: str, part: str) -> Any:
    return datasets.NMNIST(folder, part, complete=False)  # type: ignore[arg-type]


SETS = {
    "spoken_digits": "spoken_digits",
    "shd": "shd",
    "dvs_gesture": "dvs_gesture",
    "fashion_mnist": "fashion_mnist",
    "nmnist": Recorded("nmnist", ("train", "test"), nmnist),
}


@pytest.mark.parametrize("name", SETS)
def test_what_is_prepared_is_what_the_reader_gives(name: str, raw: Path, tmp_path: Path) -> None:
    folder = GOLDEN / "nmnist" if name == "nmnist" else raw
    parts = datasets.prepare(SETS[name], folder, data_dir=tmp_path)
    row = SETS[name] if name == "nmnist" else datasets.RECORDED[name]
    assert tuple(parts) == row.parts
    for part, found in parts.items():
        source = row.open(str(folder), part)
        assert found.classes == tuple(source.classes)
        np.testing.assert_array_equal(found.labels, source.labels)
        for one, other in zip(found, source, strict=True):
            assert (one.label, dict(one.info)) == (other.label, dict(other.info))
            if isinstance(other.data, Events):
                assert one.data == other.data and one.data.times.dtype == other.data.times.dtype
            else:
                np.testing.assert_array_equal(one.data, other.data)
                assert one.data.dtype == other.data.dtype
    # The raw files are not needed any more, nor is the reader asked again.
    again = datasets.prepare(SETS[name], data_dir=tmp_path)
    assert again[part][0].label == found[0].label
    assert pickle.loads(pickle.dumps(found))[0].label == found[0].label


def test_nothing_is_prepared_without_raw_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="shd: expected the prepared data.*give folder"):
        datasets.prepare("shd", data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"shd_train\.h5.*MD5"):
        datasets.prepare("shd", tmp_path, data_dir=tmp_path)
    with pytest.raises(ValueError, match="what: expected one of 'spoken_digits', .*got 'sdh'"):
        datasets.prepare("sdh", tmp_path, data_dir=tmp_path)
    assert not list(tmp_path.rglob("*.array_record*"))
    for name, parts in (("My set", ("train",)), ("mine", ()), ("mine", ("all",))):
        with pytest.raises(ValueError, match="name: expected lower|parts: expected names"):
            Recorded(name, parts, nmnist)


def test_damaged_raw_files_stop_the_preparation(raw: Path, tmp_path: Path) -> None:
    shutil.copy(GOLDEN / "shd_tiny.h5", tmp_path / "shd_train.h5")
    shutil.copy(GOLDEN / "bad" / "shd_unsorted_times.h5", tmp_path / "shd_test.h5")
    with pytest.raises(ValueError, match=r"shd_test\.h5, sample 3, event 1: expected a time >="):
        datasets.prepare("shd", tmp_path, data_dir=tmp_path / "data")
    assert not list(tmp_path.rglob("*array_record*"))
    (tmp_path / "shd_test.h5").unlink()  # HDF5 may have it open.
    shutil.copy(GOLDEN / "shd_tiny.h5", tmp_path / "shd_test.h5")
    assert len(datasets.prepare("shd", tmp_path, data_dir=tmp_path / "data")["test"]) == 20


SLOWLY = """
import sys, time
from flax_snn import datasets
from flax_snn.datasets.tfds_recorded import Recorded

class Slow:
    def __init__(self, source, part):
        self.source, self.labels, self.part = source, source.labels, part
    classes = property(lambda self: self.source.classes)
    def __len__(self): return len(self.source)
    def __getitem__(self, row):
        if (self.part, row) == ("test", 12):
            print("half-way", flush=True)
            time.sleep(60)
        return self.source[row]

row = datasets.RECORDED["shd"]
slow = Recorded("shd", row.parts, lambda folder, part: Slow(row.open(folder, part), part))
datasets.prepare(slow, sys.argv[1], data_dir=sys.argv[2])
"""


@pytest.mark.slow
def test_a_killed_preparation_is_noticed_and_redone(
    raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, str(raw), str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert process.stdout is not None and process.stdout.readline() == b"half-way\n"
    (left,) = tmp_path.rglob("incomplete.*")
    assert any(left.iterdir())
    # While someone is at work, nothing is taken away.
    with tfds_prepare._preparing(left.parent):
        assert left.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert left.exists()
    parts = datasets.prepare("shd", raw, data_dir=tmp_path)
    source = datasets.shd(raw)
    assert all(found.data == read.data for found, read in zip(parts["train"], source, strict=True))
    assert not left.exists() and not list(tmp_path.rglob("incomplete.*"))
    assert f"{left}: removed, the rest of a preparation" in caplog.text


def test_a_full_disk_is_named(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, part: str) -> Any:
        yield from ()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tfds_recorded.RecordedBuilder, "_generate_examples", full)
    with pytest.raises(OSError, match="room on the disk for the prepared data.*make room"):
        datasets.prepare("shd", raw, data_dir=tmp_path)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("name", ["dataset_info.json", "metadata.json", "shd-train.array_record*"])
@pytest.mark.parametrize("harm", [Path.unlink, cut])
def test_a_damaged_folder_is_refused(name: str, harm: Any, raw: Path, tmp_path: Path) -> None:
    datasets.prepare("shd", raw, data_dir=tmp_path)
    (path,) = tmp_path.rglob(name)
    harm(path)
    with pytest.raises(ValueError, match="delete that folder and prepare it again") as caught:
        list(datasets.prepare("shd", raw, data_dir=tmp_path)["train"])
    assert str(path.parent) in str(caught.value)


def test_another_number_of_samples_is_refused(raw: Path, tmp_path: Path) -> None:
    datasets.prepare("shd", raw, data_dir=tmp_path)
    (path,) = tmp_path.rglob("dataset_info.json")
    path.write_text(path.read_text().replace('"20"', '"19"'))
    with pytest.raises(ValueError, match="19 samples of train, not 20; delete that folder"):
        datasets.prepare("shd", data_dir=tmp_path)


def test_tfds_opens_the_folder_without_this_package(raw: Path, tmp_path: Path) -> None:
    datasets.prepare("shd", raw, data_dir=tmp_path)
    (path,) = tmp_path.rglob("dataset_info.json")
    builder = tfds.builder_from_directory(path.parent)
    record = builder.as_data_source("train")[3]
    np.testing.assert_array_equal(record["times"], datasets.shd(raw)[3].data.times)
    assert PreparedSource(builder, "test")[3].data == datasets.shd(raw, "test")[3].data


@pytest.mark.slow
def test_neither_tensorflow_nor_network_nor_a_word_on_the_screen(raw: Path, tmp_path: Path) -> None:
    code = """
import socket, sys
def refuse(*_, **__): raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
from flax_snn import datasets
assert not [name for name in sys.modules if name.split(".")[0] in ("h5py", "grain", "faery")]
for _ in range(2):
    list(datasets.prepare("shd", sys.argv[1], data_dir=sys.argv[2])["train"])
assert not [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras")]
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(raw), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
