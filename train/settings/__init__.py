"""Settings that tasks share: frozen dataclasses, one field a flag, with the flag's help below it.

Settings of a task hold everything that decides its result, and are stored with each checkpoint.
`RunOptions` say where a run goes and how it is shown, and are not.
"""

from train.settings.crossbar import (
    NO_CROSSBAR,
    CrossbarConfig,
    CrossbarKind,
    CrossbarLayers,
    CrossbarScaling,
)
from train.settings.network import NetworkConfig, Readout
from train.settings.options import RunOptions
from train.settings.training import TrainingConfig
from train.settings.versions import VERSION, added

__all__ = [
    "NO_CROSSBAR",
    "VERSION",
    "CrossbarConfig",
    "CrossbarKind",
    "CrossbarLayers",
    "CrossbarScaling",
    "NetworkConfig",
    "Readout",
    "RunOptions",
    "TrainingConfig",
    "added",
]
