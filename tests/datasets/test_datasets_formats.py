"""Every format: good files of the golden data give their arrays, damaged ones are refused."""

import gzip
import shutil
import struct
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from flax_snn import datasets
from flax_snn.datasets import Events, formats

GOLDEN = Path(__file__).parents[1] / "golden" / "datasets"
BAD = GOLDEN / "bad"


def columns(events: Events) -> np.ndarray:
    """Columns x, y, time, polarity, as the golden arrays have them."""
    pixels = events.pixels()
    return np.stack([pixels.x, pixels.y, events.times, pixels.polarity], axis=1)


def nmnist_files() -> list[str]:
    return sorted(path.relative_to(GOLDEN).as_posix() for path in GOLDEN.glob("nmnist/*/*/*.bin"))


@pytest.mark.parametrize("name", nmnist_files())
def test_nmnist_files_give_their_events(name: str) -> None:
    expected = np.load(GOLDEN / "nmnist_expected.npz")
    _, part, digit, file = name.removesuffix(".bin").split("/")
    events = datasets.read_nmnist(GOLDEN / name)
    np.testing.assert_array_equal(columns(events), expected[f"{part}_{digit}_{file}"])
    assert (events.times.dtype, events.units.dtype) == (np.int32, np.uint16)
    assert datasets.read_events(GOLDEN / name) == events


@pytest.mark.parametrize("name", ["dvsgesture_tiny", "dvsgesture_mixed"])
def test_aedat3_files_give_their_events(name: str) -> None:
    events = datasets.read_aedat3(GOLDEN / f"{name}.aedat")
    expected = np.load(GOLDEN / f"{name}_expected.npz")["events"]
    np.testing.assert_array_equal(columns(events), expected)
    assert datasets.read_events(GOLDEN / f"{name}.aedat") == events


def test_gestures_are_cut_out_of_a_recording() -> None:
    expected = np.load(GOLDEN / "dvsgesture_tiny_expected.npz")
    source = datasets.DVSGesture(GOLDEN, recordings=["dvsgesture_tiny.aedat"])
    np.testing.assert_array_equal(source.labels, expected["labels"])
    for k in range(3):
        segment = expected[f"segment_{k}"]
        found = columns(source[k].data)
        np.testing.assert_array_equal(found[:, [0, 1, 3]], segment[:, [0, 1, 3]])
        np.testing.assert_array_equal(found[:, 2] + source.segments[k].start, segment[:, 2])
        assert source[k].label == expected["labels"][k]


def test_spike_files_give_their_spikes() -> None:
    expected = np.load(GOLDEN / "shd_tiny_expected.npz")
    source = datasets.SpikeFile(GOLDEN / "shd_tiny.h5")
    np.testing.assert_array_equal(source.labels, expected["labels"])
    np.testing.assert_array_equal(source.speakers, expected["speaker"])
    ends = np.cumsum(expected["n_spikes"])
    assert len(source) == 20 and len(source.classes) == 20
    for sample, begin, end in zip(source, [0, *ends], ends, strict=False):
        np.testing.assert_array_equal(sample.data.times, expected["times"][begin:end])
        np.testing.assert_array_equal(sample.data.units, expected["units"][begin:end])
    assert len(source[7].data) == 0
    assert (source[0].data.times.dtype, source[0].data.units.dtype) == (np.float32, np.uint16)


@pytest.mark.parametrize(("part", "count"), [("train", 200), ("test", 100)])
def test_fashion_mnist_gives_its_images(part: Any, count: int) -> None:
    expected = np.load(GOLDEN / "fashion_latency_expected.npz")
    source = datasets.fashion_mnist(GOLDEN / "fashion-mnist", part)
    assert source.images.shape == (count, 28, 28) and source.images.dtype == np.uint8
    assert source.images.sum(dtype=np.int64) == expected[f"{part}_sum"]
    np.testing.assert_array_equal(source.labels, expected[f"{part}_labels"])
    if part == "train":
        images = np.stack([source[k].data.ravel() for k in range(8)])
        np.testing.assert_array_equal(images, expected["pixels"])


def images(name: str, labels: str = "idx_good-labels-idx1-ubyte") -> Callable[[], Any]:
    return lambda: datasets.Images(BAD / name, BAD / labels)


