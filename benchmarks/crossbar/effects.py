"""Crossbars beside aihwkit 1.2.0, effect by effect; rewrites results/crossbar_effects.json.

    taskset -c 0 python -m benchmarks.crossbar.effects --peer-python PEER/bin/python

multiplies the same inputs, 200 x 128 uniform in [-1, 1], by the same matrix, 128 x 64 normal with
max |w| = 1 at full scale, with one effect switched on at a time, then with those of phase-change
memory together, in float32 on both sides. An error is rms(y - ideal) / std(ideal), its mean and
deviation are taken over 200 programmings or reads. ``peers/aihwkit.txt`` says how to make the
environment of the peer. About a minute; without ``--peer-python`` the columns of aihwkit stay as
they are.

Definitions differ in three places. After programming, aihwkit keeps the difference of each pair
alone, so that drift and read noise act on one device where ours act on two (pcm_*, up to 1 % of the
error). It takes w_max anew from the weights with their noise (reram_1d). Its drift compensation
reads the probe through the noisy periphery, where ours is averaged (all_1d_compensated).

Seconds are of all 200 products with everything at once, and of a programming with drift to one
day. Both sides run in turns, three rounds of one process of the peer and then ours; each round
gives the median of 20 runs after 3, and the median of the rounds counts. ``taskset`` gives both one
core: work this small gains nothing from a second, and threads of the peer wait long for each other
where anything else runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.in_process import in_turns, medians
from benchmarks.machine import write_results
from flax_snn.crossbar import (
    Converter,
    Device,
    Drift,
    IRDrop,
    Programmed,
    ProgrammingNoise,
    ReadNoise,
    Relaxation,
    chip,
)
from flax_snn.crossbar.product import product

FOLDER = Path(__file__).parents[1]
RESULTS = FOLDER / "results" / "crossbar_effects.json"
COMMAND = "taskset -c 0 python -m benchmarks.crossbar.effects --peer-python PEER/bin/python"
INPUTS, OUTPUTS, VECTORS, REPEATS, SEED = 128, 64, 200, 200, 0
ROUNDS, RUNS, WARM_UP = 3, 20, 3
TIMES = {"1s": 1.0, "1h": 3600.0, "1d": 86400.0, "1y": 31536000.0}
FULL = "all_1d_compensated"


@dataclasses.dataclass(frozen=True)
class Effect:
    """What is not ideal.

    Attributes:
      device: the crossbar.
      seconds: age of the chip; by default it is looked at as programmed.
      gain: factor of the input.
    """

    device: Device
    seconds: float | None = None
    gain: float = 1.0

    @property
    def random(self) -> bool:
        """Whether two repeats differ."""
        return self.device.scatters or self.device.noisy


def _pcm(**changes: Any) -> Device:
    memory = {"programming": ProgrammingNoise(), "drift": Drift(), "read_noise": ReadNoise()}
    return Device(**{"w_max": 1.0, **memory, **changes})


_DAC, _ADC = Converter(bits=7, bound=1.0), Converter(bits=9, bound=12.0)

# Names as in peers/aihwkit_worker.py.
EFFECTS = {
    "dac_7_bits": Effect(Device(w_max=1.0, dac=_DAC)),
    "adc_9_bits": Effect(Device(w_max=1.0, adc=_ADC)),
    "output_noise": Effect(Device(w_max=1.0, output_noise=0.06)),
    "input_noise": Effect(Device(w_max=1.0, input_noise=0.05)),
    "weight_read_noise": Effect(Device(w_max=1.0, weight_read_noise=0.02)),
    "ir_drop": Effect(Device(w_max=1.0, ir_drop=IRDrop())),
    "dac_abs_max": Effect(Device(w_max=1.0, dac=_DAC, input_scaling="abs_max"), gain=3.0),
    "programming": Effect(Device(w_max=1.0, programming=ProgrammingNoise())),
    "drift_1d_exact": Effect(Device(w_max=1.0, drift=Drift()), TIMES["1d"]),
    "read_noise_1s": Effect(Device(w_max=1.0, read_noise=ReadNoise()), TIMES["1s"]),
    **{f"pcm_{name}": Effect(_pcm(), seconds) for name, seconds in TIMES.items()},
    **{
        f"pcm_{name}_compensated": Effect(_pcm(drift_compensation="global"), seconds)
        for name, seconds in TIMES.items()
    },
    "reram_1d": Effect(Device(g_max=40.0, w_max=1.0, relaxation=Relaxation()), TIMES["1d"]),
    FULL: Effect(
        _pcm(dac=_DAC, adc=_ADC, output_noise=0.06, drift_compensation="global"), TIMES["1d"]
    ),
}


def question() -> dict[str, Any]:
    """Return matrix ``(out, in)``, inputs, repeats and seed, as the peer reads them."""
    rng = np.random.default_rng(SEED)
    weight = rng.normal(size=(OUTPUTS, INPUTS)).astype(np.float32)
    x = rng.uniform(-1.0, 1.0, (VECTORS, INPUTS)).astype(np.float32)
    return {"weight": weight / np.abs(weight).max(), "x": x, "repeats": REPEATS, "seed": SEED}


def programmed(effect: Effect, weights: jax.Array, key: jax.Array) -> Programmed:
    """Return a chip at the age of the effect."""
    write_key, read_key = jax.random.split(key)
    device = effect.device
    found = chip.program(device, weights, write_key)
    if effect.seconds is None:
        return found
    return chip.read(found, effect.seconds, read_key, device.drift_compensation)


def errors(effect: Effect, weight: np.ndarray, x: np.ndarray) -> dict[str, Any]:
    """Return mean and deviation of our error over repeats."""
    x = effect.gain * x
    ideal = x.astype(np.float64) @ weight.astype(np.float64).T

    def once(key: jax.Array) -> jax.Array:
        chip_key, noise_key = jax.random.split(key)
        found = programmed(effect, jnp.asarray(weight.T), chip_key)
        return product(effect.device, found.reading, jnp.asarray(x), noise_key)

    keys = jax.random.split(jax.random.key(SEED), REPEATS if effect.random else 1)
    y = np.asarray(jax.jit(jax.vmap(once))(keys), np.float64)
    found = np.sqrt(((y - ideal) ** 2).mean(axis=(1, 2))) / ideal.std()
    spread = float(found.std(ddof=1)) if len(found) > 1 else 0.0
    return {"mean": float(found.mean()), "std": spread, "repeats": len(found)}


def speed(weight: np.ndarray, x: np.ndarray) -> dict[str, Callable[[], Any]]:
    """Return compiled calls: all products, and a programming, with everything at once."""
    effect = EFFECTS[FULL]
    make = jax.jit(lambda weights, key: programmed(effect, weights, key))
    multiply = jax.jit(lambda reading, x, key: product(effect.device, reading, x, key))
    weights, inputs, key = jnp.asarray(weight.T), jnp.asarray(x), jax.random.key(SEED)
    reading = make(weights, key).reading
    return {
        "matmul_full": lambda: multiply(reading, inputs, key),
        "program": lambda: make(weights, key),
    }


def ask(python: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Return what the peer answers."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "input.npz"), Path(folder, "output.json")
        np.savez(source, **asked)
        script = FOLDER / "peers" / "aihwkit_worker.py"
        subprocess.run([python, str(script), str(source), str(target)], check=True)
        answer: dict[str, Any] = json.loads(target.read_text())
    return answer


def rounds(asked: dict[str, Any], python: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return seconds of ours, and the answer of the peer with its seconds, taken in turns."""
    runs = speed(asked["weight"], asked["x"])
    ours: dict[str, list[float]] = {name: [] for name in runs}
    answers = []
    for k in range(ROUNDS):
        if python:
            # The errors are wanted once, the seconds each time.
            answers.append(ask(python, asked if k == 0 else asked | {"repeats": 1}))
        for name, run in runs.items():
            seconds = in_turns({name: run}, repeats=RUNS, warm_up=WARM_UP)
            ours[name].append(medians(seconds)[name])
    if not answers:
        return _summary(ours), {}
    theirs = {name: [answer["seconds"][name] for answer in answers] for name in runs}
    return _summary(ours), answers[0] | {"seconds": _summary(theirs)}


