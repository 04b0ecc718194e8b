"""Runs from flags to files: what they leave, refuse, replace and survive."""

import json
import signal
from pathlib import Path

import pytest

from train.progress.report import Progress

EPOCH_FIELDS = {
    "epoch",
    "step",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "rates_hz",
    "silent",
    "grad_norm",
    "learning_rate",
    "seconds",
}


def lines(run: Path):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_time(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def files(run: Path):
    return {
        str(p.relative_to(run)): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in run.rglob("*")
        if p.is_file()
    }


def test_a_run_leaves_its_files(tiny_run):
    assert {p.name for p in tiny_run.iterdir()} == {
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "result.json",
        "checkpoints",
    }
    records = lines(tiny_run)
    assert [record["epoch"] for record in records] == [1, 2]
    # 80 % of 2 * 40 samples are 4 batches of 16.
    assert [record["step"] for record in records] == [4, 8]
    assert all(set(record) == EPOCH_FIELDS for record in records)
    assert all(set(record["rates_hz"]) == {"hidden_1", "output"} for record in records)
    best = max(records, key=lambda r: (r["validation_accuracy"], r["epoch"]))
    result = json.loads((tiny_run / "result.json").read_text())
    assert (result["epochs"], result["seed"], result["best_epoch"]) == (2, 0, best["epoch"])
    assert result["validation_accuracy"] == best["validation_accuracy"]
    assert 0 <= result["test_accuracy"] <= 1 and result["seconds"] > 0
    kept = {int(p.name) for p in (tiny_run / "checkpoints").iterdir()}
    assert kept == {best["epoch"], 2}


def test_nothing_of_the_machine_is_stored(tiny_run):
    for name, (content, _) in files(tiny_run).items():
        assert str(tiny_run.parent).encode() not in content, name
        assert str(Path.home()).encode() + b"/" not in content, name


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(train, tiny_run, tmp_path):
    assert train(tmp_path / "again") == 0
    assert train(tmp_path / "other", "--seed", "1") == 0
    first = without_time(lines(tiny_run))
    assert without_time(lines(tmp_path / "again")) == first
    assert without_time(lines(tmp_path / "other")) != first


def test_a_run_is_not_replaced_without_being_asked(train, tiny_run, capsys):
    before = files(tiny_run)
    assert train(tiny_run) == 2
    message = capsys.readouterr().err
    assert "already holds a run" in message and "--overwrite" in message
    assert files(tiny_run) == before


@pytest.mark.slow
def test_overwrite_replaces_the_run_and_nothing_else(train, copy_of_run):
    (copy_of_run / "notes.txt").write_text("mine")
    (copy_of_run / "checkpoints" / "99").mkdir()
    assert train(copy_of_run, "--overwrite", "--epochs", "1") == 0
    assert len(lines(copy_of_run)) == 1
    assert [p.name for p in (copy_of_run / "checkpoints").iterdir()] == ["1"]
    assert (copy_of_run / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("flags", ["--epochs 0", "--batch-size 999", "--dim 3 --alpha 1e300"])
def test_a_run_that_cannot_begin_replaces_nothing(train, tiny_run, flags):
    before = files(tiny_run)
    assert train(tiny_run, "--overwrite", *flags.split()) == 2
    assert files(tiny_run) == before


def test_a_file_is_no_run_directory(train, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert train(tmp_path / "file" / "run") == 2
    assert "not a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_signal_ends_the_run_after_the_epoch(train, tmp_path, monkeypatch, capsys, number, code):
    def once(self, record, score):
        if record["epoch"] == 1:
            signal.raise_signal(number)

    monkeypatch.setattr(Progress, "epoch", once)
    assert train(tmp_path, "--epochs", "50") == code
    # The epoch that was running when the signal came is finished and saved as well.
    assert [record["epoch"] for record in lines(tmp_path)] == [1, 2]
    assert (tmp_path / "checkpoints" / "2" / "state").is_dir()
    assert not (tmp_path / "result.json").exists()
    shown = capsys.readouterr().err
    assert f"python -m train.randman --resume --workdir {tmp_path}" in shown


@pytest.mark.slow
def test_a_second_ctrl_c_ends_the_run_at_once(train, tmp_path, monkeypatch, capsys):
    def twice(self, record, score):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Progress, "epoch", twice)
    assert train(tmp_path, "--epochs", "50") == 130
    assert (tmp_path / "checkpoints" / "1" / "state").is_dir()
    assert "stopped at once" in capsys.readouterr().err


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run(train, tmp_path, capsys):
    # Membranes overflow after the first update.
    assert train(tmp_path, "--learning-rate", "1e38", "--readout", "max") == 2
    assert "lower --learning-rate" in capsys.readouterr().err
    assert not (tmp_path / "result.json").exists()


RECORD = {
    "epoch": 3,
    "train_loss": 0.25,
    "train_accuracy": 0.9,
    "validation_accuracy": 0.875,
    "rates_hz": {"hidden_1": 12.0},
    "seconds": 6.0,
}


def test_progress_on_a_terminal_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress(10, quiet=False) as progress:
        progress.note("hello")
        progress.tick(0.5)
        progress.epoch(RECORD, "accuracy")
    shown = capsys.readouterr().err
    assert "hello\n" in shown
    assert "0.5/10 epochs" in shown and "3/10 epochs" in shown
    assert "loss 0.2500" in shown and "hidden_1 12.0 Hz" in shown


def test_progress_without_a_terminal_is_a_line_per_epoch(capsys):
    with Progress(10, quiet=False) as progress:
        progress.epoch(RECORD, "accuracy")
    assert capsys.readouterr().err == (
        "epoch 3/10: loss 0.2500, accuracy 90.0%, validation 87.5%, hidden_1 12.0 Hz, 14 s left\n"
    )
    with Progress(10, quiet=True) as progress:
        progress.epoch(RECORD, "accuracy")
        progress.note("hello")
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["spikes", "max"])
def test_an_easy_task_is_learned(train, tmp_path, readout):
    flags = "--alpha 5 --units 8 --samples-per-class 100 --hidden 32 --epochs 15"
    assert train(tmp_path, *flags.split(), "--readout", readout) == 0
    records = lines(tmp_path)
    assert records[-1]["train_loss"] < 0.5 * records[0]["train_loss"]
    # Guessing gives 50 %.
    assert json.loads((tmp_path / "result.json").read_text())["test_accuracy"] >= 0.9


@pytest.mark.slow
@pytest.mark.optimizer
@pytest.mark.usefixtures("optimised")
def test_the_default_learns_in_eight_epochs(tmp_path):
    from train.command_line import run_command
    from train.tasks.randman import Randman

    flags = ["--epochs", "8", "--seed", "5", "--workdir", str(tmp_path / "run"), "--no-cache"]
    assert run_command(Randman(), flags) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["test_accuracy"] >= 0.97