def spikes(name: str) -> Callable[[], Any]:
    return lambda: list(datasets.SpikeFile(BAD / name, classes=20))


# Damaged file: how it is read, and the position and the reason that the error must name.
DAMAGED: dict[str, tuple[Callable[[], Any], str]] = {
    "shd_missing_units.h5": (spikes("shd_missing_units.h5"), "spikes/units in the file"),
    "shd_missing_labels.h5": (spikes("shd_missing_labels.h5"), "labels in the file"),
    "shd_length_mismatch.h5": (
        spikes("shd_length_mismatch.h5"),
        r"sample 2: expected as many units as times, \d+, got \d+",
    ),
    "shd_unit_out_of_range.h5": (
        spikes("shd_unit_out_of_range.h5"),
        r"sample 1, event \d+: expected unit in \[0, 700\), got 700",
    ),
    "shd_unsorted_times.h5": (
        spikes("shd_unsorted_times.h5"),
        r"sample 3, event 1: expected a time >= [\d.]+, that of the event before",
    ),
    "shd_negative_time.h5": (
        spikes("shd_negative_time.h5"),
        r"sample 0, event 0: expected a time >= 0, got -0.01",
    ),
    "shd_nan_time.h5": (spikes("shd_nan_time.h5"), r"sample 0, event \d+: .*finite.*got nan"),
    "shd_inf_time.h5": (spikes("shd_inf_time.h5"), r"sample 0, event \d+: .*finite.*got inf"),
    "shd_label_out_of_range.h5": (
        spikes("shd_label_out_of_range.h5"),
        r"labels, sample 2: expected a label in \[0, 20\), got 20",
    ),
    "shd_labels_short.h5": (spikes("shd_labels_short.h5"), "as many samples in each part.*5"),
    "shd_no_samples.h5": (spikes("shd_no_samples.h5"), "at least one.*0"),
    "shd_truncated.h5": (spikes("shd_truncated.h5"), "an HDF5 file, got .*cut"),
    "shd_not_hdf5.h5": (spikes("shd_not_hdf5.h5"), "an HDF5 file, got .*download it again"),
    "nmnist_truncated.bin": (lambda: formats.read_nmnist(BAD / "nmnist_truncated.bin"), "got 297"),
    "nmnist_empty.bin": (lambda: formats.read_nmnist(BAD / "nmnist_empty.bin"), "got 0 bytes"),
    "nmnist_x_out_of_range.bin": (
        lambda: formats.read_nmnist(BAD / "nmnist_x_out_of_range.bin"),
        r"event 10: expected x in \[0, 34\), got 34",
    ),
    "nmnist_y_out_of_range.bin": (
        lambda: formats.read_nmnist(BAD / "nmnist_y_out_of_range.bin"),
        r"event 11: expected y in \[0, 34\), got 40",
    ),
    "nmnist_unsorted.bin": (
        lambda: formats.read_nmnist(BAD / "nmnist_unsorted.bin"),
        r"event 1: expected a time >= \d+, that of the event before, got \d+",
    ),
    "idx_bad_magic-images-idx3-ubyte": (images("idx_bad_magic-images-idx3-ubyte"), "got"),
    "idx_little_endian-images-idx3-ubyte": (
        images("idx_little_endian-images-idx3-ubyte"),
        "byte 0: expected two zero bytes",
    ),
    "idx_float-images-idx3-ubyte": (
        images("idx_float-images-idx3-ubyte"),
        r"shape \(3, 28, 28\) and type float32",
    ),
    "idx_truncated-images-idx3-ubyte": (
        images("idx_truncated-images-idx3-ubyte"),
        "expected 2352 bytes .*got 2252 bytes",
    ),
    "idx_trailing-images-idx3-ubyte": (
        images("idx_trailing-images-idx3-ubyte"),
        "expected 2352 bytes .*got 2359 bytes",
    ),
    "idx_header_only-images-idx3-ubyte": (
        images("idx_header_only-images-idx3-ubyte"),
        "a header of 16 bytes, got 10 bytes",
    ),
    "idx_count_mismatch-labels-idx1-ubyte": (
        images("idx_good-images-idx3-ubyte", "idx_count_mismatch-labels-idx1-ubyte"),
        "expected 3 labels.*got 2",
    ),
    "idx_label_10-labels-idx1-ubyte": (
        images("idx_good-images-idx3-ubyte", "idx_label_10-labels-idx1-ubyte"),
        r"sample \d: expected a label in \[0, 10\), got 10",
    ),
    "idx_gz_truncated-images-idx3-ubyte.gz": (
        images("idx_gz_truncated-images-idx3-ubyte.gz"),
        "a whole gzip file, got EOFError",
    ),
    "aedat_truncated.aedat": (
        lambda: formats.read_aedat3(BAD / "aedat_truncated.aedat"),
        r"packet \d+ at byte \d+: expected \d+ bytes of events, got \d+ bytes",
    ),
    "aedat_version_2.aedat": (
        lambda: formats.read_aedat3(BAD / "aedat_version_2.aedat"),
        "byte 0: expected '#!AER-DAT3.1', got '#!AER-DAT2.0'",
    ),
    "aedat_no_end_header.aedat": (
        lambda: formats.read_aedat3(BAD / "aedat_no_end_header.aedat"),
        r"byte \d+: expected a header that ends in '#!END-HEADER'",
    ),
    "aedat_number_over_capacity.aedat": (
        lambda: formats.read_aedat3(BAD / "aedat_number_over_capacity.aedat"),
        r"packet 0 at byte \d+: expected at most 40 events, its capacity, got 50",
    ),
    "aedat_bad_labels.csv": (
        lambda: datasets.read_gesture_labels(BAD / "aedat_bad_labels.csv"),
        r"line \d: expected a class from 1 to 11, got 12",
    ),
}

