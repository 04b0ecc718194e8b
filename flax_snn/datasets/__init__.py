"""Data sets: generators, and readers of what the field records.

Generators return points, spike times and rasters. Readers return a `Source` of numbered samples;
their `Events` become rasters with `raster`, or on the device with `event_batch` and
`event_loader`. See docs/data.md for an example of every format.
"""

from __future__ import annotations

import importlib
from typing import Any

from flax_snn.datasets.batches import batches
from flax_snn.datasets.events.loading import event_loader
from flax_snn.datasets.events.raster import EventBatch, event_batch, length_of_events, raster
from flax_snn.datasets.events.recording import Events
from flax_snn.datasets.events.transforms import (
    Augment,
    blend,
    crop,
    dilate,
    drop,
    jitter_times,
    jitter_units,
    pool,
    sample_generator,
    shift,
)
from flax_snn.datasets.formats import (
    EVENT_FORMATS,
    read_aedat3,
    read_aedat4,
    read_dat,
    read_events,
    read_evt2,
    read_evt3,
    read_nmnist,
)
from flax_snn.datasets.formats.idx import read_idx
from flax_snn.datasets.formats.spike_hdf5 import SpikeFile
from flax_snn.datasets.formats.spike_hdf5_writing import write_spike_file
from flax_snn.datasets.formats.wav import read_wav
from flax_snn.datasets.generated.labelled_points import Points
from flax_snn.datasets.generated.manifold import (
    randman_cutoff,
    randman_manifold,
    randman_spike_times,
    randman_standardise,
)
from flax_snn.datasets.generated.planes import (
    Constant,
    circle,
    circle_class,
    constant,
    linear,
    linear_class,
)
from flax_snn.datasets.generated.randman import Randman, RandmanSettings, RandmanSplit, randman
from flax_snn.datasets.generated.yin_yang import (
    YinYangSplits,
    yin_yang,
    yin_yang_class,
    yin_yang_splits,
)
from flax_snn.datasets.recorded.dvs_gesture import DVSGesture, read_gesture_labels
from flax_snn.datasets.recorded.heidelberg import shd, speakers_apart, ssc
from flax_snn.datasets.recorded.images import Images, fashion_mnist, mnist
from flax_snn.datasets.recorded.saccades import NMNIST
from flax_snn.datasets.recorded.sound_spikes import encode_sounds
from flax_snn.datasets.recorded.sources import InMemory, Mapped, Sample, Source, Subset
from flax_snn.datasets.recorded.spoken_digits import SpokenDigits

__all__ = [
    "EVENT_FORMATS",
    "NMNIST",
    "RECORDED",
    "Augment",
    "Constant",
    "DVSGesture",
    "EventBatch",
    "Events",
    "Images",
    "InMemory",
    "Mapped",
    "Points",
    "PreparedSource",
    "Randman",
    "RandmanSettings",
    "RandmanSplit",
    "Recorded",
    "Sample",
    "Source",
    "SpikeFile",
    "SpokenDigits",
    "Subset",
    "YinYangSplits",
    "batches",
    "blend",
    "circle",
    "circle_class",
    "constant",
    "crop",
    "dilate",
    "drop",
    "encode_sounds",
    "event_batch",
    "event_loader",
    "fashion_mnist",
    "jitter_times",
    "jitter_units",
    "length_of_events",
    "linear",
    "linear_class",
    "mnist",
    "pool",
    "prepare",
    "randman",
    "randman_cutoff",
    "randman_manifold",
    "randman_spike_times",
    "randman_standardise",
    "raster",
    "read_aedat3",
    "read_aedat4",
    "read_dat",
    "read_events",
    "read_evt2",
    "read_evt3",
    "read_gesture_labels",
    "read_idx",
    "read_nmnist",
    "read_wav",
    "sample_generator",
    "shd",
    "shift",
    "speakers_apart",
    "ssc",
    "write_spike_file",
    "yin_yang",
    "yin_yang_class",
    "yin_yang_splits",
]


_LAZY = ("PreparedSource", "RECORDED", "Recorded", "prepare")
"""Names of `tfds_recorded`, which leans on optional packages."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module("flax_snn.datasets.tfds_recorded"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
