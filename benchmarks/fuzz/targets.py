"""What is fuzzed: a reader each, files that it reads, and what it may raise.

A reader may return, or raise an error that says what is wrong with the file: ValueError, OSError,
or an error of the app. Anything else is a finding, and so is a warning that numbers overflow.
"""

from __future__ import annotations

import dataclasses
import io
import json
import struct
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "golden" / "datasets"
NIR = ROOT / "tests" / "golden" / "nir"
RUN = ROOT / "checkpoints" / "randman_reference"


@dataclasses.dataclass(frozen=True)
class Target:
    """A reader of files.

    Attributes:
      read: reads a file, all of it.
      seeds: contents of files that it reads, or all but reads.
      suffix: how the name of a file ends.
      words: texts that the format has, for mutations.
    """

    read: Callable[[Path], Any]
    seeds: Callable[[], list[bytes]]
    suffix: str = ""
    words: tuple[bytes, ...] = ()


def _files(folder: Path, *patterns: str) -> list[bytes]:
    found = [path.read_bytes() for pattern in patterns for path in sorted(folder.glob(pattern))]
    return [content for content in found if len(content) <= 2**17]


def _wav() -> list[bytes]:
    found = []
    for channels, width, rate in ((1, 1, 8000), (2, 2, 16000), (1, 3, 44100), (1, 4, 8000)):
        file = io.BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setnchannels(channels)
            sound.setsampwidth(width)
            sound.setframerate(rate)
            sound.writeframes(bytes(range(24)) * channels * width)
        found.append(file.getvalue())
    return found


def _idx() -> list[bytes]:
    import gzip

    head = struct.pack(">BBBBIII", 0, 0, 8, 3, 2, 3, 4)
    plain = head + bytes(24)
    doubles = struct.pack(">BBBBI", 0, 0, 14, 1, 2) + struct.pack(">2d", 1.0, -2.5)
    return [plain, doubles, gzip.compress(plain)]


def _camera(header: bytes, words: str, *values: int) -> bytes:
    return header + struct.pack(f"<{len(values)}{words}", *values)


def _dat() -> list[bytes]:
    header = b"% Data file containing CD events.\n% Version 2\n% Height 480\n% Width 640\n"
    place = (1 << 28) | (5 << 14) | 7
    return [_camera(header + b"\x0c\x08", "I", 10, place, 12, place + 1)]


def _evt2() -> list[bytes]:
    header = b"% evt 2.0\n% geometry 640x480\n% end\n"
    pixel = (1 << 28) | (3 << 22) | (7 << 11) | 5
    return [_camera(header, "I", 8 << 28 | 1, pixel, pixel + 1, 8 << 28 | 2, pixel)]


def _evt3() -> list[bytes]:
    header = b"% evt 3.0\n% geometry 640x480\n% end\n"
    words = (0x8001, 0x6010, 0x0005, 0x2807, 0x3010, 0x4FFF, 0x50FF, 0x8002, 0x6020, 0x2008)
    return [_camera(header, "H", *words)]


def _npz() -> list[bytes]:
    rng = np.random.default_rng(0)
    raster = (rng.random((6, 5, 4)) < 0.3).astype(np.uint8)
    sample, step, unit = np.nonzero(raster)
    labels = np.array([0, 1, 0, 1, 0, 1])
    forms: list[dict[str, np.ndarray]] = [
        {"raster": raster, "labels": labels},
        {"events": np.stack([sample, step, unit], axis=1), "labels": labels},
        {"sample": sample, "time": step * 1e-3, "unit": unit, "labels": labels / 2},
        {"raster": raster, "labels": labels, "part": np.array(["train", "test"] * 3)},
    ]
    found = []
    for arrays in forms:
        for save in (np.savez, np.savez_compressed):
            file = io.BytesIO()
            save(file, **arrays)  # type: ignore[arg-type]
            found.append(file.getvalue())
    return found


def _read_wav(path: Path) -> Any:
    from flax_snn.datasets.formats.wav import read_wav

    return read_wav(path)


def _read_idx(path: Path) -> Any:
    from flax_snn.datasets.formats.idx import read_idx

    return read_idx(path, max_bytes=2**28)


def _read_camera(path: Path) -> Any:
    from flax_snn.datasets.formats import read_events

    found = read_events(path)
    assert (found.units < int(np.prod(found.shape))).all(), "units outside the sensor"
    assert (np.diff(found.times.astype(np.int64)) >= 0).all(), "times that fall"
    return found


def _read_spikes_hdf5(path: Path) -> Any:
    from flax_snn.datasets.formats.spike_hdf5 import SpikeFile
    from flax_snn.datasets.formats.spike_hdf5_writing import made_with

    made_with(path)
    source = SpikeFile(path)
    found = [source[row] for row in range(min(len(source), 50))]
    assert all(0 <= sample.label < len(source.classes) for sample in found), "labels"
    return found


def _read_spikes_file(path: Path) -> Any:
    from train.tasks.spikes.recordings import read_file

    found = read_file(path, 1e-3, 0)
    found.counts(5), found.last_steps(), found.units, found.steps
    return found


def _read_prepared(path: Path) -> Any:
    from train.tasks.recorded.prepared import read_prepared

    found = read_prepared(path)
    if found is None:  # it is prepared anew
        raise ValueError("not whole")
    return found


def _read_nir(path: Path) -> Any:
    from flax_snn import nir

    nir.load(path, max_bytes=2**27)
    return nir.from_nir(path, 1e-4, "exp", max_bytes=2**27)


