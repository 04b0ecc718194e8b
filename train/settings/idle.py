"""Settings that do nothing beside others: said before training, not refused.

``--momentum 0.5`` is of SGD, and the default optimiser is AdamW: someone who compares values of it
there would compare runs that are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from train.settings.checks import flag
from train.settings.network import NetworkConfig
from train.settings.training import TrainingConfig

IDLE = {
    "momentum": ("optimizer", ("adamw",), "sgd"),
    "weight_decay": ("optimizer", ("sgd",), "adamw"),
    "init_spread": ("init", ("fluctuation", "gains"), "lsuv"),
    "input_gain": ("init", ("fluctuation",), "gains"),
    "layer_gain": ("init", ("fluctuation",), "gains"),
    "recurrent_gain": ("init", ("fluctuation",), "gains"),
    "readout_gain": ("init", ("fluctuation",), "gains"),
    "count_scale": ("readout", ("first", "max", "mean", "last"), "spikes"),
    "membrane_scale": ("readout", ("spikes", "first"), "max"),
    "tau_mem": ("neuron", ("tutorial",), "lif"),
    "tau_syn": ("neuron", ("tutorial",), "lif"),
}
"""Settings with the one that decides about them, its values beside which they do nothing, and a
value with which they act."""


def idle(settings: Any) -> Iterator[str]:
    """Yields a sentence for each setting that was changed and does nothing.

    Args:
      settings: settings of a task; those of tasks with a network of their own are not looked at.
    """
    kinds: dict[str, type[Any]] = {"network": NetworkConfig, "training": TrainingConfig}
    for field, kind in kinds.items():
        part = getattr(settings, field, None)
        if type(part) is not kind:
            continue
        for name, (other, values, acts) in IDLE.items():
            value = getattr(part, name, None)
            if value is None or value == getattr(kind(), name):
                continue
            if (chosen := getattr(part, other)) in values:
                yield (
                    f"note: {flag(name)} {value:g} does nothing with {flag(other)} {chosen}; it"
                    f" acts with {flag(other)} {acts}"
                )
