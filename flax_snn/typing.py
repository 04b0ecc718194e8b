"""The vocabulary: axes, units and the state of a neuron.

Axes, one letter each, used in docstrings, annotations and variable names:

=====  ==============================================================
``B``  batch (``*B`` stands for any number of batch axes, also none)
``T``  time step
``F``  input features
``N``  neurons
``S``  synaptic channels of one neuron
``C``  classes
=====  ==============================================================

Units: seconds for time constants, delays, refractory periods and ``dt``; membrane potentials in
units in which the default threshold is 1; rates in Hz.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
from flax import struct
from jax import Array

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Num, Shaped
else:
    try:
        from jaxtyping import Bool, Float, Int, Num, Shaped
    except ImportError:
        # The core install does not need jaxtyping: annotations are then left unchecked.
        class _Unchecked:
            def __class_getitem__(cls, item: Any) -> Any:
                return Any

        Bool = Float = Int = Num = Shaped = _Unchecked

__all__ = [
    "Array",
    "Bool",
    "Currents",
    "Float",
    "Int",
    "LIFState",
    "Num",
    "Shaped",
    "PRNGKey",
    "Projection",
    "Scalar",
    "Shape",
]


def __dir__() -> list[str]:
    return __all__


PRNGKey: TypeAlias = jax.Array
"""A JAX random key."""

Scalar: TypeAlias = Any
"""A Python number, or an array that broadcasts over the neurons: ``()`` or ``(N,)``."""

Shape: TypeAlias = tuple[Any, ...]
"""Sizes of axes: integers, or the dimensions without a value of `jax.export.symbolic_shape`."""

Currents: TypeAlias = Any
"""One ``(*B, N)`` array, or a tuple with one such array for each synaptic channel."""

Projection: TypeAlias = Callable[[Array], Currents]
"""Maps the spikes ``(*B, N)`` of a layer to the currents they cause in it."""


@struct.dataclass
class LIFState:
    """State of a layer of (leaky) integrate-and-fire neurons between two steps.

    Fields that a neuron does not need are ``None``, so that the carry holds nothing idle.

    Attributes:
      v: membrane potential after the step, after the reset of that step, ``(*B, N)``.
      i: synaptic current after the step: ``(*B, N)`` for one synaptic channel, a tuple of such
        arrays for several (inputs first, the recurrent channel last), ``None`` without a synapse.
      s: spikes that the step returned, ``(*B, N)``; kept only where a recurrent layer needs them.
      refractory: steps that the membrane is still held, int32 ``(*B, N)``; kept only with a
        refractory period.
    """

    v: Array
    i: Currents = None
    s: Array | None = None
    refractory: Array | None = None
