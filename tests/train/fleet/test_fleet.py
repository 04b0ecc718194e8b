"""Several runs side by side are the runs that each would be alone; longer runs, other weights."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from train.errors import ConfigError
from train.fleet.seeds import parse_seeds
from train.restored.run import restore
from train.settings import TrainingConfig
from train.sweep import combinations, main
from train.tasks.randman import Randman


@pytest.fixture
def threads():
    """The optimizer multiplies arrays of different dtypes, in threads too."""
    before = jax.config.jax_numpy_dtype_promotion
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    yield
    jax.config.update("jax_numpy_dtype_promotion", before)


def lines(run: Path):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def same_parameters(a: Path, b: Path) -> bool:
    one, other = restore(a).params, restore(b).params
    return jax.tree.all(jax.tree.map(lambda x, y: bool(np.array_equal(x, y)), one, other))


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0-3", [0, 1, 2, 3]), ("7", [7]), ("0,3,5-6", [0, 3, 5, 6]), (" 4 , 2", [4, 2])],
)
def test_seeds_are_numbers_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


MANY = ",".join(f"{k}00-{k}99" for k in range(1, 12))
REFUSED = [
    "",
    "a",
    "3-1",
    "1,1",
    "0-2,2",
    "-3",
    "1.5",
    "0-99999",
    "1,,2",
    MANY,
    "9" * 5000,
    "0-4294967296",
]


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:12])
def test_other_seeds_are_refused(text):
    with pytest.raises(ConfigError, match="--seeds") as caught:
        parse_seeds(text)
    assert len(str(caught.value)) < 300


@pytest.mark.slow
def test_runs_side_by_side_are_those_alone(train, tiny_run, tmp_path, threads, capsys):
    assert train(tmp_path / "three", "--seeds", "0,1,4", "--together", "2") == 0
    shown = capsys.readouterr().out
    assert {p.name for p in (tmp_path / "three").iterdir()} == {
        "compare.png",
        "seed_0",
        "seed_1",
        "seed_4",
    }
    assert lines(tmp_path / "three" / "seed_0") == lines(tiny_run)
    assert same_parameters(tmp_path / "three" / "seed_0", tiny_run)
    assert train(tmp_path / "alone", "--seed", "4") == 0
    assert lines(tmp_path / "three" / "seed_4") == lines(tmp_path / "alone")
    assert same_parameters(tmp_path / "three" / "seed_4", tmp_path / "alone")
    scores = [
        json.loads((tmp_path / "three" / f"seed_{k}" / "result.json").read_text())["test_accuracy"]
        for k in (0, 1, 4)
    ]
    mean, spread = 100 * np.mean(scores), 100 * np.std(scores, ddof=1)
    assert f"test accuracy {mean:.2f}% +- {spread:.2f}% over 3 seeds" in shown


@pytest.mark.slow
def test_runs_that_were_stopped_go_on(train, tmp_path, capsys):
    folder = tmp_path / "two"
    assert train(folder, "--seeds", "0-1", "--together", "1") == 0
    first = lines(folder / "seed_1")
    kept = (folder / "seed_0" / "result.json").stat().st_mtime_ns
    # As if it had been killed in its second epoch.
    (folder / "seed_1" / "result.json").unlink()
    (folder / "seed_1" / "metrics.jsonl").write_text(json.dumps(first[0] | {"seconds": 1.0}) + "\n")
    for checkpoint in (folder / "seed_1" / "checkpoints").iterdir():
        if checkpoint.name == "2":
            checkpoint.rename(tmp_path / "gone")
    if not list((folder / "seed_1" / "checkpoints").iterdir()):
        (folder / "seed_1" / "metrics.jsonl").write_text("")
    assert train(folder, "--seeds", "0-1", "--together", "1") == 2
    assert "--resume" in capsys.readouterr().err
    assert train(folder, "--seeds", "0-1", "--together", "1", "--resume") == 0
    assert lines(folder / "seed_1") == first
    assert (folder / "seed_0" / "result.json").stat().st_mtime_ns == kept


def test_both_ways_to_say_a_seed_are_refused(train, tmp_path, capsys):
    assert train(tmp_path / "run", "--seeds", "0-1", "--seed", "3") == 2
    assert "--seed, --seeds" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_sweep_is_every_combination():
    found = combinations(Randman(), [("tau_mem", ["1e-2", "2e-2"]), ("hidden", ["8", "8 8"])])
    assert found == [
        {"tau_mem": "1e-2", "hidden": "8"},
        {"tau_mem": "1e-2", "hidden": "8 8"},
        {"tau_mem": "2e-2", "hidden": "8"},
        {"tau_mem": "2e-2", "hidden": "8 8"},
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("randman --set tau_men=1,2", "no such setting; did you mean tau_mem"),
        ("randman --set tau_mem=1,1", "different values"),
        ("randman --set tau_mem", "name=value"),
        ("randman --set tau_mem=", "different values"),
        ("randman --set tau_mem=1 --set tau_mem=2", "each setting once"),
        ("randman --set seed=1,2", "--seeds"),
        ("randmen --seeds 0-1", "did you mean randman"),
        ("--seeds 0-1", "name of a task first"),
        ("randman --seeds 5-1", "--seeds"),
        ("randman --seeds=", "--seeds ''"),
        ("randman --set hidden=", "different values, got ''"),
        (
            f"randman --set tau_mem={','.join(map(str, range(1, 1002)))}",
            "at most 1000 runs, got 1001",
        ),
        ("randman --set hidden=8,16 --seeds 0-599", "at most 1000 runs, got 1200"),
    ],
    ids=lambda text: text[:40],
)
def test_bad_sweeps_are_one_message(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    shown = capsys.readouterr().err.strip()
    assert message in shown and "\n" not in shown
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_sweep_ends_in_a_table_though_one_run_diverges(tiny_flags, tmp_path, threads, capsys):
    where = ["--workdir", str(tmp_path / "sweep"), "--set", "learning_rate=1e-2,1e38"]
    assert main(["randman", *tiny_flags, *where, "--clip-norm", "0"]) == 2
    shown = capsys.readouterr()
    assert "learning_rate=1e-2,seed_0" in shown.out
    good = tmp_path / "sweep" / "learning_rate=1e-2,seed_0"
    assert restore(good).settings.training.learning_rate == 1e-2
    assert (good / "result.json").exists()
    assert not (tmp_path / "sweep" / "learning_rate=1e38,seed_0" / "result.json").exists()


CONSTANT = ("--schedule", "constant", "--warm-up", "0")


@pytest.mark.slow
def test_more_epochs_at_a_constant_rate_are_the_longer_run(train, tmp_path):
    assert train(tmp_path / "short", *CONSTANT) == 0
    assert train(tmp_path / "short", *CONSTANT, "--resume", "--epochs", "4") == 0
    assert train(tmp_path / "long", *CONSTANT, "--epochs", "4") == 0
    assert lines(tmp_path / "short") == lines(tmp_path / "long")
    result = json.loads((tmp_path / "short" / "result.json").read_text())
    assert (result["epochs"], result["epochs_done"]) == (4, 4)
    assert restore(tmp_path / "short").settings.training.extended_from == (2,)


@pytest.mark.slow
def test_more_epochs_of_a_falling_rate_say_what_happens(train, copy_of_run, capsys):
    arguments = ["--resume", "--epochs", "3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.run.loop._say", lambda options: print)
        assert train(copy_of_run, *arguments) == 0
    shown = capsys.readouterr().out
    assert "the cosine schedule of 2 epochs is left for that of 3" in shown
    assert [record["epoch"] for record in lines(copy_of_run)] == [1, 2, 3]
    stored = json.loads((copy_of_run / "config.json").read_text())["config"]["training"]
    assert (stored["epochs"], stored["extended_from"]) == (3, [2])
    # What it has become can be taken up again, and is finished.
    assert train(copy_of_run, *arguments) == 0
    assert "this run is finished" in capsys.readouterr().out


def test_fewer_epochs_are_refused(train, copy_of_run, capsys):
    before = (copy_of_run / "config.json").read_text()
    assert train(copy_of_run, "--resume", "--epochs", "1") == 2
    assert "--epochs was 2, is 1" in capsys.readouterr().err
    assert (copy_of_run / "config.json").read_text() == before


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_another(train, tiny_run, tmp_path, capsys):
    flags = ("--init-from", str(tiny_run), "--learning-rate", "1e-30", "--weight-decay", "0")
    assert train(tmp_path / "next", *flags, "--epochs", "1") == 0
    # At such a rate nothing is learned: the weights stay those of the best checkpoint.
    before, after = restore(tiny_run), restore(tmp_path / "next")
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), before.params, after.params
    )
    assert before.score("test") == after.score("test")


@pytest.mark.slow
def test_weights_of_other_layers_are_refused(train, tiny_run, tmp_path, capsys):
    assert train(tmp_path / "next", "--init-from", str(tiny_run), "--hidden", "9") == 2
    shown = capsys.readouterr().err
    assert re.search(r"--init-from .*expected parameters .*got .*layers", shown)
    assert not (tmp_path / "next").exists()
    assert train(tmp_path / "next", "--init-from", str(tmp_path / "none")) == 2
    assert "does not exist" in capsys.readouterr().err


def test_marks_of_an_extended_run_are_no_flag(capsys):
    from train.command_line import parse

    with pytest.raises(SystemExit):
        parse(Randman(), ["--extended-from", "3"], Randman.settings())
    assert dataclasses.asdict(TrainingConfig())["extended_from"] == ()
