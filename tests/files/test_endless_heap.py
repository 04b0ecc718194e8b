"""Heaps of HDF5 files that the library HDF5 reads for ever are refused before they are read."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from flax_snn import nir
from flax_snn.datasets import SpikeFile
from flax_snn.datasets.formats.spike_hdf5_writing import made_with
from flax_snn.untrusted_hdf5 import check_stored, endless_heap

ROOT = Path(__file__).resolve().parents[2]
SHD = ROOT / "tests" / "golden" / "datasets" / "shd_tiny.h5"
NIR = ROOT / "tests" / "golden" / "nir"
OBJECTS = {
    "free space without a size": struct.pack("<HHIQ", 0, 0, 0, 0),
    # With its header, and rounded up to 8 bytes, it is 2**64 bytes long.
    "a size that overflows": struct.pack("<HHIQ", 1, 0, 0, 2**64 - 17),
}


def second_object(content: bytes) -> int:
    """Returns where the second object of the first heap begins."""
    at = content.index(b"GCOL") + 16
    (size,) = struct.unpack("<Q", content[at + 8 : at + 16])
    return int(at + 16 + (size + 7) // 8 * 8)


def damaged(folder: Path, words: str, source: Path = SHD) -> Path:
    content = bytearray(source.read_bytes())
    place = second_object(bytes(content))
    content[place : place + 16] = OBJECTS[words]
    path = folder / source.name
    path.write_bytes(content)
    return path


def found(path: Path) -> str | None:
    with h5py.File(path, "r") as file:
        return endless_heap(file)


@pytest.mark.parametrize("words", OBJECTS)
def test_a_heap_without_an_end_is_refused(tmp_path: Path, words: str) -> None:
    path = damaged(tmp_path, words)
    place = second_object(SHD.read_bytes())
    for read in (SpikeFile, made_with):
        with pytest.raises(ValueError, match=f"heaps that end, got .* no size at byte {place}"):
            read(str(path))


@pytest.mark.slow
@pytest.mark.parametrize("words", OBJECTS)
def test_what_is_refused_has_no_end_in_hdf5(tmp_path: Path, words: str) -> None:
    # Should a later release of HDF5 end here, the check may go.
    path = damaged(tmp_path, words)
    program = (
        f"import h5py; print('begun', flush=True); h5py.File({str(path)!r})['spikes/times'][:]"
    )
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        subprocess.run([sys.executable, "-c", program, str(path)], timeout=20, capture_output=True)
    assert caught.value.stdout == b"begun\n"


def test_what_a_damaged_file_was_made_with_is_a_message(tmp_path: Path) -> None:
    content = bytearray(SHD.read_bytes())
    with h5py.File(SHD, "r") as file:
        place = h5py.h5o.get_info(file.id).addr
    content[place] ^= 0xFF  # the version of the header of the root
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected an HDF5 file, got .*download it again"):
        made_with(path)
    with pytest.raises(FileNotFoundError, match="no such file; expected spikes in HDF5"):
        made_with(tmp_path / "none.h5")


def test_a_nir_file_is_refused_too(tmp_path: Path) -> None:
    source = next(
        path for path in sorted(NIR.rglob("*.nir")) if path.read_bytes().count(b"GCOL") == 1
    )
    with pytest.raises(nir.NIRError, match="heaps that end"):
        nir.load(damaged(tmp_path, "free space without a size", source))


@pytest.mark.parametrize("longer", [2**30, 2**32 - 1])
def test_memory_is_not_taken_for_a_list_longer_than_its_file(tmp_path: Path, longer: int) -> None:
    content = bytearray(SHD.read_bytes())
    with h5py.File(SHD, "r") as file:
        place = file["spikes/times"].id.get_offset() + 3 * 16
    content[place : place + 4] = struct.pack("<I", longer)
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=f"a list or text of {2 * longer} bytes declared in a file"
    ):
        SpikeFile(str(path))


def test_memory_is_not_taken_for_a_text_longer_than_its_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = "some words"
        place = file["x"].id.get_offset()
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert check_stored(file["x"], 16) is None
    with open(tmp_path / "a.h5", "r+b") as raw:
        raw.seek(place)
        raw.write(struct.pack("<I", 2**31))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert f"a list or text of {2**31} bytes declared" in str(check_stored(file["x"], 16))


def test_files_that_were_written_to_again_are_read(tmp_path: Path) -> None:
    path, kind = tmp_path / "a.h5", h5py.vlen_dtype(np.float32)
    rng = np.random.default_rng(0)
    for k in range(4):
        with h5py.File(path, "a") as file:
            if k:
                del file[f"{k - 1}"], file.attrs["words"]
            file.attrs["words"] = "x" * (5000 * k)
            column = file.create_dataset(f"{k}", (20,), kind)
            for row in range(20):
                column[row] = rng.random(rng.integers(0, 400)).astype(np.float32)
            column[3] = np.zeros(1000, np.float32)
        assert found(path) is None
    with h5py.File(path, "r") as file:
        assert len(file["3"][3]) == 1000


def test_every_golden_file_is_read() -> None:
    read = []
    for path in [*NIR.rglob("*.nir"), SHD]:
        try:
            read.append((path, found(path)))
        except OSError:  # no HDF5 file, or a cut one
            continue
    assert sum(path.read_bytes().count(b"GCOL") for path, _ in read) > 10
    assert [words for _, words in read if words] == []


def test_heaps_that_overlap_do_not_take_long(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros(8)
    # Each object holds the header of another heap, of 4096 objects: 10**8 steps without a limit.
    heap = b"GCOL\x01\0\0\0" + struct.pack("<Q", 2**17)
    with open(tmp_path / "a.h5", "ab") as raw:
        raw.write((struct.pack("<HHIQ", 1, 0, 0, len(heap)) + heap) * 2**15)
    began = time.process_time()
    assert "overlaps" in str(found(tmp_path / "a.h5"))
    assert time.process_time() - began < 10.0
