"""Files of strangers: no code is run, nothing outside is read, memory and time are bounded."""

from __future__ import annotations

import ast
import gzip
import io
import json
import os
import pickle
import struct
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from flax_snn.datasets import SpikeFile, read_events
from flax_snn.datasets.formats.idx import read_idx
from flax_snn.datasets.formats.nmnist import read_nmnist
from flax_snn.datasets.formats.spike_hdf5_writing import made_with
from flax_snn.datasets.formats.wav import read_wav
from flax_snn.datasets.prepared_folder import check_cards
from flax_snn.datasets.recorded.download import Remote, _unpack

ROOT = Path(__file__).resolve().parents[2]
SHD = ROOT / "tests" / "golden" / "datasets" / "shd_tiny.h5"


# No code.

RUN_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
SOURCES = sorted([*(ROOT / "flax_snn").rglob("*.py"), *(ROOT / "train").rglob("*.py")])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_in_the_package_unpickles_or_evaluates(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & RUN_CODE
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in RUN_CODE
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("eval", "exec", "compile", "__import__"), (path, node.lineno)
            if name.endswith(("np.load", "numpy.load")):
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert given.get("allow_pickle") == "False", (path, node.lineno)


class Mark:
    """An object whose unpickling leaves a folder."""

    def __init__(self, place: Path):
        self.place = place

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.place),))


def pickled(place: Path, name: str) -> bytes:
    """The content of an archive, an array or an attribute that holds such an object."""
    objects = np.array([Mark(place)], dtype=object)
    file = io.BytesIO()
    if name == "npy":
        np.save(file, objects, allow_pickle=True)
    elif name == "npz":
        np.savez(file, raster=objects, labels=objects, allow_pickle=True)
    else:
        file.write(pickle.dumps(Mark(place)))
    return file.getvalue()


@pytest.mark.parametrize("kind", ["npy", "npz", "pickle"])
def test_an_object_in_a_file_is_never_made(kind: str, tmp_path: Path) -> None:
    from train.errors import InputError
    from train.store import forms
    from train.tasks.recorded.prepared import read_prepared
    from train.tasks.spikes.recordings import read_file

    mark = tmp_path / "mark"
    content = pickled(mark, kind)
    if kind == "npy":
        np.load(io.BytesIO(content), allow_pickle=True)
        assert mark.exists()  # with leave, it would be
        mark.rmdir()
    readers: dict[str, Callable[[Path], Any]] = {
        ".npz": lambda path: read_file(path, 1e-3, 0),
        ".h5": lambda path: read_file(path, 1e-3, 0),
        ".wav": read_wav,
        ".idx": read_idx,
        ".bin": read_events,
        ".aedat": read_events,
        ".json": forms.CONFIG.read,
    }
    for suffix, read in readers.items():
        path = tmp_path / f"a{suffix}"
        path.write_bytes(content)
        with pytest.raises((ValueError, OSError, InputError)):
            read(path)
    assert read_prepared(tmp_path / "a.npz") is None
    assert not mark.exists()


def test_a_member_that_is_no_array_and_a_pipe_are_no_archive(tmp_path: Path) -> None:
    from train.errors import ConfigError
    from train.tasks.recorded.prepared import read_prepared
    from train.tasks.spikes.recordings import read_file

    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("labels", b"0 1 0 1")
    with pytest.raises(ConfigError, match="its member labels is no array of NumPy"):
        read_file(path, 1e-3, 0)
    assert read_prepared(path) is None
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(ConfigError, match="expected a regular file, got a pipe"):
        read_file(tmp_path / "pipe.npz", 1e-3, 0)


# Prepared folders.

SPLIT = {"name": "train", "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"}


def cards(folder: Path, split: dict[str, Any], feature: dict[str, Any]) -> Path:
    """A folder with the two cards of TFDS."""
    folder.mkdir()
    info = {"name": "tiny", "version": "1.0.0", "splits": [split]}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    features = {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "featuresDict": {"features": {"label": feature}},
    }
    (folder / "features.json").write_text(json.dumps(features))
    return folder


GOOD = {"pythonClassName": "tensorflow_datasets.core.features.scalar.Scalar", "tensor": {}}


