"""Runs that were stopped or killed, and go on: the end is bit for bit that of an unbroken run."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from same_run import assert_same_run, records, result

from train.progress.report import Progress
from train.store.read import open_checkpoint
from train.store.write import CheckpointWriter

ROOT = Path(__file__).resolve().parents[3]
EPOCHS = ("--epochs", "5")
STREAMED = ("--feed", "streamed", "--chunk", "3")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((), id="resident"),
        pytest.param(STREAMED, id="streamed", marks=pytest.mark.slow),
    ],
)
def unbroken(request, train, tmp_path_factory):
    """A run that was never stopped, and how it was fed."""
    run = tmp_path_factory.mktemp("unbroken") / "run"
    assert train(run, *EPOCHS, *request.param) == 0
    return run, request.param


class Stopper:
    """Raises a signal after so many calls of a method."""

    def __init__(self, monkeypatch, owner, name, calls, number=signal.SIGTERM):
        self.left = calls
        original = getattr(owner, name)

        def method(this, *arguments, **options):
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(number)
            return original(this, *arguments, **options)

        monkeypatch.setattr(owner, name, method)


@pytest.mark.parametrize("calls", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 4))])
def test_a_stopped_run_ends_as_an_unbroken_one(train, tmp_path, unbroken, calls):
    run, feed = unbroken
    with pytest.MonkeyPatch.context() as patch:
        Stopper(patch, Progress, "epoch", calls)
        code = train(tmp_path / "1", *EPOCHS, *feed)
    # After the fourth of five epochs the last one is running: nothing is left to stop.
    assert code == (0 if calls == 4 and not feed else 143)
    if code:
        assert not (tmp_path / "1" / "result.json").exists()
        assert train(tmp_path / "1", "--resume", *EPOCHS, *feed) == 0
    assert_same_run(run, tmp_path / "1")


@pytest.mark.slow
def test_a_stop_within_an_epoch_is_saved_and_gone_on_from(train, tmp_path, capsys):
    assert train(tmp_path / "whole", *EPOCHS, *STREAMED) == 0
    with pytest.MonkeyPatch.context() as patch:
        from train.data.feed import StreamedFeed

        # Called once per chunk that was started: the third is the first one of epoch 2.
        Stopper(patch, StreamedFeed, "state", 3, signal.SIGINT)
        assert train(tmp_path / "cut", *EPOCHS, *STREAMED) == 130
    # What is said is what has to be typed.
    assert f"--resume --workdir {tmp_path / 'cut'} {' '.join(STREAMED)}" in capsys.readouterr().err
    (within,) = (tmp_path / "cut" / "interrupted").iterdir()
    place = open_checkpoint(within).data
    # Four batches an epoch, three a chunk.
    assert (place["epochs_done"], place["batches_done"]) == (1, 3)
    assert place["stream"]["epoch"] == 2 and place["sums"]["samples"] == 48
    assert train(tmp_path / "cut", "--resume", *EPOCHS, *STREAMED) == 0
    assert not (tmp_path / "cut" / "interrupted").exists()
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_epochs_that_no_checkpoint_holds_are_run_again(train, tmp_path, unbroken, monkeypatch):
    run, feed = unbroken
    save = CheckpointWriter.save

    def die(self, epoch, *arguments):
        if epoch == 3:
            raise KeyboardInterrupt
        save(self, epoch, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointWriter, "save", die)
        assert train(tmp_path / "run", *EPOCHS, *feed) == 130
    assert len(records(tmp_path / "run")) == 2
    # A kill may also cut the line that is being written.
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "st')
    assert train(tmp_path / "run", "--resume", *EPOCHS, *feed) == 0
    assert_same_run(run, tmp_path / "run")


@pytest.mark.slow
def test_a_run_without_a_checkpoint_begins_again(train, tmp_path, unbroken):
    run, feed = unbroken

    def die(self, *arguments):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointWriter, "save", die)
        assert train(tmp_path / "run", *EPOCHS, *feed) == 130
    assert train(tmp_path / "run", "--resume", *EPOCHS, *feed) == 0
    assert_same_run(run, tmp_path / "run")


@pytest.mark.slow
def test_a_directory_without_a_run_begins_one(train, tmp_path, tiny_run):
    assert train(tmp_path / "new", "--resume") == 0
    assert_same_run(tiny_run, tmp_path / "new")


def test_a_finished_run_is_left_alone(train, tiny_run, capsys):
    before = {p: p.stat().st_mtime_ns for p in tiny_run.rglob("*")}
    assert train(tiny_run, "--resume") == 0
    assert "finished" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in tiny_run.rglob("*")} == before


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--resume --learning-rate 1e-3", "--learning-rate was 0.03, is 0.001"),
        ("--resume --hidden 8 8", "--hidden was [8], is [8, 8]"),
        ("--resume --overwrite", "give one of them"),
    ],
)
def test_a_run_keeps_its_settings(train, tiny_run, capsys, flags, words):
    assert train(tiny_run, *flags.split()) == 2
    assert words in capsys.readouterr().err


def test_another_task_is_not_resumed(train_regression, tiny_run, capsys):
    assert train_regression(tiny_run, "--resume") == 2
    assert "python -m train.randman --resume" in capsys.readouterr().err


def test_lost_metrics_are_noticed(train, stopped_run, capsys):
    (stopped_run / "metrics.jsonl").unlink()
    assert train(stopped_run, "--resume") == 2
    assert "it has 0 of the 2 lines that checkpoints/2 knows" in capsys.readouterr().err


@pytest.mark.slow
def test_without_a_directory_the_newest_run_goes_on(
    train, tiny_run, stopped_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert train(None, "--resume") == 2
    assert "holds no run to resume" in capsys.readouterr().err
    folder = tmp_path / "checkpoints" / "randman"
    for day in ("01", "02"):
        shutil.copytree(stopped_run, folder / f"2026-01-{day}_00-00-00")
    assert train(None, "--resume") == 0
    assert_same_run(folder / "2026-01-02_00-00-00", tiny_run)
    assert not (folder / "2026-01-01_00-00-00" / "result.json").exists()


@pytest.mark.slow
def test_patience_that_was_exhausted_is_not_begun_anew(train, tmp_path):
    """A run that ended early, and was killed before its result, does not go on training."""
    flags = ("--epochs", "30", "--learning-rate", "1e-9", "--patience", "2")
    assert train(tmp_path, *flags) == 0
    trained = records(tmp_path)
    assert len(trained) < 30
    (tmp_path / "result.json").unlink()
    assert train(tmp_path, "--resume", *flags) == 0
    assert records(tmp_path) == trained
    assert result(tmp_path)["epochs_done"] == len(trained)


@pytest.mark.slow
def test_a_killed_process_goes_on(tmp_path, tiny_flags):
    """SIGKILL while it trains: what is on disk is enough."""

    def start(run, *flags):
        where = ["--workdir", str(run)]
        command = [sys.executable, "-m", "train.randman", *tiny_flags, *where, *flags]
        return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"})

    flags = ("--epochs", "60", "--save-every", "0")
    assert start(tmp_path / "whole", *flags).wait() == 0
    process = start(tmp_path / "killed", *flags)
    while not (tmp_path / "killed" / "checkpoints" / "20").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert start(tmp_path / "killed", "--resume", *flags).wait() == 0
    assert_same_run(tmp_path / "whole", tmp_path / "killed")
