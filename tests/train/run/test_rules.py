"""Learning rules in the app: their gradients against BPTT where they are exact, and refusals."""

import dataclasses
import functools
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from same_run import assert_same_run
from test_resume import Stopper

from flax_snn import learn
from train.errors import ConfigError
from train.model import Model
from train.model.build import build_network
from train.model.encoders import Rasters
from train.model.objectives import squared_error
from train.progress.report import Progress
from train.run import rules
from train.run.step import create_state
from train.settings import CrossbarConfig, NetworkConfig, TrainingConfig
from train.tasks.fashion_mnist.settings import FashionConfig, FashionNetwork
from train.tasks.fashion_mnist.task import FashionMNIST
from train.tasks.spoken_digits.settings import SpokenDigitsConfig
from train.tasks.spoken_digits.task import SpokenDigitsTask
from train.tasks.yin_yang.task import YinYang

SLOW = pytest.mark.slow
STEPS, UNITS, OUTPUTS, DT = 12, 6, 3, 5e-3
LENGTHS = jnp.array([12, 5, 9, 1])
LABELS = jnp.array([0, 2, 1, 1])
VALUES = jnp.array([[0.1, 0.9, 0.4], [0.3, 0.2, 0.6], [0.8, 0.7, 0.0], [0.5, 0.5, 1.0]])


@functools.cache
def network(readout: str, values: bool = False, **changes: Any) -> Model:
    """Builds a feed-forward network of one hidden layer, if nothing else is said."""
    fields = {"hidden": (7,), "recurrent": False, "init": "gains", "readout": readout} | changes
    crossbar = CrossbarConfig(crossbar=fields.pop("crossbar", "none"))
    return build_network(
        NetworkConfig(**fields),
        Rasters(STEPS, UNITS, DT),
        steps=STEPS,
        outputs=OUTPUTS,
        dt=DT,
        input_rate=50.0,
        values=squared_error.make(OUTPUTS) if values else None,
        crossbar=crossbar,
    )


def batch() -> jax.Array:
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.poisson(0.6, (len(LENGTHS), STEPS, UNITS)).astype(np.uint8))


@functools.cache
def params_of(model: Model) -> Any:
    return create_state(model, TrainingConfig(), 10, jnp.uint32(3)).params


def gradient(model: Model, config: TrainingConfig, labels: Any, lengths: Any) -> Any:
    key = jax.random.key(5)
    found = functools.partial(rules.gradient_of, model, config)
    return jax.jit(found)(params_of(model), batch(), labels, lengths, key)


def full(model: Model, of_outputs: Any) -> Any:
    """Returns the gradient by BPTT of a function of what the network does."""
    return jax.jit(jax.grad(lambda p: of_outputs(model.run(p, batch(), jax.random.key(0)))))(
        params_of(model)
    )


def assert_close(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(expected))
    assert largest > 1e-4
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        # float32, sums of some 50 terms in another order
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6 * largest)


@pytest.mark.slow
@pytest.mark.optimizer
@pytest.mark.parametrize("population, learn_tau", [(2, True), (1, False)])
def test_the_last_step_has_the_loss_of_backpropagation(population, learn_tau):
    # Without recurrent weights e-prop leaves nothing out, so that this is the app's own gradient.
    model = network("last", population=population, learn_tau=learn_tau)
    config = TrainingConfig(rule="eprop", jitter=0.0)

    def loss(params: Any) -> Any:
        output = model.apply(params, batch(), jax.random.key(0), LENGTHS, config)
        return jnp.mean(model.objective.loss(output.z, LABELS, config.label_smoothing))

    rules.check(model, config)
    assert_close(
        gradient(model, config, LABELS, LENGTHS), jax.jit(jax.grad(loss))(params_of(model))
    )


@pytest.mark.slow
@pytest.mark.optimizer
@pytest.mark.parametrize("learn_from", [3 * DT, 0.0])
def test_the_mean_is_that_of_the_losses_of_all_steps_that_count(learn_from):
    model = network("mean")
    config = TrainingConfig(rule="eprop", label_smoothing=0.2, learn_from=learn_from)
    first = round(learn_from / DT)

    def loss(run: Any) -> Any:
        total = 0.0
        for b, (length, label) in enumerate(zip([12, 5, 9, 1], [0, 2, 1, 1], strict=True)):
            steps = run.output[b, first:length]
            if len(steps):
                scores = 4.0 * steps  # the membrane scale of the settings
                target = 0.8 * np.eye(OUTPUTS, dtype=np.float32)[label] + 0.2 / OUTPUTS
                each = -jnp.sum(target[None] * jax.nn.log_softmax(scores), axis=-1)
                total += jnp.sum(each) / (len(steps) * len(LENGTHS))
        return total

    rules.check(model, config)
    assert_close(gradient(model, config, LABELS, LENGTHS), full(model, loss))


