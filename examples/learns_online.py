"""A network that learns online, step by step, on a stream whose task changes half-way.

A spiking network hears 40 noisy channels and is to follow a target that is a filtered mixture of
them. After half of the stream the mixture changes, without notice and without a pause: the network
updates its weights in every step and follows. Another one, whose learning was switched off at the
change, shows what the new task costs those who do not learn.

    python -m examples.learns_online --out online.png

Reference: Bellec et al., *A solution to the learning dilemma for recurrent networks of spiking
neurons*, 2020.
"""

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from matplotlib.figure import Figure

import flax_snn as snn

CHANNELS, NEURONS, STREAMS = 40, 100, 8
SMOOTH = 0.95
"""What the target keeps of itself in a step of 1 ms."""


def stream_of(steps: int, seed: int = 0) -> tuple[Array, Array]:
    """Returns spikes ``(T, B, F)`` and targets ``(T, B, 1)``; the mixture changes half-way."""
    keys = jax.random.split(jax.random.key(seed), 2)
    spikes = jax.random.bernoulli(keys[0], 0.05, (steps, STREAMS, CHANNELS)).astype(jnp.float32)
    mixtures = jax.random.normal(keys[1], (2, CHANNELS))
    first = jnp.arange(steps) < steps // 2
    driven = jnp.where(
        first[:, None], spikes @ mixtures[0] / CHANNELS**0.5, spikes @ mixtures[1] / CHANNELS**0.5
    )

    def smooth(held: Array, now: Array) -> tuple[Array, Array]:
        held = SMOOTH * held + now
        return held, held

    targets = jax.lax.scan(smooth, jnp.zeros(STREAMS), driven)[1]
    return spikes, targets[..., None]


def errors_of(
    steps: int, rule: str, rate: float, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the squared error of each step, of the network that learns on and of the other one.

    Args:
      steps: steps of the stream.
      rule: rule of `snn.learn.Stream`.
      rate: learning rate of Adam.
      seed: seed of the stream.
    """
    cells = [snn.RecurrentLIFCell(NEURONS), snn.LeakyIntegratorReadout(1)]
    model = snn.RNN(snn.Chain(cells))
    stream = snn.learn.Stream(model, snn.learn.squared_error, rule=rule)
    optimizer = optax.adam(rate)
    spikes, targets = stream_of(steps, seed)
    params: Any = model.init(jax.random.key(1), spikes[:1].swapaxes(0, 1))["params"]

    def step(loop: Any, now: Any) -> Any:
        params, moments, carry = loop
        x, target, learning = now
        learned = stream.step({"params": params}, carry, (x, target))
        updates, moments = optimizer.update(learned.gradients, moments)
        updates = jax.tree.map(lambda u: learning * u, updates)
        return (optax.apply_updates(params, updates), moments, learned.carry), learned.loss

    @jax.jit
    def run(learning: Array) -> Array:
        start = (params, optimizer.init(params), stream.start({"params": params}, spikes[0]))
        return jax.lax.scan(step, start, (spikes, targets, learning))[1]

    always = jnp.ones(steps)
    until = (jnp.arange(steps) < steps // 2).astype(jnp.float32)
    scale = 2.0 / (
        STREAMS * float(jnp.var(targets))
    )  # from half the sum to a share of the variance
    return np.asarray(run(always)) * scale, np.asarray(run(until)) * scale


def smoothed(errors: np.ndarray, window: int) -> np.ndarray:
    """Returns a running mean."""
    return np.convolve(errors, np.ones(window) / window, mode="valid")


def main() -> None:
    """Lets both networks run, and draws their errors."""
    parser = argparse.ArgumentParser(description="A network that learns online.")
    parser.add_argument("--out", default="online.png", help="where the picture goes")
    parser.add_argument("--steps", type=int, default=20000, help="time steps of the stream")
    parser.add_argument("--rule", default="eprop", choices=["eprop", "d_rtrl"])
    given = parser.parse_args()
    learning, stopped = errors_of(given.steps, given.rule, 1e-3)
    half, window = given.steps // 2, given.steps // 40
    for name, part in (("before the change", half), ("at the end", given.steps)):
        a, b = (float(e[part - 2 * window : part].mean()) for e in (learning, stopped))
        print(f"error {name}: {a:.3f} learning, {b:.3f} not learning after the change")
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    seconds = (np.arange(given.steps - window + 1) + window) * 1e-3
    axes.plot(seconds, smoothed(stopped, window), color="0.6", label="stops learning at the change")
    axes.plot(seconds, smoothed(learning, window), color="C0", label=f"learns on ({given.rule})")
    axes.axvline(half * 1e-3, color="k", linestyle=":", linewidth=1)
    place: dict[str, Any] = {"xy": (half * 1e-3, 0.96), "xycoords": ("data", "axes fraction")}
    axes.annotate("the task changes ", **place, ha="right", va="top")
    axes.set(xlabel="time (s)", ylabel="squared error / variance of the target")
    axes.set_ylim(bottom=0.0)
    axes.legend(frameon=False)
    figure.savefig(given.out, dpi=120)
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