@pytest.mark.parametrize(
    ("split", "feature", "words"),
    [
        ({"filepathTemplate": "../../{SPLIT}"}, GOOD, "names of files in the folder itself"),
        ({"filepathTemplate": "/etc/passwd"}, GOOD, "got '/etc/passwd'"),
        ({"filepathTemplate": 3}, GOOD, "filepathTemplate: expected a string"),
        (SPLIT, {"pythonClassName": "evil.Feature"}, "a class of TFDS, .* got 'evil.Feature'"),
        (SPLIT, {"type": "evil.Feature", "content": {}}, "label.type: expected a class of TFDS"),
        (SPLIT, {"inner": [{"python_class_name": "evil.F"}]}, r"inner.0.python_class_name: "),
        (SPLIT, GOOD | {"proto_cls": "evil.P"}, "label.proto_cls: expected a class of TFDS"),
    ],
)
def test_cards_that_run_code_or_lead_outside_are_refused(
    split: dict[str, Any], feature: dict[str, Any], words: str, tmp_path: Path
) -> None:
    check_cards(str(cards(tmp_path / "good", SPLIT, GOOD)))
    with pytest.raises((TypeError, ValueError), match=words):
        check_cards(str(cards(tmp_path / "bad", split, feature)))


def test_a_module_that_a_card_names_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorflow_datasets")
    from flax_snn.datasets.tfds_recorded import RECORDED, prepare

    name = next(iter(RECORDED))
    folder = tmp_path / "data" / name
    folder.mkdir(parents=True)
    mark = tmp_path / "mark"
    (tmp_path / "evil_card.py").write_text(f"open({str(mark)!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    feature = {"pythonClassName": "evil_card.Feature", "tensor": {}}
    cards(folder / RECORDED[name].version, SPLIT, feature)
    with pytest.raises(ValueError, match=r"a class of TFDS, .* got 'evil_card.Feature'"):
        prepare(name, None, data_dir=tmp_path / "data")
    assert not mark.exists() and "evil_card" not in sys.modules


def test_an_archive_cannot_write_outside_nor_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, wanted = tmp_path / "a.zip", tmp_path / "inner" / "data"
    wanted.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("../../outside", "x")
        file.writestr("/absolute", "x")
        file.writestr("data/sample", "y")
    remote = Remote("a.zip", "http://localhost/a.zip", "http://localhost", "")
    _unpack(remote, str(archive), str(wanted))
    assert (wanted / "sample").read_text() == "y"
    assert not (tmp_path / "outside").exists() and not (tmp_path.parent / "outside").exists()
    usage = type("usage", (), {"free": 2})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match="fit into the 2 bytes that are free, got 3 bytes"):
        _unpack(remote, str(archive), str(tmp_path / "inner" / "again"))


# Spikes in HDF5.


def linked(file: h5py.File, link: Any) -> None:
    del file["labels"]
    file["labels"] = link


def elsewhere(file: h5py.File) -> None:
    del file["labels"]
    size = len(file["spikes/times"])
    file.create_dataset("labels", (size,), "u1", external=[("/etc/passwd", 0, size)])


def virtual(file: h5py.File) -> None:
    del file["labels"]
    size = len(file["spikes/times"])
    layout = h5py.VirtualLayout((size,), "u2")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "labels", (size,))
    file.create_virtual_dataset("labels", layout)


def declared(file: h5py.File) -> None:
    del file["labels"]
    file.create_dataset("labels", (2**40,), "u2", chunks=(2**20,))


def outside_group(file: h5py.File) -> None:
    file.move("spikes", "other")
    file["spikes"] = h5py.SoftLink("/other")


def wrapped(file: h5py.File) -> None:
    labels = file["labels"][()].astype(np.int64)
    del file["labels"]
    file["labels"] = labels + 2**32  # a cast to 32 bits would give the old labels


def scalars(file: h5py.File) -> None:
    size = len(file["labels"])
    del file["spikes/times"]
    file["spikes/times"] = np.zeros(size)


def words(file: h5py.File) -> None:
    size = len(file["labels"])
    del file["spikes/units"]
    file.create_dataset("spikes/units", (size,), h5py.string_dtype())


def keys(file: h5py.File) -> None:
    del file["extra/keys"]
    file["extra/keys"] = 3.5


