"""Settings of layers on memristive crossbars."""

from __future__ import annotations

import dataclasses
from typing import Literal

MEASURED = (1.0, 86400.0, 172800.0)
"""Ages in seconds at which resistive memory was measured."""

CrossbarKind = Literal["none", "ideal", "pcm", "reram"]
CrossbarLayers = Literal["readout", "all"]
CrossbarScaling = Literal["none", "abs_max"]


@dataclasses.dataclass(frozen=True)
class CrossbarConfig:
    """Layers on memristive crossbars, and hardware-aware training; see ``flax_snn.crossbar``."""

    crossbar: CrossbarKind = "none"
    """Train against this crossbar: each batch meets chips of its own. `pcm`: phase-change memory;
    `reram`: resistive memory; `ideal`: one that computes what the weights say."""
    crossbar_layers: CrossbarLayers = "all"
    """Layers that lie on crossbars, recurrent weights included: the last one, or all."""
    crossbar_scaling: CrossbarScaling = "none"
    """`abs_max`: inputs are scaled to their largest value, and a step without any is not read: no
    noise comes of it, which helps where spikes are rare. `none`: every step is read."""
    crossbar_noise: float = 1.0
    """Factor of the noise of the devices in training; more than 1 makes weights sturdier."""
    crossbar_time: float = 86400.0
    """Age in seconds of the chips that training meets, a day by default; 0: as programmed, or the
    first age that was measured."""
    weight_clip: float = 1.5
    """Weights on crossbars stay within so many times the root mean square of their matrix, so that
    the largest one does not cost the others resolution; 0: no bound."""


NO_CROSSBAR = CrossbarConfig()
"""A network whose weights are numbers."""
