"""The third task: points told apart by spike times, by three methods over one network."""

import dataclasses
import functools
import json
import re
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn import datasets
from train.cli import parse, run_command
from train.compare import compare
from train.config import (
    RunOptions,
    SpikeTimeLoss,
    TrainingConfig,
    YinYangConfig,
    YinYangData,
    YinYangNetwork,
)
from train.config_json import from_json, to_json
from train.evaluate import describe, evaluate_checkpoint, main
from train.health import RASTER
from train.point_model import PointModel, build_point_model, reflect
from train.points import load_yin_yang
from train.report import Progress, farewell
from train.spike_time_objective import FirstSpikes, spike_time_objective
from train.state import create_state, evaluate, train_batches
from train.yin_yang import TASK, build

METHODS = ("surrogate", "first_spike", "eventprop")
EVENTS = ("first_spike", pytest.param("eventprop", marks=pytest.mark.slow))
NETWORK = YinYangNetwork(method="surrogate", hidden=(6,), input_mean=3.0, readout_mean=3.0)


def model(loss: str = "ttfs", **changes) -> PointModel:
    network = dataclasses.replace(NETWORK, **changes)
    return build_point_model(network, SpikeTimeLoss(loss=loss), features=4, classes=3)


def initial(net: PointModel):
    """Parameters; under jit, for a layer of events is dear to run op by op."""
    return jax.jit(net.init)(jax.random.key(0))


@functools.cache
def points():
    return datasets.yin_yang(40, 7)


