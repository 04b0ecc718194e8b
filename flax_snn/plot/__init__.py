"""Pictures of a network: its activity, what it learned, and the data it learned from.

Every function draws into the axes that it is given, or into those of a new figure, and returns
them; none shows or saves a figure, or changes a setting of matplotlib. What happened in step t is
drawn at the time t * dt.

Needs matplotlib: ``pip install 'flax-snn[plot]'``.
"""

from flax_snn.plot.activity import membrane, raster
from flax_snn.plot.classification import confusion_matrix
from flax_snn.plot.learning import learning_curves
from flax_snn.plot.manifold import spike_time_manifold
from flax_snn.plot.output import readout
from flax_snn.plot.rates import firing_rates
from flax_snn.plot.regression import predictions

__all__ = [
    "confusion_matrix",
    "firing_rates",
    "learning_curves",
    "membrane",
    "predictions",
    "raster",
    "readout",
    "spike_time_manifold",
]
