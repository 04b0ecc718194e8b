"""Runs that are repeated: the same bits, or the first place where they are not."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from train import reproduce
from train.command_line import run_command
from train.restored import reproduce as repetition
from train.restored.difference import arrays_differ, metrics_differ
from train.run.__main__ import main as run_own
from train.tasks.spikes.task import Spikes


@pytest.fixture
def again(tmp_path_factory, capsys):
    """Repeats a run: ``again(run, *flags)`` returns the exit code and what was printed."""
    cache = str(tmp_path_factory.getbasetemp() / "xla")

    def run(path: Path, *flags: str) -> tuple[int, str]:
        capsys.readouterr()
        # The optimiser multiplies arrays of different dtypes.
        with jax.numpy_dtype_promotion("standard"):
            code = reproduce.main([str(path), "--quiet", "--cache-dir", cache, *flags])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


@pytest.mark.slow
def test_a_run_is_repeated_bit_for_bit(tiny_run, again):
    code, shown = again(tiny_run, "--json")
    report = json.loads(shown)
    assert (code, report["same"], report["difference"], report["epochs"]) == (0, True, None, 2)
    assert report["result"] is True and report["workdir"] is None
    latest = report["checkpoints"]["2"]
    assert latest["arrays"] > 10 and latest["different"] == []


def test_the_first_difference_of_metrics_is_found_wherever_it_is():
    def records():
        return [
            {"epoch": n, "loss": 0.1 * n, "rates_hz": {"hidden_1": 3.0}, "seconds": 1.0}
            for n in (1, 2, 3)
        ]

    def found(change, epochs=3):
        second = records()
        change(second)
        return metrics_differ(records(), second, epochs)

    assert found(lambda r: r[1].update(seconds=9.0)) is None
    assert found(lambda r: r[2].update(loss=0.4), epochs=2) is None
    loss = np.nextafter(0.2, 1.0).item()
    assert found(lambda r: r[1].update(loss=loss)) == ("epoch 2", "loss", 0.2, loss)
    rates = {"hidden_1": 3.5}
    expected = ("epoch 3", "rates_hz.hidden_1", 3.0, 3.5)
    assert found(lambda r: r[2].update(rates_hz=rates)) == expected
    assert found(lambda r: r[0].pop("loss")) == ("epoch 1", "loss", 0.1, None)
    assert found(lambda r: r[0].update(more=1)) == ("epoch 1", "more", None, 1)
    assert found(lambda r: r.pop())[:2] == ("epoch 3", "epoch")
    assert found(lambda r: r[1].update(loss=-0.0)) == ("epoch 2", "loss", 0.2, -0.0)


@pytest.mark.slow
def test_the_first_number_that_differs_is_named(tiny_run, again, tmp_path, monkeypatch):
    read, values = repetition.run_directory.read_metrics, []

    def other(path):
        found = read(path)
        if path == tiny_run:
            found[1] = dict(found[1])
            values[:] = [found[1]["validation_loss"], found[1]["validation_loss"] + 1e-7]
            found[1]["validation_loss"] = values[1]
        return found

    monkeypatch.setattr(repetition.run_directory, "read_metrics", other)
    code, shown = again(tiny_run, "--workdir", str(tmp_path / "kept"))
    assert code == 1
    assert f"epoch 2, validation_loss: {values[1]} in the run, {values[0]} now" in shown
    # What was repeated is there to be looked at.
    assert str(tmp_path / "kept") in shown and (tmp_path / "kept" / "metrics.jsonl").exists()


def test_a_digit_that_was_changed_in_a_file_is_found(copy_of_run, again):
    text = (copy_of_run / "metrics.jsonl").read_text()
    loss = str(json.loads(text.splitlines()[1])["validation_loss"])
    (copy_of_run / "metrics.jsonl").write_text(
        text.replace(loss, loss[:-1] + "07"[loss[-1] == "0"])
    )
    code, shown = again(copy_of_run)
    assert code in (1, 2)
    assert "metrics.jsonl" in shown or "epoch 2, validation_loss" in shown


@pytest.mark.slow
def test_another_seed_is_found_in_the_first_epoch(tiny_run, again, monkeypatch):
    stored = repetition._stored

    def other(path):
        task, settings = stored(path)
        training = dataclasses.replace(settings.training, seed=settings.training.seed + 1)
        return task, dataclasses.replace(settings, training=training)

    monkeypatch.setattr(repetition, "_stored", other)
    code, shown = again(tiny_run, "--json")
    report = json.loads(shown)
    assert code == 1 and report["difference"]["where"] == "epoch 1"
    assert report["difference"]["run"] != report["difference"]["now"]
    assert "params.cell.cells_0.kernel" in report["checkpoints"]["2"]["different"]
    shutil.rmtree(report["workdir"])


@pytest.mark.slow
def test_a_part_of_a_run_has_the_learning_rates_of_the_whole(tiny_run, again, tmp_path):
    kept = tmp_path / "kept"
    code, shown = again(tiny_run, "--epochs", "1", "--json", "--workdir", str(kept))
    report = json.loads(shown)
    assert (code, report["epochs"], report["result"]) == (0, 1, False)
    lines = [(run / "metrics.jsonl").read_text().splitlines() for run in (tiny_run, kept)]
    assert len(lines[1]) == 1
    first = [json.loads(each[0])["learning_rate"] for each in lines]
    assert first[0] == first[1] > 0  # in a run of one epoch it would be nearly 0 at its end


@pytest.mark.slow
def test_an_extended_run_is_repeated_in_its_parts(copy_of_run, train, again):
    assert train(copy_of_run, "--resume", "--epochs", "4") == 0
    code, shown = again(copy_of_run, "--json")
    report = json.loads(shown)
    assert (code, report["epochs"], report["result"]) == (0, 4, True), shown
    # As one run of four epochs it would not be the same: its schedule is another one.
    config = json.loads((copy_of_run / "config.json").read_text())["config"]
    assert config["training"]["extended_from"] == [2]


def test_parts_of_an_extended_run_end_where_it_was_extended():
    from train.tasks.randman import Randman

    settings = Randman.settings()
    training = dataclasses.replace(settings.training, epochs=9, extended_from=(2, 5))
    settings = dataclasses.replace(settings, training=training)

    def plan(entries, epochs):
        found = repetition.stages(settings, entries, epochs)
        parts = [stage.settings.training for stage in found]
        return [
            (t.epochs, t.extended_from, stage.until) for t, stage in zip(parts, found, strict=True)
        ]

    assert plan([], 9) == [(2, (), 2), (5, (2,), 5), (9, (2, 5), 9)]
    assert plan([], 4) == [(2, (), 2), (5, (2,), 4)]
    # It was stopped after epoch 1 of 2, and went on as one of 5.
    entries = [{"epochs": 2, "epochs_done": 0}, {"epochs": 5, "epochs_done": 1}]
    assert plan(entries, 9) == [(2, (), 1), (5, (2,), 5), (9, (2, 5), 9)]


@pytest.mark.slow
def test_a_streamed_run_is_repeated_as_it_was_fed(train, tmp_path, again):
    assert train(tmp_path / "run", "--feed", "streamed", "--chunk", "3") == 0
    code, shown = again(tmp_path / "run", "--workdir", str(tmp_path / "kept"))
    assert code == 0, shown
    (entry,) = json.loads((tmp_path / "kept" / "environment.json").read_text())["entries"]
    assert entry["feeding"] == {"data": "memory", "feed": "streamed", "chunk": 3}


@pytest.mark.slow
def test_points_in_continuous_time_are_repeated(train_yin_yang, tmp_path, again):
    assert train_yin_yang(tmp_path / "run") == 0
    code, shown = again(tmp_path / "run", "--json")
    report = json.loads(shown)
    assert (code, report["same"], report["result"]) == (0, True, True), shown


@pytest.mark.slow
def test_a_file_of_spikes_is_repeated_until_it_changes(tmp_path, again):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    raster = (rng.random((60, 12, 6)) < 0.4).astype(np.uint8)
    file = tmp_path / "my.npz"
    np.savez(file, raster=raster, labels=labels)
    cache = ["--cache-dir", str(tmp_path / "xla")]
    flags = "--hidden 5 --batch-size 16 --epochs 1 --readout max --quiet --no-plots".split()
    with jax.numpy_dtype_promotion("standard"):
        where = ["--workdir", str(tmp_path / "run"), "--file", str(file)]
        assert run_command(Spikes(), [*flags, *cache, *where]) == 0
    assert again(tmp_path / "run")[0] == 0
    raster[0, 0, 0] ^= 1
    np.savez(file, raster=raster, labels=labels)
    code, shown = again(tmp_path / "run")
    assert code == 2 and "other contents than when the run began" in shown


OWN = '''
from pathlib import Path

import numpy as np
from train.tasks import Dataset, Part, RasterTask, Shape


class Own(RasterTask):
    """A task of a user's own, whose data change with a file that no setting names."""

    def shape(self, settings):
        return Shape(steps=10, units=6, outputs=2, dt=2e-3)

    def load(self, settings, options):
        rng = np.random.default_rng(int(Path("number").read_text()))
        return Dataset(*(part(rng, n) for n in (40, 20, 20)))


