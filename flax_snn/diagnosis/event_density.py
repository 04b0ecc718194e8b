"""How dense the inputs of layers are whose products were asked to be event-driven.

Event-driven products are right at any density, and slower than dense ones where most inputs are
not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from flax_snn.cells import NeuronCell
from flax_snn.products import EventDotGeneral
from flax_snn.typing import Array

_SOWN = "event_density"
"""Collection that shares are sown into; loops over steps, which do not know it, leave it out."""

WORTH = EventDotGeneral().share
"""Share of the inputs that are not zero up to which events were measured to be worth it."""


class DensityRecorder:
    """Interceptor that sows the share of inputs that are not zero, where events were asked for.

    They are by ``products="event"`` of a runner, and by an `EventDotGeneral` as the
    ``dot_general_cls`` of a cell.
    """

    def __init__(self) -> None:
        self._asked: list[bool] = []
        self._depth = 0
        self._sown: Any = {}

    def __call__(
        self,
        call: Callable[..., Any],
        args: Any,
        kwargs: Any,
        context: nn.module.InterceptorContext,
    ) -> Any:
        """Calls a method of a module, as Flax asks its interceptors to do."""
        module, runs = context.module, context.method_name == "__call__"
        is_runner = isinstance(module, nn.RNN) and runs
        if isinstance(module, NeuronCell) and context.method_name == "project":
            asked = bool(self._asked) and self._asked[-1]
            if asked or _is_event_driven(module.dot_general_cls):
                inputs = jnp.asarray(args[0] if args else kwargs["inputs"])
                module.sow(_SOWN, "share", jnp.mean((inputs != 0).astype(jnp.float32)))
        if is_runner:
            self._asked.append(getattr(module, "products", "auto") == "event")
        self._depth += 1
        try:
            return call(*args, **kwargs)
        finally:
            self._depth -= 1
            if is_runner:
                self._asked.pop()
            if self._depth == 0:
                self._sown = module.variables.get(_SOWN, {})

    def shares(self) -> dict[str, Array]:
        """Returns the share of each layer by its name, after a run."""
        found: dict[str, Array] = {}
        for path, shares in flatten_dict(dict(self._sown)).items():
            found["/".join(path[:-1]) or "model"] = jnp.mean(jnp.stack(shares))
        return found


def density_notes(shares: Mapping[str, float]) -> list[str]:
    """Returns a sentence for the layers whose inputs are too dense for events."""
    dense = {name: share for name, share in shares.items() if share > WORTH}
    if not dense:
        return []
    named = ", ".join(f"{name}: {share:.0%}" for name, share in dense.items())
    return [
        f"right but slow ({named} of the inputs are not zero): events were asked for, and are worth"
        f" it up to {WORTH:.0%}; products='auto' takes the dense product above, and so does a cell"
        " without dot_general_cls"
    ]


def _is_event_driven(dot_general_cls: Any) -> bool:
    made = getattr(dot_general_cls, "func", dot_general_cls)  # of a functools.partial
    return made is EventDotGeneral or isinstance(made, EventDotGeneral)
