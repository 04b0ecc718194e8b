"""The inner hair cell: how much transmitter it releases as the basilar membrane moves.

Transmitter goes round between a pool of free transmitter q, the cleft c and a store w:

    k  = g max(v + A, 0) / (v + A + B)        permeability of the membrane of the cell
    dq = y max(M - q, 0) - k q + x w          replenished, released, brought back
    dc = k q - (l + r) c                      released, lost and taken up again
    dw = r c - x w                            taken up, brought back
    p  = h c dt                               probability that a nerve fibre fires in a step

The equations are stepped by Euler's rule, all from the values before the step, and p is that of the
new c; no pool falls below 0.

Sources: Meddis, Simulation of mechanical to neural transduction in the auditory receptor, Journal
of the Acoustical Society of America 79, 1986; Meddis, Simulation of auditory-neural transduction:
Further studies, Journal of the Acoustical Society of America 83, 1988 (the values).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp

from flax_snn import checks
from flax_snn.typing import Array, Float


class Transmitter(NamedTuple):
    """Where the transmitter of each hair cell is, (F,) each.

    Attributes:
      free: free transmitter q.
      cleft: transmitter in the cleft c.
      store: transmitter that is being reprocessed w.
    """

    free: Float[Array, "F"]
    cleft: Float[Array, "F"]
    store: Float[Array, "F"]


@dataclasses.dataclass(frozen=True)
class HairCell:
    """An inner hair cell; equations and source at the top of the file.

    Args:
      replenishment: y in 1/s, 5.05 by default.
      release: g in 1/s, 2000 by default.
      loss: l in 1/s, 2500 by default.
      recovery: r in 1/s, 6580 by default.
      reprocessing: x in 1/s, 66.31 in Meddis 1988 and 66.3, as in the Heidelberg data sets, by
        default.
      permeability_offset: A in units of the velocity, 5 by default.
      permeability_scale: B in units of the velocity, 300 by default.
      firing: h in 1/s, 50000 by default.
      capacity: M, 1 by default.

    Raises:
      TypeError: a setting that is no number.
      ValueError: a setting that is not above 0.
    """

    replenishment: float = 5.05
    release: float = 2000.0
    loss: float = 2500.0
    recovery: float = 6580.0
    reprocessing: float = 66.3
    permeability_offset: float = 5.0
    permeability_scale: float = 300.0
    firing: float = 50000.0
    capacity: float = 1.0

    def __post_init__(self) -> None:
        names = [field.name for field in dataclasses.fields(self)]
        checks.fields(self, checks.positive, *names)

    def check_step(self, step_rate: int) -> None:
        """Checks that Euler's rule follows the cleft, whose rate is l + r.

        Raises:
          ValueError: steps so long that the cleft overshoots.
        """
        fastest = self.loss + self.recovery
        if fastest > step_rate:
            raise ValueError(
                checks.error_text(
                    "step_rate",
                    f"at least {fastest:g} Hz, the rate at which a hair cell's cleft empties",
                    step_rate,
                    "raise it",
                )
            )

    def at_rest(self, channels: int) -> Transmitter:
        """Returns the steady state in silence.

        Returns:
          The solution of the equations of Meddis 1986 without a sound.
        """
        k = self.release * self.permeability_offset
        k = k / (self.permeability_offset + self.permeability_scale)
        leaving = self.loss + self.recovery
        cleft = self.capacity * self.replenishment * k
        cleft = cleft / (self.loss * k + self.replenishment * leaving)
        values = (cleft * leaving / k, cleft, cleft * self.recovery / self.reprocessing)
        return Transmitter(*(jnp.full((channels,), value, jnp.float32) for value in values))

    def step(
        self, state: Transmitter, velocity: Float[Array, "F"], dt: float
    ) -> tuple[Transmitter, Float[Array, "F"]]:
        """Returns the state after a step of dt seconds, and the probability that a fibre fires."""
        free, cleft, store = state
        drive = velocity + self.permeability_offset
        # The divisor is above 0 where the quotient is used.
        open_ = jnp.maximum(drive, 0.0)
        k = self.release * dt * open_ / (open_ + self.permeability_scale)
        replenished = self.replenishment * dt * jnp.maximum(self.capacity - free, 0.0)
        released = k * free
        brought_back = self.reprocessing * dt * store
        taken_up = self.recovery * dt * cleft
        after = Transmitter(
            jnp.maximum(free + replenished - released + brought_back, 0.0),
            jnp.maximum(cleft + released - taken_up - self.loss * dt * cleft, 0.0),
            jnp.maximum(store + taken_up - brought_back, 0.0),
        )
        return after, self.firing * dt * after.cleft
