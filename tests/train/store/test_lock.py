"""One process at a time in a run directory."""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from train.errors import RunDirectoryError, RunWarning
from train.store.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from train.store.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has a directory locked, and the directory."""
    root = Path(__file__).resolve().parents[3]
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run)], stdout=subprocess.PIPE, text=True, cwd=root
    )
    assert process.stdout is not None and process.stdout.readline() == "locked\n"
    yield process, run
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_told_who_works_there(holder, train, capsys):
    process, run = holder
    for flags in ([], ["--overwrite"], ["--resume"]):
        assert train(run, *flags) == 2
        message = capsys.readouterr().err
        assert f"{run} is in use by process {process.pid} on " in message
        assert "Traceback" not in message and len(message.splitlines()) == 1
    assert [p.name for p in run.iterdir()] == [".lock"]


def test_several_runs_have_a_lock_each(holder, train, capsys, tmp_path):
    process, run = holder
    run.rename(tmp_path / "seed_1")
    assert train(tmp_path, "--seeds", "0-1") == 2
    assert f"seed_1 is in use by process {process.pid}" in capsys.readouterr().err
    assert not (tmp_path / "seed_0").exists()


def test_the_lock_ends_with_its_process(holder):
    process, run = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (run / ".lock").exists()
    with locked(run):
        pass
    assert not (run / ".lock").exists()


def test_threads_of_a_process_keep_each_other_out(tmp_path):
    (tmp_path / "mine").touch()
    refused = []

    def other():
        try:
            with locked(tmp_path):
                pass
        except RunDirectoryError as error:
            refused.append(str(error))

    with locked(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1 and f"process {os.getpid()}" in refused[0]


def test_nothing_is_left_where_nothing_was(tmp_path):
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / ".lock").exists()
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "config.json").touch()
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["config.json"]


def test_a_file_that_says_nothing_of_its_holder(tmp_path):
    with locked(tmp_path):
        for words in (
            "",
            "[]",
            "{",
            '{"pid": "x", "host": 1, "since": 1}',
            '{"pid": 1}',
            "[" * 99999,
        ):
            (tmp_path / ".lock").write_text(words)
            with pytest.raises(RunDirectoryError, match="in use by another process"):
                with locked(tmp_path):
                    pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number):
    def refuse(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(RunWarning, match="this file system has no locks"):
        with locked(tmp_path):
            pass


def test_a_directory_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RunDirectoryError, match="Read-only file system.*another --workdir"):
        with locked(tmp_path):
            pass


def test_never_two_at_once(tmp_path):
    """The file of the lock is removed and made anew all the time; that opens no gap."""
    inside, most, errors = [], [0], []

    def work():
        try:
            taken = 0
            while taken < 30:
                with contextlib.suppress(RunDirectoryError), locked(tmp_path / "run"):
                    inside.append(1)
                    most[0] = max(most[0], len(inside))
                    time.sleep(1e-4)
                    inside.pop()
                    taken += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, errors) == ([1], [])
