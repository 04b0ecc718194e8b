"""What counts as waiting for data: the device has ended, and the feed still reads."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import pytest

from benchmarks.speed.data_wait import Watched


def feed(chunks: Any) -> Any:
    return SimpleNamespace(
        unit="chunk", samples=3, state=None, seek=None, close=None, chunks=chunks
    )


def test_only_the_reading_behind_the_end_of_the_device_counts() -> None:
    watched = Watched(feed(None))
    watched.reading = [(0.0, 1.0), (2.0, 5.0), (6.0, 7.0), (8.0, 9.0)]
    # Ended while the second chunk was read; after the third was there; before the fourth was begun.
    watched.ended = [7.5, 3.0, 7.6]
    assert watched.waited() == pytest.approx(2.0 + 0.0 + 1.0)


def test_a_feed_that_reads_after_the_device_has_ended_is_seen() -> None:
    def chunks(epoch: int, first: int) -> Iterator[int]:
        for k in range(3):
            while len(watched.ended) < k:
                time.sleep(1e-3)
            time.sleep(1e-2)
            yield k

    watched = Watched(feed(chunks))
    step = watched.watching(lambda k: (k, jnp.ones(()) * k))
    assert [step(k)[0] for k in watched.chunks(1, 0)] == [0, 1, 2]
    # The second and the third chunk were read while the device had nothing to do.
    assert 2e-2 <= watched.waited() <= sum(stop - start for start, stop in watched.reading)
