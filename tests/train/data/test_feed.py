"""Samples at once or in chunks, from memory or from TFDS: the same training."""

import json

import numpy as np
import pytest

from flax_snn import datasets
from train.data.feed import fits_on_device, make_feed
from train.data.order import epoch_order, first_batch
from train.data.parts import Part
from train.run.devices import find_devices
from train.settings import RunOptions
from train.tasks.randman import Randman, RandmanConfig, RandmanData, load_randman, open_randman

ONE = find_devices(RunOptions())
DATA = RandmanData(classes=2, units=4, alpha=3.0, steps=20, dt=5e-3, samples_per_class=40)


def batches(feed, epochs=(1, 2), first=0):
    """Inputs and labels of each batch of some epochs."""
    found = []
    for epoch in epochs:
        for count, samples, order in feed.chunks(epoch, first if epoch == epochs[0] else 0):
            assert samples.lengths is None
            chosen = [samples.take(rows) for rows in (range(count) if order is None else order)]
            found += [(np.asarray(part.inputs), np.asarray(part.labels)) for part in chosen]
    return found


def expected(epochs=(1, 2), first=0):
    train = load_randman(DATA).train
    orders = [epoch_order(3, epoch, 64, 10) for epoch in epochs]
    rows = np.concatenate(orders)[first:]
    return [(train.inputs[r], train.labels[r]) for r in rows]


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for (x, y), (u, v) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(x, u)
        np.testing.assert_array_equal(y, v)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


# Six batches an epoch: chunks of 4 leave one of 2. A source on disk is always streamed.
@pytest.mark.parametrize(
    ("source", "chunk"),
    [("memory", None), *((s, k) for s in ("memory", "tfds") for k in (1, 4, 6))],
)
def test_all_feeds_give_the_batches_of_the_order(source, chunk, folder):
    train = load_randman(DATA).train if source == "memory" else open_randman(DATA, folder).train
    feed = make_feed(train, 3, 10, chunk, ONE)
    assert feed.samples == Randman().train_samples(RandmanConfig(DATA))
    feed.seek(1, 0, None)
    assert_same(batches(feed), expected())
    feed.close()


@pytest.mark.parametrize("chunk", [None, 4])
def test_a_feed_begins_within_an_epoch(chunk):
    feed = make_feed(load_randman(DATA).train, 3, 10, chunk, ONE)
    feed.seek(2, 3, None)
    assert_same(batches(feed, (2, 3), 3), expected((2, 3), 3))
    feed.close()


def test_a_feed_goes_on_from_its_state():
    train = load_randman(DATA).train
    feed, other = (make_feed(train, 3, 10, 4, ONE) for _ in range(2))
    feed.seek(1, 0, None)
    chunks = feed.chunks(1, 0)
    next(chunks)
    state = json.loads(json.dumps(feed.state()))
    other.seek(1, 4, state)
    assert_same(batches(other, (1, 2), 4), expected()[4:])
    feed.close()
    other.close()


@pytest.mark.parametrize("labels", ["labels", "x"])
def test_tfds_parts_are_those_in_memory(folder, labels):
    memory, stored = load_randman(DATA, labels), open_randman(DATA, folder, labels)
    for part, other in zip(memory[1:], stored[1:], strict=True):
        np.testing.assert_array_equal(part.inputs, other.inputs)
        np.testing.assert_array_equal(part.labels, other.labels)
        assert part.labels.dtype == other.labels.dtype
    items = [stored.train[k] for k in range(len(stored.train))]
    np.testing.assert_array_equal(memory.train.inputs, [item["inputs"] for item in items])
    np.testing.assert_array_equal(memory.train.labels, [item["label"] for item in items])


def test_coordinates_are_those_of_the_generator():
    split = datasets.randman(
        classes=2, units=4, alpha=3.0, steps=20, dt=5e-3, samples_per_class=40
    ).split()
    for part, samples in zip(load_randman(DATA, "x"), split, strict=True):
        np.testing.assert_array_equal(part.labels, samples.x.astype(np.float32))


def test_the_first_batch_is_the_first_one_trained_on(folder):
    for train in (load_randman(DATA).train, open_randman(DATA, folder).train):
        first = first_batch(train, 3, 10)
        assert_same([(first.inputs, first.labels)], expected()[:1])
        assert first.lengths is None


@pytest.mark.parametrize("lengths", [None, np.arange(23, dtype=np.int32)])
def test_the_first_batch_has_all_that_its_samples_have(lengths):
    """Samples of several arrays and their lengths, from memory and read one by one."""
    inputs = {"step": np.arange(46).reshape(23, 2), "unit": np.arange(46, 92).reshape(23, 2)}
    part = Part(inputs, np.arange(23, dtype=np.int32), lengths)

    class Source:
        def __len__(self):
            return 23

        def __getitem__(self, row):
            found = zip(("inputs", "label", "length"), part.take(row), strict=True)
            return {name: value for name, value in found if value is not None}

    rows = epoch_order(3, 1, 23, 10)[0]
    for train in (part, Source()):
        found = first_batch(train, 3, 10)
        np.testing.assert_array_equal(found.labels, rows)
        assert set(found.inputs) == set(inputs)
        for name, array in inputs.items():
            np.testing.assert_array_equal(found.inputs[name], array[rows])
        if lengths is None:
            assert found.lengths is None
        else:
            np.testing.assert_array_equal(found.lengths, rows)


def test_what_fits_on_the_device():
    assert fits_on_device(1000)
    assert not fits_on_device(10**15)


def records(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.mark.slow
def test_a_run_through_tfds_is_the_run_from_memory(train, tmp_path, folder):
    """Bit for bit, chunk by chunk; and to rounding the same as with all samples on the device."""
    streamed = ("--chunk", "3")
    tfds = ("--data", "tfds", "--data-dir", str(folder), *streamed)
    assert train(tmp_path / "tfds", *tfds) == 0
    assert train(tmp_path / "memory", "--feed", "streamed", *streamed) == 0
    assert train(tmp_path / "resident") == 0
    assert records(tmp_path / "tfds") == records(tmp_path / "memory")
    pairs = zip(records(tmp_path / "tfds"), records(tmp_path / "resident"), strict=True)
    for streamed_record, record in pairs:
        for name in ("train_loss", "train_accuracy", "validation_loss"):
            assert streamed_record[name] == pytest.approx(record[name], rel=1e-5)
