"""The width over which delays are spread while they are learned, and how training sets it.

The width is no parameter: a training loop begins with one of about half of the largest delay, so
that every connection feels all delays, and narrows it until single steps are left. It lies in the
collection ``delays`` of the variables, one number ``sigma`` for each layer, and `with_sigma` sets
all of them. It is an array, so that nothing is compiled again when it changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from flax_snn import checks
from flax_snn.layers.delay_taps import check_sigma
from flax_snn.typing import Array

__all__ = ["COLLECTION", "annealed_sigma", "with_sigma"]


def __dir__() -> list[str]:
    return __all__


COLLECTION = "delays"
"""The collection of the variables in which the width of each layer lies."""


def with_sigma(variables: Mapping[str, Any], sigma: Any) -> dict[str, Any]:
    """Returns variables in which the delays of all layers are spread over another width.

    >>> import flax_snn as snn, jax
    >>> layer = snn.DelayedDense(4, max_delay=20)
    >>> variables = layer.init(jax.random.key(0), jax.numpy.ones((1, 30, 3)))
    >>> for epoch in range(3):
    ...     sigma = snn.layers.annealed_sigma(epoch, steps=2, start=10.0, end=0.5)
    ...     variables = snn.layers.with_sigma(variables, sigma)
    ...     print(round(float(variables["delays"]["sigma"]), 3))
    10.0
    2.236
    0.5

    Args:
      variables: variables of a model, with the collection ``delays``.
      sigma: the width in steps, a positive number or an array without axes, which may be traced.

    Raises:
      ValueError: no collection ``delays``, or a width that is not positive.
    """
    check_sigma("sigma", sigma, ())
    if not jax.tree.leaves(variables.get(COLLECTION, {})):
        raise ValueError(
            checks.error_text(
                "variables",
                f"the collection {COLLECTION!r}, which init makes for layers with delays",
                f"{', '.join(variables) or 'nothing'}",
                "layers with learn_sigma=True learn their widths and have none there",
            )
        )

    def changed(path: Any, leaf: Any) -> Any:
        is_width = getattr(path[-1], "key", None) in ("sigma", "recurrent_sigma")
        return jnp.asarray(sigma, jnp.result_type(leaf)) if is_width else leaf

    widths = jax.tree_util.tree_map_with_path(changed, variables[COLLECTION])
    return {**variables, COLLECTION: widths}


def annealed_sigma(step: Any, *, steps: int, start: float, end: float = 0.5) -> Array:
    """Returns a width that shrinks geometrically from one value to another, and then stays.

        sigma = start * (end / start) ^ min(step / steps, 1)

    Hammouamri et al. (2024) start at half of the largest delay, and reach 0.5 after a quarter of
    the epochs.

    Args:
      step: update or epoch, from 0 on; it may be traced.
      steps: updates or epochs after which the end is reached.
      start: first width in steps.
      end: last width in steps.

    Raises:
      ValueError: a width that is not positive, or ``steps`` below 1.
    """
    checks.whole_number("steps", steps)
    checks.positive("start", start)
    checks.positive("end", end)
    done = jnp.minimum(jnp.asarray(step, jnp.float32) / steps, 1.0)
    return jnp.asarray(start * (end / start) ** done)
