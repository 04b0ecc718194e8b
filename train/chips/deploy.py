"""What a trained network is worth on real devices: accuracy of chips of different ages.

A network is programmed several times, each time with another key: so many chips. Each chip is
looked at some times after its programming, with and without drift compensation, and runs the whole
part of the data. Data and network stay the same. Then one property of the device after the other
is varied, at the first of these times.

Reference: Joshi et al., *Accurate deep neural network inference using computational phase-change
memory*, 2020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import crossbar
from train.data.order import padded_order
from train.data.parts import Part
from train.model.crossbars import DEVICES, Crossbars, crossbars_of
from train.model.model import Model
from train.restored.run import Restored
from train.run.record import rates_hz, share
from train.run.step import Sums, evaluate
from train.settings.crossbar import CrossbarConfig, CrossbarLayers, CrossbarScaling

NOISES = (0.0, 0.5, 1.0, 2.0, 4.0)
LEVELS = (2, 3, 4, 8, 16, 32)
FAULTS = (0.0, 0.001, 0.01, 0.03, 0.1)
ADC_BITS = (3, 4, 5, 6, 7, 9)
PROGRAM_SEED, FAULT_SEED, READ_SEED = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What is done with a network.

    Attributes:
      device: name of the crossbar, as in the settings of a run.
      layers: ``readout`` or ``all``.
      scaling: of the inputs, as in the settings of a run.
      times: seconds since programming, by their names.
      repeats: chips.
      sweeps: whether properties of the device are varied.
      seed: of the chips.
    """

    device: Literal["ideal", "pcm", "reram"]
    layers: CrossbarLayers
    scaling: CrossbarScaling
    times: dict[str, float]
    repeats: int
    sweeps: bool
    seed: int = 0

    @property
    def rows(self) -> int:
        """Rows of a result, the digital one among them."""
        looks = 1 if DEVICES[self.device]().drift_compensation is None else 2
        varied = sum(map(len, (NOISES, LEVELS, FAULTS, ADC_BITS)))
        return 1 + looks * len(self.times) + self.sweeps * varied


def deploy(
    trained: Restored, part: str, protocol: Protocol, tick: Callable[[str], None]
) -> dict[str, Any]:
    """Runs a network on chips.

    Args:
      trained: the network; it need not have been trained for crossbars.
      part: ``train``, ``validation`` or ``test``.
      protocol: what is done.
      tick: is told what comes next.

    Returns:
      ``digital`` score; ``times``: a row for each time, with and without compensation; ``sweeps``:
      for each property a row for each of its values. A row has ``mean`` and ``std`` (ddof 1) of the
      score over chips, ``scores`` of each of them, and mean ``rates_hz`` of the layers.

    Raises:
      ConfigError: a network in continuous time.
    """
    data = getattr(trained.load_data(), part)
    device = _crossbars(trained.model, protocol).device
    bench = Bench(trained, data, protocol)
    tick("digital")
    digital = bench.digital()
    rows = []
    for name, seconds in protocol.times.items():
        for compensation in dict.fromkeys((device.drift_compensation, None)):
            tick(f"{name}{' with drift compensation' if compensation else ''}")
            found = bench.row(device, seconds, compensation)
            rows.append({"time": name, "seconds": seconds, "compensation": compensation, **found})
    result = {
        "device": protocol.device,
        "layers": protocol.layers,
        "repeats": protocol.repeats,
        "samples": len(data.labels),
        "score": trained.model.objective.score,
        "digital": digital,
        "times": rows,
    }
    if protocol.sweeps:
        result["sweeps"] = _sweeps(bench, device, protocol, tick)
    return result