@pytest.mark.slow
@pytest.mark.optimizer
def test_values_have_their_squared_error_in_each_step():
    model = network("mean", values=True)
    config = TrainingConfig(rule="eprop")
    expected = full(model, lambda run: jnp.mean((run.output - VALUES[:, None]) ** 2))
    assert_close(gradient(model, config, VALUES, None), expected)


@pytest.mark.slow
@pytest.mark.optimizer
def test_random_feedback_stays_and_changes_the_hidden_layer_alone():
    model = network("mean", learn_tau=False)
    symmetric = gradient(model, TrainingConfig(rule="eprop"), LABELS, None)["cell"]
    random = gradient(model, TrainingConfig(rule="eprop", feedback="random"), LABELS, None)["cell"]
    np.testing.assert_allclose(random["cells_1"]["kernel"], symmetric["cells_1"]["kernel"], 1e-5)
    # The weights follow from the key of the run alone, so that they are the same in every update.
    key = jax.random.fold_in(jax.random.key(5), rules.FEEDBACK)
    weights = learn.with_feedback(key, {"params": params_of(model)})["feedback"]["kernel"]
    labels = jnp.repeat(LABELS, STEPS)

    def of_membranes(v: Any) -> Any:
        return jnp.mean(model.objective.loss(4.0 * v.reshape(-1, OUTPUTS), labels, 0.1))

    def loss(run: Any) -> Any:
        errors = jax.grad(of_membranes)(jax.lax.stop_gradient(run.output))
        return jnp.sum(errors * _read(model, run, weights))

    expected = full(model, loss)["cell"]["cells_0"]
    assert_close({"kernel": random["cells_0"]["kernel"]}, {"kernel": expected["kernel"]})


def _read(model: Model, run: Any, weights: Any) -> Any:
    """Returns what a readout with these weights makes of the hidden spikes, by its filter."""
    readout = model.grid.network.cell.cells[1].dynamics
    c = readout.coefficients()
    v = i = jnp.zeros((len(LENGTHS), OUTPUTS))
    outputs = []
    for t in range(STEPS):
        new = c.beta * i + c.g * (run.spikes[0][:, t] @ weights)
        v, i = c.alpha * v + c.c_old * i + c.c_new * new, new
        outputs.append(v)
    return jnp.stack(outputs, axis=1)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["ottt", "d_rtrl"])
def test_other_rules_have_the_loss_of_each_step(rule):
    portable = {"recurrent": True, "neuron": "portable"}
    readout, changes = ("spikes", portable) if rule == "d_rtrl" else ("mean", {})
    model = network(readout, learn_tau=False, tau_syn=0.0 if rule == "ottt" else 10e-3, **changes)
    config = TrainingConfig(rule=rule, label_smoothing=0.0)
    scale = 0.5 if readout == "spikes" else 4.0

    def loss(outputs: Any, labels: Any) -> Any:
        return learn.cross_entropy(scale * outputs, labels) / (len(LABELS) * STEPS)

    variables = {"params": params_of(model)}
    given = (batch().astype(jnp.float32), LABELS)
    expected = learn.RULES[rule](model.grid.network, variables, given, loss)[1]
    rules.check(model, config)
    assert_close(gradient(model, config, LABELS, None), expected)


BPTT = TrainingConfig()
EPROP, OTTT, D_RTRL = (TrainingConfig(rule=rule) for rule in ("eprop", "ottt", "d_rtrl"))
PENALTY = {"rate_strength": 0.1, "lower_rate": 1.0}

REFUSED: list[tuple[Any, TrainingConfig, list[str]]] = [
    (network("mean"), dataclasses.replace(BPTT, feedback="random"), ["--feedback random", "eprop"]),
    (network("mean"), dataclasses.replace(BPTT, learn_from=0.01), ["--learn-from", "--rule"]),
    (network("mean"), dataclasses.replace(EPROP, learn_from=float("nan")), ["--learn-from"]),
    (network("mean"), dataclasses.replace(EPROP, learn_from=1.0), ["less than a sample, 0.06 s"]),
    (network("last"), dataclasses.replace(EPROP, learn_from=0.01), ["last step alone"]),
    (network("mean"), dataclasses.replace(D_RTRL, feedback="random"), ["part of e-prop"]),
    (network("max"), D_RTRL, ["got max", "--readout mean, last or spikes"]),
    (network("first"), D_RTRL, ["got first", "one time of a whole sample"]),
    (network("spikes"), EPROP, ["--readout spikes", "learning signal"]),
    (network("mean"), dataclasses.replace(EPROP, **PENALTY), ["--rate-strength", "no sum"]),
    (network("mean"), D_RTRL, ["got LIDynamics in layer 2 of 2", "never learn", "--rule eprop"]),
    (network("spikes", hidden=(7, 5)), D_RTRL, ["got LIFDynamics in layer 2 of 3", "portable"]),
    (network("mean", crossbar="pcm"), EPROP, ["crossbars are noisy", "--crossbar none"]),
]


