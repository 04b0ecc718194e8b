"""A convolution and a maximum over windows, forward and backward, in a loop and outside of one.

    python -m benchmarks.speed.convolution

rewrites benchmarks/results/convolution.json: milliseconds of `flax.linen.Conv` with JAX's own
product and with `flax_snn.products.conv_general_dilated`, and of `flax.linen.max_pool` and
`flax_snn.MaxPool`. A network that is trained by a ``lax.scan`` over its batches, or that convolves
in each step of a loop over time, runs ``in a loop``. About a minute.
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
    layer = nn.Conv(FEATURES, (3, 3), use_bias=False, conv_general_dilated=product)
    return lambda kernel, x: layer.apply({"params": {"kernel": kernel}}, x)


def pooled(layer: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda scale, x: layer(scale * x)


ROWS = {
    "nn.Conv": convolved(None),
    "nn.Conv with conv_general_dilated of flax_snn": convolved(conv_general_dilated),
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
                moved = jax.tree.map(lambda a, b: a - 1e-3 * b, kept, both(*kept))
                return moved, None

            return lax.scan(update, (weights, x), length=UPDATES)[0]

        runs[f"{name}, alone"] = functools.partial(jax.jit(both), weights, x)
        runs[f"{name}, in a loop"] = functools.partial(jax.jit(looped), weights, x)
    found = medians(in_turns(runs, repeats=5))
    return {
        name: round(1e3 * seconds / (UPDATES if "loop" in name else 1), 3)
        for name, seconds in found.items()
    }


def main() -> None:
    """Measures and writes the results."""
    take_no_options(COMMAND, __doc__)
    milliseconds = measure()
    for name, value in milliseconds.items():
        print(f"{name}: {value:.2f} ms")
    sizes = {"images": IMAGES, "side": SIDE, "channels": CHANNELS, "features": FEATURES}
    write_results(RESULTS, COMMAND, {**sizes, "milliseconds": milliseconds})


if __name__ == "__main__":
    main()
