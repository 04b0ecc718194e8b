"""One layer of `flax_snn.event` with all there is, compiled once, beside its reference.

Compiling is what takes time in these tests: everything but the shapes is an argument.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import event_reference as reference
import jax
import jax.numpy as jnp
import numpy as np
from event_reference import Network

from flax_snn.dynamics import LIFParameters
from flax_snn.event import Membrane, Spikes, simulate
from flax_snn.event.simulation import checked_layer

B, M, F, N, BUDGET, SLOTS, QUERIES, DURATION = 2, 8, 4, 4, 64, 24, 3, 6.0

PHYSICS = ("tau_mem", "tau_syn", "threshold", "v_rest", "v_reset", "refractory")
DIFFERENTIABLE = (*PHYSICS, "kernel", "delay", "recurrent_kernel", "recurrent_delay")

MARGIN = 5e-3
"""Nearest to a decision that a network of a test may come, in potential."""

QUICK = {"xla_backend_optimization_level": 0}
"""For programs that take longer to compile than to run."""

STEP = 2e-6
"""Step of finite differences: error 1e-5 at that margin; of rounding 1e-8."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A network and its input: times ``(B, M)`` sorted, sources ``(B, M)``."""

    network: Network
    time: np.ndarray
    source: np.ndarray


@dataclasses.dataclass(frozen=True)
class Loss:
    """Weights of what a loss is made of; zeros leave it out."""

    spikes: Any = dataclasses.field(default_factory=lambda: np.zeros((B, N, SLOTS)))
    at: Any = dataclasses.field(default_factory=lambda: np.zeros((B, QUERIES, N)))
    integral: Any = dataclasses.field(default_factory=lambda: np.zeros((B, N)))
    maximum: Any = dataclasses.field(default_factory=lambda: np.zeros((B, N)))
    when: Any = dataclasses.field(default_factory=lambda: np.array([1.1, 2.9, DURATION]))

    def of(self, case: Case, runs: list[reference.Run]) -> float:
        """The loss of the reference."""
        total = 0.0
        for b, run in enumerate(runs):
            table = run.table(N, SLOTS)
            total += float((np.where(np.isfinite(table), table, 0.0) * self.spikes[b]).sum())
            for n in range(N):
                if self.at[b, :, n].any():
                    total += float(self.at[b, :, n] @ run.potential(n, self.when))
                if self.integral[b, n]:
                    total += self.integral[b, n] * run.integral(n)
                if self.maximum[b, n]:
                    total += self.maximum[b, n] * run.maximum(n)
        return total


def spike_loss(seed: int = 0) -> Loss:
    return Loss(spikes=np.random.default_rng(seed).normal(size=(B, N, SLOTS)))


def random_case(
    seed: int,
    *,
    ratio: float = 2.0,
    refractory: float = 0.0,
    delays: bool = True,
    recurrence: float = 1.0,
    strength: float = 1.0,
) -> Case:
    """A random layer and input; time constants of neurons differ by a few percent."""
    rng = np.random.default_rng(seed)

    def around(x: float, share: float) -> np.ndarray:
        return x * rng.uniform(1 - share, 1 + share, N)

    scale = strength / float(reference.flow(0.0, 1.0, np.linspace(0, 9, 900), ratio, 1.0)[0].max())
    network = Network(
        kernel=rng.normal(0.6, 0.6, (F, N)) * scale,
        tau_mem=around(ratio, 0.03),
        tau_syn=around(1.0, 0.03),
        threshold=around(1.0, 0.1),
        v_rest=rng.uniform(-0.1, 0.1, N),
        v_reset=rng.uniform(-0.3, 0.2, N),
        refractory=around(refractory, 0.2),
        delay=rng.uniform(0.1, 0.8, (F, N)) if delays else np.zeros((F, N)),
        recurrent_kernel=rng.normal(0.0, 0.4, (N, N)) * scale * recurrence,
        recurrent_delay=rng.uniform(0.1, 0.8, (N, N)) if delays else np.zeros((N, N)),
    )
    time = np.sort(rng.uniform(0.0, 3.5, (B, M)), axis=1)
    time[1, -2:] = np.inf
    source = np.where(np.isfinite(time), rng.integers(0, F, (B, M)), -1)
    return Case(network, time, source)


def runs_of(case: Case, **limits: Any) -> list[reference.Run]:
    """What the reference makes of a case."""
    return [
        reference.simulate(case.network, t, s, duration=DURATION, **limits)
        for t, s in zip(case.time, case.source, strict=True)
    ]


def margin(runs: list[reference.Run]) -> float:
    """How far from any decision the runs are; 0 where they are too busy for the tables."""
    for run in runs:
        counts = np.bincount([n for _, n in run.spikes], minlength=N)
        if counts.max() > SLOTS or counts.sum() > BUDGET:
            return 0.0
    return min(run.margin for run in runs)