def records(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def runs(train_yin_yang, tmp_path_factory):
    """Finished runs by method, each trained when it is first asked for."""
    folder = tmp_path_factory.mktemp("yin_yang")

    def run(method):
        path = folder / method
        if not path.exists():
            assert train_yin_yang(path, "--method", method) == 0
        return path

    return run


# Settings


def test_the_default_data_are_the_published_parts():
    found, published = load_yin_yang(YinYangData()), datasets.yin_yang_splits()
    for part, points in zip(found, published, strict=True):
        assert part.inputs.dtype == np.float32 and part.labels.dtype == np.int32
        np.testing.assert_array_equal(part.inputs, points.x.astype(np.float32))
        np.testing.assert_array_equal(part.labels, points.labels)


def test_flags_and_json_reach_every_part():
    flags = "--train-samples 60 --method eventprop --hidden 8 4 --loss mse --epochs 3"
    config, _ = parse(TASK, flags.split(), YinYangConfig())
    assert config == YinYangConfig(
        YinYangData(train_samples=60),
        YinYangNetwork(method="eventprop", hidden=(8, 4)),
        SpikeTimeLoss(loss="mse"),
        dataclasses.replace(YinYangConfig().training, epochs=3),
    )
    assert from_json(YinYangConfig, json.loads(json.dumps(to_json("yin_yang", config)))) == config


def flags_of(*parts) -> set[str]:
    return {f"--{f.name.replace('_', '-')}" for part in parts for f in dataclasses.fields(part)}


def test_help_names_every_flag_and_remedies_name_no_other(capsys):
    with pytest.raises(SystemExit):
        parse(TASK, ["--help"], YinYangConfig())
    text = capsys.readouterr().out
    known = flags_of(YinYangData, YinYangNetwork, SpikeTimeLoss, TrainingConfig, RunOptions)
    assert {flag for flag in known if flag not in text} == set()
    assert PointModel.remedies != RASTER
    words = " ".join(filter(None, PointModel.remedies))
    assert set(re.findall(r"--[a-z-]+", words)) <= known


def test_the_defaults_can_work():
    TASK.check(YinYangConfig())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--tau-mem 0", "--tau-mem: expected a finite number > 0, in seconds, got 0"),
        ("--tau-syn nan", "--tau-syn"),
        ("--threshold 0", "--threshold: expected a finite number > 0"),
        ("--threshold -1", "--threshold"),
        ("--hidden", "--hidden: expected at least one layer"),
        ("--hidden 0", "--hidden: expected a whole number >= 1"),
        ("--window 50e-3", "--window: expected less than --duration 0.05 s"),
        ("--duration 20e-3", "--window: expected less than --duration 0.02 s"),
        ("--input-std -1", "--input-std"),
        ("--input-mean inf", "--input-mean"),
        ("--budget 0", "--budget: expected a finite number > 0"),
        ("--max-spikes -1", "--max-spikes"),
        ("--max-spikes 2", "one spike under --method first_spike"),
        ("--method surrogate --max-spikes 1", "no such bound under --method surrogate"),
        ("--method surrogate --delays synaptic", "which a time grid has not"),
        ("--method surrogate --dt 3e-3", "--dt: expected a whole number of steps"),
        ("--method surrogate --dt 0", "--dt"),
        ("--rate-strength 1 --lower-rate 5", "has no gradient under --method first_spike"),
        ("--loss-tau 0", "--loss-tau"),
        ("--late-penalty -1", "--late-penalty"),
        ("--late-tau 0", "--late-tau"),
        ("--continuation-slope 0", "--continuation-slope: expected a finite number > 0"),
        ("--max-scale 0", "--max-scale"),
        ("--loss mse --target-early 31e-3", "expected early before late"),
        ("--loss mse --target-late 1", "late within --duration"),
        ("--train-samples 0", "--train-samples"),
        ("--test-samples 0", "--test-samples"),
        ("--data-seed 1", "--data-seed: expected a whole number >= 2"),
        ("--data-seed 4294967296", "--data-seed"),
        ("--batch-size 5001", "lower --batch-size or raise --train-samples"),
        ("--data tfds", "generated in memory; leave it out"),
        ("--epochs 0", "--epochs"),
    ],
)
def test_values_that_cannot_work_end_with_code_2(flags, words, tmp_path, capsys):
    workdir = tmp_path / "run"
    assert run_command(TASK, [*flags.split(), "--workdir", str(workdir), "--no-cache"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("python -m train.yin_yang: error: ")
    assert words in message
    assert not workdir.exists()


def test_an_unknown_method_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        parse(TASK, ["--method", "magic"], YinYangConfig())
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


# The model


def test_inputs_are_spike_times():
    times = np.asarray(model().times(jnp.asarray(points().x, jnp.float32)))
    expected = np.concatenate([30e-3 * points().x, np.zeros((40, 1))], axis=1)
    np.testing.assert_allclose(times, expected, atol=1e-8)
    assert model(bias=False).times(jnp.zeros((2, 4))).shape == (2, 4)


def test_reflection_at_both_ends():
    values = jnp.array([-1.3, -0.25, 0.0, 0.4, 1.0, 1.25, 2.5])
    np.testing.assert_allclose(reflect(values), [0.7, 0.25, 0.0, 0.4, 1.0, 0.75, 0.5], atol=1e-6)


def test_shifts_have_their_deviation_and_stay_inside():
    x = jnp.full((4000, 4), 0.5)
    net = model()
    assert net.augment(x, jax.random.key(0), 0.0) is x
    shifts = 30e-3 * (np.asarray(net.augment(x, jax.random.key(0), 1e-3)) - 0.5)
    # 16000 normal numbers: the deviation is known to 1 / sqrt(32000).
    assert shifts.std() == pytest.approx(1e-3, rel=0.03)
    assert abs(np.corrcoef(shifts[:, 0], shifts[:, 2])[0, 1]) < 0.1
    moved = net.augment(jnp.zeros((100, 4)), jax.random.key(1), 20e-3)
    assert float(moved.min()) >= 0 and float(moved.max()) <= 1


def test_methods_have_the_same_parameters():
    trees = [jax.jit(model(method=m).init)(jax.random.key(3)) for m in METHODS]
    shapes = jax.tree.map(jnp.shape, trees[0])
    assert shapes == {
        "layers_0": {"cell": {"kernel": (5, 6)}},
        "layers_1": {"cell": {"kernel": (6, 3)}},
    }
    for tree in trees[1:]:
        jax.tree.map(np.testing.assert_array_equal, trees[0], tree)


def test_initial_weights_have_their_mean_and_deviation():
    net = model(hidden=(4000, 10), input_mean=1.5, input_std=0.5, layer_mean=-1.0, layer_std=0.1)
    params = initial(net)
    for name, mean, std in (("layers_0", 1.5, 0.5), ("layers_1", -1.0, 0.1)):
        kernel = np.asarray(params[name]["cell"]["kernel"])
        # At least 20000 normal numbers.
        assert kernel.mean() == pytest.approx(mean, abs=5 * std / 20000**0.5)
        assert kernel.std() == pytest.approx(std, rel=0.03)


@pytest.mark.parametrize("method", EVENTS)
def test_a_fine_grid_gives_the_spikes_of_continuous_time(method):
    """One parameter tree, two simulations that know nothing of each other."""
    exact = model(method=method)
    grid = model(dt=2e-5)
    params = initial(grid)
    # Outputs that do not all spike at once.
    params["layers_1"]["cell"]["kernel"] *= jnp.array([[0.5, 1.0, 1.5]])
    x = jnp.asarray(points().x, jnp.float32)
    a, b = (jax.jit(net.apply)(params, x, jax.random.key(0)) for net in (exact, grid))
    if method == "first_spike":
        # On a grid nothing keeps a neuron from spiking again.
        once = np.asarray((b.activity[0] <= 1).all(axis=1))
        assert once.mean() > 0.3
        a, b = (jax.tree.map(lambda x: x[once], ran.z) for ran in (a, b))
    else:
        a, b = a.z, b.z
    fired = np.isfinite(a.times)
    assert fired.mean() > 0.5
    # A membrane that all but reaches its threshold may do so in one simulation alone.
    assert (fired == np.isfinite(b.times)).mean() > 0.98
    both = fired & np.isfinite(b.times)
    # The error of a step is of the order of dt, over the slope of the membrane, and a layer is as
    # late as the one before: far larger where the threshold is grazed.
    error = np.abs(np.asarray(a.times - b.times))[both]
    assert (error < 10 * 2e-5).mean() > 0.95
    first, second = np.sort(np.asarray(a.times), axis=1)[:, :2].T
    clear = second - first > 2 * error.max()
    assert clear.mean() > 0.3
    one, other = exact.objective.predict(a), grid.objective.predict(b)
    np.testing.assert_array_equal(one[clear], other[clear])


def test_spikes_of_all_layers_can_be_looked_at():
    x = jnp.asarray(points().x, jnp.float32)
    for net in (model(), model(method="first_spike")):
        params = initial(net)
        source, hidden, output = net.spikes(params, x)
        assert (source.size, hidden.size, output.size) == (5, 6, 3)
        ran = jax.jit(net.apply)(params, x, jax.random.key(0))
        np.testing.assert_array_equal(hidden.counts(), ran.activity[0])
        np.testing.assert_array_equal(output.counts(), ran.activity[1])
        first = np.asarray(output.first_times())
        found = np.asarray(ran.z.times)
        np.testing.assert_allclose(first, found, atol=1e-7)
        np.testing.assert_array_equal(
            net.predict(params, x), np.where(np.isfinite(first), first, 1.0).argmin(axis=1)
        )


def test_silent_outputs_come_last_and_pull_on_their_weights():
    net = model(method="first_spike", readout_mean=0.05, readout_std=0.01)
    params, x = initial(net), jnp.asarray(points().x[:8], jnp.float32)
    labels = jnp.asarray(points().labels[:8])

    def loss(params):
        z = net.apply(params, x, jax.random.key(0)).z
        return net.objective.loss(z, labels, 0.0).mean(), z

    grads, z = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert np.isposinf(z.times).all()
    assert (np.asarray(z.continued) > 50e-3).all()
    for grad in jax.tree.leaves(grads):
        assert np.isfinite(grad).all()
    assert (np.asarray(grads["layers_1"]["cell"]["kernel"]) != 0).any()


@pytest.mark.parametrize("loss", ["ttfs", "mse", "max"])
def test_every_loss_pulls_on_every_layer(loss):
    net = model(loss)
    params, x = initial(net), jnp.asarray(points().x, jnp.float32)

    def mean(params):
        z = net.apply(params, x, jax.random.key(0)).z
        return net.objective.loss(z, jnp.asarray(points().labels), 0.0).mean()

    for grad in jax.tree.leaves(jax.jit(jax.grad(mean))(params)):
        assert np.isfinite(grad).all() and (np.asarray(grad) != 0).any()
    assert net.layers == (("hidden_1",) if loss == "max" else ("hidden_1", "output"))


# The objective

Z = FirstSpikes(
    times=jnp.array([[0.020, 0.010, jnp.inf], [jnp.inf, jnp.inf, jnp.inf], [0.03, 0.02, 0.02]]),
    continued=jnp.array([[0.020, 0.010, 0.055], [0.058, 0.059, 0.052], [0.03, 0.02, 0.02]]),
)
LABELS = jnp.array([1, 2, 2])


def test_the_earliest_spike_wins_or_else_the_nearest_membrane():
    objective = spike_time_objective(SpikeTimeLoss())
    # Ties go to the lower class.
    assert objective.predict(Z).tolist() == [1, 2, 1]
    assert objective.points(Z, LABELS).tolist() == [1.0, 1.0, 0.0]


def test_a_late_spike_comes_before_silence():
    z = FirstSpikes(jnp.array([[jnp.inf, 0.08]]), jnp.array([[0.06, 0.05]]))
    assert spike_time_objective(SpikeTimeLoss()).predict(z).tolist() == [1]


def test_losses_of_each_sample():
    config = SpikeTimeLoss(loss_tau=5e-3, late_penalty=0.1, late_tau=20e-3)
    t, labels = np.asarray(Z.continued, np.float64), np.asarray(LABELS)
    z = -t / 5e-3
    own = np.take_along_axis(t, labels[:, None], 1)[:, 0]
    expected = np.log(np.exp(z).sum(axis=1)) + own / 5e-3 + 0.1 * (np.exp(own / 20e-3) - 1)
    found = spike_time_objective(config).loss(Z, LABELS, 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    config = SpikeTimeLoss(loss="mse", loss_tau=5e-3, target_early=20e-3, target_late=30e-3)
    target = np.where(np.arange(3) == labels[:, None], 20e-3, 30e-3)
    expected = (((t - target) / 5e-3) ** 2).mean(axis=1)
    found = spike_time_objective(config).loss(Z, LABELS, 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# Spikes without room


def test_lost_spikes_are_summed():
    roomy, narrow = (model(method="eventprop", budget=b) for b in (4.0, 0.5))
    params = initial(roomy)
    x, y = jnp.asarray(points().x, jnp.float32), jnp.asarray(points().labels)
    order = np.arange(40, dtype=np.int32).reshape(2, 20)
    whole, cut = (
        jax.jit(functools.partial(evaluate, m))(params, x, y, order) for m in (roomy, narrow)
    )
    assert float(whole.sums.lost) == 0
    busy = np.asarray(roomy.spikes(params, x)[1].counts()).sum(axis=1)
    # Three slots for six neurons. A sample ends with the first spike that is lost.
    assert (busy > 3).sum() <= float(cut.sums.lost) <= np.maximum(busy - 3, 0).sum()
    assert float(cut.sums.lost) > 0


@pytest.mark.slow
def test_too_little_room_is_refused_before_anything_is_replaced(train_yin_yang, runs, capsys):
    run = runs("surrogate")
    before = (run / "config.json").read_text()
    flags = ("--method", "eventprop", "--budget", "0.2", "--overwrite")
    assert train_yin_yang(run, *flags) == 2
    message = capsys.readouterr().err
    assert "found no room" in message and "--budget" in message
    assert (run / "config.json").read_text() == before and (run / "result.json").exists()


def test_lost_spikes_are_said_at_the_end(tmp_path):
    result = {"score": "accuracy", "test_accuracy": 0.9, "validation_accuracy": 0.9}
    result |= {"best_epoch": 1, "epochs_done": 2, "seconds": 3.0}
    assert "found no room" not in farewell(tmp_path, result | {"test_lost_spikes": 0})
    assert "at least 7 spikes of the test" in farewell(tmp_path, result | {"test_lost_spikes": 7})


# Runs


@pytest.mark.parametrize("method", ["surrogate", *EVENTS])
def test_a_run_leaves_its_files_and_is_evaluated(runs, method, capsys):
    run = runs(method)
    names = {p.name for p in run.iterdir()}
    assert names == {"config.json", "metrics.jsonl", "result.json", "checkpoints"}
    result = json.loads((run / "result.json").read_text())
    best = max(records(run), key=lambda r: (r["validation_accuracy"], r["epoch"]))
    assert result["best_epoch"] == best["epoch"]
    assert result["validation_accuracy"] == best["validation_accuracy"]
    assert ("lost_spikes" in best) == ("test_lost_spikes" in result) == (method == "eventprop")
    assert main(["--checkpoint", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["test_accuracy"] == result["test_accuracy"] and found["task"] == "yin_yang"
    assert np.sum(found["confusion"]) == 30
    for layer, spikes in found["activity"].items():
        assert found["rates_hz"][layer] == pytest.approx(spikes / 50e-3)
    assert "spikes per neuron and sample" in describe(found)


def test_weights_of_one_method_run_by_another(runs, capsys):
    run = runs("surrogate")
    exact = evaluate_checkpoint(run, method="first_spike")
    grid = evaluate_checkpoint(run)
    # 30 samples; a step of 0.5 ms decides few of them.
    assert exact["test_accuracy"] == pytest.approx(grid["test_accuracy"], abs=0.2)
    assert exact["activity"]["output"] <= 1
    assert main(["--checkpoint", str(run), "--diagnose"]) == 0
    assert "layers_0" in capsys.readouterr().out


def test_membranes_in_continuous_time_are_not_diagnosed(runs, capsys):
    assert main(["--checkpoint", str(runs("first_spike")), "--diagnose"]) == 2
    assert "add --method surrogate" in capsys.readouterr().err


def test_randman_has_one_method(tiny_run, capsys):
    assert main(["--checkpoint", str(tiny_run), "--method", "eventprop"]) == 2
    assert "run in one way only" in capsys.readouterr().err


@pytest.mark.parametrize(
    "method", ["surrogate", *(pytest.param(m, marks=pytest.mark.slow) for m in METHODS[1:])]
)
def test_a_stopped_run_ends_as_an_unbroken_one(train_yin_yang, tmp_path, method):
    stopped = []

    def stop(self, record, score):
        if not stopped:
            stopped.append(record)
            signal.raise_signal(signal.SIGTERM)

    run, flags = tmp_path / "run", ("--method", method, "--epochs", "4")
    assert train_yin_yang(tmp_path / "whole", *flags) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "epoch", stop)
        assert train_yin_yang(run, *flags) == 143
    assert len(records(run)) == 2
    assert train_yin_yang(run, "--resume", *flags) == 0
    assert records(run) == records(tmp_path / "whole")


@pytest.mark.slow
def test_streamed_points_are_those_in_memory(train_yin_yang, runs, tmp_path):
    run = tmp_path / "run"
    streamed = ("--method", "surrogate", "--feed", "streamed", "--chunk", "2")
    assert train_yin_yang(run, *streamed) == 0
    for a, b in zip(records(run), records(runs("surrogate")), strict=True):
        for name in ("train_loss", "validation_loss"):
            # The order of a sum differs, in float32.
            assert a[name] == pytest.approx(b[name], rel=1e-5)


def test_runs_of_two_methods_side_by_side(runs):
    first, second = compare([runs("surrogate"), runs("first_spike")])
    assert first["settings"] == {"method": "surrogate"}
    assert second["settings"] == {"method": "first_spike"}
    assert {first["task"], second["task"]} == {"yin_yang"}


@pytest.mark.optimizer
def test_surrogate_gradients_learn():
    """A linear classifier is right on less than two thirds."""
    config = YinYangConfig(
        network=YinYangNetwork(method="surrogate", hidden=(60,), dt=2e-3),
        loss=SpikeTimeLoss(loss="max"),
        training=TrainingConfig(
            epochs=25, batch_size=50, learning_rate=3e-2, label_smoothing=0.0, jitter=0.0
        ),
    )
    net = build(config)
    data = datasets.yin_yang(1000, 1)
    x, y = jnp.asarray(data.x, jnp.float32), jnp.asarray(data.labels)
    state = create_state(net, config.training, 25 * 20, jnp.uint32(0))
    train = jax.jit(functools.partial(train_batches, net, config.training))
    for _ in range(25):
        state, sums = train(state, x, y, np.arange(1000, dtype=np.int32).reshape(20, 50))
    assert float(sums.points / sums.samples) > 0.85


@pytest.mark.slow
@pytest.mark.optimizer
@pytest.mark.parametrize("method", ["first_spike", "eventprop"])
def test_exact_gradients_learn(method, tmp_path):
    flags = ["--method", method, "--epochs", "10", "--no-cache", "--no-plots"]
    assert run_command(TASK, [*flags, "--workdir", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["test_accuracy"] > 0.9
