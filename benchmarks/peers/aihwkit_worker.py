"""Error of a matrix product on an aihwkit 1.2.0 tile, one effect at a time, and its speed.

    PEER/bin/python benchmarks/peers/aihwkit_worker.py INPUT.npz OUTPUT.json

runs in the environment of ``aihwkit.txt`` alone and imports nothing of ours. INPUT.npz holds

    "weight"      float32 (out, in), max |w| = 1, used as it is: w = 1 is full scale, g_max
    "x"           float32 (n, in) in [-1, 1]
    "repeats"     programmings or reads of an effect with randomness
    "seed"        of torch's generator, set anew for each effect

and OUTPUT.json {"version", "errors": {effect: {"mean", "std", "repeats"}}, "seconds"}. The error of
one repeat is rms(y - ideal) / std(ideal), where ideal = x W^T in float64; "std" has ddof = 1. An
effect without randomness runs once, and its "std" is 0.

Its torch tile runs all it can; IR drop and weight noise exist on its C++ tile alone. That one takes
its seed from the clock and all its noise from one list of 32768 normal numbers, so each repeat has
a new tile. "seconds" are medians of 20 runs after 3: "matmul_full", one forward pass of all of x
through the tile of "all_1d_compensated", and "program", its programming and drift to one day, with
the two readings of the compensation.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch  # type: ignore[import-not-found]
from aihwkit.inference import (  # type: ignore[import-not-found]
    GlobalDriftCompensation,
    PCMLikeNoiseModel,
    ReRamWan2022NoiseModel,
)
from aihwkit.simulator.configs import (  # type: ignore[import-not-found]
    InferenceRPUConfig,
    TorchInferenceRPUConfig,
)
from aihwkit.simulator.parameters.enums import (  # type: ignore[import-not-found]
    BoundManagementType,
    NoiseManagementType,
    WeightNoiseType,
)

TIMES = {"1s": 1.0, "1h": 3600.0, "1d": 86400.0, "1y": 31536000.0}
FULL = "all_1d_compensated"
WARM_UP, RUNS = 3, 20


@dataclasses.dataclass(frozen=True)
class Effect:
    """What is not ideal.

    Attributes:
      periphery: fields of its ``IOParameters`` that differ from ``IDEAL``.
      devices: makes the noise model that the weights are programmed with; by default none.
      seconds: time of the drift after programming; by default the weights are as programmed.
      compensated: whether outputs are scaled by its ``GlobalDriftCompensation``.
      gain: factor of the input.
      config: kind of tile.
      random: whether two repeats differ.
    """

    periphery: dict[str, Any] = dataclasses.field(default_factory=dict)
    devices: Callable[[], Any] | None = None
    seconds: float | None = None
    compensated: bool = False
    gain: float = 1.0
    config: type[Any] = TorchInferenceRPUConfig
    random: bool = True


def resolution(bits: int) -> float:
    """Return the step of a converter as a fraction of its range; 2^bits - 1 levels with zero."""
    return 1 / (2**bits - 2)


def pcm(*, programming: bool = True, drift: bool = True, read: bool = True) -> Callable[[], Any]:
    """Return what makes its model of PCM, with some of its three parts."""
    return lambda: PCMLikeNoiseModel(
        g_max=25.0,
        prog_noise_scale=float(programming),
        drift_scale=float(drift),
        read_noise_scale=float(read),
    )


IDEAL = {
    "inp_res": -1.0,
    "inp_bound": 0.0,
    "inp_noise": 0.0,
    "out_res": -1.0,
    "out_bound": 0.0,
    "out_noise": 0.0,
    "noise_management": NoiseManagementType.NONE,
    "bound_management": BoundManagementType.NONE,
}
DAC = {"inp_res": resolution(7), "inp_bound": 1.0}
ADC = {"out_res": resolution(9), "out_bound": 12.0}
OUTPUT_NOISE = {"out_noise": 0.06}
INPUT_NOISE = {"inp_noise": 0.05}
WEIGHT_NOISE = {"w_noise": 0.02, "w_noise_type": WeightNoiseType.ADDITIVE_CONSTANT}
ABS_MAX = {"noise_management": NoiseManagementType.ABS_MAX}

EFFECTS = {
    "dac_7_bits": Effect(DAC, random=False),
    "adc_9_bits": Effect(ADC, random=False),
    "output_noise": Effect(OUTPUT_NOISE),
    "input_noise": Effect(INPUT_NOISE),
    "weight_read_noise": Effect(WEIGHT_NOISE, config=InferenceRPUConfig),
    "ir_drop": Effect({"ir_drop": 1.0}, config=InferenceRPUConfig, random=False),
    "dac_abs_max": Effect(DAC | ABS_MAX, gain=3.0, random=False),
    "programming": Effect(devices=pcm()),
    "drift_1d_exact": Effect(devices=pcm(programming=False, read=False), seconds=TIMES["1d"]),
    "read_noise_1s": Effect(devices=pcm(programming=False, drift=False), seconds=TIMES["1s"]),
    **{f"pcm_{name}": Effect(devices=pcm(), seconds=seconds) for name, seconds in TIMES.items()},
    **{
        f"pcm_{name}_compensated": Effect(devices=pcm(), seconds=seconds, compensated=True)
        for name, seconds in TIMES.items()
    },
    "reram_1d": Effect(devices=lambda: ReRamWan2022NoiseModel(g_max=40.0), seconds=TIMES["1d"]),
    FULL: Effect(DAC | ADC | OUTPUT_NOISE, devices=pcm(), seconds=TIMES["1d"], compensated=True),
}


def build(effect: Effect, weight: torch.Tensor) -> Any:
    """Return a tile with this weight, not yet programmed."""
    config = effect.config()
    for field, value in (IDEAL | effect.periphery).items():
        setattr(config.forward, field, value)
    config.drift_compensation = GlobalDriftCompensation() if effect.compensated else None
    if effect.devices is not None:
        config.noise_model = effect.devices()
    tile = config.tile_class(*weight.shape, config)
    tile.set_weights(weight)
    return tile.eval()


def program(tile: Any, effect: Effect) -> None:
    """Program the weights that the tile was built with, and let them drift."""
    if effect.devices is not None:
        tile.program_weights()
        if effect.seconds is not None:
            tile.drift_weights(effect.seconds)


def errors(effect: Effect, weight: torch.Tensor, x: torch.Tensor, repeats: int) -> dict[str, Any]:
    """Return mean and standard deviation of the error over repeats."""
    x = effect.gain * x
    ideal = x.numpy().astype(np.float64) @ weight.numpy().astype(np.float64).T
    found = []
    for _ in range(repeats if effect.random else 1):
        tile = build(effect, weight)
        program(tile, effect)
        difference = tile(x).numpy().astype(np.float64) - ideal
        found.append(np.sqrt((difference**2).mean()) / ideal.std())
    spread = float(np.std(found, ddof=1)) if len(found) > 1 else 0.0
    return {"mean": float(np.mean(found)), "std": spread, "repeats": len(found)}


def median_seconds(run: Callable[[], Any]) -> float:
    """Return the median of the runs after warm-up."""
    seconds = []
    for _ in range(WARM_UP + RUNS):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[WARM_UP:])


def speed(weight: torch.Tensor, x: torch.Tensor) -> dict[str, float]:
    """Return the seconds of a product and of a programming with everything at once."""
    effect = EFFECTS[FULL]
    tile = build(effect, weight)
    program(tile, effect)
    return {
        "matmul_full": median_seconds(lambda: tile(x)),
        "program": median_seconds(lambda: program(tile, effect)),
    }


def read(path: Path) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    """Return weight, inputs, repeats and seed."""
    with np.load(path) as arrays:
        weight, x = arrays["weight"], arrays["x"]
        repeats, seed = int(arrays["repeats"]), int(arrays["seed"])
    if weight.dtype != np.float32 or x.dtype != np.float32:
        raise TypeError(f"expected weight and x in float32, got {weight.dtype} and {x.dtype}")
    if weight.ndim != 2 or x.ndim != 2 or weight.shape[1] != x.shape[1]:
        raise ValueError(f"expected weight (out, in) and x (n, in), got {weight.shape}, {x.shape}")
    largest = float(np.abs(weight).max())
    if abs(largest - 1) > 1e-6:
        raise ValueError(f"expected a weight with max |w| = 1, got {largest}; divide by it")
    if np.abs(x).max() > 1:
        raise ValueError(f"expected x in [-1, 1], got max |x| = {np.abs(x).max()}")
    if repeats < 1:
        raise ValueError(f"expected at least one repeat, got {repeats}")
    return torch.from_numpy(weight), torch.from_numpy(x), repeats, seed


def main(source: str, target: str) -> None:
    weight, x, repeats, seed = read(Path(source))
    answer: dict[str, Any] = {"version": version("aihwkit"), "errors": {}}
    with torch.no_grad():
        for name, effect in EFFECTS.items():
            torch.manual_seed(seed)
            answer["errors"][name] = errors(effect, weight, x, repeats)
        answer["seconds"] = speed(weight, x)
    Path(target).write_text(json.dumps(answer, indent=2) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
