"""The spike of a neuron: an exact step forward, a surrogate as its derivative."""

from __future__ import annotations

import functools
from typing import Any

import jax

from flax_snn.surrogate import Surrogate
from flax_snn.typing import Array, Float


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def spike(
    v: Float[Array, "*B N"], surrogate: Surrogate | None, inclusive: bool, theta: Array
) -> Float[Array, "*B N"]:
    """Returns 1 where a membrane is above its threshold, with the surrogate as derivative.

    Args:
      v: membrane potential ``(*B, N)``.
      surrogate: derivative ``ds/dv``; that with respect to the threshold is its negative.
      inclusive: whether a membrane at its threshold spikes, too.
      theta: threshold, broadcasts against ``v``.

    Returns:
      Spikes 0 and 1 in the dtype of ``v``.
    """
    return (v >= theta if inclusive else v > theta).astype(v.dtype)


@spike.defjvp
def _spike_jvp(surrogate: Any, inclusive: bool, primals: Any, tangents: Any) -> Any:
    if surrogate is None:
        raise ValueError("spike: expected a surrogate, since spikes are differentiated, got None")
    (v, theta), (dv, dtheta) = primals, tangents
    return spike(v, surrogate, inclusive, theta), surrogate(v, theta) * (dv - dtheta)
