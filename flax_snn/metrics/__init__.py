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

from flax_snn.metrics.energy import OPERATION_ENERGY, OperationEnergy, energy_estimate
from flax_snn.metrics.footprint import footprint
from flax_snn.metrics.predictions import (
    accuracy,
    confusion_matrix,
    mean_squared_error,
    r2,
    smape,
)
from flax_snn.metrics.spike_trains import (
    coefficient_of_variation,
    decision_time,
    synchrony,
    van_rossum_distance,
    victor_purpura_distance,
)
from flax_snn.metrics.workload import workload

__all__ = [
    "OPERATION_ENERGY",
    "OperationEnergy",
    "accuracy",
    "coefficient_of_variation",
    "confusion_matrix",
    "decision_time",
    "energy_estimate",
    "footprint",
    "mean_squared_error",
    "r2",
    "smape",
    "synchrony",
    "van_rossum_distance",
    "victor_purpura_distance",
    "workload",
]


def __dir__() -> list[str]:
    return __all__