# What the README beside the files lets a loader read.
READABLE = {
    "idx_good-images-idx3-ubyte",
    "idx_good-labels-idx1-ubyte",
    "idx_not_gzip-images-idx3-ubyte.gz",
    "nmnist_overflow_marker.bin",
}


def test_every_damaged_file_has_its_row() -> None:
    assert set(DAMAGED) | READABLE == {path.name for path in BAD.iterdir()}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused_with_its_name_position_and_reason(name: str) -> None:
    read, reason = DAMAGED[name]
    with pytest.raises(ValueError, match=f"(?s){reason}") as caught:
        read()
    assert str(BAD / name) in str(caught.value)


def test_what_is_odd_but_legal_is_read() -> None:
    good = images("idx_good-images-idx3-ubyte")()
    assert len(good) == 3
    # Its content, not its name, says whether a file is compressed.
    named_gz = images("idx_not_gzip-images-idx3-ubyte.gz")()
    np.testing.assert_array_equal(named_gz.images, good.images)
    # An overflow marker is no event, and what comes later is 2^13 us later.
    path = BAD / "nmnist_overflow_marker.bin"
    raw = np.fromfile(path, np.uint8).reshape(-1, 5).astype(np.int64)
    times = ((raw[:, 2] & 127) << 16) + (raw[:, 3] << 8) + raw[:, 4]
    events = datasets.read_nmnist(path)
    assert len(events) == 59 and raw[20, 1] == 240
    np.testing.assert_array_equal(events.times[:20], times[:20])
    np.testing.assert_array_equal(events.times[20:], times[21:] + 8192)


