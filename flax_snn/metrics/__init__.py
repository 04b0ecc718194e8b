"""Metrics: how well predictions agree with what is true, what a network costs, what its spikes do.

Counted and summed on the host, counts in int64 and sums in float64, so that a result depends
neither on the batches nor on the device. They take arrays of NumPy or JAX, but not inside ``jit``;
a loss to be differentiated stands in `flax_snn.losses`.

``seq_lengths`` or ``mask`` say which steps of sequences are data, as in `flax_snn.sequence_mask`:
padding never counts, a mean is that of each sequence over its own steps and then that of the
sequences, and a sequence without data is left out.

Names as in Yik et al., The neurobench framework for benchmarking neuromorphic computing algorithms
and systems, Nature Communications 16, 2025.
"""

from flax_snn.metrics.predictions import (
    accuracy,
    confusion_matrix,
    mean_squared_error,
    r2,
    smape,
)

__all__ = ["accuracy", "confusion_matrix", "mean_squared_error", "r2", "smape"]


def __dir__() -> list[str]:
    return __all__
