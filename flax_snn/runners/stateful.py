"""Cells whose state stays in the variables between calls, for streaming."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.cells.carry_check import check_same
from flax_snn.cells.cell_check import check_is_cell
from flax_snn.representation import short_repr
from flax_snn.runners.rnn import RNN
from flax_snn.typing import Array, Shape, Shaped

__all__ = ["Stateful"]

_COLLECTION = "membrane"


class Stateful(nn.Module):
    """Keeps the carry of a cell in the collection ``membrane``, for streaming.

    Calling it is one time step, `sequence` is a chunk of steps; both go on where the last call
    stopped. ``init`` makes the state (for the batch it is given) and does not advance it; that
    state is also what a reset goes back to.

    >>> import flax_snn as snn, jax
    >>> layer = snn.Stateful(snn.LIFCell(16))
    >>> x = jax.numpy.ones((4, 8))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> params, state = variables["params"], {"membrane": variables["membrane"]}
    >>> for _ in range(3):
    ...     spikes, state = layer.apply({"params": params, **state}, x, mutable=["membrane"])
    >>> spikes.shape
    (4, 16)

    A network step of several such layers runs over a sequence with
    ``nn.scan(Step, variable_carry="membrane", variable_broadcast="params",
    split_rngs={"params": False})``; initialise ``Step`` itself first, since Flax needs a carried
    collection to exist before the loop. The state is no parameter: it has no gradient, and does
    not belong into a checkpoint of parameters.

    Attributes:
      cell: any ``nn.RNNCellBase``, also an LSTM.
      time_major: chunks are ``(T, *B, F)``.
      implementation: runner of `sequence`, as in `RNN`.

    Raises:
      TypeError: something that is not a cell; a state of another cell.
      ValueError: no state in the variables; a state of another batch than the input;
        variables whose state may not be written.
    """

    cell: nn.RNNCellBase
    time_major: bool = False
    implementation: str = "auto"

    def __post_init__(self) -> None:
        """Checks the cell when the layer is made."""
        check_is_cell("Stateful", self.cell)
        super().__post_init__()

    __repr__ = short_repr

    def setup(self) -> None:
        """Creates the runner of chunks; its parameters are those of the cell."""
        self.runner = RNN(self.cell, time_major=self.time_major, implementation=self.implementation)

    def __call__(self, inputs: Shaped[Array | np.ndarray, "*B F"]) -> Array:
        """Advances by one time step.

        Args:
          inputs: input of the step, ``(*B, F)``.

        Returns:
          Output of the step, ``(*B, N)``.
        """
        inputs = jnp.asarray(inputs)
        carry, output = self.cell(self._membrane(inputs.shape), inputs)
        self._keep(carry)
        return output

    def sequence(self, inputs: Shaped[Array | np.ndarray, "..."]) -> Array:
        """Advances by a chunk of time steps.

        Args:
          inputs: ``(*B, T, F)``, or ``(T, *B, F)`` with ``time_major``.

        Returns:
          Outputs ``(*B, T, N)``, or ``(T, *B, N)``.
        """
        inputs = jnp.asarray(inputs)
        axis = 0 if self.time_major else inputs.ndim - self.cell.num_feature_axes - 1
        state = self._membrane(inputs.shape[:axis] + inputs.shape[axis + 1 :])
        carry, outputs = self.runner(inputs, initial_carry=state, return_carry=True)
        self._keep(carry)
        return outputs

    def _membrane(self, step_shape: Shape) -> Any:
        """Returns the state, if its shapes are those that the cell makes for such inputs."""

        def fresh() -> Any:
            return self.cell.initialize_carry(jax.random.key(0), step_shape)

        where = "/".join(self.scope.path) if self.scope and self.scope.path else "(top level)"
        if self.is_initializing() and not self.has_variable(_COLLECTION, "carry"):
            self.put_variable(_COLLECTION, "carry", fresh())
        elif not self.has_variable(_COLLECTION, "carry"):
            raise ValueError(
                f"Stateful {where}: expected its state in the collection 'membrane', got none; take"
                " it from variables = model.init(key, x) and pass on the collection that the last"
                " call returned: apply({'params': params, 'membrane': membrane}, x,"
                " mutable=['membrane'])"
            )
        elif not self.is_mutable_collection(_COLLECTION):
            raise ValueError(
                f"Stateful {where}: the state moves on and has to be returned: call apply with"
                " mutable=['membrane']"
            )
        state: Any = self.get_variable(_COLLECTION, "carry")
        check_same(f"Stateful {where}: state", state, jax.eval_shape(fresh), dtypes=False)
        return state

    def _keep(self, carry: Any) -> None:
        if not self.is_initializing():
            self.put_variable(_COLLECTION, "carry", carry)
