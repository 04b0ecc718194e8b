"""Pictures of a run: PNG files in its folder ``plots``, drawn from plain arrays.

They need no display and no state of pyplot, so that a thread may draw them.
"""

from train.pictures.chips import draw_chips
from train.pictures.comparison import draw_comparison
from train.pictures.figure import new_figure, save
from train.pictures.point_run import HiddenActivity, Plane, draw_point_run
from train.pictures.raster_run import PartScores, draw_run
from train.pictures.results import draw_results
from train.pictures.sample import LayerActivity, SampleActivity, draw_sample
from train.pictures.spikes import LayerSpikes, SampleSpikes, draw_spikes

__all__ = [
    "HiddenActivity",
    "LayerActivity",
    "LayerSpikes",
    "PartScores",
    "Plane",
    "SampleActivity",
    "SampleSpikes",
    "draw_chips",
    "draw_comparison",
    "draw_point_run",
    "draw_results",
    "draw_run",
    "draw_sample",
    "draw_spikes",
    "new_figure",
    "save",
]