HOSTILE: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "a soft link": (lambda file: linked(file, h5py.SoftLink("/spikes/times")), "a SoftLink"),
    "another file": (lambda file: linked(file, h5py.ExternalLink("x.h5", "/a")), "ExternalLink"),
    "a linked group": (outside_group, "spikes/times: expected data, got a SoftLink"),
    "data elsewhere": (elsewhere, "labels: expected data in this file, got data in others"),
    "virtual data": (virtual, "labels: expected data in this file, got data in others"),
    "a declared size": (declared, "stored values, got 2199023255552 bytes declared and 0 stored"),
    "labels of 33 bits": (wrapped, "labels, sample 0: expected an integer of 32 bits, got 42949"),
    "a time for a sample": (scalars, "spikes/times: expected a list of numbers for each sample"),
    "words for units": (words, "spikes/units: expected a list of integers for each sample"),
    "a number for keys": (keys, "extra/keys: expected names"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_of_spikes(name: str, tmp_path: Path) -> None:
    spoil, reason = HOSTILE[name]
    path = tmp_path / "a.h5"
    path.write_bytes(SHD.read_bytes())
    assert len(SpikeFile(path)[0].data)
    with h5py.File(path, "a") as file:
        spoil(file)
    with pytest.raises(ValueError, match=reason) as caught:
        SpikeFile(path)
    assert str(caught.value).startswith(str(path))


def test_what_a_file_says_about_itself_is_json_within_bounds(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    for text, reason in (("{", "expected JSON"), ("[" * 60000, "32 deep"), ("[NaN]", "finite")):
        with h5py.File(path, "w") as file:
            file.attrs["made_with"] = text
        with pytest.raises(ValueError, match=reason):
            made_with(path)


# Sizes that are only claimed, and those of bombs.


def peak(read: Callable[[], Any]) -> int:
    """Memory in bytes that Python and NumPy allocated at most meanwhile."""
    tracemalloc.start()
    try:
        with pytest.raises((ValueError, OSError)):
            read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_compressed_image_file_is_unpacked_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    header = struct.pack(">BBBBI", 0, 0, 8, 1, 2**28)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header)
        for _ in range(64):
            file.write(bytes(2**20))
    assert path.stat().st_size < 10**6
    assert peak(lambda: read_idx(path, max_bytes=10**6)) < 2 * 10**7
    with pytest.raises(ValueError, match="at most 1000000 bytes, got more; pass a larger max_byt"):
        read_idx(path, max_bytes=10**6)


def test_a_sound_that_claims_to_be_long_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    form = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", 2**32 - 16)
    path.write_bytes(b"RIFF" + struct.pack("<I", 2**32 - 1) + b"WAVE" + chunks + bytes(20))
    assert peak(lambda: read_wav(path)) < 10**7


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ((1, 1, 0, 0, 2, 16), "a sampling rate > 0 Hz, got 0"),
        ((1, 1, 8000, 8000, 20, 160), "samples of 1 to 4 bytes, got 20 bytes"),
        ((3, 1, 8000, 8000, 4, 32), "a WAV file of linear PCM"),
    ],
)
def test_sounds_of_other_forms(form: tuple[int, ...], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    head = b"fmt " + struct.pack("<I", 16) + struct.pack("<HHIIHH", *form)
    data = b"data" + struct.pack("<I", 40) + bytes(40)
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(head + data)) + b"WAVE" + head + data)
    with pytest.raises(ValueError, match=reason):
        read_wav(path)


@pytest.mark.parametrize("size", ["0x480", "640x70000", "9" * 30 + "x480", "9" * 5000 + "x480"])
def test_a_sensor_beyond_sixteen_bits_is_refused(size: str, tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    path.write_bytes(f"% evt 2.0\n% geometry {size}\n% end\n".encode() + bytes(8))
    with pytest.raises(ValueError):
        read_events(path)


def test_times_beyond_sixty_three_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.aedat"
    packet = struct.pack("<HHIIIIII", 1, 0, 8, 4, 2**32 - 1, 1, 1, 1) + struct.pack("<II", 1, 5)
    path.write_bytes(b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + packet)
    with pytest.raises(ValueError, match="times that wrapped fewer than 2147483648 times"):
        read_events(path)


def test_overflows_of_a_timer_beyond_its_type_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    marker, event = bytes([0, 240, 0, 0, 0]), bytes([1, 1, 0, 0, 1])
    path.write_bytes(marker * 1000 + event)
    assert read_nmnist(path).times.tolist() == [1000 * 2**13 + 1]
    path.write_bytes(marker * 300_000 + event)  # 2^31 microseconds: an int32 would wrap around
    with pytest.raises(ValueError, match="overflows of the timer, 35 minutes, got 300000"):
        read_nmnist(path)


def test_a_pipe_in_place_of_a_recording_is_not_waited_for(tmp_path: Path) -> None:
    began = time.monotonic()
    for suffix, read in ((".wav", read_wav), (".idx", read_idx), (".bin", read_nmnist)):
        path = tmp_path / f"a{suffix}"
        os.mkfifo(path)
        with pytest.raises((ValueError, OSError), match="got a pipe|no such file"):
            read(path)
    assert time.monotonic() - began < 5.0