def clear_cases(seeds: range, **options: Any) -> Iterator[tuple[Case, list[reference.Run]]]:
    """Cases of these seeds that are far from decisions, with what the reference makes of them."""
    for seed in seeds:
        case = random_case(seed, **options)
        runs = runs_of(case)
        if margin(runs) > MARGIN:
            yield case, runs


def parameters_of(p: Any) -> LIFParameters:
    return LIFParameters(**{name: p[name] for name in PHYSICS})


@functools.cache
def compiled(with_membrane: bool, max_spikes: int | None) -> Any:
    """Loss, spikes and membrane, and gradients, of a layer with delays and recurrence."""

    def membrane_parts(p: Any, inner: Any, inputs: Spikes, out: Spikes, when: Any) -> Any:
        parameters = parameters_of(p)
        layer, _ = checked_layer("test", inputs, p["kernel"], parameters, p["delay"], DURATION)
        layer = layer._replace(**inner)
        membrane = Membrane(layer, inputs.index, out.time, out.index, DURATION)
        return {
            "at": membrane.at(when),
            "integral": membrane.integral(),
            "maximum": membrane.maximum(),
        }

    def run(p: Any, source: Any, loss: Any) -> Any:
        inputs = Spikes(p["time"], source, None, F)
        inner = {name: p[name] for name in ("recurrent_kernel", "recurrent_delay")}
        out = simulate(
            inputs,
            p["kernel"],
            parameters_of(p),
            budget=BUDGET,
            max_spikes=max_spikes,
            duration=DURATION,
            delay=p["delay"],
            **inner,
        )
        same = out.index[:, :, None] == out.index[:, None, :]
        number = jnp.minimum(jnp.sum(jnp.tril(same, -1), axis=2), SLOTS - 1)
        real = jnp.isfinite(out.time)
        c = loss["spikes"][jnp.arange(B)[:, None], jnp.maximum(out.index, 0), number]
        total = jnp.sum(jnp.where(real, c * jnp.where(real, out.time, 0.0), 0.0))
        parts = {}
        if with_membrane:
            parts = membrane_parts(p, inner, inputs, out, loss["when"])
            total += sum(jnp.sum(loss[name] * value) for name, value in parts.items())
        return total, (out, parts)

    return jax.jit(jax.value_and_grad(run, has_aux=True), compiler_options=QUICK)


def layer(
    case: Case,
    loss: Loss | None = None,
    *,
    with_membrane: bool = False,
    max_spikes: int | None = None,
) -> Any:
    """Run the layer: ``(loss, (spikes, membrane)), gradients``; needs float64.

    A loss on the membrane counts ``with_membrane`` only.
    """
    p = {name: jnp.asarray(getattr(case.network, name)) for name in DIFFERENTIABLE}
    p["time"] = jnp.asarray(case.time)
    weights = {name: jnp.asarray(value) for name, value in vars(loss or Loss()).items()}
    run = compiled(with_membrane, max_spikes)
    return run(p, jnp.asarray(case.source, jnp.int32), weights)


def spikes_of(spikes: Spikes) -> list[list[tuple[float, int]]]:
    """Spikes of each sample as pairs (time, neuron)."""
    return [
        [(float(t), int(n)) for t, n in zip(times, index, strict=True) if math.isfinite(t)]
        for times, index in zip(np.asarray(spikes.time), np.asarray(spikes.index), strict=True)
    ]


def assert_same_spikes(spikes: Spikes, runs: list[reference.Run], atol: float = 1e-9) -> None:
    """Same neurons in the same order at the same times, and nothing behind them."""
    assert not spikes.overflow.any()
    for sample, run in zip(spikes_of(spikes), runs, strict=True):
        assert [n for _, n in sample] == [n for _, n in run.spikes]
        expected = [t for t, _ in run.spikes]
        np.testing.assert_allclose([t for t, _ in sample], expected, rtol=0, atol=atol)


def assert_gradient(
    case: Case, loss: Loss, grads: Any, names: Any, *, seed: int = 0, **limits: Any
) -> None:
    """Gradient along a random direction of the named fields, and the finite difference."""
    rng = np.random.default_rng(seed)
    directions = {}
    for name in names:
        value = case.time if name == "time" else getattr(case.network, name)
        directions[name] = np.where(np.isfinite(value), rng.normal(size=value.shape), 0.0)
    got = sum(float(np.sum(np.asarray(grads[k]) * d)) for k, d in directions.items())
    shift = directions.pop("time", np.zeros(case.time.shape))
    values = []
    for sign in (1, -1):
        moved = Case(
            case.network.moved(sign * STEP, **directions),
            np.where(np.isfinite(case.time), case.time + sign * STEP * shift, np.inf),
            case.source,
        )
        values.append(loss.of(moved, runs_of(moved, **limits)))
    expected = (values[0] - values[1]) / (2 * STEP)
    size = sum(float(np.sum(np.abs(np.asarray(grads[k])))) for k in names)
    assert abs(got - expected) <= 1e-4 * abs(expected) + 1e-6 * size + 1e-6, (got, expected, names)
