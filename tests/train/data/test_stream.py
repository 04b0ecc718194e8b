"""Streamed batches: those of an epoch in memory, resumed anywhere, read ahead without a trace."""

import contextlib
import json
import runpy
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from flax_snn.datasets import randman
from flax_snn.datasets.tfds_randman import RandmanSource, prepare_randman
from train.data.order import epoch_order
from train.data.parts import Part
from train.data.stream import ArraySource, BatchStream
from train.errors import CheckpointError

ROOT = Path(__file__).resolve().parents[3]

SAMPLES, SIZE, SEED = 23, 5, 3
BATCHES = 4
"""Whole batches of an epoch; 3 samples sit out."""

# Each sample is told from any other.
INPUTS = np.random.default_rng(0).integers(0, 256, (SAMPLES, 7, 2)).astype(np.uint8)
LABELS = np.arange(SAMPLES, dtype=np.int32)


class OneByOne:
    """Samples that are read one at a time."""

    def __len__(self):
        return SAMPLES

    def __getitem__(self, row):
        return {"inputs": INPUTS[row], "label": LABELS[row], "x": LABELS[row] / 7 + np.zeros(2)}


SOURCES = {"arrays": ArraySource(Part(INPUTS, LABELS)), "one by one": OneByOne()}


def stream_of(source=SOURCES["arrays"], **options) -> BatchStream:
    return BatchStream(source, **{"seed": SEED, "batch_size": SIZE, "ahead": 3, **options})


def rows_of(epochs: int) -> np.ndarray:
    """Rows of the batches of the first epochs, (K, B)."""
    orders = [epoch_order(SEED, epoch, SAMPLES, SIZE) for epoch in range(1, epochs + 1)]
    return np.concatenate(orders)


def check(batch, rows):
    assert batch.inputs.dtype == np.uint8 and batch.labels.dtype == np.int32
    np.testing.assert_array_equal(batch.labels, LABELS[rows])
    np.testing.assert_array_equal(batch.inputs, INPUTS[rows])


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_are_those_of_the_epochs_in_order(source, threads):
    with stream_of(SOURCES[source], threads=threads) as stream:
        assert stream.batches_per_epoch == BATCHES
        for k, rows in enumerate(rows_of(3)):
            assert (stream.epoch, stream.batch) == (k // BATCHES + 1, k % BATCHES)
            check(next(stream), rows)


@pytest.mark.parametrize("count", [1, 3, 4, 6])
def test_several_batches_are_one_after_the_other(count):
    rows = rows_of(3)
    with stream_of() as stream:
        for k in range(0, len(rows) // count * count, count):
            check(stream.take(count), rows[k : k + count])


@pytest.mark.parametrize("position", range(2 * BATCHES + 1))
def test_another_stream_goes_on_where_the_first_one_stood(position):
    with stream_of() as first, stream_of() as second:
        for _ in range(position):
            next(first)
        next(second)  # What it has read ahead by then is forgotten.
        second.set_state(json.loads(json.dumps(first.get_state())))
        assert second.get_state() == first.get_state()
        for rows in rows_of(4)[position : position + BATCHES + 1]:
            check(next(second), rows)


@pytest.mark.parametrize("source", SOURCES)
def test_processes_read_their_own_samples_of_the_same_batches(source):
    """Two that share the batches, and one that takes them up alone: no sample twice, none left."""
    shares = [np.asarray([0, 1, 2]), np.asarray([3, 4])]
    with contextlib.ExitStack() as stack:
        several = [
            stack.enter_context(stream_of(SOURCES[source], rows=share, threads=1))
            for share in shares
        ]
        for rows in rows_of(1):
            for stream, share in zip(several, shares, strict=True):
                check(next(stream), rows[share])
        alone = stack.enter_context(stream_of(SOURCES[source]))
        alone.set_state(several[1].get_state())
        check(next(alone), rows_of(2)[BATCHES])


def test_state_is_small_and_says_where_the_data_stand():
    with stream_of(ahead=9) as stream:
        stream.start()
        stream.take(6)
        assert stream.get_state() == {
            "version": 1,
            "seed": SEED,
            "samples": SAMPLES,
            "batch_size": SIZE,
            "epoch": 2,
            "batch": 2,
        }


def test_reading_ahead_starts_before_the_first_batch_and_moves_nothing():
    read = threading.Event()

    class Watched(OneByOne):
        def __getitem__(self, row):
            if threading.current_thread() is not threading.main_thread():
                read.set()
            return super().__getitem__(row)

    with stream_of(Watched()) as stream:
        stream.start()
        assert read.wait(60)
        assert (stream.epoch, stream.batch) == (1, 0)
        check(next(stream), rows_of(1)[0])


def test_an_epoch_can_be_sought():
    with stream_of() as stream:
        stream.seek(3)
        check(stream.take(BATCHES), rows_of(3)[-BATCHES:])
        stream.seek(1, 2)
        check(next(stream), rows_of(1)[2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"samples": 24}, "expected samples 23, got 24; resume with the settings"),
        ({"batch_size": 4}, "expected batch_size 5, got 4"),
        ({"seed": 4}, "expected seed 3, got 4"),
        ({"version": 2}, "expected version 1, got 2; .* release"),
        ({"epoch": 0}, "an epoch from 1 .* got 0 and 1; the checkpoint is damaged"),
        ({"batch": 4}, r"a batch in \[0, 4\), got 1 and 4"),
        ({"batch": None}, "got 1 and None"),
        ({"epoch": 1.5}, "got 1.5 and 1"),
    ],
)
def test_a_state_of_something_else_is_refused(change, words):
    with stream_of() as stream:
        next(stream)
        state = stream.get_state()
        with pytest.raises(CheckpointError, match=words):
            stream.set_state(state | change)
        assert stream.get_state() == state
        check(next(stream), rows_of(1)[1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 24}, "at most the 23 samples, got 24"),
        ({"batch_size": 0}, "batch_size: expected a whole number >= 1, got 0"),
        ({"seed": -1}, "seed: expected a whole number >= 0, got -1"),
        ({"threads": 1.0}, "threads: expected a whole number >= 0, got 1.0"),
        ({"ahead": 1, "threads": 2}, "ahead: expected a whole number >= 2, got 1"),
        ({"label": "y"}, r"inputs and y, got none of \['y'\]; .*\['inputs', 'label'\]"),
    ],
)
def test_what_cannot_work_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        stream_of(**options)


