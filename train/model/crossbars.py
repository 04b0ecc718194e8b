"""Layers of the app's networks on memristive crossbars, as the settings say."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax

import flax_snn as snn
from flax_snn import crossbar
from flax_snn.typing import Array
from train.settings import CrossbarConfig

DEVICES = {
    "ideal": crossbar.Device.ideal,
    "pcm": crossbar.Device.pcm,
    "reram": crossbar.Device.reram,
}
"""Crossbars by their name in the settings."""


@dataclasses.dataclass(frozen=True)
class Crossbars:
    """Which layers of a network lie on crossbars, and what they are trained against.

    Attributes:
      device: the crossbar.
      training: what the weights are trained against.
      layers: names of these layers among the parameters.
      weight_clip: largest weight in units of the root mean square of its matrix; 0: none.
    """

    device: crossbar.Device
    training: crossbar.Training
    layers: tuple[str, ...]
    weight_clip: float

    def on(self, name: str, cell: Any) -> Any:
        """Returns a cell of a network on its crossbar, or as it is."""
        if name not in self.layers:
            return cell
        make = functools.partial(crossbar.DotGeneral, self.device, training=self.training)
        return cell.clone(dot_general_cls=make)

    def settle(self, params: Any) -> Any:
        """Returns parameters after an update, without outliers where that is asked for."""
        if not self.weight_clip:
            return params

        def clip(path: Any, leaf: Array) -> Array:
            names = [entry.key for entry in path]
            if "kernel" not in names[-1] or not set(names) & set(self.layers):
                return leaf
            return crossbar.clip_weights(leaf, self.weight_clip)

        return jax.tree_util.tree_map_with_path(clip, params)


def crossbars_of(config: CrossbarConfig, names: Sequence[str]) -> Crossbars | None:
    """Returns the crossbars that the settings describe; ``None`` for none.

    Args:
      config: the settings.
      names: names of the layers among the parameters, the readout last.
    """
    if config.crossbar == "none":
        return None
    scaling = None if config.crossbar_scaling == "none" else config.crossbar_scaling
    return Crossbars(
        device=DEVICES[config.crossbar](input_scaling=scaling),
        training=crossbar.Training(noise=config.crossbar_noise, time=config.crossbar_time or None),
        layers=tuple(names) if config.crossbar_layers == "all" else (names[-1],),
        weight_clip=config.weight_clip,
    )


def chain_on(network: Any, crossbars: Crossbars) -> snn.RNN:
    """Returns a runner of a chain with cells on crossbars."""
    cells = network.cell.cells
    placed = [crossbars.on(f"cells_{k}", cell) for k, cell in enumerate(cells)]
    return network.clone(cell=snn.Chain(placed))


def streams(key: Array) -> dict[str, Array]:
    """Returns the random keys of a call of a network: membrane noise, programming, products."""
    return {
        "noise": key,
        "programming": jax.random.fold_in(key, 1),
        "reading": jax.random.fold_in(key, 2),
    }
