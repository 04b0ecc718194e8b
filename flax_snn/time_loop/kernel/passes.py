"""How a layer is cut into tiles and segments, and how a kernel is called for all tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from flax_snn.time_loop.kernel.memory import Memory
from flax_snn.time_loop.layer import Layer
from flax_snn.typing import Shape

NO_FORWARD_MODE = (
    "RNN: implementation='kernel' has first derivatives in reverse mode only; for forward mode"
    " (jax.jvp, jacfwd) and second derivatives use implementation='scan'"
)


@dataclasses.dataclass(frozen=True)
class Passes:
    """What of the kernels of a layer is no array.

    Attributes:
      layer: the layer.
      steps: time steps T.
      shape: neurons of all samples: ``(M,)``, or ``(B, N)`` where a tile has the whole width.
      tile: neurons of a program, a power of two on each axis.
      segment: steps between two states that are saved.
      traced: whether membranes are wanted.
      channels: recurrent currents of a neuron, 0 without recurrent weights.
      interpret: whether the kernels are interpreted, as on machines without a GPU.
      compiler: arguments of the compiler, None for its own.
    """

    layer: Layer
    steps: int
    shape: Shape
    tile: Shape
    segment: int
    traced: bool
    channels: int = 0
    interpret: bool = True
    compiler: Any = None

    @property
    def segments(self) -> int:
        """Number of states that are saved."""
        return -(-self.steps // self.segment)

    def like(self, lead: int | None, leaf: Any, dtype: Any = None) -> jax.ShapeDtypeStruct:
        """Returns an array of all neurons in the dtype of another one.

        Args:
          lead: entries of the first axis, of steps or segments; None: no such axis.
          leaf: what has the dtype.
          dtype: another dtype.
        """
        shape = self.shape if lead is None else (lead, *self.shape)
        return jax.ShapeDtypeStruct(shape, dtype or leaf.dtype)


def call(passes: Passes, body: Callable[[Memory, Any, Any], None], given: Any, shapes: Any) -> Any:
    """Runs a body for all tiles, on pytrees of arrays.

    Args:
      passes: the cut.
      body: takes the memory, what is given, and where results are written.
      given: arrays.
      shapes: shapes and dtypes of the results.

    Returns:
      The results.

    Raises:
      TypeError: forward-mode derivatives.
    """
    import jax.experimental.pallas as pl

    arrays, structure = jax.tree.flatten(given)
    arrays = [array.reshape(1) if array.ndim == 0 else array for array in arrays]
    wanted, results = jax.tree.flatten(shapes)

    def flat(*refs: Any) -> None:
        inputs = jax.tree.unflatten(structure, refs[: len(arrays)])
        memory = Memory(passes.shape, passes.tile, interpret=passes.interpret)
        body(memory, inputs, jax.tree.unflatten(results, refs[len(arrays) :]))

    whole = pl.BlockSpec(memory_space=pl.ANY)
    kernel = pl.pallas_call(
        flat,
        grid=tuple(-(-n // part) for n, part in zip(passes.shape, passes.tile, strict=True)),
        in_specs=[whole] * len(arrays),
        out_specs=[whole] * len(wanted),
        out_shape=wanted,
        interpret=passes.interpret,
        compiler_params=passes.compiler,
    )
    # Pallas would differentiate the kernel itself, or fail without a word.
    alone = jax.custom_jvp(lambda *arrays: kernel(*arrays))
    alone.defjvp(_refuse)
    return jax.tree.unflatten(results, alone(*arrays))


def _refuse(primals: Any, tangents: Any) -> Any:
    raise TypeError(NO_FORWARD_MODE)