def test_a_count_of_batches_is_at_least_one():
    with stream_of() as stream, pytest.raises(ValueError, match="count: .* >= 1, got 0"):
        stream.take(0)


def test_arrays_of_different_length_are_refused():
    words = r"same number of samples, got \[22, 23\]"
    for part in (Part(INPUTS, LABELS[1:]), Part(INPUTS, LABELS, LABELS[1:])):
        with pytest.raises(ValueError, match=words):
            ArraySource(part)


def test_another_field_can_be_learnt():
    with stream_of(OneByOne(), label="x") as stream:
        np.testing.assert_array_equal(
            next(stream).labels, np.repeat(rows_of(1)[0][:, None] / 7, 2, axis=1)
        )


@pytest.mark.parametrize("threads", [0, 2])
def test_after_a_failed_read_the_stream_stands_where_it_stood(threads):
    broken, gone = rows_of(1)[2][0], threading.Event()
    gone.set()

    class Flaky(OneByOne):
        def __getitem__(self, row):
            if row == broken and gone.is_set():
                raise OSError("the disk is gone")
            return super().__getitem__(row)

    with stream_of(Flaky(), threads=threads, ahead=2) as stream:
        check(next(stream), rows_of(1)[0])
        with pytest.raises(OSError, match="the disk is gone"):
            stream.take(3)
        assert (stream.epoch, stream.batch) == (1, 1)
        check(next(stream), rows_of(1)[1])
        with pytest.raises(OSError, match="the disk is gone"):
            next(stream)
        assert (stream.epoch, stream.batch) == (1, 2)
        gone.clear()
        check(stream.take(2), rows_of(1)[2:])


def test_closing_ends_the_threads():
    before = set(threading.enumerate())
    with stream_of(threads=3) as stream:
        next(stream)
        started = set(threading.enumerate()) - before
        assert started
    for thread in started:
        thread.join(60)
        assert not thread.is_alive()
    assert stream.get_state()["batch"] == 1
    with pytest.raises(ValueError, match="closed"):
        next(stream)


@pytest.mark.parametrize("form", ["arrays", "one by one"])
def test_lengths_and_trees_travel_with_their_samples(form):
    """Samples of several arrays, and of different numbers of steps."""
    lengths = np.arange(SAMPLES, dtype=np.int32) % 8
    part = Part({"step": INPUTS[:, 0], "unit": INPUTS[:, 1]}, LABELS, lengths)
    source = ArraySource(part)

    class Items(OneByOne):
        def __getitem__(self, row):
            return source[row]

    with stream_of(source if form == "arrays" else Items()) as stream:
        for rows in rows_of(2):
            batch = next(stream)
            np.testing.assert_array_equal(batch.lengths, lengths[rows])
            np.testing.assert_array_equal(batch.labels, LABELS[rows])
            for name, array in part.inputs.items():
                np.testing.assert_array_equal(batch.inputs[name], array[rows])
        rows = rows_of(3)[-BATCHES:]
        several = stream.take(BATCHES)
        np.testing.assert_array_equal(several.lengths, lengths[rows])
        np.testing.assert_array_equal(several.inputs["unit"], part.inputs["unit"][rows])


@pytest.mark.slow
def test_a_program_ends_though_a_stream_was_left_open():
    code = """
import numpy as np
from train.data.parts import Part
from train.data.stream import ArraySource, BatchStream
source = ArraySource(Part(np.zeros((100, 50, 20), np.uint8), np.zeros(100, np.int32)))
stream = BatchStream(source, seed=0, batch_size=10, threads=2, ahead=8)
next(stream)
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_what_is_on_disk_streams_as_what_is_in_memory(tmp_path):
    data = randman(classes=2, samples_per_class=20, units=3, alpha=2.0, steps=20, seed=1)
    train = data.split().train
    disk = RandmanSource(prepare_randman(data.settings, tmp_path), "train")
    memory = ArraySource(Part(train.raster(), train.labels))
    assert disk.nbytes == memory.nbytes == 32 * (20 * 3 + 4)
    with stream_of(disk) as first, stream_of(memory) as second:
        for _ in range(2 * first.batches_per_epoch):
            read, wanted = next(first), next(second)
            assert read.lengths is wanted.lengths is None
            for one, other in zip(read[:2], wanted[:2], strict=True):
                assert one.dtype == other.dtype
                np.testing.assert_array_equal(one, other)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match=r"grain.*\[data\]"):
        runpy.run_path(str(ROOT / "train" / "data" / "stream.py"))
