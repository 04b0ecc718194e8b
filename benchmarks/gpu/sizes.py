"""Sizes of all rows: those of the day with a GPU, and small ones to see that everything runs."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of the rows.

    Attributes:
      head: time steps and neurons of the layer that is measured first.
      grid: the same of all other layers.
      networks: widths by name, ``r`` for recurrent layers, with time steps and batch.
      million: neurons of the single step.
      linear: features, time steps and batch of the widely quoted benchmark.
      copied: numbers of the copy that measures the bandwidth.
      product: width of the product that measures the arithmetic.
      seconds: least time of a measurement.
    """

    head: tuple[tuple[int, int], ...]
    grid: tuple[tuple[int, int], ...]
    networks: tuple[tuple[tuple[str, ...], int, int], ...]
    million: int
    linear: tuple[int, int, int]
    copied: int
    product: int
    seconds: float


LARGE = Sizes(
    head=((256, 2**17), (64, 2**20)),
    grid=tuple(
        (steps, 2**power)
        for steps in (64, 256, 1024, 2048)
        for power in (13, 15, 17, 20)
        if steps * 2**power <= 2**30 and (steps, power) not in ((256, 17), (64, 20))
    ),
    networks=((("128", "128", "128", "20"), 256, 256), (("700", "128r", "128r", "20"), 250, 256)),
    million=10**6,
    linear=(16384, 500, 16),
    copied=2**28,
    product=8192,
    seconds=0.2,
)

SMALL = Sizes(
    head=((6, 300),),
    grid=((9, 256),),
    networks=((("5", "6", "4", "3"), 7, 4), (("5", "6r", "3"), 7, 4)),
    million=1000,
    linear=(32, 6, 2),
    copied=2**12,
    product=32,
    seconds=0.0,
)
"""Sizes that an interpreter of kernels can do."""
