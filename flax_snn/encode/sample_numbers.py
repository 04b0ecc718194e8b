"""Numbers of samples, to which an encoder that draws spikes ties its randomness.

The draws of a sample depend on the key and on the number of the sample alone, not on the batch.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from flax_snn import checks
from flax_snn.typing import Array, Int, Shape


def sample_numbers(sample: ArrayLike | None, batch: Shape) -> Int[Array, "*B"]:
    """Returns the number of each sample of a batch, int32; by default its position in the batch.

    Raises:
      TypeError: numbers that are not of an integer type.
      ValueError: of another shape than the batch, below 0, or above the largest int32.
    """
    if sample is None:
        sample = np.arange(math.prod(batch)).reshape(batch)
    checks.integers("sample", jnp.result_type(sample), remedy="number the samples from 0")
    checks.shape("sample", sample, batch, remedy="give one number for each sample of x")
    values = checks.known_values(sample)
    if values is not None and not ((values >= 0) & (values <= np.iinfo(np.int32).max)).all():
        raise ValueError(
            f"sample: expected numbers in [0, 2**31), got {values.min()} to {values.max()}; number"
            " the samples from 0"
        )
    return jnp.asarray(sample, jnp.int32)
