"""A disk that is full or read-only: one message, exit code 2, and what was saved stays."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from same_run import assert_same_run

from train.errors import RunDirectoryError, RunWarning, exit_code
from train.evaluate import main as evaluate
from train.progress import report
from train.run.record import draw
from train.store import run_directory
from train.store.disk import disk_explained
from train.store.read import latest_checkpoint
from train.store.write import CheckpointWriter

ROOT = Path(__file__).resolve().parents[3]
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fails(error):
    def function(*arguments, **options):
        raise error

    return function


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        OSError(errno.EROFS, os.strerror(errno.EROFS), "/somewhere"),
        ValueError("RESOURCE_EXHAUSTED: Error writing local file: No space left on device"),
    ],
)
def test_what_orbax_raises_at_a_full_disk_is_a_sentence(tmp_path, error):
    with pytest.raises(RunDirectoryError, match=r"cannot be written \(.*[0-9]+ bytes free\)"):
        with disk_explained(tmp_path):
            try:
                raise error
            except Exception as inner:
                raise RuntimeError("Orbax") from inner


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(ValueError, match="mine"), disk_explained(tmp_path):
        raise ValueError("mine")


@pytest.mark.slow
def test_a_run_on_a_disk_that_fills_up(train, tmp_path, capsys, monkeypatch, tiny_run):
    """It ends with a message, keeps what was saved, and goes on when there is room."""
    save = CheckpointWriter._items

    def once(self, state, data, meta):
        if meta["epoch"] == 2:
            raise RuntimeError("background thread") from FULL
        return save(self, state, data, meta)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointWriter, "_items", once)
        assert train(tmp_path / "run", "--save-every", "0") == 2
    message = capsys.readouterr().err
    assert "a checkpoint cannot be written (No space left on device; " in message
    assert "Traceback" not in message and len(message.splitlines()) == 1
    found = latest_checkpoint(tmp_path / "run")
    assert found is not None and found.meta["epoch"] == 1
    assert train(tmp_path / "run", "--resume") == 0
    assert_same_run(tmp_path / "run", tiny_run)


@pytest.mark.slow
def test_metrics_that_cannot_be_written(train, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report, "metrics_line", fails(FULL))
    assert train(tmp_path / "run") == 2
    message = capsys.readouterr().err
    assert "metrics.jsonl cannot be written (No space left on device)" in message
    assert "--resume" in message and "Traceback" not in message


def test_json_that_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    run_directory.write_json(tmp_path / "x.json", {"a": 1})
    monkeypatch.setattr(os, "fsync", fails(FULL))
    with pytest.raises(RunDirectoryError, match="x.json cannot be written"):
        run_directory.write_json(tmp_path / "x.json", {"a": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert '"a": 1' in (tmp_path / "x.json").read_text()


def test_pictures_of_a_run_that_cannot_be_written(copy_of_run, capsys, monkeypatch):
    read_only = OSError(errno.EROFS, os.strerror(errno.EROFS), str(copy_of_run / "plots"))
    monkeypatch.setattr(Path, "mkdir", fails(read_only))
    assert evaluate(["--checkpoint", str(copy_of_run), "--plots"]) == 0
    shown = capsys.readouterr()
    assert "accuracy" in shown.out and "Traceback" not in shown.err
    (words,) = [line for line in shown.err.splitlines() if "pictures cannot be written" in line]
    assert words.startswith("python -m train.evaluate: warning: ")
    assert str(copy_of_run / "plots") in words and "Read-only file system" in words


def test_only_the_disk_is_excused(tmp_path):
    class Broken:
        def draw(self, results):
            raise KeyError("a fault of the task")

    with pytest.raises(KeyError):
        draw(Broken(), None)


def test_what_the_system_refuses_is_a_message(capsys):
    refused = OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "x" * 300)
    assert exit_code("command", fails(refused)) == 2
    assert capsys.readouterr().err == f"command: error: {'x' * 300}: File name too long\n"
    with pytest.raises(BrokenPipeError):
        exit_code("command", fails(BrokenPipeError()))
    assert exit_code("command", fails(MemoryError("Unable to allocate 149. GiB"))) == 2
    said = capsys.readouterr().err
    assert said.startswith("command: error: the memory of this machine is too small (Unable to")
    assert "use fewer samples" in said


def test_warnings_are_shown_once_each_and_only_ours(capsys):
    import warnings

    def work():
        for _ in range(2):
            warnings.warn("look", RunWarning, stacklevel=1)
        return 0

    assert exit_code("command", work) == 0
    assert capsys.readouterr().err == "command: warning: look\n" * 2


@pytest.mark.slow
def test_a_limit_of_the_operating_system(tmp_path, tiny_flags):
    """No file may be larger than 3 kB: a process of its own, with no mock in it."""

    start = (
        "import resource, runpy, signal, sys;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY));"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "sys.argv = sys.argv[1:]; runpy.run_module('train.randman', run_name='__main__')"
    )
    run = tmp_path / "run"
    flags = [*tiny_flags, "--no-cache", "--hidden", "64", "--workdir", str(run)]
    done = subprocess.run(
        [sys.executable, "-c", start, "x", *flags], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    # Orbax writes many arrays at a time: the threads in which the others fail say nothing.
    assert "Traceback" not in done.stderr and "absl" not in done.stderr, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if "cannot be written" in line]
    assert said.startswith("python -m train.randman: error: ") and "(File too large;" in said
