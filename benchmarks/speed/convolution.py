"""A convolution and a maximum over windows, forward and backward, in a loop and outside of one.

    python -m benchmarks.speed.convolution

rewrites benchmarks/results/convolution.json: milliseconds of `flax.linen.Conv` with JAX's own
product, with `flax_snn.products.conv_general_dilated` and with `snn.EventConvGeneralDilated`, of
images that are not zero in 10 % of their values; and of `flax.linen.max_pool` and
`flax_snn.MaxPool`. A network that is trained by a ``lax.scan`` over its batches, or that convolves
in each step of a loop over time, runs ``in a loop``.

``by_density``: for other shares that are not zero, and other sizes, the time of the event-driven
convolution, and of the gradient of its kernel, over that of the dense one. Two minutes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import flax_snn as snn
from benchmarks.in_process import in_turns, medians
from benchmarks.machine import take_no_options, write_results
from flax_snn.products import conv_general_dilated

RESULTS = Path(__file__).parents[1] / "results" / "convolution.json"
COMMAND = "python -m benchmarks.speed.convolution"
IMAGES, SIDE, CHANNELS, FEATURES = 64, 14, 32, 64
UPDATES = 2


def convolved(product: Any) -> Callable[..., Any]:
    def run(kernel: Any, x: Any) -> Any:
        layer = nn.Conv(
            kernel.shape[-1], kernel.shape[:2], use_bias=False, conv_general_dilated=product
        )
        return layer.apply({"params": {"kernel": kernel}}, x)

    return run


def pooled(layer: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda scale, x: layer(scale * x)


ROWS = {
    "nn.Conv": convolved(None),
    "nn.Conv with conv_general_dilated of flax_snn": convolved(conv_general_dilated),
    "nn.Conv with snn.EventConvGeneralDilated": convolved(snn.EventConvGeneralDilated()),
    "nn.max_pool": pooled(lambda x: nn.max_pool(x, (2, 2), (2, 2))),
    "snn.MaxPool": pooled(lambda x: snn.MaxPool((2, 2)).apply({}, x[None])),
}


def measure() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.random((IMAGES, SIDE, SIDE, CHANNELS)) < 0.1, jnp.float32)
    kernel = jnp.asarray(generator.normal(size=(3, 3, CHANNELS, FEATURES)), jnp.float32)
    runs: dict[str, Callable[[], Any]] = {}
    for name, layer in ROWS.items():
        weights = jnp.ones(CHANNELS) if "pool" in name.lower() else kernel

        def loss(weights: Any, x: Any, layer: Callable[..., Any] = layer) -> Any:
            return jnp.mean(layer(weights, x) ** 2)

        both = jax.grad(loss, (0, 1))

        def looped(weights: Any, x: Any, both: Callable[..., Any] = both) -> Any:
            def update(kept: Any, _: None) -> tuple[Any, None]:
                weights, total = kept
                d_weights, d_x = both(weights, x)
                return (weights - 1e-3 * d_weights, total + d_x), None

            return lax.scan(update, (weights, jnp.zeros_like(x)), length=UPDATES)[0]

        runs[f"{name}, alone"] = functools.partial(jax.jit(both), weights, x)
        runs[f"{name}, in a loop"] = functools.partial(jax.jit(looped), weights, x)
    found = medians(in_turns(runs, repeats=5))
    return {
        name: round(1e3 * seconds / (UPDATES if "loop" in name else 1), 3)
        for name, seconds in found.items()
    }


SIZES = {
    "14 x 14, 32 to 64 channels": (192, 14, 3, 32, 64),
    "7 x 7, 128 to 128 channels": (192, 7, 3, 128, 128),
    "28 x 28, 16 to 32 channels": (64, 28, 3, 16, 32),
    "14 x 14, 32 to 64 channels, 5 x 5": (96, 14, 5, 32, 64),
}
"""Images, their side, taps, and channels before and after."""

SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def ratios(images: int, side: int, taps: int, channels: int, features: int) -> dict[str, Any]:
    """Returns the time of events over that of the dense loops, by the share that is not zero."""
    generator = np.random.default_rng(0)
    kernel, d_y = (
        jnp.asarray(generator.normal(size=shape), jnp.float32)
        for shape in ((taps, taps, channels, features), (images, side, side, features))
    )
    found: dict[str, Any] = {"convolution": {}, "gradient of the kernel": {}}
    for share in SHARES:
        spikes = generator.random((images, side, side, channels)) < share
        x, runs = jnp.asarray(spikes, jnp.float32), {}
        for name, product in {
            "events": snn.EventConvGeneralDilated(1.0, 1.0),
            "dense": conv_general_dilated,
        }.items():
            layer = convolved(product)

            def gradient(k: Any, x: Any, d_y: Any, layer: Callable[..., Any] = layer) -> Any:
                return jax.vjp(lambda k: layer(k, x), k)[1](d_y)[0]

            runs[f"convolution {name}"] = functools.partial(jax.jit(layer), kernel, x)
            runs[f"gradient {name}"] = functools.partial(jax.jit(gradient), kernel, x, d_y)
        seconds = medians(in_turns(runs, repeats=7))
        for name, row in found.items():
            first = name.split()[0]
            row[share] = round(seconds[f"{first} events"] / seconds[f"{first} dense"], 3)
    return found


def main() -> None:
    """Measures and writes the results."""
    take_no_options(COMMAND, __doc__)
    milliseconds = measure()
    for name, value in milliseconds.items():
        print(f"{name}: {value:.2f} ms")
    by_density = {name: ratios(*sizes) for name, sizes in SIZES.items()}
    for name, rows in by_density.items():
        for what, row in rows.items():
            print(f"{name}, {what}: {row}")
    sizes = {"images": IMAGES, "side": SIDE, "channels": CHANNELS, "features": FEATURES}
    write_results(
        RESULTS, COMMAND, {**sizes, "milliseconds": milliseconds, "by_density": by_density}
    )


if __name__ == "__main__":
    main()
