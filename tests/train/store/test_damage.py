"""Damaged runs: noticed, said, and gone on with where another checkpoint is whole."""

import json
import shutil

import jax
import numpy as np
import pytest
from same_run import assert_same_run

from train.compare import main as compare
from train.errors import CheckpointError
from train.evaluate import main as evaluate
from train.restored.run import restore
from train.store.checksum import sealed
from train.store.contents import FORMAT_VERSION
from train.store.read import best_checkpoint, open_checkpoint


@pytest.fixture(scope="module")
def pair(train, tmp_path_factory):
    """Two finished runs whose settings differ in their seed."""
    folder = tmp_path_factory.mktemp("pair")
    for seed in ("1", "2"):
        assert train(folder / seed, "--seed", seed, "--epochs", "1") == 0
    return folder / "1", folder / "2"


def flip(path, byte, bit=0):
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(bytes(content))


def item(step, name):
    return step / name / "metadata"


def change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def said(capsys):
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return shown.err


def test_flips_in_arrays_are_all_noticed(tiny_run, tmp_path):
    """Any array may change in memory or on disk: here in what was read, in 40 places."""
    import train.store.checkpoint as module

    step = best_checkpoint(tiny_run).path
    tree = module.read_arrays(step)
    leaves, form = jax.tree.flatten(tree)
    random = np.random.default_rng(0)
    for _ in range(40):
        changed = [np.array(leaf) for leaf in leaves]
        leaf = changed[random.integers(len(changed))]
        place = leaf.reshape(-1).view(np.uint8)
        place[random.integers(len(place))] ^= 1 << random.integers(8)
        with pytest.MonkeyPatch.context() as patch:
            found = jax.tree.unflatten(form, changed)
            patch.setattr(module, "read_arrays", lambda path, found=found: found)
            with pytest.raises(CheckpointError, match="arrays are not those that were saved"):
                open_checkpoint(step).verify()


@pytest.mark.slow
def test_flips_in_the_files_of_arrays_restore_nothing_else(tiny_run, tmp_path):
    """A flip is refused, or is of no consequence: never are other arrays restored."""
    step = best_checkpoint(tiny_run).path
    wanted = open_checkpoint(step)
    wanted.verify()
    files = sorted(p for p in (step / "state").rglob("*") if p.is_file() and p.stat().st_size)
    random = np.random.default_rng(1)
    noticed = 0
    for k in range(12):
        copy = shutil.copytree(step, tmp_path / str(k) / step.name)
        path = copy / files[random.integers(len(files))].relative_to(step)
        flip(path, random.integers(path.stat().st_size), random.integers(8))
        try:
            found = open_checkpoint(copy)
            found.verify()
        except CheckpointError:
            noticed += 1
            continue
        jax.tree.map(np.testing.assert_array_equal, found.parameters(), wanted.parameters())
    assert noticed > 0


@pytest.mark.slow
def test_state_of_another_step_or_run(pair, tmp_path):
    one, other = pair
    copy = shutil.copytree(one, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints" / "1" / "state")
    shutil.copytree(other / "checkpoints" / "1" / "state", copy / "checkpoints" / "1" / "state")
    with pytest.raises(CheckpointError, match="arrays are not those that were saved"):
        restore(copy / "checkpoints" / "1")


@pytest.mark.parametrize(
    ("name", "words"),
    [("meta", "items are of different runs"), ("data", "items are of different runs")],
)
def test_items_of_another_run(pair, tmp_path, capsys, name, words):
    one, other = pair
    copy = shutil.copytree(one, tmp_path / "run")
    step = copy / "checkpoints" / "1"
    shutil.copyfile(item(other / "checkpoints" / "1", name), item(step, name))
    assert evaluate(["--checkpoint", str(step)]) == 2
    assert words in said(capsys)


def test_a_config_of_another_run(pair, tmp_path, capsys, train):
    one, other = pair
    copy = shutil.copytree(one, tmp_path / "run")
    shutil.copyfile(other / "config.json", copy / "config.json")
    assert evaluate(["--checkpoint", str(copy)]) == 2
    message = said(capsys)
    assert "config.json is of another run" in message and "name the checkpoint itself" in message
    (copy / "result.json").unlink()
    assert train(copy, "--resume", "--seed", "2", "--epochs", "1") == 2
    assert "config.json is of another run" in said(capsys)
    # What is said is what helps.
    assert evaluate(["--checkpoint", str(copy / "checkpoints" / "1")]) == 0


def test_settings_that_were_edited(copy_of_run, capsys, train):
    config = json.loads((copy_of_run / "config.json").read_text())
    config["config"]["training"]["seed"] = 5
    (copy_of_run / "config.json").write_text(json.dumps(config))
    assert train(copy_of_run, "--resume") == 2
    assert "config.json is damaged: its checksum" in said(capsys)
    (copy_of_run / "config.json").write_text(json.dumps(sealed(config)))
    assert evaluate(["--checkpoint", str(copy_of_run)]) == 2
    assert "other settings than" in (words := said(capsys)) and "seed is 5, was 0" in words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs_done": 1}, "meta is of epoch 2, data of 1 epochs"),
        ({"seconds": 3.5}, "their checksum is another"),
        ({"updates": 7}, "different steps"),
        ({"run": "0123456789abcdef"}, "different runs"),
    ],
)
def test_numbers_of_data_that_change(copy_of_run, capsys, changes, words):
    step = copy_of_run / "checkpoints" / "2"
    change(item(step, "data"), **changes)
    assert evaluate(["--checkpoint", str(step)]) == 2
    assert words in said(capsys)


