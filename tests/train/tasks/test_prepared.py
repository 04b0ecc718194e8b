"""Prepared samples: what a killed process leaves of them goes."""

import fcntl
import os

import numpy as np

from train.tasks.recorded.prepared import read_prepared, write_prepared


def test_halves_of_dead_processes_go_and_those_of_others_stay(tmp_path):
    dead, alive, fresh = (tmp_path / f"{name}.part" for name in ("dead", "alive", "fresh"))
    for path in (dead, alive, fresh):
        path.write_bytes(b"half")
    for path in (dead, alive):
        os.utime(path, (1, 1))
    with open(alive, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_prepared(tmp_path / "a.npz", {"x": np.arange(3)})
    # One that was just made may not be locked yet.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "alive.part", "fresh.part"]
    found = read_prepared(tmp_path / "a.npz")
    assert found is not None
    np.testing.assert_array_equal(found["x"], [0, 1, 2])
