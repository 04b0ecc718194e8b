"""What losses refuse: arrays of another kind or shape, labels and numbers outside their range."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.typing import Array

RECORDED = (jnp.bool_, jnp.int8, jnp.uint8)
"""Dtypes of spikes that were recorded and carry no gradient."""


def check_floating(name: str, x: Array) -> None:
    """Raise TypeError unless the array is of a floating dtype."""
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(
            f"expected {name} of a floating dtype, got {x.dtype}; convert with .astype(jnp.float32)"
        )


def check_spikes(spikes: Array) -> None:
    """Raise TypeError unless spikes are floating, or recorded ones as bool, int8 or uint8."""
    if spikes.dtype not in RECORDED:
        check_floating("spikes", spikes)


def check_sequence(name: str, x: Array) -> None:
    """Raise ValueError unless the array is ``(*B, T, N)`` with at least one time step."""
    if x.ndim < 2:
        raise ValueError(
            f"expected {name} (*B, T, C), got shape {x.shape}: there is no time axis; give the"
            " whole sequence, batch axes first"
        )
    if x.shape[-2] == 0:
        raise ValueError(f"expected at least one time step, got T = 0 in shape {x.shape}")


def check_classes(x: Array, population: int = 1) -> None:
    """Raise ValueError unless the last axis holds at least 2 classes of so many neurons each."""
    classes = x.shape[-1] // population if x.ndim else 0
    if classes < 2:
        neurons = f" of {population} neurons" if population > 1 else ""
        raise ValueError(
            f"expected at least 2 classes{neurons} on the last axis, got {classes} in shape"
            f" {x.shape}; give the output one neuron per class, or P of each"
        )


def check_population(x: Array, population: int) -> None:
    """Raise unless the last axis divides into classes of ``population`` neurons each.

    Raises:
      TypeError: a population that is not an integer.
      ValueError: no axis, a population below 1, an axis that it does not divide.
    """
    if isinstance(population, bool) or not isinstance(population, int):
        raise TypeError(
            f"expected population to be an integer, got {population!r}; give the number of neurons"
            " per class"
        )
    if population < 1:
        raise ValueError(f"expected population >= 1 neuron per class, got {population}")
    if x.ndim < 1 or x.shape[-1] % population:
        raise ValueError(
            f"expected a multiple of population={population} neurons on the last axis, got shape"
            f" {x.shape}; give every class the same number of neurons"
        )


def check_labels(x: Array, labels: Array) -> None:
    """Raise unless there is one class in 0..C-1 for each sample of ``x (*B, C)``.

    Raises:
      TypeError: labels not integers.
      ValueError: another shape, no samples; a label outside, where its value is known.
    """
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"expected labels as integers, got {labels.dtype}; give class numbers, not one-hot rows"
        )
    if labels.shape != x.shape[:-1]:
        raise ValueError(
            f"expected one label per sample, shape {x.shape[:-1]} for an output of"
            f" {x.shape[-1:]} classes, got labels of shape {labels.shape}"
        )
    if labels.size == 0:
        raise ValueError("expected at least one sample, got an empty batch")
    if (known := values(labels)) is not None:
        low, high = int(known.min()), int(known.max())
        if low < 0 or high >= x.shape[-1]:
            raise ValueError(
                f"expected labels from 0 to {x.shape[-1] - 1}, got {low} to {high}; give the"
                " output one neuron per class"
            )


def values(x: Array) -> np.ndarray | None:
    """Return the values of an array where they are known, else, under a transformation, None.

    In NumPy, since a constant inside ``jit`` is known, but what JAX computes from it is not.
    """
    return None if isinstance(x, jax.core.Tracer) else np.asarray(x)


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise ValueError unless the value is one of the choices."""
    if value not in choices:
        raise ValueError(f"expected {name} to be one of {choices}, got {value!r}; name one")


def check_positive(name: str, value: Any, unit: str = "") -> None:
    """Raise ValueError unless the value is a finite number > 0."""
    if not (is_number(value) and 0 < value < math.inf):
        raise ValueError(
            f"expected {name} to be a finite number{unit and ' of ' + unit} > 0, got {value!r}"
        )


def check_not_negative(name: str, value: Any, unit: str = "") -> None:
    """Raise ValueError unless the value is a finite number >= 0."""
    if not (is_number(value) and 0 <= value < math.inf):
        raise ValueError(
            f"expected {name} to be a finite number{unit and ' of ' + unit} >= 0, got {value!r}"
        )


def check_smoothing(label_smoothing: Any) -> None:
    """Raise ValueError unless the share of label smoothing is in [0, 1)."""
    if not (is_number(label_smoothing) and 0 <= label_smoothing < 1):
        raise ValueError(
            f"expected label_smoothing to be a number in [0, 1), got {label_smoothing!r}; 0 is none"
        )


def is_number(value: Any) -> bool:
    """Return whether the value is a Python number, which bool is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
