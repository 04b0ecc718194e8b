"""One million neurons with a refractory period: Python, NumPy, a jitted step, a whole loop.

    python -m benchmarks.speed.lif_step

rewrites benchmarks/results/lif_step.json. The neurons of `examples.refractory`, in volts, each with
a constant current of its own; asked for are the spikes of each neuron in 1000 steps. Pure Python
runs 1000 neurons, and its time is multiplied. The jitted step is called from Python and waited for
once at the end; the whole loop is one compiled call of ``lax.scan`` over the cell, four steps to a
pass, so that XLA keeps a membrane in registers from step to step. Beside them the time to read and
write the state once, as a call of its own (what a step at least does), and within a compiled loop
(what memory allows). About two minutes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import flax_snn as snn
from benchmarks.in_process import in_turns, medians
from benchmarks.machine import write_results

RESULTS = Path(__file__).parents[1] / "results" / "lif_step.json"
COMMAND = "python -m benchmarks.speed.lif_step"
STEPS, UNROLL = 1000, 4
PYTHON_NEURONS = 1000
TAU_M, TAU_REF, DT = 20e-3, 2e-3, 1e-3  # s
THETA = 1.0

CELL = snn.LIFCell(
    dynamics=snn.LIFDynamics(tau_mem=TAU_M, refractory=TAU_REF, dt=DT, threshold=THETA)
)
ALPHA = np.float32(np.exp(-DT / TAU_M))
LEAK = np.float32(-np.expm1(-DT / TAU_M))
HOLD = round(TAU_REF / DT)


def python_loop(current: np.ndarray, steps: int) -> list[int]:
    """Return the spikes of each neuron; the equations as one would write them."""
    alpha, leak, theta = float(ALPHA), float(LEAK), THETA
    counts = []
    for x in current.tolist():
        v, held, count = 0.0, 0, 0
        for _ in range(steps):
            v = alpha * v + leak * x
            if held:
                v, held = 0.0, held - 1
            elif v > theta:
                v, held, count = 0.0, HOLD, count + 1
        counts.append(count)
    return counts


def numpy_loop(current: np.ndarray, steps: int) -> np.ndarray:
    """Return the spikes of each neuron, in place as far as NumPy allows."""
    v, drive = np.zeros_like(current), LEAK * current
    held, counts = np.zeros(len(current), np.int8), np.zeros(len(current), np.int32)
    for _ in range(steps):
        v *= ALPHA
        v += drive
        v[held > 0] = 0.0
        np.maximum(held - 1, 0, out=held)
        fired = v > THETA
        v[fired], held[fired] = 0.0, HOLD
        counts += fired
    return counts


def jax_runs(current: jax.Array, steps: int) -> dict[str, Any]:
    """Return the functions that JAX runs."""
    begin = CELL.initialize_carry(None, current.shape)
    step = jax.jit(lambda state, x: CELL.apply({}, state, x))

    def called() -> jax.Array:
        state, counts = begin, jnp.zeros(current.shape)
        for _ in range(steps):
            state, spikes = step(state, current)
            counts = counts + spikes
        return counts

    @jax.jit
    def whole(state: Any, x: jax.Array) -> jax.Array:
        def body(loop: Any, _: None) -> Any:
            state, counts = loop
            state, spikes = CELL.apply({}, state, x)
            return (state, counts + spikes), None

        loop = (state, jnp.zeros(x.shape))
        return lax.scan(body, loop, None, length=steps, unroll=UNROLL)[0][1]

    def touched(state: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf + 1, state)

    touch = jax.jit(touched, donate_argnums=0)
    held = [jax.tree.map(jnp.copy, begin)]

    def called_touch() -> Any:
        for _ in range(steps):
            held[0] = touch(held[0])
        return held[0]

    # A barrier keeps XLA from adding several passes up.
    many = jax.jit(
        lambda state: lax.fori_loop(
            0, steps, lambda _, s: lax.optimization_barrier(touched(s)), state
        )
    )
    return {
        "jitted step, called": called,
        "whole loop": lambda: whole(begin, current),
        "read and write, called": called_touch,
        "read and write, loop": lambda: many(begin),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed.lif_step")
    parser.add_argument("--neurons", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    current = rng.uniform(0.5, 3.0, options.neurons).astype(np.float32)
    few = 50  # steps of NumPy in a round: it takes long enough
    runs = {
        "pure Python": lambda: python_loop(current[:PYTHON_NEURONS], few),
        "NumPy": lambda: numpy_loop(current, few),
        **jax_runs(jnp.asarray(current), STEPS),
    }
    scale = {"pure Python": options.neurons / PYTHON_NEURONS / few, "NumPy": 1 / few}
    seconds = in_turns(runs, repeats=options.repeats)
    per_step = {name: 1e3 * s * scale.get(name, 1 / STEPS) for name, s in medians(seconds).items()}
    ours = np.asarray(runs["whole loop"]())
    # A multiplication that one program fuses with an addition moves a spike by a step now and then.
    same = {
        "NumPy": float(np.mean(numpy_loop(current, STEPS) == ours)),
        "jitted step, called": float(np.mean(np.asarray(runs["jitted step, called"]()) == ours)),
    }
    rows = {}
    for name, took in per_step.items():
        rows[name] = {
            "ms_per_step": round(took, 4),
            "times the whole loop": round(took / per_step["whole loop"], 2),
        }
        print(f"{name:26} {took:10.3f} ms a step {took / per_step['whole loop']:10.2f}")
    ratios = {
        name: round(per_step["whole loop"] / per_step[name], 2)
        for name in per_step
        if name.startswith("read")
    }
    print("whole loop /", ratios, "  neurons with as many spikes as", same)
    found = {
        "neurons": options.neurons,
        "steps": STEPS,
        "rows": rows,
        "whole loop over": ratios,
        "spikes per neuron and step": float(ours.mean() / STEPS),
        "neurons with as many spikes": same,
    }
    write_results(RESULTS, COMMAND, found)


if __name__ == "__main__":
    main()
