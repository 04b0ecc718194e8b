"""The network of the pure-JAX tutorial on rate-coded spiking networks: 16 - 32 - 2.

    python -m examples.tutorial_network --out tutorial_network.png

Layer -> cell -> equation: the hidden layer is ONE cell, `snn.RecurrentLIFCell`, with the dynamics
`snn.conventions.tutorial`: feed-forward and recurrent input have synaptic currents with time
constants of their own, the input gain is 20, the gradient is SuperSpike, and stopped at the reset.
The output layer is the same neuron without recurrence, `snn.LIFCell`. A `snn.Chain` of the two is
one step of the network; the class is the output neuron that spikes most often.

What is seen: the equations with their numbers, printed, and the response to one Randman sample of
each class: both drive the hidden layer, with different spikes. Nothing is trained here, so the
output tells nothing yet; ``python -m train.randman`` trains.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import flax_snn as snn
from flax_snn import plot

UNITS, HIDDEN, CLASSES = 16, 32, 2
STEPS, DT = 100, 1e-3  # s


def network(param_dtype: Any = jnp.float32) -> snn.Chain:
    """Returns the cell made of the two layers."""
    # Twice the default: here an input is active in 1 % of the steps only.
    init = nn.initializers.variance_scaling(36.0, "fan_in", "normal")
    neuron = snn.conventions.tutorial(dt=DT)
    shared = {"dynamics": neuron, "kernel_init": init, "param_dtype": param_dtype}
    return snn.Chain([snn.RecurrentLIFCell(HIDDEN, **shared), snn.LIFCell(CLASSES, **shared)])


def data(samples: int, seed: int) -> tuple[jax.Array, np.ndarray]:
    """Returns spikes (B, T, F) and labels (B,), so many samples of each class."""
    randman = snn.datasets.randman(
        classes=CLASSES,
        samples_per_class=samples,
        units=UNITS,
        dim=2,
        alpha=2.0,
        steps=STEPS,
        dt=DT,
        step_frac=1.0,
        seed=seed,
    )
    return jnp.asarray(randman.raster(np.float32)), randman.labels


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a batch forward, prints equations, rates and spike counts, saves the picture."""
    parser = argparse.ArgumentParser(description="the network of the rate-coded tutorial")
    parser.add_argument("--out", default="tutorial_network.png", help="where the picture goes")
    parser.add_argument("--samples", type=int, default=125, help="samples of each class")
    parser.add_argument("--seed", type=int, default=0, help="seed of data and weights")
    args = parser.parse_args(argv)

    inputs, labels = data(args.samples, args.seed)
    layer = snn.RNN(network())
    variables = jax.jit(layer.init)(jax.random.key(args.seed), inputs)
    run = jax.jit(lambda params, x: layer.apply(params, x, mutable=["intermediates"]))
    output, traces = run({"params": variables["params"]}, inputs)
    hidden = traces["intermediates"]["cell"]["cells_0"]["spikes"][0]

    print("hidden", snn.conventions.tutorial(dt=DT).describe())
    print("output: the same without i_r")
    counts = np.asarray(output.sum(axis=1))
    for name, spikes in (("input", inputs), ("hidden", hidden), ("output", output)):
        print(f"{name}: {spikes.shape[-1]} neurons, {float(spikes.mean()) / DT:.1f} Hz")
    for label in range(CLASSES):
        mean = ", ".join(f"{count:.1f}" for count in counts[labels == label].mean(axis=0))
        print(f"class {label}: {mean} spikes of the output neurons in {STEPS * DT * 1e3:g} ms")
    accuracy = (counts.argmax(axis=1) == labels).mean()
    print(f"accuracy by spike count, untrained: {accuracy:.1%}")
    draw(
        {"input": np.asarray(inputs), "hidden": np.asarray(hidden), "output": np.asarray(output)},
        labels,
        args.out,
    )
    print(f"plot: {args.out}")


def draw(layers: dict[str, np.ndarray], labels: np.ndarray, out: str) -> None:
    """Saves the rasters of all layers, one column for the first sample of each class."""
    figure = Figure(figsize=(7.0, 5.2), layout="constrained")
    rows = figure.subplots(len(layers), CLASSES, sharex=True, sharey="row", height_ratios=[2, 3, 1])
    for axes, (name, spikes) in zip(rows, layers.items(), strict=True):
        for label, ax in enumerate(axes):
            sample = int(np.flatnonzero(labels == label)[0])
            plot.raster(spikes, sample=sample, dt=DT, color=f"C{label}", ax=ax)
            ax.set_xlabel("time (ms)" if ax in rows[-1] else "")
            ax.set_ylabel(f"{name} neuron" if label == 0 else "")
            if ax in rows[0]:
                ax.set_title(f"a sample of class {label}", loc="left", fontsize="medium")
    figure.align_ylabels()
    figure.savefig(out, dpi=150)


if __name__ == "__main__":
    main()
