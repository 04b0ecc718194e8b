"""States of any kind of neuron: pytrees of arrays, of which floating leaves have derivatives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def floating(state: Any) -> Any:
    """Returns the part of a state that has derivatives: other leaves are None."""
    return jax.tree.map(lambda leaf: leaf if _is_floating(leaf) else None, state)


def others(state: Any) -> Any:
    """Returns the part of a state that has no derivatives: floating leaves are None."""
    return jax.tree.map(lambda leaf: None if _is_floating(leaf) else leaf, state)


def rejoined(part: Any, rest: Any) -> Any:
    """Returns the state that `floating` and `others` took apart."""

    def is_none(leaf: Any) -> bool:
        return leaf is None

    return jax.tree.map(lambda a, b: b if a is None else a, part, rest, is_leaf=is_none)


def _is_floating(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))