@pytest.mark.parametrize("read", [*formats.EVENT_FORMATS.values(), datasets.read_wav])
def test_a_file_that_is_not_there_is_named(read: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.x: expected a file of .*no such file"):
        read(tmp_path / "absent.x")


def test_a_file_of_no_known_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.raw"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match=r"page\.raw: expected one of AEDAT 3\.1.*'<html>not fo'"):
        datasets.read_events(path)
    path.write_bytes(b"% evt 2.1\n" + bytes(8))
    with pytest.raises(ValueError, match="'?EVT 2.1'?; convert"):
        datasets.read_events(path)


# Prophesee's formats: written by hand below, and read by a decoder that goes word by word.

HEADER = b"% Date 2020-09-25 07:48:29\n% evt 3.0\n% geometry 1280x720\n"


def evt3_by_word(words: list[int]) -> np.ndarray:
    """The events of EVT 3.0 as its documentation says, one word after the other."""
    row = high = base = None
    low = wraps = sign = 0
    events = []
    for word in words:
        kind, payload = word >> 12, word & 0xFFF
        if kind == 0:
            row = payload & 0x7FF
        elif kind == 8:
            if high is not None and high - payload >= 1 << 11:
                wraps += 1
                low = 0
            elif high != payload:
                low = 0
            high = payload
        elif kind == 6:
            low = payload
        elif kind == 3:
            base, sign = payload & 0x7FF, payload >> 11
        found = []
        if kind == 2:
            found = [(payload & 0x7FF, payload >> 11)]
        elif kind in (4, 5) and base is not None:
            size = 12 if kind == 4 else 8
            found = [(base + bit, sign) for bit in range(size) if payload >> bit & 1]
            base += size
        if row is not None and high is not None:
            time = (wraps << 24) + (high << 12) + low
            events += [(x, row, time, p) for x, p in found]
    return np.array(events, np.int64).reshape(-1, 4)


@st.composite
def evt3_words(draw: st.DrawFn) -> list[int]:
    """Words in any order, with a clock that goes on and wraps now and then."""
    time = draw(st.integers(0, (1 << 24) - 1))
    words = []
    for _ in range(draw(st.integers(1, 60))):
        kind = draw(st.sampled_from([0, 2, 3, 3, 4, 4, 5, 6, 6, 7, 8, 10, 14, 15]))
        if kind == 6:
            time = min(time + draw(st.integers(0, 900)), time | 0xFFF)
            payload = time & 0xFFF
        elif kind == 8:
            if draw(st.booleans()):
                time = ((time >> 12) + 1) << 12
            payload = (time >> 12) & 0xFFF
        elif kind in (2, 3):
            payload = draw(st.integers(0, 1200)) | draw(st.sampled_from([0, 0x800]))
        elif kind == 0:
            payload = draw(st.integers(0, 719))
        else:
            payload = draw(st.integers(0, 0xFFF))
        words.append(kind << 12 | payload)
    return words


@hypothesis.given(words=evt3_words())
@hypothesis.settings(max_examples=40)
def test_evt3_is_decoded_as_word_by_word(tmp_path_factory: Any, words: list[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "some.raw"
    path.write_bytes(HEADER + np.array(words, "<u2").tobytes())
    expected = evt3_by_word(words)
    falls = np.flatnonzero(np.diff(expected[:, 2]) < 0)
    if not len(expected):
        with pytest.raises(ValueError, match="expected pixel events, got none"):
            datasets.read_evt3(path)
    elif falls.size:
        with pytest.raises(ValueError, match=f"event {falls[0] + 1}: expected a time >="):
            datasets.read_evt3(path)
    elif (expected[:, 0] >= 1280).any():
        with pytest.raises(ValueError, match=r"expected x in \[0, 1280\)"):
            datasets.read_evt3(path)
    else:
        np.testing.assert_array_equal(columns(datasets.read_events(path)), expected)


def pixels(generator: np.random.Generator, count: int, begin: int, width: int = 640) -> np.ndarray:
    """Random events: columns x, y, time, polarity."""
    return np.stack(
        [
            generator.integers(0, width, count),
            generator.integers(0, 480, count),
            begin + np.sort(generator.integers(0, 5000, count)),
            generator.integers(0, 2, count),
        ],
        axis=1,
    )


def evt2(
    events: np.ndarray, header: bytes = b"% evt 2.0\n% plugin_name hal_plugin_gen31\n"
) -> bytes:
    words, high = [], None
    for x, y, time, polarity in events.tolist():
        if time >> 6 != high:
            high = time >> 6
            words.append(8 << 28 | high & 0xFFFFFFF)
        words.append(polarity << 28 | (time & 63) << 22 | x << 11 | y)
        words.append(0xE << 28)  # of another kind: skipped
    return header + np.array(words, "<u4").tobytes()


# The second one passes the end of the counter, 2^34 microseconds.
@pytest.mark.parametrize("begin", [0, (1 << 34) - 2500])
def test_evt2_gives_what_was_written(tmp_path: Path, begin: int) -> None:
    events = pixels(np.random.default_rng(3), 400, begin)
    path = tmp_path / "some.raw"
    path.write_bytes(evt2(events))
    found = datasets.read_events(path)
    np.testing.assert_array_equal(columns(found), events)
    assert found.shape == (480, 640, 2)


def test_events_before_the_first_time_are_left_out(tmp_path: Path) -> None:
    events = pixels(np.random.default_rng(3), 5, 0)
    content = evt2(events)
    begin = content.index(b"gen31\n") + 6
    early = np.array([1 << 28 | 5 << 11 | 7], "<u4").tobytes()
    (tmp_path / "some.raw").write_bytes(content[:begin] + early + content[begin:])
    np.testing.assert_array_equal(columns(datasets.read_evt2(tmp_path / "some.raw")), events)


def dat(
    events: np.ndarray, header: bytes = b"% Data file containing CD events\n% Version 2\n"
) -> bytes:
    words = [(t, x | y << 14 | p << 28) for x, y, t, p in events.tolist()]
    return header + bytes([12, 8]) + np.array(words, "<u4").tobytes()


def test_dat_gives_what_was_written(tmp_path: Path) -> None:
    events = pixels(np.random.default_rng(4), 300, (1 << 32) - 5000)
    path = tmp_path / "some.dat"
    path.write_bytes(dat(events))
    np.testing.assert_array_equal(columns(datasets.read_dat(path, sensor=(480, 640))), events)
    with pytest.raises(ValueError, match=r"names the sensor's size.*give sensor=\(height, width\)"):
        datasets.read_dat(path)
    path.write_bytes(dat(events, b"% Data file containing CD events\n% Width 640\n% Height 480\n"))
    np.testing.assert_array_equal(columns(datasets.read_events(path)), events)
    with pytest.raises(ValueError, match=r"expected sensor=\(480, 640\).*got \(240, 320\)"):
        datasets.read_dat(path, sensor=(240, 320))


@pytest.fixture
def aedat4(tmp_path: Path) -> tuple[Path, np.ndarray]:
    faery = pytest.importorskip("faery")
    events = pixels(np.random.default_rng(5), 500, 1_600_000_000_000_000, width=320)
    events[:, 1] %= 240
    array = np.zeros(len(events), faery.EVENTS_DTYPE)
    array["x"], array["y"], array["t"], array["on"] = events.T
    path = tmp_path / "some.aedat4"
    faery.events_stream_from_array(array, dimensions=(320, 240)).to_file(path)
    return path, events


def test_aedat4_gives_what_was_written(aedat4: tuple[Path, np.ndarray]) -> None:
    path, events = aedat4
    found = datasets.read_events(path)
    np.testing.assert_array_equal(columns(found), events)
    assert (found.shape, found.times.dtype) == ((240, 320, 2), np.int64)
    assert found.from_first().times[0] == 0


def test_aedat4_needs_its_extra(
    aedat4: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faery", None)
    with pytest.raises(ImportError, match=r"package faery.*'flax-snn\[events\]'"):
        datasets.read_aedat4(aedat4[0])


def prophesee(kind: str) -> bytes:
    events = pixels(np.random.default_rng(6), 40, 0)
    if kind == "evt2.raw":
        return evt2(events)
    if kind == "evt3.raw":
        words = [8 << 12, 0, *([6 << 12 | k, 2 << 12 | k] for k in range(20))]
        return HEADER + np.array(np.hstack(words), "<u2").tobytes()
    return dat(events, b"% Data file containing CD events\n% Width 640\n% Height 480\n")


@pytest.mark.parametrize("kind", ["evt2.raw", "evt3.raw", "some.dat"])
@pytest.mark.parametrize("harm", ["cut", "without events", "only a header"])
def test_damaged_recordings_are_refused(tmp_path: Path, kind: str, harm: str) -> None:
    path = tmp_path / kind
    content = prophesee(kind)
    last = {"evt2.raw": b"gen31\n", "evt3.raw": b"1280x720\n", "some.dat": b"Height 480\n"}[kind]
    header = content.index(last) + len(last)
    path.write_bytes(content)
    datasets.read_events(path)  # It is the harm that is refused.
    harmed = {
        "cut": content[:-1],
        "without events": content[: header + (2 if kind == "some.dat" else 0)],
        "only a header": content[: header - 1],
    }[harm]
    path.write_bytes(harmed)
    with pytest.raises(ValueError, match="expected") as caught:
        datasets.read_events(path)
    assert str(path) in str(caught.value)


def test_a_cut_aedat4_file_is_refused(aedat4: tuple[Path, np.ndarray]) -> None:
    path, _ = aedat4
    content = path.read_bytes()
    for size in (0, 10, 100, len(content) // 2, len(content) - 40):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="expected") as caught:
            datasets.read_aedat4(path)
        assert str(path) in str(caught.value)


def test_an_unknown_word_is_refused_with_its_position(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(HEADER + np.array([0x8000, 0x0001, 0x9000], "<u2").tobytes())
    with pytest.raises(ValueError, match=r"a\.raw, word 2: expected a type among .*got 9"):
        datasets.read_evt3(tmp_path / "a.raw")


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(samples.dtype.itemsize)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def test_wav_files_give_their_samples(tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    path = tmp_path / "a.wav"
    mono = generator.integers(-(1 << 15), 1 << 15, 100).astype("<i2")
    found = datasets.read_wav(write_wav(path, mono))
    np.testing.assert_array_equal(found.samples, mono)
    assert (found.rate, found.samples.dtype) == (8000, np.int16)
    found = datasets.read_wav(write_wav(path, mono, channels=2), channels=2)
    np.testing.assert_array_equal(found.samples, mono.reshape(50, 2))
    deep = generator.integers(-(1 << 23), 1 << 23, 20)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 3, 8000, 0, "NONE", ""))
        file.writeframes(b"".join(int(v).to_bytes(3, "little", signed=True) for v in deep))
    np.testing.assert_array_equal(datasets.read_wav(path).samples, deep)


def test_damaged_and_unexpected_wav_files_are_refused(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.arange(50, dtype="<i2"), rate=16000)
    content = path.read_bytes()
    for found, reason in {
        content[:-7]: r"100 bytes of sound, as its header says, got 9[0-9] bytes",
        content[:20]: "a WAV file of linear PCM",
        b"": "a WAV file of linear PCM, got the end of the file",
        b"<html>" * 20: "a WAV file of linear PCM",
        content[:4] + struct.pack("<I", 36) + content[8:40] + bytes(4): "some sound, got 0 bytes",
    }.items():
        path.write_bytes(found)
        with pytest.raises(ValueError, match=rf"a\.wav: expected {reason}"):
            datasets.read_wav(path)
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"a\.wav: expected a sampling rate in Hz of 8000, got 16000"
    ):
        datasets.read_wav(path, rate=8000)
    with pytest.raises(ValueError, match=r"a\.wav: expected a number of channels of 2, got 1"):
        datasets.read_wav(path, channels=2)


def test_idx_reads_every_type_compressed_or_not(tmp_path: Path) -> None:
    values = np.arange(-3, 9).reshape(3, 4)
    kinds = {0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
    for kind, dtype in kinds.items():
        content = bytes([0, 0, kind, 2]) + struct.pack(">2I", 3, 4) + values.astype(dtype).tobytes()
        for packed in (content, gzip.compress(content)):
            (tmp_path / "a-idx").write_bytes(packed)
            found = datasets.read_idx(tmp_path / "a-idx")
            np.testing.assert_array_equal(found, values)
            assert found.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("labels", np.full(20, 1.5), "labels: expected integers, got float64"),
        ("extra/speaker", np.array([b"eve"] * 20), r"extra/speaker: expected integers, got"),
        ("extra/keys", np.array([b"a", b"b"]), "names of 20 classes, got 2"),
        ("labels", np.full(20, -1), r"labels, sample 0: expected a label in \[0, 20\), got -1"),
    ],
)
def test_odd_columns_of_a_spike_file_are_refused(
    tmp_path: Path, name: str, value: np.ndarray, reason: str
) -> None:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "shd_train.h5"
    shutil.copy(GOLDEN / "shd_tiny.h5", path)
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = value
    with pytest.raises(ValueError, match=rf"shd_train\.h5.*{reason}"):
        datasets.shd(tmp_path)


def test_a_spike_file_is_opened_anew_after_pickling(tmp_path: Path) -> None:
    import pickle

    shutil.copy(GOLDEN / "shd_tiny.h5", tmp_path / "shd_train.h5")
    source = datasets.shd(tmp_path)
    first = source[0].data
    again = pickle.loads(pickle.dumps(source))
    assert again[0].data == first and again.path == str(tmp_path / "shd_train.h5")
