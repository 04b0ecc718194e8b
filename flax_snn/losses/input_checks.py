"""What losses refuse: outputs of another kind or shape, and labels that name no class."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from flax_snn import checks
from flax_snn.typing import Array

RECORDED = (jnp.bool_, jnp.int8, jnp.uint8)
"""Dtypes of spikes that were recorded and carry no gradient."""


def check_spikes(name: str, spikes: Array) -> None:
    """Raises TypeError unless spikes are floating, or recorded ones as bool, int8 or uint8."""
    if spikes.dtype not in RECORDED:
        checks.floating(name, spikes)


def check_not_empty(name: str, x: Array, axes: str, *, at_least: str) -> None:
    """Raises ValueError unless the array has an axis and no axis is empty.

    Args:
      name: name of the array, for the error.
      x: the array.
      axes: its axes as the docstring writes them, for the error.
      at_least: what to give at least one of, for the error.
    """
    if x.ndim < 1 or x.size == 0:
        what, came = f"shape {axes} with no empty axis", f"shape {x.shape}"
        raise ValueError(checks.error_text(name, what, came, f"give at least one {at_least}"))


def check_classes(name: str, x: Array, population: int = 1) -> None:
    """Raises ValueError unless the last axis holds at least 2 classes of so many neurons each."""
    classes = x.shape[-1] // population if x.ndim else 0
    if classes < 2:
        neurons = f" of {population} neurons" if population > 1 else ""
        what = f"at least 2 classes{neurons} on the last axis"
        came = f"{classes} in shape {x.shape}"
        remedy = "give the output one neuron per class, or P of each"
        raise ValueError(checks.error_text(name, what, came, remedy))


def check_population(name: str, x: Array, population: Any) -> None:
    """Raises unless the last axis divides into classes of ``population`` neurons each.

    Raises:
      TypeError: a population that is not an integer.
      ValueError: no axis, a population below 1, an axis that it does not divide.
    """
    if not checks.is_whole_number(population):
        remedy = "give the number of neurons per class"
        raise TypeError(checks.error_text("population", "an integer", repr(population), remedy))
    checks.whole_number("population", population, remedy="give the number of neurons per class")
    if x.ndim < 1 or x.shape[-1] % population:
        what = f"a multiple of population={population} neurons on the last axis"
        remedy = "give every class the same number of neurons"
        raise ValueError(checks.error_text(name, what, f"shape {x.shape}", remedy))


def check_labels(x: Array, labels: Array, is_data: Array | None = None) -> None:
    """Raises unless there is one class in 0..C-1 for each sample of ``x (*B, C)``.

    Args:
      x: the outputs, one number per class.
      labels: the classes.
      is_data: bool ``(*B,)``, which samples count; the labels of others may have any value. None:
        all of them.

    Raises:
      TypeError: labels that are not integers.
      ValueError: another shape, no samples; a label outside, where its value is known.
    """
    checks.integers("labels", labels, remedy="give class numbers, not one-hot rows")
    if labels.shape != x.shape[:-1]:
        what = f"one label per sample, shape {x.shape[:-1]} for an output of shape {x.shape}"
        remedy = "give one class number for each sample, or say by time_axis which axis is time"
        came = f"shape {labels.shape}"
        raise ValueError(checks.error_text("labels", what, came, remedy))
    if labels.size == 0:
        remedy = "leave empty batches out"
        raise ValueError(checks.error_text("labels", "at least one sample", "none", remedy))
    known = checks.known_values(labels)
    if known is not None and is_data is not None:
        counts = checks.known_values(is_data)
        known = None if counts is None else known[counts]
    if known is not None and known.size:
        low, high = int(known.min()), int(known.max())
        if low < 0 or high >= x.shape[-1]:
            what, came = f"classes from 0 to {x.shape[-1] - 1}", f"{low} to {high}"
            remedy = "give the output one neuron per class"
            raise ValueError(checks.error_text("labels", what, came, remedy))


def check_label_smoothing(label_smoothing: Any) -> None:
    """Raises unless the share of label smoothing is a number in [0, 1)."""
    remedy = "0 is no smoothing"
    checks.in_range("label_smoothing", label_smoothing, 0.0, 1.0, high_allowed=False, remedy=remedy)
