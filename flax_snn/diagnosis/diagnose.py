"""Figures of a batch in each layer of neurons, judged."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.diagnosis.event_density import DensityRecorder, density_notes
from flax_snn.diagnosis.verdict import SATURATED, advice_on, verdict_of
from flax_snn.initializers.normalisation import padding_notes
from flax_snn.initializers.recording import (
    NeuronLayer,
    Recorder,
    Traces,
    Watched,
    free_membrane_of,
    includes_resets,
    spikes_of,
)
from flax_snn.initializers.slot_weights import (
    mean_and_spread,
    slot_weights,
    split_padding,
    weighted_mean,
)
from flax_snn.sequence_mask import SequenceLengths, StepMask
from flax_snn.typing import Array, Shaped


@dataclasses.dataclass(frozen=True)
class LayerDiagnosis:
    """Figures of one layer of neurons for one batch.

    Attributes:
      name: where its cell stands in the parameters.
      spiking: whether its neurons spike; else leaky integrators, whose firing figures are NaN.
      neurons: number of neurons.
      rate: mean firing rate in Hz.
      activity: spikes per neuron and time step.
      silent: share of the neurons without a spike in the whole batch, padding left out.
      saturated: share of the neurons that spike in at least a quarter of the time steps that
        their refractory period leaves them.
      mean: mean of the free membrane over batch, time and neurons; rest is 0, threshold is 1. In
        units of the membrane for leaky integrators.
      spread: standard deviation of the same.
      verdict: ``not finite``, ``no input``, ``silent`` (at least 9 of 10 neurons), ``nearly
        silent`` (most neurons are, or fewer than one spike in 1000 steps), ``saturated`` (most
        neurons, or the mean activity, are), ``runs away`` (mean or spread at 10 or more), or
        ``healthy``.
      advice: what it means and what to do, empty for a healthy layer.
    """

    name: str
    spiking: bool
    neurons: int
    rate: float
    activity: float
    silent: float
    saturated: float
    mean: float
    spread: float
    verdict: str
    advice: str

    def cells(self) -> list[str]:
        """Returns the entries of a row of the table."""
        firing = ["-"] * 4
        if self.spiking:
            shares = (self.activity, self.silent, self.saturated)
            firing = [f"{self.rate:.1f}", *(f"{100 * share:.1f} %" for share in shares)]
        return [str(self.neurons), *firing, f"{self.mean:z.2f}", f"{self.spread:.2f}", self.verdict]


_HEADER = ["neurons", "rate (Hz)", "activity", "silent", "saturated", "mean", "spread", "verdict"]


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What a batch does to each layer of a model; as text, a table with words below it.

    Attributes:
      layers: the layers in order of execution.
      not_covered: names of the recurrent cells that were not judged, each with the reason.
      batch_norms: names of the ``nn.BatchNorm`` modules, each with whether it took its running
        statistics (as in evaluation) or those of the batch (as in training).
      padding_left_out: names of the normalising layers, such as ``nn.BatchNorm``, that were given
        the mask of a padded batch.
      padding_included: names of those whose statistics may include padding, since their inputs do
        not have the axes of the mask.
      event_densities: names of the layers whose products were asked to be event-driven, each with
        the share of its inputs that is not zero, padding included.
    """

    layers: tuple[LayerDiagnosis, ...]
    not_covered: tuple[tuple[str, str], ...] = ()
    batch_norms: tuple[tuple[str, bool], ...] = ()
    padding_left_out: tuple[str, ...] = ()
    padding_included: tuple[str, ...] = ()
    event_densities: tuple[tuple[str, float], ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong with any layer that was judged; see also ``not_covered``."""
        return all(layer.verdict == "healthy" for layer in self.layers)

    def __str__(self) -> str:
        rows = [[layer.name, *layer.cells()] for layer in self.layers]
        table = _table(["layer", *_HEADER], rows)
        return "\n".join([table, *_advice(self), *_notes(self)])


def diagnose(
    model: nn.Module,
    variables: Mapping[str, Any],
    inputs: Shaped[Array | np.ndarray, "..."],
    *,
    dt: float | None = None,
    rngs: Mapping[str, Array] | None = None,
    arguments: Mapping[str, Any] | None = None,
    use_running_average: bool | None = None,
    seq_lengths: SequenceLengths | None = None,
    mask: StepMask | None = None,
    time_major: bool = False,
) -> Diagnosis:
    """Runs a model on a batch and judge the activity of its layers of neurons.

    ``nn.BatchNorm`` has two modes: it takes the statistics of the batch in training and its running
    statistics in evaluation, and layers behind it may be healthy in one and silent in the other.
    ``use_running_average`` says which mode to diagnose; the diagnosis names the one it saw.

    >>> import flax_snn as snn, jax
    >>> net = snn.RNN(snn.LIFCell(32))
    >>> x = (jax.random.uniform(jax.random.key(0), (8, 100, 20)) < 0.02).astype(float)
    >>> variables = net.init(jax.random.key(1), x)
    >>> print(diagnose(net, variables, x))  # doctest: +ELLIPSIS
    layer  neurons  rate (Hz)  activity  silent  saturated  mean  spread  verdict
    cell        32       ...     ... %     ... %      0.0 %  ...  healthy
    >>> result = diagnose(net, jax.tree.map(lambda w: 0.01 * w, variables), x)
    >>> result.layers[0].verdict, result.healthy
    ('silent', False)

    Args:
      model: any Linen model whose cells of this package are run by `RNN`, `LIF`,
        `LeakyIntegrator` or `Stateful`, or called step by step.
      variables: its variables, with ``params``; none of them is changed, running statistics
        included.
      inputs: a batch as the model takes it.
      dt: length of a time step in seconds; by default that of each layer's dynamics.
      rngs: random streams of the model, such as ``noise``.
      arguments: further arguments of the model's call, such as ``{"train": False}``.
      use_running_average: let each ``nn.BatchNorm`` take its running statistics (True) or those of
        the batch (False), whatever the model says; None (default): as the model says.
      seq_lengths: number of steps of each sample, ``(*B,)``; padding, as
        `flax_snn.sequence_mask` has it, counts in no figure. A model that takes lengths itself
        gets them by ``arguments``.
      mask: which steps are data, ``(*B, T)``, instead of lengths. The model runs through steps that
        it leaves out with input 0. Normalising layers that average over time, such as
        ``nn.BatchNorm``, leave padding out where their inputs have the axes of batch and time of
        `inputs`; the diagnosis names them, and those that cannot.
      time_major: time is the first axis of the inputs; it matters with lengths or a mask only.

    Returns:
      The diagnosis. It names recurrent cells that it does not cover.

    Raises:
      TypeError: not a model; inputs that are not numbers.
      ValueError: a model without layers of neurons, or whose traces are lost in ``nn.RNN``; inputs
        without a time axis, or empty; lengths or a mask that do not fit or that leave no data.
    """
    if dt is not None:
        dt = checks.positive("dt", dt, unit="seconds")
    inputs, is_data = split_padding(inputs, seq_lengths, mask, time_major=time_major)
    watched = Watched(model, rngs, arguments, use_running_average, is_data, time_major)
    layers = watched.layers(variables, inputs)
    seen: list[Recorder] = []

    def measure(variables: Any, inputs: Array) -> tuple[list[dict[str, Array]], dict[str, Array]]:
        densities = DensityRecorder()
        with nn.intercept_methods(densities):
            recorder, traces = watched.run(variables, inputs)
        seen.append(recorder)
        figures = [_figures(layer, variables, traces, is_data) for layer in layers]
        return figures, densities.shares()

    figures, shares = jax.device_get(jax.jit(measure)(variables, jnp.asarray(inputs)))
    judged = tuple(
        _judged(layer, {name: float(x) for name, x in values.items()}, dt)
        for layer, values in zip(layers, figures, strict=True)
    )
    not_covered = _not_covered(seen[0], layers, variables)
    statistics = seen[0].normalisations
    return Diagnosis(
        judged,
        not_covered,
        batch_norms=tuple(statistics.batch_norms.items()),
        padding_left_out=tuple(statistics.padding_left_out),
        padding_included=tuple(statistics.padding_included),
        event_densities=tuple((name, float(share)) for name, share in shares.items()),
    )


def compare(before: Diagnosis, after: Diagnosis) -> str:
    """Returns two diagnoses of one model side by side, as text.

    Args:
      before: diagnosis before, say, an initialiser ran.
      after: diagnosis after it.

    Returns:
      A table with one row per layer and entries ``before -> after``, and what is left to do.

    Raises:
      ValueError: diagnoses of different layers.
    """
    names = [[layer.name for layer in each.layers] for each in (before, after)]
    if names[0] != names[1]:
        raise ValueError(f"expected two diagnoses of one model, got layers {names[0]}, {names[1]}")
    rows = []
    for old, new in zip(before.layers, after.layers, strict=True):
        pairs = list(zip(old.cells(), new.cells(), strict=True))[1:]
        rows.append([old.name, *(a if a == b == "-" else f"{a} -> {b}" for a, b in pairs)])
    return "\n".join([_table(["layer", *_HEADER[1:]], rows), *_advice(after), *_notes(after)])


def _figures(
    layer: NeuronLayer, variables: Any, traces: Traces, is_data: Array | None
) -> dict[str, Array]:
    membrane = free_membrane_of(layer, variables, traces)
    weights = slot_weights(layer, len(membrane), is_data)
    mean, spread = mean_and_spread(membrane, weights)
    figures = {"mean": mean, "spread": spread}
    if not layer.cell.dynamics.spikes:
        return figures
    spikes = spikes_of(layer, traces).astype(jnp.float32)
    active = weighted_mean((spikes > 0).astype(jnp.float32), weights)
    return figures | {
        "activity": jnp.mean(weighted_mean(spikes, weights)),
        "silent": jnp.mean(active == 0, dtype=jnp.float32),
        "saturated": jnp.mean(active >= _ceiling(layer), dtype=jnp.float32),
    }


def _ceiling(layer: NeuronLayer) -> float:
    """Returns the share of active steps from which on a neuron is saturated."""
    return SATURATED / (1 + layer.cell.dynamics.longest_silence())


def _judged(layer: NeuronLayer, figures: dict[str, float], dt: float | None) -> LayerDiagnosis:
    spiking = layer.cell.dynamics.spikes
    activity = figures.get("activity", math.nan)
    verdict = verdict_of(figures, _ceiling(layer) if spiking else None)
    mean, spread = figures["mean"], figures["spread"]
    return LayerDiagnosis(
        name=layer.name,
        spiking=spiking,
        neurons=layer.neurons,
        rate=activity / (layer.cell.dynamics.dt if dt is None else dt),
        activity=activity,
        silent=figures.get("silent", math.nan),
        saturated=figures.get("saturated", math.nan),
        mean=mean,
        spread=spread,
        verdict=verdict,
        advice=advice_on(verdict, mean, spread),
    )


def _advice(diagnosis: Diagnosis) -> list[str]:
    """Returns what is wrong, layers with the same advice together."""
    groups: dict[tuple[str, str], list[str]] = {}
    for layer in diagnosis.layers:
        if layer.advice:
            groups.setdefault((layer.verdict, layer.advice), []).append(layer.name)
    return [
        f"{verdict} ({', '.join(names)}): {advice}" for (verdict, advice), names in groups.items()
    ]


def _notes(diagnosis: Diagnosis) -> list[str]:
    """Returns what was not judged, and what normalising layers took their statistics from."""
    notes = [f"not covered ({name}): {reason}" for name, reason in diagnosis.not_covered]
    for running, text in [
        (
            False,
            "statistics of this batch, as in training; the running ones of evaluation may differ",
        ),
        (True, "running statistics, as in evaluation; those of a batch in training may differ"),
    ]:
        names = [name for name, used in diagnosis.batch_norms if used == running]
        if names:
            notes.append(
                f"BatchNorm ({', '.join(names)}): {text}: use_running_average={not running}"
            )
    notes += padding_notes(diagnosis.padding_left_out, diagnosis.padding_included)
    return notes + density_notes(dict(diagnosis.event_densities))


def _not_covered(
    recorder: Recorder, layers: list[NeuronLayer], variables: Mapping[str, Any]
) -> tuple[tuple[str, str], ...]:
    others = list(recorder.not_covered().items())
    resets = [
        (
            f"membrane of {layer.name}",
            f"{type(layer.cell.dynamics).__name__} has no threshold that could be lifted, so mean"
            " and spread are those of its membrane with its resets; its spikes are judged",
        )
        for layer in layers
        if includes_resets(layer, variables)
    ]
    return (*others, *resets)


def _table(header: list[str], rows: list[list[str]]) -> str:
    """Columns as wide as their widest entry, names to the left and figures to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for first, *others in [header, *rows]:
        right = [entry.rjust(width) for entry, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *right]))
    return "\n".join(lines)
