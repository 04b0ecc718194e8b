"""What the two passes of the fused loop over all chunks of a sequence share."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from jax import lax

from flax_snn.time_loop.chunks import Chunks
from flax_snn.time_loop.kept import Kept
from flax_snn.time_loop.layer import Layer
from flax_snn.typing import Array


@dataclasses.dataclass(frozen=True)
class Program:
    """What of a run is no array.

    Attributes:
      layers: the layers, from input to output.
      chunks: how the sequence is cut.
      traced: whether traces are wanted.
      recorded: for each layer whether the forward pass records its recurrent currents for the
        reverse pass, which then needs no recurrent product to run a chunk again.
      kept: whether the forward pass keeps what the reverse pass reads of all steps, which then
        runs no chunk again.
    """

    layers: tuple[Layer, ...]
    chunks: Chunks
    traced: bool
    recorded: tuple[bool, ...]
    kept: bool = False


class Saved(NamedTuple):
    """What the forward pass saves for the reverse pass.

    Attributes:
      states: states that entered the chunks, ``(chunks, tile, *features)``, all chunks of a tile in
        a row.
      feedbacks: recurrent currents of each layer in all steps, with axes as the inputs have them;
        None for a layer that does not record them.
      kept: what is kept of each layer, or None.
    """

    states: Any
    feedbacks: tuple[Array | None, ...]
    kept: tuple[Kept, ...] | None


def each_tile(chunks: Chunks, body: Any, loop: Any) -> Any:
    """Runs a body of a loop, of ``(tile, loop)``, for each tile of the batch."""
    return body(0, loop) if chunks.tiles == 1 else lax.fori_loop(0, chunks.tiles, body, loop)
