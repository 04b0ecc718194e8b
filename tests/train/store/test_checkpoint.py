"""Checkpoints: what is kept, what is restored, and what each kind of damage says."""

import json
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from same_run import evaluate_checkpoint

from train.errors import CheckpointError
from train.evaluate import main
from train.store.checksum import json_sum
from train.store.contents import FORMAT_VERSION
from train.store.read import find_checkpoint, latest_checkpoint, open_checkpoint
from train.store.write import CheckpointWriter


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
        opt_state=(jnp.ones(2),),
        noise_key=jnp.array([1, 2], jnp.uint32),
    )


SETTINGS = {"version": 4, "task": "none", "config": {}}


def place(epochs, batches=0):
    """Where a run stands, as `train.run.resume.position` says it."""
    nothing = {"stream": None, "sums": None}
    return {"epochs_done": epochs, "batches_done": batches, "seconds": 1.0, **nothing}


def write(run, accuracies, first=1, score="accuracy", every=0.0):
    with CheckpointWriter(run, SETTINGS, score, every) as writer:
        for epoch, accuracy in enumerate(accuracies, first):
            metrics = {f"validation_{score}": accuracy}
            writer.save(epoch, state(float(epoch)), place(epoch), metrics)


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


@pytest.mark.parametrize(
    ("before", "after", "best"),
    [
        ([0.9, 0.8], [0.7], 1),
        ([0.5, 0.8], [0.9], 3),
        ([0.9, 0.8], [0.9], 3),
        ([0.2], [0.3, 0.1], 2),
    ],
)
def test_a_run_that_goes_on_keeps_its_best(tmp_path, before, after, best):
    write(tmp_path, before)
    write(tmp_path, after, first=len(before) + 1)
    assert steps(tmp_path) == sorted({best, len(before) + len(after)})
    assert find_checkpoint(tmp_path).name == str(best)
    assert latest_checkpoint(tmp_path).path.name == str(len(before) + len(after))


@pytest.mark.parametrize(
    ("accuracies", "best"), [([0.5, 0.9, 0.7, 0.9, 0.6], 4), ([0.9, 0.2, 0.1], 1), ([0.1, 0.2], 2)]
)
def test_epochs_held_back_are_saved_in_the_end(tmp_path, accuracies, best):
    """The first epoch is saved at once, the others within the hour are not."""
    write(tmp_path, accuracies, every=3600.0)
    assert steps(tmp_path) == sorted({best, len(accuracies)})
    restored = open_checkpoint(find_checkpoint(tmp_path)).restore(jax.eval_shape(state))
    np.testing.assert_array_equal(restored.params["layer"]["kernel"][1], best)


def test_epochs_held_back_are_not_on_disk_before(tmp_path):
    with CheckpointWriter(tmp_path, SETTINGS, "accuracy", every=3600.0) as writer:
        for epoch in (1, 2, 3):
            writer.save(epoch, state(epoch), place(epoch), {"validation_accuracy": 0.5})
        while latest_checkpoint(tmp_path) is None:  # saved in the background
            time.sleep(0.01)
        assert steps(tmp_path) == [1]


def test_epochs_held_back_are_saved_when_the_run_fails(tmp_path):
    def fail():
        with CheckpointWriter(tmp_path, SETTINGS, "accuracy", every=3600.0) as writer:
            for epoch, accuracy in enumerate([0.5, 0.9, 0.7], 1):
                writer.save(epoch, state(epoch), place(epoch), {"validation_accuracy": accuracy})
            raise MemoryError

    with pytest.raises(MemoryError):
        fail()
    assert steps(tmp_path) == [2, 3]


def test_epochs_held_back_are_saved_before_a_stop_within_one(tmp_path):
    with CheckpointWriter(tmp_path, SETTINGS, "accuracy", every=3600.0) as writer:
        for epoch, accuracy in enumerate([0.5, 0.9, 0.7], 1):
            writer.save(epoch, state(epoch), place(epoch), {"validation_accuracy": accuracy})
        writer.save_within(4, state(4.0), place(3, 1))
        assert steps(tmp_path) == [2, 3]
    (within,) = (tmp_path / "interrupted").iterdir()
    assert open_checkpoint(within).meta["epoch"] == 4


def test_what_cannot_be_read_back_ends_training_at_once(tmp_path, monkeypatch):
    """The first checkpoint is not what was to be saved: the second epoch is never seen."""
    from train.store import write as module

    monkeypatch.setattr(module, "arrays_sum", lambda named: "0" * 32)
    with pytest.raises(CheckpointError, match="what was saved cannot be read back.*checksum"):
        write(tmp_path, [0.5, 0.9])
    assert steps(tmp_path) == [1]


