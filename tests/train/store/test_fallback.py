"""A checkpoint that is damaged is said, put aside, and replaced by another one of the run."""

import shutil
from collections.abc import Iterator

import pytest
from same_run import assert_same_run, records

from train.evaluate import main as evaluate
from train.run import loop
from train.store.read import furthest, numbered, open_checkpoint
from train.store.tidy import clear_leftovers
from train.store.write import CheckpointWriter

FLAGS = ("--epochs", "3", "--save-every", "0")


@pytest.fixture(scope="module", autouse=True)
def falling_scores() -> Iterator[None]:
    """The first epoch is the best, so that a run has two checkpoints: of the first and the last."""
    original = loop._record

    def record(run, epoch, seconds):
        return original(run, epoch, seconds) | {"validation_accuracy": 1.0 - epoch.number / 10}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_record", record)
        yield


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """A finished run, which stays as it is."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(run, *FLAGS) == 0
    assert [p.name for p in numbered(run / "checkpoints")] == ["1", "3"]
    return run


@pytest.fixture
def run(whole, tmp_path):
    """A copy of it that was stopped before its result."""
    copy = shutil.copytree(whole, tmp_path / "run")
    (copy / "result.json").unlink()
    return copy


def empty_arrays(step):
    for path in step.glob("state/**/d/*"):
        path.write_bytes(b"")


def flip_arrays(step):
    """One bit in the middle of every file of arrays."""
    for path in step.glob("state/**/d/*"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))


def null_meta(step):
    (step / "meta" / "metadata").write_text("null")


def no_data(step):
    shutil.rmtree(step / "data")


DAMAGE = [flip_arrays, null_meta, empty_arrays, no_data]


def warning(capsys):
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    (line,) = [line for line in shown.err.splitlines() if "warning: " in line]
    return line


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_checkpoint_is_put_aside(train, run, whole, capsys, damage):
    damage(run / "checkpoints" / "3")
    assert train(run, "--resume", *FLAGS) == 0
    words = warning(capsys)
    assert f"{run}/checkpoints/3" in words and "damaged" in words
    assert f"it lies in {run}/damaged/checkpoints-3 now" in words
    assert f"used in its place: {run}/checkpoints/1, of epoch 1" in words
    # Trained again from epoch 1, it ends as if nothing had happened.
    assert_same_run(run, whole)
    assert (run / "damaged" / "checkpoints-3").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_the_next_best_is_evaluated(run, capsys, damage):
    damage(run / "checkpoints" / "1")
    assert evaluate(["--checkpoint", str(run), "--json"]) == 0
    shown = capsys.readouterr()
    assert '"epoch": 3' in shown.out
    assert f"used in its place: {run}/checkpoints/3, of epoch 3" in shown.err
    assert (run / "checkpoints" / "1").is_dir()  # who evaluates changes nothing
    assert evaluate(["--checkpoint", str(run / "checkpoints" / "1")]) == 2


@pytest.mark.slow
def test_a_damaged_best_checkpoint_is_said_when_the_run_goes_on(train, run, capsys):
    flip_arrays(run / "checkpoints" / "1")
    assert train(run, "--resume", *FLAGS) == 0
    assert f"it lies in {run}/damaged/checkpoints-1 now" in warning(capsys)
    assert [p.name for p in numbered(run / "checkpoints")] == ["3"]


def test_nothing_is_thrown_away_where_nothing_is_whole(train, run, capsys):
    for name in ("1", "3"):
        null_meta(run / "checkpoints" / name)
    before = sorted(p for p in run.rglob("*"))
    assert train(run, "--resume", *FLAGS) == 2
    message = capsys.readouterr().err
    assert "has no checkpoint that is whole" in message and "--overwrite" in message
    assert evaluate(["--checkpoint", str(run)]) == 2
    assert "has no checkpoint that is whole" in capsys.readouterr().err
    assert sorted(p for p in run.rglob("*")) == before


def test_metrics_without_a_checkpoint_are_not_thrown_away(train, run, capsys):
    before = (run / "metrics.jsonl").read_bytes()
    shutil.rmtree(run / "checkpoints")
    assert train(run, "--resume", *FLAGS) == 2
    message = capsys.readouterr().err
    assert "has 3 epochs, but no checkpoint of them is left" in message
    assert "--overwrite" in message and "another --workdir" in message
    assert (run / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_a_kill_before_the_first_checkpoint_is_no_loss(train, tmp_path, whole):
    def die(self, *arguments):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointWriter, "save", die)
        assert train(tmp_path / "run", *FLAGS) == 130
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == ""
    assert train(tmp_path / "run", "--resume", *FLAGS) == 0
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.slow
def test_a_kill_between_a_checkpoint_and_its_line_is_no_loss(train, run, whole):
    path = run / "metrics.jsonl"
    wanted = records(run)
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:-1]))
    assert train(run, "--resume", *FLAGS) == 0
    assert records(run) == wanted
    assert_same_run(run, whole)


def test_two_lost_lines_are_a_loss(train, run, capsys):
    path = run / "metrics.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert train(run, "--resume", *FLAGS) == 2
    assert "metrics.jsonl is damaged: it has 1 of the 3 lines" in capsys.readouterr().err


def test_what_a_kill_between_saving_and_deleting_leaves_goes(train, run, whole):
    middle = run / "checkpoints" / "2"
    with pytest.MonkeyPatch.context() as patch:
        from train.store import tidy

        shutil.copytree(run / "checkpoints" / "3", middle)
        found = {p: open_checkpoint(p) for p in numbered(run / "checkpoints") if p != middle}
        second = found[run / "checkpoints" / "3"]
        older = {**second.meta, "epoch": 2, "updates": 8}
        opened = {**found, middle: type(second)(middle, older, second.data)}
        patch.setattr(tidy, "open_checkpoint", opened.__getitem__)
        for left in ("checkpoints/4.orbax-checkpoint-tmp", "checkpoints/5.deleted", "plots"):
            (run / left).mkdir()
        for left in ("config.json.tmp", "metrics.jsonl.tmp", "plots/sample.png.tmp"):
            (run / left).touch()
        clear_leftovers(run)
    (run / "plots").rmdir()
    assert [p.name for p in numbered(run / "checkpoints")] == ["1", "3"]
    assert {p.name for p in run.rglob("*")} == {
        p.name for p in whole.rglob("*") if p.name != "result.json"
    }
    assert furthest(run).damaged == {}


def test_another_time_loop_is_refused(train, run, capsys):
    assert train(run, "--resume", *FLAGS, "--time-loop", "scan") == 2
    message = capsys.readouterr().err
    assert "--time-loop was auto, is scan" in message and "leave the flag out" in message


@pytest.mark.slow
def test_the_time_loop_that_a_run_began_with_goes_on(train, tmp_path, capsys):
    flags = (*FLAGS, "--time-loop", "scan")
    assert train(tmp_path / "whole", *flags) == 0
    run = shutil.copytree(tmp_path / "whole", tmp_path / "run")
    (run / "result.json").unlink()
    shutil.rmtree(run / "checkpoints" / "3")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert train(run, "--resume", *FLAGS, "--time-loop", "fused") == 2
    assert "was scan, is fused" in capsys.readouterr().err
    assert train(run, "--resume", *FLAGS) == 0
    assert_same_run(run, tmp_path / "whole")
    assert len(lines) == 3