def table(mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Return lines that show both sides, and their difference with its standard error in %."""
    lines = [f"{'effect':<22}{'ours':>20}{'aihwkit':>20}{'difference, %':>18}"]
    for name, own in mine["errors"].items():
        line = f"{name:<22}{_number(own):>20}"
        if theirs:
            other = theirs["errors"][name]
            share = 100.0 / other["mean"]
            error = share * sum(row["std"] ** 2 / row["repeats"] for row in (own, other)) ** 0.5
            difference = share * (own["mean"] - other["mean"])
            line += f"{_number(other):>20}{f'{difference:+.3f} +- {error:.3f}':>18}"
        lines.append(line)
    for name, own in mine["seconds"].items():
        line = f"{name:<22}{1e3 * own['median']:>17.3f} ms"
        if theirs:
            other = theirs["seconds"][name]
            ratio = own["median"] / other["median"]
            line += f"{1e3 * other['median']:>17.3f} ms{f'ours / its {ratio:.2f}':>18}"
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crossbar.effects")
    parser.add_argument("--peer-python", help="interpreter of the environment of aihwkit")
    python = parser.parse_args().peer_python
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    asked = question()
    found = {name: errors(effect, asked["weight"], asked["x"]) for name, effect in EFFECTS.items()}
    seconds, answer = rounds(asked, python)
    mine, theirs = {"errors": found, "seconds": seconds}, answer or stored.get("aihwkit") or {}
    print("\n".join(table(mine, theirs)))
    write_results(RESULTS, COMMAND, {"flax_snn": mine, "aihwkit": theirs or None})


def _summary(seconds: dict[str, list[float]]) -> dict[str, Any]:
    return {
        name: {"median": statistics.median(each), "rounds": each} for name, each in seconds.items()
    }


def _number(row: dict[str, Any]) -> str:
    return f"{row['mean']:.5f} +- {row['std']:.5f}"


if __name__ == "__main__":
    main()
