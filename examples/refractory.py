"""Neurons with a refractory period, in volts, ohm and ampere.

    python -m examples.refractory --out refractory.png

What is seen: (a) a population under a noisy current step, (b) the membrane of one of its neurons,
held at the reset potential for the refractory period after each spike, (c) the firing rate under
constant current I, simulated, and in closed form

    f(I) = 1 / (t_ref + tau_m ln((v_inf - v_reset) / (v_inf - theta))),   v_inf = v_rest + R I

which is 0 where v_inf <= theta. The refractory period bounds the rate by 1 / t_ref. A simulated
interval is longer by up to two steps, since spikes fall on whole steps and the step that resets
comes on top of the refractory period: (c) takes shorter steps than (a) and (b).

Reference: Gerstner, Kistler, Naud, Paninski, Neuronal Dynamics, 2014, section 1.3.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import flax_snn as snn
from flax_snn import plot

DT = 1e-4  # s
DT_RATES = 2.5e-5  # s, of (c); with 2e-5 the convention would truncate 5 ms to 249 steps
TAU_M = 10e-3  # s
R = 1e7  # ohm
V_REST = V_RESET = -70e-3  # V
THETA = -50e-3  # V

STEP = 3e-9  # A: half above the 2 nA that just reach the threshold
NOISE = 4e-9  # A, standard deviation in each time step: 2.8 mV on the membrane
STEP_ON, STEP_OFF, DURATION = 20e-3, 130e-3, 150e-3  # s

T_REFS = (0.0, 1e-3, 5e-3)  # s, of the curves in (c)


def neuron(t_ref: float, dt: float = DT) -> snn.LIFDynamics:
    """Returns the neuron with a refractory period, and steps, in seconds."""
    return snn.conventions.refractory(
        tau_m=TAU_M, t_ref=t_ref, R=R, v_rest=V_REST, v_reset=V_RESET, theta=THETA, dt=dt
    )


def simulate(dynamics: snn.LIFDynamics, current_TxN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs neurons over currents in ampere; returns spikes and membranes in volts, (T, N) each."""
    layer = snn.RNN(snn.LIFCell(dynamics=dynamics))
    run = jax.jit(lambda x: layer.apply({}, x, mutable=["intermediates"]))
    spikes, traces = run(current_TxN.astype(np.float32))
    return np.asarray(spikes), np.asarray(traces["intermediates"]["cell"]["v"][0])


def noisy_step(neurons: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a current step in ampere, with white noise of its own for each neuron, (T, N)."""
    times = np.arange(round(DURATION / DT)) * DT
    step = STEP * ((times >= STEP_ON) & (times < STEP_OFF))
    return step[:, None] + rng.normal(0.0, NOISE, (times.size, neurons))


def simulated_rates(t_ref: float, currents: np.ndarray, seconds: float) -> np.ndarray:
    """Returns rates in Hz under constant currents in ampere: intervals per time that they take."""
    steps = round(seconds / DT_RATES)
    spikes, _ = simulate(neuron(t_ref, DT_RATES), np.tile(currents, (steps, 1)))
    rates = np.zeros(currents.size)
    for k, train in enumerate(spikes.T):
        fired = np.flatnonzero(train)
        if fired.size > 1:
            rates[k] = (fired.size - 1) / ((fired[-1] - fired[0]) * DT_RATES)
    return rates


def closed_form(t_ref: float, currents: np.ndarray) -> np.ndarray:
    """Returns the rates in Hz that the equation at the top gives."""
    v_inf = V_REST + R * currents
    rates = np.zeros(currents.size)
    fires = v_inf > THETA
    above = v_inf[fires]
    rates[fires] = 1.0 / (t_ref + TAU_M * np.log((above - V_RESET) / (above - THETA)))
    return rates


def draw_rates(ax: Axes, seconds: float) -> None:
    """Draws the rates of the simulation over the curves of the closed form."""
    currents, dense = np.linspace(1e-9, 10e-9, 19), np.linspace(1e-9, 10e-9, 1000)
    for t_ref, color in zip(T_REFS, ("C0", "C1", "C3"), strict=True):
        ax.plot(
            dense * 1e9,
            closed_form(t_ref, dense),
            color=color,
            label=f"$t_{{ref}}$ = {t_ref * 1e3:g} ms",
        )
        simulated = simulated_rates(t_ref, currents, seconds)
        ax.plot(currents * 1e9, simulated, "o", markersize=4, color=color, markerfacecolor="white")
    ax.legend(title="line: closed form\ncircle: simulation", loc="upper left", frameon=False)
    ax.set_xlabel("current (nA)")
    ax.set_ylabel("firing rate (Hz)")


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, print the rates, save the picture."""
    parser = argparse.ArgumentParser(description="LIF neurons with a refractory period")
    parser.add_argument("--out", default="refractory.png", help="where the picture goes")
    parser.add_argument("--neurons", type=int, default=30, help="size of the population")
    parser.add_argument(
        "--t-ref", type=float, default=5e-3, help="refractory period of (a), (b), s"
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="length of each run of (c)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise")
    args = parser.parse_args(argv)

    current = noisy_step(args.neurons, np.random.default_rng(args.seed))
    dynamics = neuron(args.t_ref)
    spikes, v = simulate(dynamics, current)
    during = spikes[round(STEP_ON / DT) : round(STEP_OFF / DT)]
    rate = during.sum() / args.neurons / (STEP_OFF - STEP_ON)
    silent = closed_form(args.t_ref, np.array([STEP]))[0]
    print(dynamics.describe())
    print(f"rate during the step: {rate:.1f} Hz; {silent:.1f} Hz under its mean without noise")

    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    axes = figure.subplot_mosaic([["raster", "rates"], ["trace", "rates"]], width_ratios=[1.25, 1])
    plot.raster(spikes, dt=DT, ax=axes["raster"])
    axes["raster"].set_xlabel("")
    plot.membrane(
        v * 1e3,
        dt=DT,
        threshold=THETA * 1e3,
        spikes=spikes,
        neurons=[0],
        unit="mV",
        ax=axes["trace"],
    )
    draw_rates(axes["rates"], args.seconds)
    for name, title in {
        "raster": "(a) noisy current step",
        "trace": "(b) one neuron",
        "rates": "(c) rate under constant current",
    }.items():
        axes[name].set_title(title, loc="left", fontsize="medium")
    for name in ("raster", "trace"):
        axes[name].axvspan(STEP_ON * 1e3, STEP_OFF * 1e3, color="0.93", zorder=0)
    figure.savefig(args.out, dpi=150)
    print(f"plot: {args.out}")


if __name__ == "__main__":
    main()
