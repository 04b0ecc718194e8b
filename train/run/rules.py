r"""Gradients of learning rules beside backpropagation through time (``--rule``).

A rule follows a loss that is a sum over time steps, so each step is read like a whole sample:

    E = 1/B SUM_b 1/T_b SUM_t loss(readout(y_b[t]), label_b)

where y is the output of a step, the readout is that of the settings, T_b counts the steps of a
sample, and the loss is that of the task (``--loss``, with label smoothing).

``--readout mean``    all steps; mean of the losses, where ``bptt`` takes the loss of the mean
``--readout spikes``  likewise, with the spikes of a step in place of the spike counts
``--readout last``    the last step of a sample alone, which is the loss of ``bptt``, too

A maximum over time and a first spike are no such sums, and are refused. So is what a rule would not
see: penalties of firing rates, dropout, crossbars. Scores are those of the network as ever.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax.errors import InvalidRngError

from flax_snn import learn
from flax_snn.sequence_mask import step_mask
from flax_snn.typing import Array, Bool
from train.errors import ConfigError
from train.model import Model
from train.model.grid import GridPass, GridRunner
from train.run.same_step import late_layer
from train.settings import TrainingConfig
from train.settings.checks import number

FEEDBACK = 2**32 - 1
"""Number of the key of random feedback; those of updates are smaller."""

WHOLE = {
    "max": "the maximum over time is known at the end of a sample only",
    "first": "the first spike is one time of a whole sample",
    "": "this network brings a readout of its own, of which it is not known how it treats time",
}
"""Readouts that are no sums over time steps, and why."""


def check(model: Model, config: TrainingConfig) -> None:
    """Refuses a rule that does not fit the readout, the penalties or the runner.

    Layers that a rule does not fit are refused by the rule itself, in `gradient_of`.

    Args:
      model: the network.
      config: settings of the training.

    Raises:
      ConfigError: the message names the flag, the reason and the remedy.
    """
    number("--learn-from", config.learn_from, ">= 0", "seconds")
    if config.feedback != "symmetric" and config.rule != "eprop":
        raise ConfigError(
            f"--feedback {config.feedback}: feedback weights are a part of e-prop; add --rule"
            f" eprop, or leave it out with --rule {config.rule}"
        )
    if config.rule == "bptt":
        if config.learn_from:
            raise ConfigError(
                "--learn-from: a learning window is for rules whose loss is a sum over time steps;"
                " add --rule eprop, ottt or d_rtrl, or leave it out"
            )
        return
    name = f"--rule {config.rule}"
    runner = model.runner
    if not isinstance(runner, GridRunner):
        raise ConfigError(
            f"{name}: this network runs in continuous time, without time steps; add --method"
            " surrogate, or take --rule bptt"
        )
    if model.reads in WHOLE:
        raise ConfigError(
            f"{name}: expected a readout whose loss is a sum over time steps, --readout mean, last"
            f" or spikes, got {model.reads or 'another one'}: {WHOLE[model.reads]}; change"
            " --readout, or take --rule bptt"
        )
    if model.reads == "spikes" and config.rule == "eprop":
        raise ConfigError(
            f"{name}: expected output neurons that do not spike, whose error is the learning"
            " signal, got --readout spikes; add --readout mean or last"
        )
    if config.rate_strength:
        raise ConfigError(
            f"{name}: --rate-strength compares the rates of whole samples with a bound, and is no"
            " sum over time steps; leave it out, or take --rule bptt"
        )
    if runner.crossbars is not None:
        raise ConfigError(
            f"{name}: weights on crossbars are noisy in training, which the rule would not see;"
            " train with --crossbar none and program the network afterwards, or take --rule bptt"
        )
    if config.rule == "d_rtrl" and (late := late_layer(runner.network)) is not None:
        raise ConfigError(
            f"{name}: expected layers that answer an input in its own step, whose errors this rule"
            f" follows, got {late}, which answers in the next one: the layers below it would never"
            " learn; add --neuron portable or --tau-syn 0, or take --rule eprop, for one hidden"
            " layer under --readout mean or last, or --rule bptt"
        )
    if config.learn_from and model.reads == "last":
        raise ConfigError(
            "--learn-from: --readout last learns from the last step alone; leave it out"
        )
    if config.learn_from >= runner.steps * runner.dt:
        raise ConfigError(
            f"--learn-from: expected less than a sample, {runner.steps * runner.dt:g} s, got"
            f" {config.learn_from:g}"
        )


def gradient_of(
    model: Model,
    config: TrainingConfig,
    params: Any,
    inputs: Any,
    labels: Array,
    lengths: Array | None,
    noise_key: Array,
) -> Any:
    """Returns the gradient of a rule, like that of ``jax.grad``.

    Args:
      model: the network.
      config: settings of the training; `check` has seen them.
      params: its parameters.
      inputs: a batch of samples, as the encoder takes them.
      labels: classes ``(B,)``, or values ``(B, D)``.
      lengths: steps of each sample that are not padding, ``(B,)``; ``None`` for all.
      noise_key: random key of the run, the same in all updates.

    Raises:
      ConfigError: layers that the rule does not fit; the message says why.
    """
    seen = model.in_training()
    runner = seen.grid
    variables = {"params": params, **runner.constants}
    x = runner.raster(seen.encode(inputs))
    counted = steps_that_count(model, config, len(x), lengths)
    steps = jnp.maximum(jnp.sum(counted, axis=1), 1).astype(jnp.float32)
    targets = {"label": _in_steps(labels, x.shape[1]), "weight": 1.0 / (len(x) * steps)}

    def loss(outputs: Array, target: Any) -> Array:
        step = GridPass(outputs[:, None], (), [], runner.dt)
        z = model.readout(step)
        each = model.objective.loss(z, target["label"], config.label_smoothing)
        return target["weight"] * each

    options: dict[str, Any] = {"mask": counted}
    try:
        if config.rule == "eprop":
            options["feedback"] = config.feedback
            if config.feedback == "random":
                key = jax.random.fold_in(noise_key, FEEDBACK)
                variables = learn.with_feedback(key, variables)
        rule = learn.RULES[config.rule]
        _, gradient = rule(runner.network, variables, (x, targets), loss, **options)
    except InvalidRngError as error:
        raise ConfigError(
            f"--rule {config.rule}: expected a network without random numbers, which a rule would"
            " draw anew in each part of a sample, but it draws some in training, as dropout does;"
            " add --dropout 0, or take --rule bptt"
        ) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"--rule {config.rule}: {error}{_remedies(str(error))}") from error
    return gradient


def steps_that_count(
    model: Model, config: TrainingConfig, samples: int, lengths: Array | None
) -> Bool[Array, "B T"]:
    """Returns which steps have a loss: no padding, from `--learn-from` on, or the last alone."""
    steps, dt = model.steps, model.grid.dt
    if lengths is None:
        lengths = jnp.full(samples, steps, jnp.int32)
    counted = step_mask((samples,), steps, seq_lengths=lengths)
    assert counted is not None
    times = jnp.arange(steps)[None]
    if model.reads == "last":
        return counted & (times == lengths[:, None] - 1)
    return counted & (times >= round(config.learn_from / dt))


def _in_steps(labels: Array, steps: int) -> Array:
    """Returns labels with a time axis, unless they are one number for each sample."""
    if labels.ndim == 1:
        return labels
    return jnp.broadcast_to(labels[:, None], (len(labels), steps, *labels.shape[1:]))


FLAGS = {
    "SequenceDropout": "--dropout 0",
    "GroupNorm": "--norm-groups 0",
    "DelayedDense": "--max-delay 0",
    "learn=": "--no-learn-tau",
    "with recurrent weights": "--no-recurrent",
    "one layer of spiking neurons": "one layer, as in --hidden 128",
    "through a synapse": "--tau-syn 0",
}
"""Flags that take away what a rule refuses, by the words with which it does."""


def _remedies(words: str) -> str:
    """Returns the flags that help against a refusal, in words."""
    found = [flag for part, flag in FLAGS.items() if part in words]
    return f" (in this app: {', '.join(found)}; or --rule bptt)" if found else ""
