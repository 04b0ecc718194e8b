"""On what a run ran: what is written down, what is said when it changes."""

import hashlib
import json
import subprocess
from importlib import metadata
from pathlib import Path

import jax
import numpy as np
import pytest

from train.data.digest import samples_digest
from train.data.parts import Part
from train.errors import RunDirectoryError, RunWarning
from train.store import environment
from train.tasks.randman import Randman

ROOT = Path(__file__).resolve().parents[3]


def entries(run: Path) -> list[dict]:
    return json.loads((run / "environment.json").read_text())["entries"]


@pytest.fixture(scope="module")
def found() -> dict:
    return environment.surroundings()


def write(run: Path, entry: dict, epochs_done: int = 0, epochs: int = 5) -> list[str]:
    """Records an entry; returns what was said."""
    said: list[str] = []
    environment.record(run, entry, said.append, epochs_done=epochs_done, epochs=epochs)
    return said


def test_a_run_says_on_what_it_ran(tiny_run):
    (entry,) = entries(tiny_run)
    assert (entry["epochs_done"], entry["epochs"]) == (0, 2)
    for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"):
        assert entry["versions"][name] == metadata.version(name)
    assert entry["devices"]["kinds"] == {"cpu": jax.device_count()}
    assert entry["machine"]["cores"] >= 1 and entry["machine"]["processor"]
    assert entry["time_loop"]["asked"] == "auto" and entry["time_loop"]["taken"]
    assert entry["feeding"] == {"data": "memory", "feed": "resident", "chunk": None}
    # A run directory may be given away.
    text = (tiny_run / "environment.json").read_text()
    assert str(Path.home()) not in text and str(tiny_run) not in text and str(ROOT) not in text


def test_the_samples_of_a_run_are_those_of_its_task(tiny_run):
    """The sums are those of the bytes that the task makes anew, in NumPy alone."""
    from train.settings import RunOptions
    from train.store.settings_json import from_json

    stored = json.loads((tiny_run / "config.json").read_text())
    settings = from_json(Randman.settings, {k: stored[k] for k in ("version", "task", "config")})
    data = Randman().dataset(settings, RunOptions())
    (entry,) = entries(tiny_run)
    for name in ("train", "validation", "test"):
        inputs, labels, lengths = getattr(data, name)
        assert lengths is None
        total = hashlib.sha256()
        for field, array in ((".inputs", inputs), (".labels", labels)):
            total.update(f"{field} {array.dtype} {array.shape}\n".encode() + array.tobytes())
        assert entry["samples"][name] == total.hexdigest()


def test_samples_that_differ_in_one_bit_or_in_shape_have_other_sums():
    x, y = np.arange(12, dtype=np.float32).reshape(3, 4), np.zeros(3, np.int32)
    flipped = x.copy()
    flipped.view(np.uint32)[2, 3] ^= 1
    parts = [Part(x, y), Part(flipped, y), Part(x.reshape(3, 2, 2), y), Part(x, y, y)]
    parts += [Part({"a": x}, y), Part(x, y.astype(np.int64))]
    sums = [samples_digest(part) for part in parts]
    assert len(set(sums)) == len(parts) and None not in sums
    on_device = Part(jax.device_put(x), jax.device_put(y))
    assert samples_digest(on_device) == sums[0]
    assert samples_digest([{"inputs": x[0], "label": 0}]) is None  # a source that is streamed


def test_the_state_of_the_checkout_is_that_of_git(tmp_path):
    def git(*words: str) -> str:
        user = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(tmp_path), *user, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert environment._git(tmp_path) is None
    git("init")
    assert environment._git(tmp_path) is None  # no commit yet
    (tmp_path / "a.py").write_text("a = 1\n")
    git("add", "a.py")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert environment._git(tmp_path) == {"commit": commit, "dirty": False, "differences": None}
    sums = []
    for text in ("a = 2\n", "a = 3\n"):
        (tmp_path / "a.py").write_text(text)
        found = environment._git(tmp_path)
        assert found["commit"] == commit and found["dirty"] is True
        sums.append(found["differences"])
    assert len(set(sums)) == 2 and None not in sums


def test_a_changed_environment_is_added_and_said_in_one_line(tmp_path, found):
    assert write(tmp_path, found) == []
    assert write(tmp_path, found, epochs_done=2) == []
    assert entries(tmp_path) == [{"epochs_done": 0, "epochs": 5, **found}]
    other = found | {"versions": found["versions"] | {"jax": "0.1"}}
    (line,) = write(tmp_path, other, epochs_done=3)
    assert "\n" not in line and f"versions.jax {metadata.version('jax')} -> 0.1" in line
    assert "after 3 epochs" in line
    assert entries(tmp_path) == [
        {"epochs_done": 0, "epochs": 5, **found},
        {"epochs_done": 3, "epochs": 5, **other},
    ]
    # An extended run says so, for it has to be repeated in the same two parts.
    assert write(tmp_path, other, epochs_done=5, epochs=9) == []
    assert [e["epochs"] for e in entries(tmp_path)] == [5, 5, 9]


def test_flags_are_written_down_without_paths(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/home/someone/x --xla_cpu_enable_fast_math=true")
    flags = environment.surroundings()["flags"]
    assert flags["XLA_FLAGS"] == "--xla_dump_to=PATH --xla_cpu_enable_fast_math=true"
    assert flags["jax_enable_x64"] is jax.config.jax_enable_x64


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'{"entries": 3}',
        b'{"entries": [{"epochs_done": "0", "epochs": 5}]}',
        b'{"entries": [{"epochs_done": 0}]}',
        b'{"entries": [], "checksum": "0"}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_put_aside_with_words(tmp_path, found, content):
    (tmp_path / "environment.json").write_bytes(content)
    with pytest.raises(RunDirectoryError, match="environment.json is damaged"):
        environment.read(tmp_path)
    with pytest.warns(RunWarning, match="is damaged.*environment.json.damaged") as said:
        assert write(tmp_path, found) == []
    assert len(said) == 1
    assert (tmp_path / "environment.json.damaged").read_bytes() == content
    assert entries(tmp_path) == [{"epochs_done": 0, "epochs": 5, **found}]


def test_one_flipped_digit_is_noticed(tmp_path, found):
    write(tmp_path, found)
    text = (tmp_path / "environment.json").read_text()
    version = f'"jax": "{metadata.version("jax")}"'
    assert version in text
    (tmp_path / "environment.json").write_text(text.replace(version, '"jax": "9.9.9"'))
    with pytest.raises(RunDirectoryError, match="its checksum is not that of what it holds"):
        environment.read(tmp_path)


def test_a_run_without_the_file_has_no_entries(tmp_path):
    assert environment.read(tmp_path) == []
