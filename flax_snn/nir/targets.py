"""Frameworks that a graph is written for, and what their importers ask of it.

Without a target a graph says what it means and no more. An importer may take a subset of that,
such as gains of one kind, and the graph of the same network may be written in its terms: weights
and gains scaled against each other, time constants for the steps and the method that it uses.
The numbers of each step stay the same.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np

from flax_snn.nir.emit import Emitted
from flax_snn.nir.error import fail
from flax_snn.nir.neuron import Method

Gain = Literal["any", "r=1", "one"]


@dataclasses.dataclass(frozen=True)
class Target:
    """What an importer asks of a graph.

    Attributes:
      name: framework and version.
      words: in words.
      dt: step in seconds for which it reads any file; ``None``: that of the network.
      method: method by which it steps; ``None``: that of the network.
      leaky: gain of LIF and LI: ``any`` r; ``r=1``; ``one``: r such that the input is added as it
        is.
      synaptic: gain of CubaLIF and CubaLI, as ``leaky``; ``one`` for both of its gains.
      counting: gain of IF and I, as ``leaky``.
      recurrence: form of recurrent populations.
    """

    name: str
    words: str
    dt: float | None = None
    method: Method | None = None
    leaky: Gain = "any"
    synaptic: Gain = "any"
    counting: Gain = "any"
    recurrence: Literal["flat", "nested"] = "flat"

    def fit(
        self, emitted: Emitted, where: str, dt: float, method: Method
    ) -> tuple[Emitted, np.ndarray | None]:
        """Return a population with the gains that are asked for, and what weights are scaled by."""
        wanted = {"LIF": self.leaky, "LI": self.leaky, "IF": self.counting, "I": self.counting}.get(
            emitted.kind, self.synaptic
        )
        if wanted == "any":
            return emitted, None
        fields = dict(emitted.fields)
        if emitted.kind in ("I", "IF"):
            fields["r"] = np.full_like(fields["r"], 1.0 / dt)
            return dataclasses.replace(emitted, fields=fields), emitted.gain
        pairs = {"tau": "r"} if "tau" in fields else {"tau_mem": "r", "tau_syn": "w_in"}
        gain = np.ones_like(emitted.gain)
        for tau, name in pairs.items():
            loss = dt / fields[tau] if method == "euler" else -np.expm1(-dt / fields[tau])
            fields[name] = np.ones_like(loss) if wanted == "r=1" else 1.0 / loss
            gain = gain * (loss if wanted == "r=1" else 1.0)
        return dataclasses.replace(emitted, fields=fields), emitted.gain / gain


ANY = Target("NIR", "as it is defined")

TARGETS: dict[str, Target] = {
    each.name: each
    for each in (
        Target(
            "snntorch-1.0.0",
            "steps of 1e-4 s whatever the file says, Euler; gains 1",
            dt=1e-4,
            method="euler",
            leaky="one",
            synaptic="one",
        ),
        Target(
            "spikingjelly-2.0.0",
            "Euler; gains 1; flat cycles",
            method="euler",
            synaptic="one",
            leaky="one",
            counting="one",
        ),
        Target("norse-1.1.0", "Euler; r = 1", method="euler", leaky="r=1", counting="one"),
        Target("jaxpike-0.1.4", "exact decays; r = 1", method="exp", leaky="r=1"),
        Target(
            "sinabs-3.1.3",
            "time constants in steps, exact decays; gains 1",
            dt=1.0,
            method="exp",
            leaky="one",
            counting="one",
        ),
        Target(
            "spyx-1.0.0",
            "Euler; gains 1; nested cycles",
            method="euler",
            leaky="one",
            synaptic="one",
            counting="one",
            recurrence="nested",
        ),
    )
}
"""Targets by name."""


def find_target(name: Any) -> Target:
    """Return a target.

    Raises:
      NIRError: an unknown name.
    """
    if name is None:
        return ANY
    if name not in TARGETS:
        raise fail("target", f"None or one of {', '.join(TARGETS)}", repr(name))
    return TARGETS[name]