@pytest.mark.parametrize("name", ["run", "arrays", "lines", "checksum"])
def test_a_sum_that_is_missing(copy_of_run, capsys, name):
    step = copy_of_run / "checkpoints" / "2"
    meta = json.loads(item(step, "meta").read_text())
    del meta[name]
    item(step, "meta").write_text(json.dumps(meta))
    assert evaluate(["--checkpoint", str(step)]) == 2
    assert "damaged" in said(capsys)


def test_a_version_is_no_way_around_the_sums(copy_of_run, capsys):
    step = copy_of_run / "checkpoints" / "2"
    change(item(step, "meta"), format_version=FORMAT_VERSION - 1)
    assert evaluate(["--checkpoint", str(step)]) == 2
    assert "their checksum is another" in said(capsys)


def test_a_folder_of_another_epoch(copy_of_run, capsys):
    (copy_of_run / "checkpoints" / "2").rename(copy_of_run / "checkpoints" / "5")
    assert evaluate(["--checkpoint", str(copy_of_run)]) == 2
    assert "the folder has the name of epoch 5" in said(capsys)


def test_the_score_by_which_the_best_is_kept(copy_of_run, capsys):
    step = copy_of_run / "checkpoints" / "2"
    (step / "metrics" / "metrics").write_text('{"validation_score": 0.125}')
    assert evaluate(["--checkpoint", str(step)]) == 2
    assert "metrics have the score 0.125" in said(capsys)


def test_parameters_that_are_not_finite(tiny_run, copy_of_run, monkeypatch):
    """As an older release may have saved them: no sum of arrays, so they are as they were saved."""
    import train.store.checkpoint as module

    step = copy_of_run / "checkpoints" / "2"
    tree = module.read_arrays(step)
    kernel = tree["params"]["cell"]["cells_0"]["kernel"]
    kernel.reshape(-1)[3] = np.inf
    meta, data = (json.loads(item(step, name).read_text()) for name in ("meta", "data"))
    meta = {k: v for k, v in meta.items() if k not in ("run", "arrays", "lines", "checksum")}
    data = {k: v for k, v in data.items() if k not in ("run", "updates")}
    item(step, "meta").write_text(json.dumps(meta | {"format_version": 2}))
    item(step, "data").write_text(json.dumps(data))
    monkeypatch.setattr(module, "read_arrays", lambda path: tree)
    with pytest.raises(
        CheckpointError, match="finite parameters, but 1 of 32 values of params/cell/cells_0/kernel"
    ):
        restore(step)
    kernel.reshape(-1)[3] = 0.0
    restore(step)


@pytest.mark.parametrize("place", [0, 1])
def test_digits_of_metrics_that_change(copy_of_run, capsys, train, place):
    path = copy_of_run / "metrics.jsonl"
    lines = path.read_text().splitlines()
    record = json.loads(lines[place])
    lines[place] = json.dumps(record | {"train_loss": record["train_loss"] + 1e-12})
    path.write_text("\n".join(lines) + "\n")
    assert compare([str(copy_of_run)]) == 2
    assert "lines are not those that were written" in said(capsys)
    assert evaluate(["--checkpoint", str(copy_of_run)]) == 0  # it needs none
    assert "warning: " in (words := said(capsys)) and "metrics.jsonl is damaged" in words
    (copy_of_run / "result.json").unlink()
    assert train(copy_of_run, "--resume") == 2
    assert "metrics.jsonl is damaged" in said(capsys)


@pytest.mark.slow
def test_a_result_that_changed_or_is_of_another_run(pair, tmp_path, capsys, train):
    one, other = pair
    copy = shutil.copytree(one, tmp_path / "run")
    flags = ("--resume", "--seed", "1", "--epochs", "1")
    change(copy / "result.json", test_accuracy=1.0)
    for command in (lambda: compare([str(copy)]), lambda: train(copy, *flags)):
        assert command() == 2
        assert "result.json is damaged: its checksum" in said(capsys)
    shutil.copyfile(other / "result.json", copy / "result.json")
    assert compare([str(copy)]) == 2
    assert "result.json is damaged: it is of the run" in said(capsys)
    # What is said is what helps: it is written again.
    (copy / "result.json").unlink()
    assert train(copy, *flags) == 0
    assert_same_run(copy, one)
