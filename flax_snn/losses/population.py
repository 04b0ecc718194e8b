"""Population coding: several output neurons stand for one class.

Neurons are class-major: with P neurons per class, neurons c*P .. c*P + P - 1 belong to class c.

Source: Fang et al., Incorporating learnable membrane time constant to enhance learning of spiking
neural networks, ICCV 2021, whose voting layer averages the neurons of a class.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp

from flax_snn import checks
from flax_snn.losses.input_checks import check_population, check_spikes
from flax_snn.losses.reduction_dtype import reduction_dtype
from flax_snn.typing import Array, Bool, Float, Num

Pooling = Literal["sum", "mean", "min"]

_POOL: dict[str, Callable[..., Array]] = {"sum": jnp.sum, "mean": jnp.mean, "min": jnp.min}


def pool_population(
    outputs: Num[Array, "*B N"] | Bool[Array, "*B N"], population: int, *, pool: Pooling
) -> Float[Array, "*B C"]:
    """Pool the P neurons of each class into one: ``(*B, T, C * P)`` to ``(*B, T, C)``.

        y_c = SUM_p x_(c P + p)          or mean_p, or min_p

    Neurons are class-major: with P = 3, neurons 0, 1, 2 belong to class 0 and 3, 4, 5 to class 1.

    >>> import jax.numpy as jnp
    >>> spikes = jnp.array([[1.0, 1.0, 0.0, 0.0, 0.0, 1.0]])  # one step, two classes of three
    >>> pool_population(spikes, 3, pool="sum").tolist()
    [[2.0, 1.0]]

    Args:
      outputs: outputs of the neurons, which are the last axis; any axes may come before it.
        Floating, or recorded spikes as bool, int8 or uint8.
      population: neurons per class, P.
      pool: ``sum``, as for spikes; ``mean``, as for membranes; ``min``, as for spike times.

    Returns:
      One number per class, float32 or wider.

    Raises:
      TypeError: another dtype, a population that is not an integer.
      ValueError: a population below 1 or one that does not divide the last axis, another pooling.
    """
    checks.choice("pool", pool, tuple(_POOL))
    if pool == "sum":
        check_spikes("outputs", outputs)
    else:
        checks.floating("outputs", outputs)
    check_population("outputs", outputs, population)
    outputs = outputs.astype(reduction_dtype(outputs))
    if population == 1:
        return outputs
    grouped = outputs.reshape(*outputs.shape[:-1], outputs.shape[-1] // population, population)
    return _POOL[pool](grouped, axis=-1)
