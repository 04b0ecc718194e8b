"""Data of a run: the parts, and the order of samples."""

import numpy as np
import pytest

from flax_snn.datasets import randman
from train.data.order import epoch_order, padded_order
from train.errors import ConfigError
from train.tasks.randman import RandmanData, load_randman

TINY = RandmanData(classes=2, units=3, alpha=2.0, steps=20, samples_per_class=20, data_seed=5)


def test_parts_are_those_of_the_generator():
    data = load_randman(TINY)
    split = randman(classes=2, units=3, alpha=2.0, steps=20, samples_per_class=20, seed=5).split()
    for part, samples in zip(data, split, strict=True):
        assert part.inputs.dtype == np.uint8 and part.labels.dtype == np.int32
        np.testing.assert_array_equal(part.labels, samples.labels)
        # Every unit spikes once, in the step of its spike time.
        np.testing.assert_array_equal(part.inputs.argmax(axis=1), samples.times.astype(int))
        np.testing.assert_array_equal(part.inputs.sum(axis=1), 1)


def test_what_the_generator_refuses_is_a_config_error():
    with pytest.raises(ConfigError, match="data set: alpha: expected"):
        load_randman(RandmanData(alpha=-1.0))


@pytest.mark.parametrize(("samples", "size"), [(40, 8), (43, 8), (5, 5)])
def test_an_epoch_is_a_permutation_in_whole_batches(samples, size):
    order = epoch_order(0, 1, samples, size)
    assert order.shape == (samples // size, size) and order.dtype == np.int32
    assert len(np.unique(order)) == order.size
    assert order.min() >= 0 and order.max() < samples


def test_what_sits_out_changes():
    seen = {row for epoch in range(1, 40) for row in epoch_order(0, epoch, 43, 8).ravel()}
    assert seen == set(range(43))


def test_order_depends_on_seed_and_epoch_alone():
    assert (epoch_order(3, 2, 40, 8) == epoch_order(3, 2, 40, 8)).all()
    assert (epoch_order(3, 2, 40, 8) != epoch_order(3, 1, 40, 8)).any()
    assert (epoch_order(3, 2, 40, 8) != epoch_order(2, 3, 40, 8)).any()


def test_order_is_that_of_earlier_releases():
    """A resumed run goes on with the order that it began with."""
    assert epoch_order(0, 1, 8, 4).tolist() == ORDER


ORDER = [[1, 3, 7, 6], [0, 4, 2, 5]]


@pytest.mark.parametrize(("samples", "size", "batches"), [(8, 4, 2), (9, 4, 3), (3, 4, 1)])
def test_padding_fills_the_last_batch(samples, size, batches):
    order = padded_order(samples, size)
    assert order.shape == (batches, size)
    flat = order.ravel()
    np.testing.assert_array_equal(flat[:samples], np.arange(samples))
    assert (flat[samples:] == -1).all()
