"""Checkpoints: what is kept, what is restored, and what each kind of damage says."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from train.checkpoint import (
    BEST_BY,
    FORMAT_VERSION,
    CheckpointWriter,
    find_checkpoint,
    open_checkpoint,
)
from train.errors import CheckpointError
from train.evaluate import evaluate_checkpoint, main


@struct.dataclass
class State:
    """The stored fields of a `TrainState`."""

    params: dict
    step: jax.Array
    opt_state: tuple
    noise_key: jax.Array


def state(scale=1.0, size=3):
    return State(
        params={"layer": {"kernel": scale * jnp.arange(size, dtype=jnp.float32)}},
        step=jnp.int32(7),
        opt_state=(SimpleNamespace, jnp.ones(2))[1:],
        noise_key=jnp.array([1, 2], jnp.uint32),
    )


def write(run, accuracies):
    with CheckpointWriter(run, {"task": "none"}) as writer:
        for epoch, accuracy in enumerate(accuracies, 1):
            writer.save(epoch, state(float(epoch)), {"epochs_done": epoch}, {BEST_BY: accuracy})


@pytest.fixture
def copy(tiny_run, tmp_path) -> Path:
    """A copy of the tiny run, to damage."""
    return Path(shutil.copytree(tiny_run, tmp_path / "copy"))


def steps(run):
    return sorted(int(p.name) for p in (run / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [([0.5, 0.9, 0.7, 0.6], 2), ([0.5, 0.9, 0.9, 0.6], 3), ([0.1, 0.2, 0.3], 3), ([0.4], 1)],
)
def test_best_and_latest_are_kept(tmp_path, accuracies, best):
    write(tmp_path, accuracies)
    assert steps(tmp_path) == sorted({best, len(accuracies)})
    assert find_checkpoint(tmp_path).name == str(best)


def test_what_is_restored_is_what_was_saved(tmp_path):
    write(tmp_path, [0.5, 0.9])
    checkpoint = open_checkpoint(find_checkpoint(tmp_path))
    assert checkpoint.data == {"epochs_done": 2}
    assert checkpoint.meta["epoch"] == 2 and checkpoint.meta["format_version"] == FORMAT_VERSION
    assert checkpoint.meta["settings"] == {"task": "none"}
    assert set(checkpoint.meta["versions"]) >= {"flax_snn", "jax", "flax", "python"}
    restored = checkpoint.restore(jax.eval_shape(state))
    assert jax.tree.structure(restored) == jax.tree.structure(state())
    jax.tree.map(np.testing.assert_array_equal, restored, state(2.0))


def test_a_moved_run_can_be_read(tmp_path):
    write(tmp_path / "here", [0.5])
    shutil.move(tmp_path / "here", tmp_path / "there")
    checkpoint = open_checkpoint(find_checkpoint(tmp_path / "there"))
    np.testing.assert_array_equal(checkpoint.restore(state()).params["layer"]["kernel"], [0, 1, 2])


def test_a_state_of_another_shape_is_refused(tmp_path):
    write(tmp_path, [0.5])
    with pytest.raises(CheckpointError, match=r"another model.*\(4,\).*\(3,\)"):
        open_checkpoint(find_checkpoint(tmp_path)).restore(state(size=4))


def refusal(path, capsys):
    """What the command line says about a path that it refuses."""
    assert main(["--checkpoint", str(path), "--json"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "Traceback" not in shown.err
    assert shown.err.startswith("python -m train.evaluate: error: ")
    return shown.err


def test_nothing_there(tmp_path, capsys):
    assert "does not exist" in refusal(tmp_path / "none", capsys)
    assert "holds no checkpoint" in refusal(tmp_path, capsys)


def test_a_file_is_no_checkpoint(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "holds no checkpoint" in refusal(tmp_path / "file", capsys)


def test_an_empty_numbered_folder(copy, capsys):
    (copy / "checkpoints" / "9").mkdir()
    for path in (copy, copy / "checkpoints" / "9"):
        message = refusal(path, capsys)
        assert "checkpoints/9 is incomplete or damaged" in message and "delete" in message


def remove_state(step):
    shutil.rmtree(step / "state")


def empty_state(step):
    shutil.rmtree(step / "state")
    (step / "state").mkdir()


def cut_arrays(step):
    for path in step.glob("state/**/d/*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite_arrays(step):
    for path in step.glob("state/**/d/*"):
        path.write_bytes(b"\0" * path.stat().st_size)


def remove_meta(step):
    shutil.rmtree(step / "meta")


def cut_meta(step):
    path = step / "meta" / "metadata"
    path.write_text(path.read_text()[:40])


@pytest.mark.parametrize(
    "damage", [remove_state, empty_state, cut_arrays, overwrite_arrays, remove_meta, cut_meta]
)
def test_damage_is_named(copy, capsys, damage):
    step = find_checkpoint(copy)
    damage(step)
    message = refusal(step, capsys)
    assert f"{step} is incomplete or damaged" in message and "train again" in message


def change_meta(step, **changes):
    path = step / "meta" / "metadata"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_another_format_version(copy, capsys):
    change_meta(find_checkpoint(copy), format_version=FORMAT_VERSION + 1)
    message = refusal(copy, capsys)
    assert "format version 2" in message and "release of flax_snn that wrote it" in message


def test_another_task(copy, capsys):
    step = find_checkpoint(copy)
    settings = open_checkpoint(step).meta["settings"]
    change_meta(step, settings=settings | {"task": "chess"})
    assert "task 'chess'" in refusal(step, capsys)


@pytest.mark.parametrize("hidden", [[9], [8, 8]])
def test_another_model(copy, capsys, hidden):
    step = find_checkpoint(copy)
    settings = open_checkpoint(step).meta["settings"]
    settings["config"]["network"]["hidden"] = hidden
    change_meta(step, settings=settings)
    assert "checkpoint of another model" in refusal(step, capsys)


def test_a_setting_of_another_release(copy, capsys):
    step = find_checkpoint(copy)
    settings = open_checkpoint(step).meta["settings"]
    settings["config"]["network"]["wings"] = 2
    change_meta(step, settings=settings)
    assert "unknown fields ['wings']" in refusal(step, capsys)


def test_a_run_and_its_best_checkpoint_are_one(tiny_run):
    best = find_checkpoint(tiny_run)
    by_run, by_step = evaluate_checkpoint(tiny_run), evaluate_checkpoint(best)
    assert by_run.pop("checkpoint") != by_step.pop("checkpoint")
    assert by_run == by_step