def test_parameters_that_are_not_finite_are_not_saved(tmp_path):
    bad = {"layer": {"kernel": jnp.array([1.0, jnp.nan, jnp.inf])}}

    def go_on(writer):
        writer.save(1, state(1.0), place(1), {"validation_accuracy": 0.5})
        writer.save(2, state().replace(params=bad), place(2), {"validation_accuracy": 0.9})

    with pytest.raises(
        CheckpointError, match="after epoch 2 2 of 3 values of params/layer/kernel are not finite"
    ):
        with CheckpointWriter(tmp_path, SETTINGS, "accuracy") as writer:
            go_on(writer)
    assert latest_checkpoint(tmp_path).meta["epoch"] == 1


def test_scores_below_zero_are_compared_as_well(tmp_path):
    write(tmp_path, [-3.0, -0.5, -1.0], score="r2")
    assert steps(tmp_path) == [2, 3] and find_checkpoint(tmp_path).name == "2"


def test_a_run_may_be_named_by_a_number(tmp_path):
    write(tmp_path / "7", [0.5])
    assert find_checkpoint(tmp_path / "7") == tmp_path / "7" / "checkpoints" / "1"


def test_no_checkpoint_is_the_latest_of_a_new_run(tmp_path):
    assert latest_checkpoint(tmp_path) is None


def test_what_a_kill_leaves_is_cleared_away(tmp_path):
    """Half-written and half-deleted checkpoints have no number for a name, and do not stay."""
    write(tmp_path, [0.5, 0.9])
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "2", folder / "deleted" / "1")
    shutil.copytree(folder / "2", folder / "3.orbax-checkpoint-tmp")
    assert find_checkpoint(tmp_path).name == "2"
    write(tmp_path, [0.7], first=3)
    assert steps(tmp_path) == [2, 3]


def test_what_is_restored_is_what_was_saved(tmp_path):
    write(tmp_path, [0.5, 0.9])
    checkpoint = open_checkpoint(find_checkpoint(tmp_path))
    assert checkpoint.data == {**place(2), "run": None, "updates": 7}
    assert checkpoint.meta["epoch"] == 2 and checkpoint.meta["format_version"] == FORMAT_VERSION
    assert checkpoint.meta["settings"] == SETTINGS
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


def test_an_empty_numbered_folder(copy_of_run, capsys):
    empty = copy_of_run / "checkpoints" / "9"
    empty.mkdir()
    message = refusal(empty, capsys)
    assert "checkpoints/9 is incomplete or damaged (it has no meta)" in message
    assert "give the run directory" in message


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
def test_damage_is_named(copy_of_run, capsys, damage):
    step = find_checkpoint(copy_of_run)
    damage(step)
    message = refusal(step, capsys)
    assert str(step) in message and "damaged" in message and "train again" in message


def change_meta(step, **changes):
    """Change meta as someone does who knows how checksums are made."""
    meta, data = (json.loads((step / item / "metadata").read_text()) for item in ("meta", "data"))
    plain = {k: v for k, v in meta.items() if k != "checksum"} | changes
    plain["checksum"] = json_sum({"meta": plain, "data": data})
    (step / "meta" / "metadata").write_text(json.dumps(plain))


def test_another_format_version(copy_of_run, capsys):
    change_meta(find_checkpoint(copy_of_run), format_version=FORMAT_VERSION + 1)
    message = refusal(copy_of_run, capsys)
    assert f"format version {FORMAT_VERSION + 1}" in message
    assert "release of flax_snn that wrote it" in message


def test_another_task(copy_of_run, capsys):
    step = find_checkpoint(copy_of_run)
    settings = open_checkpoint(step).meta["settings"]
    change_meta(step, settings=settings | {"task": "chess"})
    assert "task 'chess'" in refusal(step, capsys)


@pytest.mark.parametrize("hidden", [[9], [8, 8]])
def test_another_model(copy_of_run, capsys, hidden):
    step = find_checkpoint(copy_of_run)
    settings = open_checkpoint(step).meta["settings"]
    settings["config"]["network"]["hidden"] = hidden
    change_meta(step, settings=settings)
    assert "checkpoint of another model" in refusal(step, capsys)


def test_a_setting_of_another_release(copy_of_run, capsys):
    step = find_checkpoint(copy_of_run)
    settings = open_checkpoint(step).meta["settings"]
    settings["config"]["network"]["wings"] = 2
    change_meta(step, settings=settings)
    assert "unknown fields ['wings']" in refusal(step, capsys)


def test_a_run_and_its_best_checkpoint_are_one(tiny_run):
    best = find_checkpoint(tiny_run)
    by_run, by_step = evaluate_checkpoint(tiny_run), evaluate_checkpoint(best)
    assert by_run.pop("checkpoint") != by_step.pop("checkpoint")
    assert by_run == by_step