@pytest.mark.parametrize("k", range(len(REFUSED)))
def test_settings_that_a_rule_does_not_fit(k):
    model, config, words = REFUSED[k]
    with pytest.raises(ConfigError) as error:
        rules.check(model, config)
    assert all(word in str(error.value) for word in words), error.value


def test_continuous_time_and_a_readout_of_ones_own():
    model = YinYang().build(YinYang.settings())
    with pytest.raises(ConfigError, match="continuous time.*--method surrogate"):
        rules.check(model, EPROP)
    with pytest.raises(ConfigError, match="readout of its own"):
        rules.check(dataclasses.replace(network("mean"), reads=""), D_RTRL)


@pytest.mark.parametrize("neuron", ["lif", "portable"])
def test_a_layer_that_answers_late_is_refused_and_no_other_one(neuron):
    model = network("mean", learn_tau=False, neuron=neuron)
    if neuron == "lif":
        with pytest.raises(ConfigError, match="answers in the next one.*--neuron portable"):
            rules.check(model, D_RTRL)
        return
    rules.check(model, D_RTRL)
    below = gradient(model, D_RTRL, LABELS, None)["cell"]["cells_0"]
    assert all(float(jnp.max(jnp.abs(g))) > 0.0 for g in jax.tree.leaves(below))


LAYERS: list[tuple[Any, TrainingConfig, list[str]]] = [
    (network("mean", hidden=(7, 6)), EPROP, ["would miss all paths", "one layer, as in --hidden"]),
    (network("mean", recurrent=True), OTTT, ["recurrent weights", "--no-recurrent"]),
    (network("mean"), OTTT, ["learn=", "--no-learn-tau"]),
    (network("mean", learn_tau=False), OTTT, ["through a synapse", "--tau-syn 0"]),
]


@pytest.mark.parametrize("k", range(len(LAYERS)))
def test_layers_that_a_rule_does_not_fit(k):
    model, config, words = LAYERS[k]
    with pytest.raises(ConfigError) as error:
        gradient(model, config, LABELS, None)
    assert all(word in str(error.value) for word in [f"--rule {config.rule}", *words]), error.value


def test_dropout_and_images():
    digits = SpokenDigitsTask().build(SpokenDigitsConfig())
    network = FashionNetwork(dropout=0.2, architecture="conv", norm_groups=0)
    settings = FashionConfig(network=network)
    clothes = FashionMNIST().build(settings)
    for model, config in ((digits, D_RTRL), (clothes, OTTT)):
        x = jnp.zeros((2, *model.encode.sample.shape), model.encode.sample.dtype)
        params = jax.eval_shape(model.init, jax.random.key(0))
        found = functools.partial(rules.gradient_of, model, config)
        with pytest.raises(ConfigError, match="--dropout 0"):
            jax.eval_shape(found, params, x, jnp.zeros(2, jnp.int32), None, jax.random.key(0))
    normed = FashionMNIST().build(FashionConfig(network=FashionNetwork(architecture="conv")))
    params, x = jax.eval_shape(normed.init, jax.random.key(0)), jnp.zeros((2, 784), jnp.uint8)
    found = functools.partial(rules.gradient_of, normed, OTTT)
    with pytest.raises(ConfigError, match="GroupNorm.*--norm-groups 0"):
        jax.eval_shape(found, params, x, jnp.zeros(2, jnp.int32), None, jax.random.key(0))


def test_a_rule_trains_and_is_stored(train, tmp_path, capsys):
    flags = ("--rule", "eprop", "--readout", "mean", "--feedback", "random", "--epochs", "1")
    assert train(tmp_path, *flags) == 0
    stored = json.loads((tmp_path / "config.json").read_text())["config"]["training"]
    assert (stored["rule"], stored["feedback"]) == ("eprop", "random")
    assert train(tmp_path, "--resume", *flags, "--rule", "bptt") == 2
    assert "--rule was 'eprop', is 'bptt'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_rule_is_stopped_and_goes_on(train, tmp_path):
    flags = ("--rule", "eprop", "--readout", "mean", "--feedback", "random", "--epochs", "3")
    assert train(tmp_path / "whole", *flags) == 0
    with pytest.MonkeyPatch.context() as patch:
        Stopper(patch, Progress, "epoch", 1)
        assert train(tmp_path / "cut", *flags) == 143
    assert train(tmp_path / "cut", "--resume", *flags) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_a_rule_that_does_not_fit_ends_with_code_2(train, tmp_path, capsys):
    assert train(tmp_path / "run", "--rule", "ottt", "--readout", "mean") == 2
    assert "--no-recurrent" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
