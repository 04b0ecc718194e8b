"""The public functions of losses, metrics, diagnosis and initializers, and how each is called.

A row of the table says what a function should give for sequences of different lengths, worked out
from each sample alone, cut to its length. Functions without a time axis are listed with the reason.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import flax_snn as snn
from flax_snn import diagnosis, initializers, losses, metrics

B, T, C = 3, 7, 4
LENGTHS = np.array([7, 3, 1], np.int32)
MASK = np.arange(T) < LENGTHS[:, None]
HOLES = np.array([[1, 0, 1, 1, 0, 1, 1], [0, 0, 1, 0, 1, 1, 0], [0, 0, 0, 0, 0, 0, 1]], bool)
LABELS = np.array([2, 0, 3], np.int32)
DT = 2e-3
RNG = np.random.default_rng(0)
SPIKES = (RNG.random((B, T, C)) < 0.4).astype(np.float32)
VALUES = RNG.normal(size=(B, T, C)).astype(np.float32)
TARGETS = RNG.normal(size=(B, T, C)).astype(np.float32)
STEP_LABELS = RNG.integers(0, C, (B, T)).astype(np.int32)


def stack(each: list[Any]) -> Any:
    """What has a value for each sample."""
    return np.concatenate([np.asarray(x) for x in each])


def mean(each: list[Any]) -> Any:
    """What is a mean over samples."""
    return np.mean([np.asarray(x) for x in each], axis=0)


def total(each: list[Any]) -> Any:
    """What is counted."""
    return np.sum([np.asarray(x) for x in each], axis=0)


def is_of_samples(array: np.ndarray) -> bool:
    """Whether an array has one entry for each sample, and none for each step."""
    return array.ndim == 1 or array.shape[1] != T


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to call a function.

    Attributes:
      call: takes the array, then another array with one entry for each sample or step, or none.
      arrays: these arrays, ``(B, T, ...)`` first.
      combine: from what samples give alone to what the batch gives.
      differentiable: whether it is a function of JAX, under jit and grad.
    """

    call: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]
    combine: Callable[[list[Any]], Any] = mean
    differentiable: bool = True

    def alone(self, mask: np.ndarray) -> Any:
        """What the samples give, each cut to its steps and without lengths."""
        each = []
        for b in range(B):
            cut = [a[b : b + 1] if is_of_samples(a) else a[b : b + 1, mask[b]] for a in self.arrays]
            each.append(self.run(*self.given(cut)))
        return self.combine(each)

    @functools.cached_property
    def run(self) -> Callable[..., Any]:
        """The call, compiled where it is a function of JAX: quicker than operation by operation."""
        return jax.jit(self.call) if self.differentiable else self.call

    def padded(self, rubbish: float = 7.0, mask: np.ndarray = MASK) -> list[Any]:
        """The arrays, with rubbish for padding."""
        filled = []
        for a in self.arrays:
            rows = mask.reshape(*mask.shape, *(1,) * (a.ndim - 2))
            fill = rubbish if np.issubdtype(a.dtype, np.floating) else -5
            filled.append(a if is_of_samples(a) else np.where(rows, a, np.asarray(fill, a.dtype)))
        return self.given(filled)

    def given(self, arrays: list[np.ndarray]) -> list[Any]:
        return [jnp.asarray(a) for a in arrays] if self.differentiable else arrays


def penalty(name: str, bound: float, **settings: Any) -> Row:
    function = getattr(losses, name)
    if name == "spike_rate_regularizer":
        return Row(lambda s, **k: function(s, DT, upper=bound, **settings, **k), (SPIKES,))
    return Row(lambda s, **k: function(s, bound, **settings, **k), (SPIKES,))


def of_spikes(call: Callable[..., Any], **settings: Any) -> Row:
    return Row(lambda s, **k: call(s, **settings, **k), (SPIKES,), stack)


def of_membranes(call: Callable[..., Any], reduce: str) -> Row:
    return Row(lambda v, **k: call(v, reduce=reduce, **k), (VALUES,), stack)


def with_labels(call: Callable[..., Any], x: np.ndarray, **settings: Any) -> list[Row]:
    """A loss with labels: its mean, and that of each sample."""
    return [
        Row(lambda x, y, **k: call(x, y, **settings, **k), (x, LABELS)),
        Row(lambda x, y, **k: call(x, y, per_sample=True, **settings, **k), (x, LABELS), stack),
    ]


def of_steps(call: Callable[..., Any], x: np.ndarray, y: np.ndarray) -> list[Row]:
    """A loss with a target for each step."""
    call_steps = lambda x, y, **k: call(x, y, time_axis=1, **k)  # noqa: E731
    return [
        Row(call_steps, (x, y)),
        Row(lambda x, y, **k: call_steps(x, y, per_sample=True, **k), (x, y), stack),
    ]


def metric(name: str, arrays: tuple[np.ndarray, ...], combine: Any, *extra: Any) -> Row:
    """A metric of steps; alone, a sequence is a batch of so many samples."""
    function = getattr(metrics, name)

    def call(predictions: Any, targets: Any, **k: Any) -> Any:
        if not k:
            predictions, targets = predictions[0], targets[0]
        return function(predictions, targets, *extra, **k)

    return Row(call, arrays, combine, differentiable=False)


def of_trains(name: str, arrays: tuple[np.ndarray, ...], **settings: Any) -> Row:
    """A metric of rasters: its mean over samples."""
    function = getattr(metrics, name)
    return Row(lambda *x, **k: function(*x, dt=DT, **settings, **k), arrays, differentiable=False)