class Bench:
    """Programs chips with the weights of a network, and scores them.

    Args:
      trained: the network.
      data: the samples.
      protocol: which layers, how many chips.
    """

    def __init__(self, trained: Restored, data: Part, protocol: Protocol) -> None:
        self._trained, self._data, self._protocol = trained, data, protocol
        self._order = jnp.asarray(
            padded_order(len(data.labels), trained.settings.training.batch_size)
        )
        self._device: crossbar.Device | None = None
        self._chips: list[Any] = []
        self._score: Any = None

    def digital(self) -> dict[str, Any]:
        """Returns score and rates of the network as its weights say."""
        model = self._trained.model.without_crossbars()
        params = self._trained.params
        scored = jax.jit(lambda part, order: evaluate(model, params, part, order))
        return self._numbers(scored(self._data, self._order).sums)

    def row(self, device: crossbar.Device, seconds: float, compensation: Any) -> dict[str, Any]:
        """Returns scores of all chips at one time."""
        if device != self._device:
            self._program(device)

        found = []
        for chips, key in zip(self._chips, self._keys(READ_SEED), strict=True):
            seen = crossbar.at_time({"crossbar": chips}, seconds, key, compensation)["crossbar"]
            found.append(self._numbers(self._score(seen, key, self._data)))
        scores = [each["score"] for each in found]
        layers = found[0]["rates_hz"]
        return {
            "mean": float(np.mean(scores)),
            "std": float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0,
            "scores": scores,
            "rates_hz": {
                n: float(np.mean([each["rates_hz"][n] for each in found])) for n in layers
            },
        }

    def _program(self, device: crossbar.Device) -> None:
        model = _on_crossbars(self._trained.model, self._protocol, device)
        params, order = self._trained.params, self._order
        make = jax.jit(model.program)
        keys, faults = self._keys(PROGRAM_SEED), self._keys(FAULT_SEED)
        self._chips = [make(params, *pair) for pair in zip(keys, faults, strict=True)]
        self._device = device

        def score(chips: Any, key: Any, part: Part) -> Sums:
            return evaluate(model.on_chips(chips), params, part, order, key).sums

        self._score = jax.jit(score)

    def _numbers(self, sums: Sums) -> dict[str, Any]:
        model = self._trained.model
        return {"score": share(sums.points, sums.samples), "rates_hz": rates_hz(model, sums)}

    def _keys(self, stream: int) -> list[Any]:
        key = jax.random.fold_in(jax.random.key(self._protocol.seed), stream)
        return list(jax.random.split(key, self._protocol.repeats))


def _on_crossbars(model: Model, protocol: Protocol, device: crossbar.Device) -> Model:
    """Returns a model on the crossbars of a protocol, whatever it was trained for."""
    crossbars = _crossbars(model, protocol)
    return model.with_crossbars(dataclasses.replace(crossbars, device=device))


def _crossbars(model: Model, protocol: Protocol) -> Crossbars:
    config = CrossbarConfig(
        crossbar=protocol.device,
        crossbar_layers=protocol.layers,
        crossbar_scaling=protocol.scaling,
    )
    crossbars = crossbars_of(config, model.parts)
    assert crossbars is not None
    return crossbars


def _sweeps(
    bench: Bench, device: crossbar.Device, protocol: Protocol, tick: Callable[[str], None]
) -> dict[str, Any]:
    """Returns rows of scores against each property of the device."""
    seconds = next(iter(protocol.times.values()))
    sweeps: dict[str, list[dict[str, Any]]] = {}
    for name, value, changed in _variations(device):
        tick(f"{name} {value}")
        row = bench.row(changed, seconds, changed.drift_compensation)
        sweeps.setdefault(name, []).append({"value": value, **row})
    return sweeps


def _variations(device: crossbar.Device) -> Iterator[tuple[str, float, crossbar.Device]]:
    for factor in NOISES:
        yield "noise", factor, device.with_noise(factor)
    for levels in LEVELS:
        yield "levels", levels, device.replace(levels=levels)
    for rate in FAULTS:
        faults = crossbar.Faults(low=rate / 2, high=rate / 2)
        yield "faults", rate, device.replace(faults=faults)
    bound = 12.0 if device.adc is None else device.adc.bound
    for bits in ADC_BITS:
        yield "adc_bits", bits, device.replace(adc=crossbar.Converter(bits, bound))
