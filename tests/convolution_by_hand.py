"""Convolutions of images and their derivatives, tap by tap in NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

NUMBERS = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}
"""Dimension numbers of `flax.linen.Conv` by the axes of space."""

SIZES = (7, 6, 5)
"""Sizes of the images."""


def arrays(rank: int, taps: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(10 * rank + taps)
    x = generator.normal(size=(2, *SIZES[:rank], 3))
    return x, generator.normal(size=(*(taps,) * rank, 3, 4))


def by_hand(
    x: np.ndarray, kernel: np.ndarray, stride: int, padding: list[tuple[int, int]], dilation: int
) -> tuple[np.ndarray, Any]:
    """The convolution of float64 arrays tap by tap, and the function of its two cotangents."""
    sizes = kernel.shape[:-2]
    for axis, (before, after) in enumerate(padding, start=1):
        x = np.pad(
            x, [(max(before, 0), max(after, 0)) if a == axis else (0, 0) for a in range(x.ndim)]
        )
    lead = [(max(-before, 0), max(-after, 0)) for before, after in padding]
    inside = (
        slice(None),
        *(slice(first, n - last) for (first, last), n in zip(lead, x.shape[1:-1], strict=True)),
    )
    cut = x[inside]
    outputs = [
        (n - dilation * (taps - 1) - 1) // stride + 1
        for n, taps in zip(cut.shape[1:-1], sizes, strict=True)
    ]
    seen = {
        tap: (
            slice(None),
            *(
                slice(k * dilation, k * dilation + (n - 1) * stride + 1, stride)
                for k, n in zip(tap, outputs, strict=True)
            ),
        )
        for tap in itertools.product(*map(range, sizes))
    }
    y = sum(cut[part] @ kernel[tap] for tap, part in seen.items())

    def cotangents(d_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        d_x, d_kernel = np.zeros_like(x), np.zeros_like(kernel)
        rows = d_y.reshape(-1, d_y.shape[-1])
        for tap, part in seen.items():
            d_x[inside][part] += d_y @ kernel[tap].T
            d_kernel[tap] = cut[part].reshape(-1, cut.shape[-1]).T @ rows
        whole = tuple(
            slice(max(before, 0), n - max(after, 0))
            for (before, after), n in zip(padding, x.shape[1:-1], strict=True)
        )
        return d_x[:, *whole], d_kernel

    return y, cotangents