OTHER_SPIKES = (RNG.random((B, T, C)) < 0.4).astype(np.float32)
CLASSES = (np.where(STEP_LABELS % 2, STEP_LABELS, 1).astype(np.int32), STEP_LABELS)

TABLE: dict[str, list[Row]] = {
    "losses.spike_count_logits": [of_spikes(losses.spike_count_logits, scale=0.5, population=2)],
    "losses.membrane_logits": [of_membranes(losses.membrane_logits, "mean")],
    "losses.membrane_readout": [
        of_membranes(losses.membrane_readout, r) for r in ("max", "mean", "last")
    ],
    "losses.first_spike_times": [of_spikes(losses.first_spike_times, dt=DT)],
    "losses.rate_coded_cross_entropy": with_labels(
        losses.rate_coded_cross_entropy, SPIKES, label_smoothing=0.1
    ),
    "losses.membrane_cross_entropy": with_labels(losses.membrane_cross_entropy, VALUES),
    "losses.softmax_cross_entropy": of_steps(losses.softmax_cross_entropy, VALUES, STEP_LABELS),
    "losses.membrane_mean_squared_error": [
        Row(
            lambda v, y, **k: losses.membrane_mean_squared_error(v, y, **k),
            (VALUES, TARGETS[:, 0]),
        )
    ],
    "losses.mean_squared_error": of_steps(losses.mean_squared_error, VALUES, TARGETS),
    "losses.lower_count_regularizer": [
        penalty("lower_count_regularizer", 2.0),
        penalty("lower_count_regularizer", 2.0, average="population", power=1),
    ],
    "losses.upper_count_regularizer": [
        penalty("upper_count_regularizer", 0.3),
        penalty("upper_count_regularizer", 0.3, average="none"),
    ],
    "losses.spike_rate_regularizer": [
        penalty("spike_rate_regularizer", 50.0, average="none"),
        penalty("spike_rate_regularizer", 50.0, average="population"),
    ],
    "metrics.accuracy": [metric("accuracy", CLASSES, mean)],
    "metrics.confusion_matrix": [metric("confusion_matrix", CLASSES, total, C)],
    "metrics.mean_squared_error": [metric("mean_squared_error", (VALUES, TARGETS), mean)],
    "metrics.smape": [metric("smape", (VALUES, TARGETS), mean)],
    "metrics.van_rossum_distance": [
        of_trains("van_rossum_distance", (SPIKES, OTHER_SPIKES), tau=3 * DT)
    ],
    "metrics.victor_purpura_distance": [
        of_trains("victor_purpura_distance", (SPIKES, OTHER_SPIKES), cost=0.4 / DT)
    ],
    "metrics.decision_time": [
        of_trains("decision_time", (VALUES,)),
        of_trains("decision_time", (VALUES,), reduce="none"),
    ],
    "metrics.coefficient_of_variation": [],  # not defined for samples of few steps
    "metrics.synchrony": [],  # likewise
    "metrics.workload": [],  # has tests of its own, with the models that it needs
    "metrics.r2": [],  # not made of those of the samples: see the test of its own
    "diagnosis.diagnose": [],  # has tests of their own, with the models that it needs
    "initializers.lsuv": [],
}

NO_TIME_AXIS = {
    "metrics.energy_estimate": "takes numbers of operations, over which time is gone",
    "metrics.footprint": "takes variables, without data",
    "diagnosis.judge_activity": "takes shares, over which time is gone",
    "losses.first_spike_cross_entropy": "takes one time for each neuron, from first_spike_times",
    "losses.first_spike_logits": "takes one time for each neuron, from first_spike_times",
    "losses.mean_squared_spike_time": "takes one time for each neuron",
    "losses.spike_time_margin": "takes one time for each neuron",
    "losses.target_times": "makes times from labels",
    "losses.wake_silent": "takes one time and one maximum for each neuron",
    "losses.pool_population": "reduces neurons and leaves the steps as they are",
    "diagnosis.compare": "takes diagnoses",
    "diagnosis.first_not_finite": "looks at every number, padding too: a NaN there is one",
    "initializers.fluctuation_driven": "draws weights without data",
}


def lif_network() -> tuple[Any, Any]:
    net = snn.RNN(snn.RecurrentLIFCell(12, dynamics=snn.LIFDynamics(tau_mem=5e-3)))
    variables = net.init(jax.random.key(0), jnp.zeros((1, 2, C)))
    return net, jax.tree.map(lambda w: 4.0 * w, variables)


def diagnose_arrays(x: Any, **settings: Any) -> Any:
    net, variables = lif_network()
    return diagnosis.diagnose(net, variables, jnp.asarray(x), **settings)


def lsuv_arrays(x: Any, **settings: Any) -> Any:
    net, variables = lif_network()
    return initializers.lsuv(net, variables, jnp.asarray(x), **settings)


def workload_arrays(x: Any, **settings: Any) -> Any:
    net, variables = lif_network()
    return metrics.workload(net, variables, jnp.asarray(x), **settings)


CALLS = {
    **{name: rows[0] for name, rows in TABLE.items() if rows},
    "metrics.coefficient_of_variation": Row(
        metrics.coefficient_of_variation, (SPIKES,), differentiable=False
    ),
    "metrics.synchrony": of_trains("synchrony", (SPIKES,), window=2 * DT),
    "metrics.workload": Row(workload_arrays, (SPIKES,), differentiable=False),
    "metrics.r2": Row(metrics.r2, (VALUES, TARGETS), differentiable=False),
    "diagnosis.diagnose": Row(diagnose_arrays, (SPIKES,), differentiable=False),
    "initializers.lsuv": Row(lsuv_arrays, (SPIKES,), differentiable=False),
}
