"""Files of spikes: written, read back, made of sounds, taken up after a stop, refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flax_snn as snn
from flax_snn.datasets import Events, InMemory, SpikeFile, encode_sounds, write_spike_file
from flax_snn.datasets.recorded import sound_spikes as module

pytest.importorskip("h5py")


def spikes(samples: int = 3) -> list[Events]:
    rng = np.random.default_rng(0)
    return [
        Events(np.sort(rng.uniform(0, 1, k)).astype(np.float32), rng.integers(0, 9, k), (9,))
        for k in range(samples)
    ]


class Sounds(InMemory):
    """Noise of 120 lengths, as a source with speakers and a sampling rate."""

    rate = 8000

    def __init__(self, samples: int = 120):
        rng = np.random.default_rng(1)
        data = [rng.integers(-9999, 9999, 200 + k).astype(np.int16) for k in range(samples)]
        super().__init__(data, np.arange(samples) % 3, classes=("one", "two", "three"))
        self.speakers = tuple(("ann", "bob")[k % 2] for k in range(samples))


def test_a_file_holds_what_was_written(tmp_path: Path) -> None:
    write_spike_file(
        tmp_path / "a.h5", iter(spikes()), [2, 0, 1], classes=list("abc"), speakers=[1, 0, 1]
    )
    file = SpikeFile(tmp_path / "a.h5", units=9)
    assert (file.classes, file.labels.tolist()) == (("a", "b", "c"), [2, 0, 1])
    assert file.speakers is not None and file.speakers.tolist() == [1, 0, 1]
    assert [file[k].data for k in range(3)] == spikes()
    assert os.listdir(tmp_path) == ["a.h5"]
    write_spike_file(tmp_path / "a.h5", spikes(1), [0], time_dtype=np.float16)
    assert len(SpikeFile(tmp_path / "a.h5", units=9)) == 1


@pytest.mark.parametrize(
    ("events", "labels", "options", "words"),
    [
        (spikes(2), [0], {}, "as many as labels, got more"),
        (spikes(2), [0, 1, 0], {}, "got 2"),
        ([], [], {}, "at least one sample"),
        (spikes(1), [-1], {}, "labels"),
        (spikes(1), [3], {"classes": ("a",)}, "label"),
        (spikes(1), [0], {"speakers": [0, 1]}, "speakers"),
        ([Events(np.array([-1.0]), np.array([0]), (9,))], [0], {}, "sample 0.*shift them"),
        ([Events(np.array([0]), np.array([0]), (3, 3, 2))], [0], {}, "one axis"),
        ([*spikes(1), Events(np.array([0.0]), np.array([0]), (8,))], [0, 0], {}, "sample 1"),
        (
            [Events(np.array([7e4]), np.array([0]), (9,))],
            [0],
            {"time_dtype": np.float16},
            "65504",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_the_file_as_it_was(
    tmp_path: Path, events: Any, labels: Any, options: Any, words: str
) -> None:
    write_spike_file(tmp_path / "a.h5", spikes(), [0, 0, 0])
    with pytest.raises(ValueError, match=words):
        write_spike_file(tmp_path / "a.h5", events, np.array(labels, np.int64), **options)
    assert os.listdir(tmp_path) == ["a.h5"]
    assert len(SpikeFile(tmp_path / "a.h5", units=9)) == 3


def test_sounds_become_the_spikes_of_the_encoder(tmp_path: Path) -> None:
    source = Sounds(24)
    file = encode_sounds(tmp_path / "mel.h5", source, "mel", settings={"channels": 8})
    assert file.shape == (16,) and file.classes == ("one", "two", "three")
    assert file.speakers is not None and file.speakers[:3].tolist() == [0, 1, 0]
    for k in (0, 12, 23):
        sound = source[k].data.astype(np.float32) / 32768
        times, units = snn.encode.mel_crossing_times(sound, rate=8000, channels=8)
        assert file[k].data == Events(times.astype(np.float32), units, (16,)) and len(times)
    assert os.listdir(tmp_path) == ["mel.h5"]


def test_the_cochlea_ties_its_spikes_to_seed_and_sample(tmp_path: Path) -> None:
    membrane = snn.encode.BasilarMembrane(channels=5)
    source = Sounds(3)
    file = encode_sounds(tmp_path / "a.h5", source, seed=4, settings={"membrane": membrane})
    import jax

    times, units = snn.encode.cochlea_times(
        jax.random.key(4),
        source[2].data.astype(np.float32) / 32768,
        rate=8000,
        sample=2,
        membrane=membrane,
    )
    assert file[2].data == Events(times.astype(np.float32), units, (5,)) and len(times)


def test_a_stopped_call_goes_on_where_it_was(tmp_path: Path) -> None:
    """Stopped in the second part; the third time nothing is left to do."""
    seen: list[int] = []

    def encoder(sound: np.ndarray, number: int) -> Any:
        if number == 70 and 70 not in seen:
            seen.append(number)
            raise KeyboardInterrupt
        seen.append(number)
        return snn.encode.SpikeTimes(np.array([abs(float(sound[0]))]), np.array([number % 4]))

    def call(name: str, **options: Any) -> SpikeFile:
        return encode_sounds(tmp_path / name, Sounds(), encoder, units=4, **options)

    with pytest.raises(KeyboardInterrupt):
        call("a.h5")
    assert not (tmp_path / "a.h5").exists()
    with pytest.raises(ValueError, match=r"a\.h5\.parts.*seed.*delete that folder"):
        call("a.h5", seed=1)
    # A part that is cut is made again.
    first = tmp_path / "a.h5.parts" / "000000.npz"
    first.write_bytes(first.read_bytes()[:100])
    seen[:] = [70]
    file = call("a.h5")
    assert seen == [70, *range(120)]
    seen[:] = [70]
    assert call("a.h5").labels.tolist() == file.labels.tolist() and seen == [70]
    other = call("b.h5")
    assert all(file[k].data == other[k].data for k in range(120))
    with pytest.raises(FileExistsError, match=r"seed.*give another name"):
        call("a.h5", seed=1)


def test_parts_that_are_whole_are_not_made_again(tmp_path: Path) -> None:
    seen: list[int] = []

    def encoder(sound: np.ndarray, number: int) -> Any:
        seen.append(number)
        if len(seen) == 71:
            raise KeyboardInterrupt
        return snn.encode.SpikeTimes(np.array([0.0]), np.array([0]))

    with pytest.raises(KeyboardInterrupt):
        encode_sounds(tmp_path / "a.h5", Sounds(), encoder, units=1)
    encode_sounds(tmp_path / "a.h5", Sounds(), encoder, units=1)
    assert seen[71:] == list(range(50, 120))


def test_errors_name_the_sample_and_a_full_disk_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = InMemory([np.zeros(99, np.int16)], [0])
    with pytest.raises(ValueError, match=r"sample 0.*zeros alone"):
        encode_sounds(tmp_path / "a.h5", silent, rate=8000, settings={"membrane": _membrane()})
    with pytest.raises(ValueError, match="the source does not say it|rate"):
        encode_sounds(tmp_path / "b.h5", InMemory([np.zeros(99, np.int16)], [0]), rate=0)
    with pytest.raises(TypeError, match="did you mean 'channels'"):
        encode_sounds(tmp_path / "b.h5", Sounds(2), "mel", settings={"channel": 3})
    with pytest.raises(ValueError, match="units"):
        encode_sounds(tmp_path / "b.h5", Sounds(2), lambda sound, number: None)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.np, "savez", full)
    with pytest.raises(
        OSError, match=r"room on the disk for c\.h5.*free some of it and run it again"
    ):
        encode_sounds(tmp_path / "c.h5", Sounds(2), "mel", settings={"channels": 4})


def _membrane() -> snn.encode.BasilarMembrane:
    return snn.encode.BasilarMembrane(channels=2)