def _read_nir_tree(path: Path) -> Any:
    """Reads a graph whose fields are JSON: what HDF5 refuses to a mutation of bytes is reached."""
    from flax_snn.json_form import read_json
    from flax_snn.nir.file.validation import parse_graph
    from flax_snn.nir.reading.read_graph import from_nir
    from flax_snn.nir.wiring import wire

    tree = read_json(path)
    if not isinstance(tree, dict):
        raise ValueError("no tree")
    graph = parse_graph(_as_stored(tree))
    wire(graph)
    return from_nir(graph, 1e-3, "exp", max_bytes=2**27)


def _as_stored(value: Any) -> Any:
    """Returns JSON as the reader of HDF5 gives it: numbers and lists of them are arrays."""
    if isinstance(value, dict):
        return {key: _as_stored(each) for key, each in value.items()}
    if isinstance(value, list) and value and all(isinstance(each, list) for each in value):
        if all(isinstance(each, str) for row in value for each in row):
            return [tuple(row) for row in value]
    if isinstance(value, list | int | float) and not isinstance(value, bool):
        try:
            array = np.array(value)
        except (ValueError, OverflowError) as error:
            raise ValueError("no array") from error
        return array if array.dtype.kind in "fiubc" else array.astype(str).tolist()
    return "" if value is None else value


def _nir_trees() -> list[bytes]:
    import h5py

    from flax_snn.nir.file.hdf5 import read_tree

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        return value

    found = []
    for path in sorted(NIR.rglob("*.nir")):
        if path.stat().st_size > 2**16:
            continue
        try:
            text = json.dumps(plain(read_tree(path)))
        except (ValueError, TypeError, h5py.h5py_warnings.H5pyWarning):
            continue
        if len(text) < 6000:
            found.append(text.encode())
    return found


def _settings(path: Path) -> Any:
    from train.store import forms

    return _use(forms.CONFIG.read(path))


def _meta(path: Path) -> Any:
    from train.store import forms

    return _use(forms.META.read(path)["settings"])


def _use(stored: Any) -> Any:
    """Goes with stored settings as far as the app does before it builds anything."""
    from train.settings.numbers import check_numbers
    from train.settings.size import check_size
    from train.store.settings_json import from_json, task_of
    from train.tasks import TASKS, find_task

    name = task_of({key: stored[key] for key in ("version", "task", "config")})
    if name not in TASKS:
        raise ValueError("a task that is not of this package")
    task = find_task(name)
    settings = from_json(task.settings, {k: stored[k] for k in ("version", "task", "config")})
    check_numbers(settings)
    task.check(settings)
    check_size(task.size(settings), training=False)
    return settings


def _compare(path: Path) -> Any:
    """Reads a run directory whose metrics are fuzzed, as `train.compare` does."""
    import shutil

    from train import compare

    folder = path.with_suffix(".run")
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "result.json"):
        if not (folder / name).exists():
            shutil.copy(RUN / name, folder / name)
    shutil.copy(path, folder / "metrics.jsonl")
    return compare.describe(compare.compare([folder]))


def _read_result(path: Path) -> Any:
    from train.store import forms

    return forms.RESULT.read(path)


def _position(path: Path) -> Any:
    from train.store import forms

    return forms.POSITION.read(path)


_JSON = (b'"', b"null", b"NaN", b"1e999", b"[]", b"{}", b"-1", b"1e308", b"\\ud800", b"[" * 40)
_NODES = tuple(
    f'"{word}"'.encode()
    for word in (
        "LIF CubaLIF IF I LI CubaLI Linear Affine Scale Threshold Delay Flatten Conv2d Conv1d"
        " SumPool2d AvgPool2d Input Output NIRGraph shape input_type start_dim end_dim delay"
        " metadata surrogate refractory reset dt method"
    ).split()
)

TARGETS: dict[str, Target] = {
    "wav": Target(_read_wav, _wav, ".wav", (b"RIFF", b"WAVE", b"fmt ", b"data")),
    "idx": Target(_read_idx, _idx),
    "nmnist": Target(_read_camera, lambda: _files(DATA / "nmnist", "**/*.bin"), ".bin"),
    "aedat3": Target(
        _read_camera, lambda: _files(DATA, "*.aedat"), ".aedat", (b"#!AER-DAT3.1", b"#!END-HEADER")
    ),
    "dat": Target(_read_camera, _dat, ".dat", (b"% Height ", b"% Width ", b"% Version ")),
    "evt2": Target(_read_camera, _evt2, ".raw", (b"% evt 2.0\n", b"% geometry ", b"% end\n")),
    "evt3": Target(_read_camera, _evt3, ".raw", (b"% evt 3.0\n", b"% geometry ", b"% end\n")),
    "spikes_hdf5": Target(_read_spikes_hdf5, lambda: _files(DATA, "*.h5", "bad/*.h5"), ".h5"),
    "spikes_npz": Target(_read_spikes_file, _npz, ".npz", (b"PK\x03\x04", b"\x93NUMPY")),
    "prepared_npz": Target(_read_prepared, _npz, ".npz", (b"PK\x03\x04", b"\x93NUMPY")),
    "nir": Target(_read_nir, lambda: _files(NIR, "**/*.nir")[:40], ".nir"),
    "nir_tree": Target(_read_nir_tree, _nir_trees, ".json", (*_JSON, *_NODES)),
    "config": Target(_settings, lambda: _files(RUN, "config.json"), ".json", _JSON),
    "meta": Target(_meta, lambda: _files(RUN, "checkpoints/30/meta/metadata"), ".json", _JSON),
    "position": Target(
        _position, lambda: _files(RUN, "checkpoints/30/data/metadata"), ".json", _JSON
    ),
    "metrics": Target(_compare, lambda: _files(RUN, "metrics.jsonl"), ".jsonl", _JSON),
    "result": Target(_read_result, lambda: _files(RUN, "result.json"), ".json", _JSON),
}
"""Every reader of files by name."""
