"""Samples that belong together, and the three parts of a data set."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax


class Part(NamedTuple):
    """Samples that belong together.

    Attributes:
      inputs: samples, one array ``(S, ...)`` or a tree of these: spike counts per step and unit,
        uint8 ``(S, T, F)``, one byte a slot until a batch is used; points, float32 ``(S, F)``; or
        what the encoder of the network takes.
      labels: class of each sample, int32 ``(S,)``, or values to predict, float32 ``(S, D)``.
      lengths: time steps of each sample that are not padding, int32 ``(S,)``; ``None`` where all
        samples have all steps.

    Arrays of NumPy as they are made, of JAX once they are on the device.
    """

    inputs: Any
    labels: Any
    lengths: Any = None

    def take(self, rows: Any) -> Part:
        """Returns some of the samples; ``rows`` is any index of a first axis."""
        return jax.tree.map(lambda array: array[rows], self)


class Dataset(NamedTuple):
    """Disjoint parts of one data set.

    Attributes:
      train: a `Part`, or, where samples are streamed, anything with ``len`` whose items are
        ``{"inputs": ..., "label": ...}``.
      validation: always in memory.
      test: always in memory.
    """

    train: Any
    validation: Part
    test: Part