def part(rng, samples):
    spikes = rng.random((samples, 10, 6)) < 0.3
    return Part(spikes.astype(np.uint8), rng.integers(0, 2, samples).astype(np.int32))
'''


@pytest.mark.slow
def test_an_own_task_is_repeated_until_its_samples_change(tmp_path, again, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_repeated.py").write_text(OWN)
    (tmp_path / "number").write_text("0")
    cache = ["--cache-dir", str(tmp_path / "xla")]
    flags = "--hidden 5 --batch-size 16 --epochs 1 --quiet --no-plots --workdir run".split()
    with jax.numpy_dtype_promotion("standard"):
        assert run_own(["own_repeated:Own", *flags, *cache]) == 0
    assert again(tmp_path / "run")[0] == 0
    (tmp_path / "number").write_text("1")
    code, shown = again(tmp_path / "run")
    assert code == 2 and "the train samples are not those of" in shown


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--epochs", "3"], "expected 1 to 2"),
        (["--epochs", "0"], "expected 1 to 2"),
        (["--workdir", "{run}"], "is not an empty directory"),
    ],
)
def test_bad_flags_are_refused(tiny_run, again, flags, words):
    code, shown = again(tiny_run, *(flag.format(run=tiny_run) for flag in flags))
    assert code == 2 and words in shown


def test_what_is_no_run_is_refused(tmp_path, again):
    code, shown = again(tmp_path)
    assert code == 2 and "is not a run directory" in shown


@pytest.mark.slow
def test_a_run_of_an_older_release_is_compared_by_what_its_checkpoint_says(copy_of_run, again):
    (copy_of_run / "environment.json").unlink()
    code, shown = again(copy_of_run, "--epochs", "2")
    assert code == 0, shown
    assert "has no environment.json" in shown and "the versions are the same" in shown


def test_one_flipped_bit_of_an_array_is_found(tiny_run, monkeypatch):
    from train.restored import difference

    task, settings = repetition._stored(tiny_run)
    count, found = arrays_differ(task, settings, tiny_run, tiny_run, 2)
    assert count > 10 and found == []
    read, calls = difference._arrays, []

    def flipped(*arguments):
        tree = read(*arguments)
        calls.append(1)
        if len(calls) == 2:
            kernel = np.array(tree["params"]["cell"]["cells_0"]["kernel"])
            kernel.reshape(-1).view(np.uint32)[5] ^= 1
            tree["params"]["cell"]["cells_0"]["kernel"] = kernel
        return tree

    monkeypatch.setattr(difference, "_arrays", flipped)
    _, (one,) = arrays_differ(task, settings, tiny_run, tiny_run, 2)
    assert one.key == "params.cell.cells_0.kernel" and "1 of 32 entries differ" in one.first
