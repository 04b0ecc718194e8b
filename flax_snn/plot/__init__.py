"""Pictures of a network: its activity, what it learned, and the data it learned from.

Every function draws into the axes that it is given, or into those of a new figure, and returns
them; none shows or saves a figure, or changes a setting of matplotlib. What happened in step t is
drawn at the time t * dt; spikes that are events are drawn at their own time.

Legends that stand beside the axes, and long names of axes, need room: make figures of several axes
with ``plt.subplots(..., layout="constrained")``.

Needs matplotlib: ``pip install 'flax-snn[plot]'``.
"""

from flax_snn.plot.activity import membrane, raster
from flax_snn.plot.chips import chip_scores
from flax_snn.plot.classification import confusion_matrix
from flax_snn.plot.events import spike_events
from flax_snn.plot.first_spikes import first_spike_map
from flax_snn.plot.learning import learning_curves
from flax_snn.plot.manifold import spike_time_manifold
from flax_snn.plot.output import readout
from flax_snn.plot.plane import decision_regions
from flax_snn.plot.rates import firing_rates, spike_counts
from flax_snn.plot.regression import predictions

__all__ = [
    "chip_scores",
    "confusion_matrix",
    "decision_regions",
    "firing_rates",
    "first_spike_map",
    "learning_curves",
    "membrane",
    "predictions",
    "raster",
    "readout",
    "spike_counts",
    "spike_events",
    "spike_time_manifold",
]


def __dir__() -> list[str]:
    return __all__
