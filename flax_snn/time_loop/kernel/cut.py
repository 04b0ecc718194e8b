"""How the layers of a run are cut: into tiles of neurons, and segments of time steps."""

from __future__ import annotations

import dataclasses
import math

import jax

from flax_snn.time_loop.kernel.passes import Passes
from flax_snn.time_loop.layer import LayerWeights
from flax_snn.time_loop.loop import Run
from flax_snn.typing import Shape

BLOCK = 128
"""Neurons of a tile without recurrent weights: one for each thread of four warps."""

ROWS = 16
"""Samples of a tile with recurrent weights: the fewest that tensor cores multiply at once."""

SAVED_BYTES = 2**28
"""Most bytes of the states of all steps of a layer that are saved instead of computed twice."""


@dataclasses.dataclass(frozen=True)
class Chain:
    """What of a run is no array.

    Attributes:
      passes: sizes and kernels of each layer.
      traced: whether traces are wanted.
    """

    passes: tuple[Passes, ...]
    traced: bool


def chain_of(
    run: Run,
    *,
    interpret: bool | None = None,
    segment: int | None = None,
    block: int | None = None,
) -> Chain:
    """Returns how the layers of a run are cut.

    Args:
      run: what is to be run.
      interpret: whether the kernels are interpreted; None: where the default device is no GPU.
      segment: steps between two saved states; None: one where the states of all steps fit into
        `SAVED_BYTES`, else about the root of their number.
      block: neurons of a tile without recurrent weights, a power of two; None: `BLOCK`.
    """
    block = BLOCK if block is None else block
    if interpret is None:
        interpret = jax.default_backend() not in ("gpu", "cuda", "rocm")
    found = []
    for layer, weights, state in zip(run.layers, run.weights, run.states, strict=True):
        one = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        length = segment
        if length is None:
            length = 1 if run.steps * one <= SAVED_BYTES else math.isqrt(run.steps - 1) + 1
        shape, tile, warps = _tiled(layer.neuron.membrane(state).shape, weights, block)
        compiler = None
        if not interpret:
            from jax.experimental.pallas import triton

            # One stage: more would hold the saved states of several steps beside the weights.
            compiler = triton.CompilerParams(num_warps=warps, num_stages=1)
        found.append(
            Passes(
                layer=layer.dense,
                steps=run.steps,
                shape=shape,
                tile=tile,
                segment=length,
                traced=run.traced,
                channels=channels_of(weights),
                interpret=interpret,
                compiler=compiler,
            )
        )
    return Chain(tuple(found), run.traced)


def channels_of(weights: LayerWeights) -> int:
    """Returns how many currents the spikes of a layer cause in each neuron of it."""
    kernel = weights.recurrent_kernel
    return 0 if kernel is None else kernel.shape[1] // kernel.shape[0]


def width_of(neurons: int) -> int:
    """Returns the width of a tile that has all neurons of a layer: what a product takes."""
    return max(16, 1 << (neurons - 1).bit_length())


def _tiled(shape: Shape, weights: LayerWeights, block: int) -> tuple[Shape, Shape, int]:
    """Returns the shape of all neurons, that of a tile, and the warps of a tile."""
    size = math.prod(shape)
    if weights.recurrent_kernel is None:
        return (size,), (block,), max(1, block // 32)
    width = width_of(shape[-1])
    # Eight neurons a thread: with twice as many Triton has too few registers.
    return (math.prod(shape[:-1]), shape[-1]), (ROWS, width), max(1, ROWS * width // 256)
