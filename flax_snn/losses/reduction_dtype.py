"""The dtype that losses reduce in: float32, or that of an array where it is wider."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from flax_snn.typing import Array


def reduction_dtype(*arrays: Array) -> Any:
    """Returns the dtype to reduce these arrays in."""
    floating = [x.dtype for x in arrays if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.float64 if any(jnp.finfo(d).bits > 32 for d in floating) else jnp.float32
