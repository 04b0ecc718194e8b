"""Runs side by side."""

import json
import re
import shutil
from pathlib import Path

import pytest

from train.compare import compare, main
from train.store import run_directory
from train.store.checksum import sealed


def copy_with(run, folder, network, epochs):
    """A copy of a run that says that it had other settings, and so many epochs."""
    copy = Path(shutil.copytree(run, folder))
    content = json.loads((copy / "config.json").read_text())
    content["config"]["network"] |= network
    content["config"]["training"]["epochs"] = epochs
    (copy / "config.json").write_text(json.dumps(sealed(content)))
    shutil.rmtree(copy / "checkpoints")  # which know other metrics
    lines = (copy / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1]) | {"validation_accuracy": 1.0}
    more = [last | {"epoch": k + 1} for k in range(len(lines), epochs)]
    (copy / "metrics.jsonl").write_text("\n".join([*lines, *map(json.dumps, more)]) + "\n")
    result = json.loads((copy / "result.json").read_text())
    result |= {"test_accuracy": 0.25, "validation_accuracy": more[-1]["validation_accuracy"]}
    (copy / "result.json").unlink()
    run_directory.write_result(copy, result | {"best_epoch": epochs, "epochs_done": epochs})
    return copy


@pytest.fixture
def other_run(tiny_run, tmp_path):
    return copy_with(tiny_run, tmp_path / "other", {"readout": "max"}, 3)


def test_the_table_says_what_differs(tiny_run, other_run, tmp_path, capsys):
    picture = tmp_path / "new" / "compare.png"
    assert main([str(tiny_run), str(other_run), "--plot", str(picture)]) == 0
    shown = capsys.readouterr().out
    header, first, second = shown.splitlines()[1:4]
    columns = "run, task, epochs, best, validation, test, training s, readout, epochs"
    assert re.split(r"  +", header) == columns.split(", ")
    assert first.split()[0] == str(tiny_run) and first.split()[-2:] == ["spikes", "2"]
    assert second.split()[-2:] == ["max", "3"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_folder_of_runs_stands_for_them(tiny_run, other_run, tmp_path, capsys):
    """``--seeds`` and sweeps leave such folders among the runs of a task."""
    folder = tmp_path / "several"
    for name in ("seed_0", "seed_1"):
        shutil.copytree(tiny_run, folder / name)
    (folder / "compare.png").touch()
    words = [str(other_run), str(folder), str(other_run), "--json"]
    assert main(words) == 0
    runs = [row["run"] for row in json.loads(capsys.readouterr().out)["runs"]]
    assert runs == [str(path) for path in (other_run, folder / "seed_0", folder / "seed_1")]


def test_rows_are_what_the_runs_say(tiny_run, other_run, capsys):
    assert main([str(tiny_run), str(other_run), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["runs"]
    for row, run in zip(rows, (tiny_run, other_run), strict=True):
        result = json.loads((run / "result.json").read_text())
        assert row["test"] == result["test_accuracy"]
        assert row["validation"] == result["validation_accuracy"]
        assert row["best_epoch"] == result["best_epoch"]
    assert rows[0]["settings"] == {"readout": "spikes", "epochs": 2}


def test_a_run_that_is_not_finished_has_no_test_score(tiny_run, tmp_path):
    for name in ("config.json", "metrics.jsonl"):
        (tmp_path / name).write_bytes((tiny_run / name).read_bytes())
    (row,) = compare([tmp_path])
    assert row["test"] is None and row["epochs"] == 2


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "is not the directory of a run" in capsys.readouterr().err


@pytest.mark.slow
def test_scores_of_two_kinds_are_not_compared(tiny_run, train_regression, tmp_path, capsys):
    assert train_regression(tmp_path / "run", "--readout", "mean") == 0
    assert main([str(tiny_run), str(tmp_path / "run")]) == 2
    assert "expected runs of one score, got accuracy, r2" in capsys.readouterr().err
