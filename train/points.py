"""Data of a run on points of a plane: features ``(S, 4)`` in float32, and a class each."""

from __future__ import annotations

import numpy as np

from flax_snn.datasets.yin_yang import yin_yang
from train.config import YinYangData
from train.data import Dataset, Part


def load_yin_yang(config: YinYangData) -> Dataset:
    """Generate the Yin-Yang data set; the default settings give the published parts.

    Args:
      config: settings of the data set.

    Returns:
      Train, validation and test part, of the seeds n, n - 1 and n - 2.
    """
    sizes = (config.train_samples, config.test_samples, config.test_samples)
    parts = (yin_yang(size, config.data_seed - k) for k, size in enumerate(sizes))
    return Dataset(*(Part(part.x.astype(np.float32), part.labels) for part in parts))
