"""Digital to analog and back: quantisers whose gradient is that of a clip."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp

from flax_snn import checks
from flax_snn.typing import Array, Float


@dataclasses.dataclass(frozen=True)
class Converter:
    """A DAC or an ADC: a symmetric quantiser with a level at 0.

        n    = 2^(bits - 1) - 1                       levels on each side
        q(x) = clip(round(x n / bound) bound / n, -bound, bound)

    ``round`` takes halves to the even number. The gradient is 1 within the bound and 0 outside.

    Attributes:
      bits: resolution.
      bound: largest value; inputs and weights at full scale are 1.

    Reference: aihwkit 1.2.0, ``inp_res``, ``inp_bound``, ``out_res``, ``out_bound``.
    """

    bits: int
    bound: float

    def __post_init__(self) -> None:
        """Checks the fields."""
        checks.fields(self, checks.whole_number, "bits", at_least=2)
        checks.fields(self, checks.positive, "bound")

    @property
    def step(self) -> float:
        """Distance of two levels."""
        return self.bound / (2 ** (self.bits - 1) - 1)

    def convert(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns the values after conversion."""
        return _quantise(x, 2 ** (self.bits - 1) - 1, self.bound)

    def clips(self, x: Float[Array, "..."]) -> Array:
        """Returns which values are beyond the bound."""
        return jnp.abs(x) > self.bound


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _quantise(x: Array, levels: int, bound: float) -> Array:
    # Divided by the number of levels, not multiplied by the step: 1 of 1 comes out as 1.
    return jnp.clip(jnp.round(x * (levels / bound)) / levels, -1.0, 1.0) * bound


@_quantise.defjvp
def _(
    levels: int, bound: float, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    inside = (jnp.abs(x) <= bound).astype(x.dtype)
    return _quantise(x, levels, bound), dx * inside
