"""A recurrent network from a given weight matrix: balanced excitation and inhibition.

    python -m examples.network --out network.png

The matrix is sparse and random: 80 % of the neurons excite, 20 % inhibit, ten times as strongly;
each neuron hears 10 % of either kind. It enters as it is, as the parameter of a cell without input
weights, whose number of neurons is that of the input. Each neuron receives a constant current that
would drive it above threshold, and white noise of its own.

What is seen: the network inhibits itself and lets neurons fire at some 20 Hz, irregularly (the
coefficient of variation of their intervals is 0.9, that of a Poisson process 1), asynchronously.
Without the matrix (``--coupling 0``) they fire at 70 Hz, and more regularly (0.4).

Reference: Brunel, Dynamics of sparsely connected networks of excitatory and inhibitory spiking
neurons, 2000; synchrony: Golomb, Neuronal synchrony measures, 2007.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import jax
import numpy as np
from matplotlib.figure import Figure

import flax_snn as snn
from flax_snn import plot

DT = 0.5e-3  # s
TAU_M = 20e-3  # s
V_RESET = -65.0  # mV, also the resting potential
THETA = -50.0  # mV

EXCITATORY = 0.8  # share of the neurons
CONNECTED = 0.1  # share of the neurons of either kind that feed a neuron
JUMP = 0.5  # mV by which an excitatory spike moves a membrane, for 1000 neurons
INHIBITION = 10.0  # how much stronger inhibition is
DRIVE = 30.0  # mV by which the constant current alone would move a membrane; 15 reach threshold
NOISE = 5.0  # mV, standard deviation that the noise alone would give a membrane

WINDOW = 5e-3  # s, in which spikes are counted for the population rate and the synchrony


def weights(neurons: int, coupling: float, rng: np.random.Generator) -> np.ndarray:
    """Returns the matrix (pre, post), (N, N), without self-connections.

    A spike moves a membrane by dt / tau_m times the entry. Jumps shrink with sqrt(N), so that
    networks of all sizes fluctuate alike.
    """
    excitatory = round(EXCITATORY * neurons)
    jump = coupling * JUMP * np.sqrt(1000 / neurons)
    blocks = []
    for size, height in ((excitatory, jump), (neurons - excitatory, -INHIBITION * jump)):
        rank = rng.random((size, neurons)).argsort(axis=0).argsort(axis=0)
        blocks.append(np.where(rank < round(CONNECTED * size), height, 0.0))
    matrix = np.concatenate(blocks) * (TAU_M / DT)
    np.fill_diagonal(matrix, 0.0)
    return matrix


def drive(steps: int, neurons: int, rng: np.random.Generator) -> np.ndarray:
    """Returns the external current in mV (the resistance is 1), (T, N)."""
    # White noise of 1 mV in each step leaves sqrt(dt / (2 tau_m)) mV on a membrane.
    return DRIVE + rng.normal(0.0, NOISE / np.sqrt(DT / (2 * TAU_M)), (steps, neurons))


def simulate(matrix: np.ndarray, current_TxN: np.ndarray, v_init: np.ndarray) -> np.ndarray:
    """Runs the network over external currents; returns the spikes (T, N)."""
    dynamics = snn.conventions.network(
        tau_m=TAU_M, v_reset=V_RESET, theta=THETA, dt=DT, v_init=v_init.tolist()
    )
    network = snn.RNN(snn.RecurrentLIFCell(dynamics=dynamics))
    params = {"cell": {"recurrent_kernel": matrix.astype(np.float32)}}
    run = jax.jit(lambda params, x: network.apply({"params": params}, x))
    return np.asarray(run(params, current_TxN.astype(np.float32)))


def irregularity(spikes_TxN: np.ndarray) -> float:
    """Returns the mean coefficient of variation of the intervals; neurons of >= 5 spikes only."""
    intervals = [np.diff(np.flatnonzero(train)) for train in spikes_TxN.T if train.sum() >= 5]
    variations = [float(np.std(gaps) / np.mean(gaps)) for gaps in intervals]
    return float(np.mean(variations)) if variations else float("nan")


def windows(spikes_TxN: np.ndarray) -> np.ndarray:
    """Returns the spikes of each neuron in each whole window, (T', N)."""
    steps = round(WINDOW / DT)
    whole = len(spikes_TxN) // steps * steps
    return spikes_TxN[:whole].reshape(-1, steps, spikes_TxN.shape[1]).sum(axis=1)


def synchrony(spikes_TxN: np.ndarray) -> float:
    """Returns sqrt(var(mean over neurons) / mean(var of a neuron)) of counts in windows.

    1 if all neurons do the same, 1 / sqrt(N) if they are independent.
    """
    counts = windows(spikes_TxN)
    return float(np.sqrt(counts.mean(axis=1).var() / counts.var(axis=0).mean()))


def draw(spikes_TxN: np.ndarray, excitatory: int, out: str) -> None:
    """Saves a raster, excitatory neurons in blue below inhibitory ones in red, and the rates."""
    parts = {"excitatory": spikes_TxN[:, :excitatory], "inhibitory": spikes_TxN[:, excitatory:]}
    colors = ("C0", "C3")
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    sizes = [part.shape[1] for part in parts.values()]
    plot.raster(spikes_TxN, dt=DT, color=np.repeat(colors, sizes).tolist(), ax=top)
    top.set_xlabel("")
    for color, (name, part) in zip(colors, parts.items(), strict=True):
        counts = windows(part)
        edges = np.arange(len(counts) + 1) * WINDOW * 1e3
        bottom.stairs(counts.mean(axis=1) / WINDOW, edges, color=color, linewidth=1.2, label=name)
    bottom.set_ylim(0.0, None)
    bottom.set_ylabel("rate (Hz)")
    bottom.set_xlabel("time (ms)")
    figure.legend(frameon=False, ncols=2, loc="outside upper right")
    figure.align_ylabels()
    figure.savefig(out, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, print the rates, save the picture."""
    parser = argparse.ArgumentParser(description="a recurrent network from a given weight matrix")
    parser.add_argument("--out", default="network.png", help="where the picture goes")
    parser.add_argument("--neurons", type=int, default=1000, help="number of neurons")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of the run")
    parser.add_argument("--coupling", type=float, default=1.0, help="factor of the matrix")
    parser.add_argument("--seed", type=int, default=0, help="seed of matrix, noise and start")
    args = parser.parse_args(argv)

    rng = np.random.default_rng(args.seed)
    steps = round(args.seconds / DT)
    matrix = weights(args.neurons, args.coupling, rng)
    v_init = rng.uniform(V_RESET, THETA, args.neurons)
    spikes = simulate(matrix, drive(steps, args.neurons, rng), v_init)

    excitatory = round(EXCITATORY * args.neurons)
    rates = spikes.mean(axis=0) / DT
    print(f"excitatory: {rates[:excitatory].mean():.1f} Hz")
    print(f"inhibitory: {rates[excitatory:].mean():.1f} Hz")
    print(f"coefficient of variation of the intervals: {irregularity(spikes):.2f}")
    print(f"synchrony: {synchrony(spikes):.2f} (independent: {args.neurons**-0.5:.2f})")
    draw(spikes, excitatory, args.out)
    print(f"plot: {args.out}")


if __name__ == "__main__":
    main()
