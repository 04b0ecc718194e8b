"""Which time step a time belongs to: one rule for encoders, event layers, data sets and plots.

Step k lasts from k dt up to, and without, (k + 1) dt:

    step(t) = k     for  k dt <= t < (k + 1) dt

A time between two grid points belongs to the step that it lies in: the rule is ``floor(t / dt)``.
Floating point cannot say ``k dt`` exactly: ``5e-3 / 1e-3`` is a little less than 5 in float32, and
``floor`` alone would put it into step 4. A time that is a grid point up to a few roundings of its
dtype therefore belongs to the step that begins there.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.typing import Array

__all__ = ["ROUNDINGS", "steps_of_times"]


def __dir__() -> list[str]:
    return __all__


ROUNDINGS = 4
"""Units of rounding within which a time is a grid point: product, quotient, and dt itself twice."""

AnyArray = TypeVar("AnyArray", Array, np.ndarray)


def steps_of_times(times: AnyArray, dt: float = 1.0) -> AnyArray:
    """Returns the time step that each time belongs to, by the rule at the top of this file.

    Args:
      times: finite times in seconds, or in any unit if dt is given in the same one. Integers
        are whole numbers of steps if dt is 1. NumPy arrays stay in NumPy, JAX arrays in JAX.
      dt: length of a step in the unit of the times; 1 for times that count in steps.

    Returns:
      Steps of the shape of the times: int64 in NumPy, int32 in JAX. Times before 0 have negative
      steps.

    Example:
      >>> import numpy as np
      >>> from flax_snn.time_grid import steps_of_times
      >>> times = np.array([0.0, 3e-3, 3.9e-3], np.float32)
      >>> steps_of_times(times, dt=1e-3).tolist()
      [0, 3, 3]
    """
    xp = jnp if isinstance(times, jax.Array) else np
    whole = jnp.int32 if isinstance(times, jax.Array) else np.int64
    if not jnp.issubdtype(times.dtype, jnp.floating):
        if dt == 1.0:
            return times.astype(whole)
        times = times.astype(jnp.float32 if xp is jnp else np.float64)
    in_steps = times / dt
    nearest = xp.round(in_steps)
    rounding = ROUNDINGS * float(jnp.finfo(in_steps.dtype).eps)
    # Differences of times near 0 are rounded in units of the first step.
    on_grid = abs(in_steps - nearest) <= rounding * xp.maximum(abs(nearest), 1.0)
    return xp.where(on_grid, nearest, xp.floor(in_steps)).astype(whole)
