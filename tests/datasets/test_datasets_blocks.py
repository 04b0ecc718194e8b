"""Recordings of several blocks of events are read as a whole: nothing is lost where blocks meet."""

from pathlib import Path

import numpy as np
import pytest

from flax_snn import datasets
from flax_snn.datasets.formats import pixel_blocks

EVENTS = 2 * pixel_blocks._BLOCK + 3
HEIGHT, WIDTH = 480, 640


def drawn() -> dict[str, np.ndarray]:
    """Columns of events with rising times."""
    rng = np.random.default_rng(0)
    return {
        "t": np.cumsum(rng.integers(0, 9, EVENTS)),
        "x": rng.integers(0, WIDTH, EVENTS),
        "y": rng.integers(0, HEIGHT, EVENTS),
        "p": rng.integers(0, 2, EVENTS),
    }


def evt2(c: dict[str, np.ndarray]) -> bytes:
    """One word of time where its high bits change, and one word for each event."""
    high = c["t"] >> 6
    new = np.diff(high, prepend=-1) != 0
    pixels = c["p"] << 28 | (c["t"] & 63) << 22 | c["x"] << 11 | c["y"]
    words = np.stack([8 << 28 | high, pixels], axis=1)
    words = words[np.stack([new, np.ones(EVENTS, bool)], axis=1)]
    header = f"% evt 2.0\n% geometry {WIDTH}x{HEIGHT}\n"
    return header.encode() + words.astype("<u4").tobytes()


def evt3(c: dict[str, np.ndarray]) -> bytes:
    """The whole state in front of every event; every third is a vector of eight columns."""
    vector = np.arange(EVENTS) % 3 == 0
    base, bit = c["x"] // 8 * 8, c["x"] % 8
    place = np.where(vector, 3 << 12 | c["p"] << 11 | base, 2 << 12 | c["p"] << 11 | c["x"])
    bits = np.where(vector, 5 << 12 | 1 << bit, 7 << 12)
    state = (8 << 12 | c["t"] >> 12, 6 << 12 | c["t"] & 0xFFF, c["y"], place, bits)
    header = f"% evt 3.0\n% geometry {WIDTH}x{HEIGHT}\n"
    return header.encode() + np.stack(state, axis=1).astype("<u2").tobytes()


def dat(c: dict[str, np.ndarray]) -> bytes:
    words = np.stack([c["t"], c["x"] | c["y"] << 14 | c["p"] << 28], axis=1)
    header = f"% Data file containing CD events\n% Version 2\n% Width {WIDTH}\n% Height {HEIGHT}\n"
    return header.encode() + bytes([12, 8]) + words.astype("<u4").tobytes()


WRITERS = {"a.raw": evt2, "b.raw": evt3, "c.dat": dat}


@pytest.mark.parametrize("name", WRITERS)
def test_events_of_many_blocks_are_those_written(tmp_path: Path, name: str) -> None:
    expected = drawn()
    (tmp_path / name).write_bytes(WRITERS[name](expected))
    events = datasets.read_events(tmp_path / name)
    np.testing.assert_array_equal(events.times, expected["t"])
    found = events.pixels()
    for key, column in (("x", found.x), ("y", found.y), ("p", found.polarity)):
        np.testing.assert_array_equal(column, expected[key])


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("key", "bad"), [("x", WIDTH), ("y", HEIGHT)])
def test_an_event_outside_the_sensor_is_counted_from_the_first_one(
    tmp_path: Path, name: str, key: str, bad: int
) -> None:
    columns = drawn()
    columns[key][EVENTS - 2] = bad
    (tmp_path / name).write_bytes(WRITERS[name](columns))
    with pytest.raises(ValueError, match=rf"{name}, event {EVENTS - 2}: expected {key} in .*{bad}"):
        datasets.read_events(tmp_path / name)


def test_a_polarity_that_is_none_is_refused(tmp_path: Path) -> None:
    columns = drawn()
    columns["p"][EVENTS - 1] = 2
    (tmp_path / "c.dat").write_bytes(dat(columns))
    with pytest.raises(ValueError, match=rf"event {EVENTS - 1}: expected polarity in \[0, 2\)"):
        datasets.read_events(tmp_path / "c.dat")


@pytest.mark.parametrize("name", WRITERS)
def test_times_that_fall_are_refused(tmp_path: Path, name: str) -> None:
    columns = drawn()
    columns["t"][EVENTS - 1] = columns["t"][EVENTS - 2] - 1
    (tmp_path / name).write_bytes(WRITERS[name](columns))
    with pytest.raises(ValueError, match=rf"{name}, event {EVENTS - 1}: expected a time >="):
        datasets.read_events(tmp_path / name)
