"""Weights to start from: neither silent nor saturated, by rates or by data."""

from flax_snn.cells.fluctuation import fluctuation_driven
from flax_snn.initializers.layer_sequential import LayerScaling, LSUVReport, lsuv

__all__ = ["LSUVReport", "LayerScaling", "fluctuation_driven", "lsuv"]


def __dir__() -> list[str]:
    return __all__
