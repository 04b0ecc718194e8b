"""Losses, the readouts they act on, and penalties on firing rates.

What a network returns, spikes or membranes ``(*B, T, C)``, is first reduced over time:

    spike counts    z = scale * SUM_t s_t                         `spike_count_logits`
    membranes       z = scale * max_t v_t, or mean_t v_t, or v_T  `membrane_logits`
    first spikes    z = -t / tau, t the time of the first spike   `first_spike_logits`
    coordinates     y = v_T, or mean_t v_t, or max_t v_t          `membrane_readout`

and the loss compares that with the target: a cross-entropy with class labels, a mean squared error
with coordinates. Spike times may also be compared as they are, with target times or with the time
of the label neuron; `wake_silent` gives times to neurons that never fire. The predicted class is
the argmax of the logits; ties go to the lower class. A class may have several output neurons,
`pool_population`. Each loss is a mean over samples, or with ``per_sample=True`` that of each
sample.

Sequences of different lengths: what reduces over time takes ``seq_lengths`` or ``mask``, and
padding never counts. Layers with several feature axes: ``time_axis`` says which axis is time. Both
are described in `flax_snn.sequence_mask`.

Reductions are in float32, or in the dtype of the array where that is wider.
"""

from flax_snn.losses.cross_entropy import (
    membrane_cross_entropy,
    rate_coded_cross_entropy,
    softmax_cross_entropy,
)
from flax_snn.losses.first_spike import (
    first_spike_cross_entropy,
    first_spike_logits,
    first_spike_times,
)
from flax_snn.losses.population import pool_population
from flax_snn.losses.rates import (
    lower_count_regularizer,
    spike_rate_regularizer,
    upper_count_regularizer,
)
from flax_snn.losses.readout import (
    Reduction,
    membrane_logits,
    membrane_readout,
    spike_count_logits,
)
from flax_snn.losses.regression import mean_squared_error, membrane_mean_squared_error
from flax_snn.losses.silence import wake_silent
from flax_snn.losses.spike_time import mean_squared_spike_time, spike_time_margin, target_times

__all__ = [
    "Reduction",
    "first_spike_cross_entropy",
    "first_spike_logits",
    "first_spike_times",
    "lower_count_regularizer",
    "mean_squared_error",
    "mean_squared_spike_time",
    "membrane_cross_entropy",
    "membrane_logits",
    "membrane_mean_squared_error",
    "membrane_readout",
    "pool_population",
    "rate_coded_cross_entropy",
    "softmax_cross_entropy",
    "spike_count_logits",
    "spike_rate_regularizer",
    "spike_time_margin",
    "target_times",
    "upper_count_regularizer",
    "wake_silent",
]


def __dir__() -> list[str]:
    return __all__
