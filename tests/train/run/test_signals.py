"""Signals: what asks a run to stop, and what it goes on ignoring."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from same_run import assert_same_run

from train.run.signals import stop_on_signal

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_the_code_is_that_of_the_signal(number, code):
    said = []
    given = signal.signal(number, signal.SIG_DFL)  # Under nohup it would be to ignore SIGHUP.
    try:
        with stop_on_signal("epoch", said.append) as stop:
            assert not stop
            signal.raise_signal(number)
            assert stop and stop.code == code == 128 + number
        assert len(said) == 1 and "finishing the running epoch" in said[0]
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, given)


def test_who_ignores_that_a_terminal_is_closed_goes_on_ignoring_it():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal("epoch", print) as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


IN_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # standard input is the terminal of this session
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def waited(process, run):
    """Wait until a run has trained two epochs."""
    while (
        not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").read_text().count("\n") < 2
    ):
        assert process.poll() is None
        time.sleep(0.01)


@pytest.mark.slow
def test_a_closed_terminal_ends_a_run_that_has_saved_everything(tmp_path, tiny_flags):
    """The terminal is gone when the run says its last words; they go nowhere."""
    run = tmp_path / "run"
    ours, theirs = pty.openpty()
    flags = [flag for flag in tiny_flags if flag != "--quiet"]
    flags += ["--epochs", "400", "--workdir", str(run)]
    process = subprocess.Popen(
        [sys.executable, "-c", IN_TERMINAL, "-m", "train.randman", *flags],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    while (
        not (run / "metrics.jsonl").exists() or (run / "metrics.jsonl").read_text().count("\n") < 2
    ):
        assert process.poll() is None
        try:
            os.read(ours, 65536)
        except BlockingIOError:
            time.sleep(0.01)
    os.close(ours)
    assert process.wait(120) == 129
    epochs = (run / "metrics.jsonl").read_text().count("\n")
    assert 2 <= epochs < 400
    assert (run / "checkpoints" / str(epochs) / "state").is_dir()


@pytest.mark.slow
def test_nohup(tmp_path, tiny_flags):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "train.randman", *tiny_flags, "--epochs", "40"]
    process = subprocess.Popen(
        ["nohup", *command, "--workdir", str(run)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    waited(process, run)
    process.send_signal(signal.SIGHUP)
    assert process.wait(120) == 0
    whole = tmp_path / "whole"
    assert subprocess.run([*command, "--workdir", str(whole)], cwd=ROOT, check=True).returncode == 0
    assert_same_run(run, whole)
