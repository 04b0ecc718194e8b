"""The checks of a carry that a runner or a cell is given, beside that which the cell makes."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.dynamics import Neuron
from flax_snn.typing import Shape

MOST = 8
"""Most entries of a carry that an error lists."""


def check_state(cell: Any, state: Any, current_shape: Shape) -> None:
    """Checks that a state is one of a `NeuronCell`, for a current of one step.

    Args:
      cell: the cell.
      state: the state.
      current_shape: shape of the current ``(*B, M)``, all blocks of it.

    Raises:
      TypeError: it has other entries, or entries of another dtype.
      ValueError: it has entries of another shape.
    """
    shape = (*current_shape[:-1], current_shape[-1] // cell.dynamics.blocks)
    name = type(cell).__name__
    expected = _state_of(cell.dynamics, cell.recurrent, shape, cell.dtype_of_state)
    check_same(f"{name}: state", state, expected)


def check_same(
    name: str, found: Any, expected: Any, *, shapes: bool = True, dtypes: bool = True
) -> None:
    """Checks that a carry has the entries of another, of the same shapes and dtypes.

    Args:
      name: name of the carry, for the error.
      found: the carry.
      expected: what ``initialize_carry`` returns, or its shapes and dtypes.
      shapes: whether shapes are compared.
      dtypes: whether dtypes are compared.

    Raises:
      TypeError: it has other entries, or entries of another dtype.
      ValueError: it has entries of another shape.
    """
    start = "cell.initialize_carry(key, step_shape)"
    structures: list[Any] = [jax.tree.structure(each) for each in (found, expected)]
    if structures[0] != structures[1]:
        what = f"a state such as {start} returns, {_listed(expected)}"
        raise TypeError(checks.error_text(name, what, _listed(found)))
    entries = jax.tree_util.tree_leaves_with_path(expected)
    for (path, each), leaf in zip(entries, jax.tree.leaves(found), strict=True):
        where = f"{name}{jax.tree_util.keystr(path)}"
        if shapes and np.shape(leaf) != each.shape:
            what, came = f"shape {each.shape}, as the input has it", f"shape {np.shape(leaf)}"
            remedy = f"initialise the carry for this batch, with {start}"
            raise ValueError(checks.error_text(where, what, came, remedy))
        if dtypes and _dtype(leaf) != each.dtype:
            what = f"dtype {each.dtype}, that of the state"
            raise TypeError(checks.error_text(where, what, _dtype(leaf), "convert it with .astype"))


@functools.lru_cache(maxsize=1024)
def _state_of(neuron: Neuron, recurrent: bool, shape: Shape, dtype: Any) -> Any:
    start = functools.partial(neuron.initial_state, recurrent=recurrent)
    return jax.eval_shape(start, jax.ShapeDtypeStruct(shape, dtype))


def _listed(carry: Any) -> str:
    leaves = jax.tree_util.tree_leaves_with_path(carry)
    names = [
        f"{jax.tree_util.keystr(path) or 'array'} of shape {np.shape(leaf)}"
        for path, leaf in leaves[:MOST]
    ]
    entries = f"({', '.join(names)}{', ...' if len(leaves) > MOST else ''})"
    return f"{type(carry).__name__} {entries}"


def _dtype(leaf: Any) -> Any:
    """Returns the dtype that JAX gives an entry, or the type of one that is no number."""
    if isinstance(leaf, jax.Array):
        return leaf.dtype
    return jnp.result_type(leaf) if np.asarray(leaf).dtype.kind in "biufc" else type(leaf).__name__
