"""Runners: a cell over a sequence of time steps.

``nn.RNN`` of Flax is the reference and always works. `RNN` here has its arguments, parameters and
numbers, and takes the input products out of the time loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from flax.linen.recurrent import flip_sequences

from flax_snn import weights
from flax_snn.cells import LeakyIntegratorReadout, LIFCell, RecurrentLIFCell
from flax_snn.chain import Chain, check_carries
from flax_snn.time_loop import Program, fused, is_stepwise, plan, scan
from flax_snn.typing import Array, Int, PRNGKey, Shaped

__all__ = ["RNN"]

_KNOWN = (LIFCell, RecurrentLIFCell, LeakyIntegratorReadout)
_IMPLEMENTATIONS = ("auto", "fused", "scan")


class RNN(nn.RNN):
    """Runs a cell over a sequence, as ``flax.linen.RNN`` does, with less work in the time loop.

    Arguments, call signature, parameter tree and numbers are those of ``nn.RNN``; a model may
    exchange one for the other at any time. For the cells of this package, and chains of them,
    the input weights are applied to all time steps in one product before the loop. Any other
    cell, a subclass with a ``__call__`` of its own, a cell under ``nn.remat`` or ``nn.vmap`` runs
    as ``nn.RNN`` would run it.

    What cells here need is lifted into the loop without being asked for: the RNG stream ``noise``
    (split over time), the collection ``crossbar``, and ``intermediates`` (stacked along the time
    axis), where traces of membranes and spikes land when the caller makes it mutable.

    >>> import flax_snn as snn, jax
    >>> layer = snn.RNN(snn.LIFCell(32))
    >>> x = jax.numpy.ones((4, 50, 20))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> spikes, traces = layer.apply(variables, x, mutable=["intermediates"])
    >>> traces["intermediates"]["cell"]["v"][0].shape
    (4, 50, 32)

    Attributes:
      cell: the cell, any ``nn.RNNCellBase``.
      implementation: ``auto`` (default) picks; ``hoisted``: input products before the loop;
        ``scan``: step by step as written, bit for bit equal at any cut of the sequence. An
        explicit choice that a cell does not allow raises.

    The other attributes are those of ``nn.RNN``: time_major, return_carry, reverse, keep_order,
    unroll, variable_axes, variable_broadcast, variable_carry, split_rngs.

    Raises:
      ValueError: an unknown implementation, or one that the cell does not allow; a sequence
        without time steps or without a time axis; sequence lengths that do not fit the batch.
    """

    implementation: str = "auto"
    chunk: int | None = None

    def __post_init__(self) -> None:
        """Check the configuration when the runner is made."""
        if self.implementation not in _IMPLEMENTATIONS:
            raise ValueError(
                f"RNN: implementation: expected one of {', '.join(_IMPLEMENTATIONS)}, got"
                f" {self.implementation!r}"
            )
        if self.chunk is not None and (type(self.chunk) is not int or self.chunk < 1):
            raise ValueError(
                "RNN: chunk: expected a whole number of time steps > 0, or None, got"
                f" {self.chunk!r}"
            )
        super().__post_init__()

    def __call__(
        self,
        inputs: Shaped[Array | np.ndarray, "..."],
        *,
        initial_carry: Any = None,
        init_key: PRNGKey | None = None,
        seq_lengths: Int[Array, "*B"] | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Run the cell over the sequence.

        Args:
          inputs: ``(*B, T, F)``, or ``(T, *B, F)`` with ``time_major``.
          initial_carry: state before the first step; by default that of the cell.
          init_key: key for cells that draw their initial carry.
          seq_lengths: int ``(*B)``, 0 to T; the carry returned is that after so many steps, after
            all for 0. Outputs after them are computed all the same, as in ``nn.RNN``: mask them.
            Under ``jit``, where values cannot be checked, more than T counts as T.
          return_carry: return ``(carry, outputs)``; by default as the attribute says.
          time_major: time on the first axis; by default as the attribute says.
          reverse: run from the last step to the first; by default as the attribute says.
          keep_order: with ``reverse``: give the outputs back in the order of the inputs.

        Returns:
          Outputs ``(*B, T, N)`` (time first with ``time_major``), or ``(carry, outputs)``.
        """
        return_carry = self.return_carry if return_carry is None else return_carry
        time_major = self.time_major if time_major is None else time_major
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order

        inputs = jnp.asarray(inputs)
        time_axis = _time_axis(inputs.shape, self.cell.num_feature_axes, time_major)
        step_shape = inputs.shape[:time_axis] + inputs.shape[time_axis + 1 :]
        batch = step_shape[: len(step_shape) - self.cell.num_feature_axes]
        _check_lengths(seq_lengths, batch, inputs.shape[time_axis])

        def flip(x: Array) -> Array:
            return flip_sequences(x, seq_lengths, len(batch), time_major)

        if reverse:
            inputs = flip(inputs)
        if initial_carry is None:
            key = jax.random.key(0) if init_key is None else init_key
            initial_carry = self.cell.initialize_carry(key, step_shape)
        lengths = seq_lengths if return_carry else None
        carry, outputs = self._run(self.cell, initial_carry, inputs, time_axis, lengths)
        if reverse and keep_order:
            outputs = flip(outputs)
        return (carry, outputs) if return_carry else outputs

    def _run(
        self, cell: nn.RNNCellBase, carry: Any, inputs: Array, time_axis: int, lengths: Any
    ) -> tuple[Any, Array]:
        if type(cell) is Chain and self.implementation != "scan":
            check_carries(cell, carry)
        if self.implementation != "scan":
            obstacle = self._obstacle(cell, inputs, lengths)
            if obstacle is None:
                return self._run_fused(cell, carry, inputs, time_axis)
            if self.implementation == "fused":
                raise ValueError(
                    f"RNN: implementation='fused' cannot run this: {obstacle}; use"
                    " implementation='auto', or 'scan' for the loop step by step"
                )
        if type(cell) is Chain and self.implementation != "scan":
            carries = []
            for inner, state in zip(cell.cells, carry, strict=True):
                state, inputs = self._run(inner, state, inputs, time_axis, lengths)
                carries.append(state)
            return tuple(carries), inputs

        loop = {"time_axis": time_axis, "seq_lengths": lengths, "lift": self._lift(time_axis)}
        if type(cell) in _KNOWN and self.implementation != "scan":
            currents = cell.project(inputs)
            coefficients = cell.coefficients(jax.lax.index_in_dim(currents, 0, time_axis, False))
            return scan(
                cell,
                lambda cell, carry, x: cell.integrate(carry, x, coefficients),
                carry,
                currents,
                **loop,
            )
        return scan(cell, lambda cell, carry, x: cell(carry, x), carry, inputs, **loop)

    def _obstacle(self, cell: nn.RNNCellBase, inputs: Array, lengths: Any) -> str | None:
        """Say why the fused loop cannot run this cell as asked; ``None`` if it can."""
        cells = _neuron_cells(cell)
        if lengths is not None:
            return "it returns the carry of the last step only, not that after seq_lengths"
        if is_stepwise():
            return "the cells are being watched step by step"
        if self.variable_axes or self.variable_carry or self.unroll != 1:
            return "variable_axes, variable_carry and unroll are arguments of a loop over cells"
        if not inputs.size:
            return f"the inputs are empty, shape {inputs.shape}"
        for each in cells:
            if type(each) not in _KNOWN:
                known = ", ".join(c.__name__ for c in _KNOWN)
                return f"it knows {known} and Chain, not {type(each).__name__}"
            reason = each.why_not_fused()
            if reason is not None:
                return reason
        return None

    def _run_fused(
        self, cell: nn.RNNCellBase, carry: Any, inputs: Array, time_axis: int
    ) -> tuple[Any, Array]:
        """Run cells in the fused loop: with one batch axis, whatever the batch axes are."""
        if self.is_initializing():
            cell(carry, jax.lax.index_in_dim(inputs, 0, time_axis, False))  # makes the parameters
        cells, states = _neuron_cells(cell), _flat(carry)
        axis, steps = (0 if self.time_major else 1), inputs.shape[time_axis]
        batch = (
            inputs.shape[:time_axis]
            if axis
            else inputs.shape[1 : inputs.ndim - cell.num_feature_axes]
        )
        samples = math.prod(batch)

        x = jax.ShapeDtypeStruct(
            (samples, *inputs.shape[inputs.ndim - cell.num_feature_axes :]), inputs.dtype
        )
        layers, arrays, widest = [], [], math.prod(x.shape[1:])
        flat = [
            jax.tree.map(lambda s: s.reshape((samples, *s.shape[len(batch) :])), c) for c in states
        ]
        for each, state in zip(cells, flat, strict=True):
            layer, own = each.layer(x)
            current = jax.eval_shape(layer.project, x, own)
            weights.check_current(current, state.v, max(layer.rule.channels, 1))
            x = jax.ShapeDtypeStruct(state.v.shape, layer.output_dtype)
            widest = max(widest, math.prod(current.shape[1:]))
            layers.append(layer)
            arrays.append(own)

        cut = plan(
            steps,
            samples,
            widest,
            recurrent=any(each.recurrent for each in cells),
            axis=axis,
            length=self.chunk,
        )
        traced = any(each.is_mutable_collection("intermediates") for each in cells)
        program = Program(tuple(layers), cut, traced)
        shape = inputs.shape[inputs.ndim - cell.num_feature_axes :]
        sequence = (steps, samples) if axis == 0 else (samples, steps)
        after, outputs, traces = fused(
            program, tuple(arrays), tuple(flat), inputs.reshape((*sequence, *shape))
        )

        def unflat(leaf: Array) -> Array:
            lead = (steps, *batch) if axis == 0 else (*batch, steps)
            return leaf.reshape((*lead, *leaf.shape[2:]))

        if traces is not None:
            for k, (each, layer) in enumerate(zip(cells, layers, strict=True)):
                each.sow("intermediates", "v", unflat(traces.membranes[k]))
                if layer.fires:
                    spikes = outputs if k == len(cells) - 1 else traces.spikes[k]
                    each.sow("intermediates", "spikes", unflat(spikes))
        after = [jax.tree.map(lambda s: s.reshape((*batch, *s.shape[1:])), c) for c in after]
        return _nested(cell, iter(after)), unflat(outputs)

    def _lift(self, time_axis: int) -> dict[str, Any]:
        """Arguments of ``nn.scan``: what the user gave, and what cells here need."""
        broadcast = self.variable_broadcast
        if isinstance(broadcast, str):
            broadcast = (broadcast,)
        if isinstance(broadcast, (tuple, list, set, frozenset)):
            taken = {*self.variable_axes, *_names(self.variable_carry)}
            broadcast = [*broadcast, *({"crossbar"} - {*broadcast} - taken)]
        return {
            "variable_broadcast": broadcast,
            "variable_axes": FrozenDict({"intermediates": time_axis, **self.variable_axes}),
            "variable_carry": self.variable_carry,
            "split_rngs": FrozenDict({"noise": True, **self.split_rngs}),
            "unroll": self.unroll,
        }


def _neuron_cells(cell: nn.RNNCellBase) -> list[Any]:
    """Return the cells of a chain from input to output, those of nested chains among them."""
    if type(cell) is Chain:
        return [inner for each in cell.cells for inner in _neuron_cells(each)]
    return [cell]


def _flat(carry: Any) -> list[Any]:
    """Return the states of `_neuron_cells` in their order."""
    return (
        [state for each in carry for state in _flat(each)] if isinstance(carry, tuple) else [carry]
    )


def _nested(cell: nn.RNNCellBase, states: Iterator[Any]) -> Any:
    """Return states of `_neuron_cells` as the carry of the cell."""
    if type(cell) is Chain:
        return tuple(_nested(each, states) for each in cell.cells)
    return next(states)


def _time_axis(shape: tuple[int, ...], feature_axes: int, time_major: bool) -> int:
    axis = 0 if time_major else len(shape) - feature_axes - 1
    if len(shape) <= feature_axes:
        order = "(T, *B, F)" if time_major else "(*B, T, F)"
        raise ValueError(
            f"RNN: expected inputs {order} with {feature_axes} feature axes, got shape {shape}:"
            " there is no time axis"
        )
    if shape[axis] == 0:
        raise ValueError(f"RNN: expected at least one time step, got T = 0 in shape {shape}")
    return axis


def _check_lengths(seq_lengths: Any, batch: tuple[int, ...], steps: int) -> None:
    if seq_lengths is None:
        return
    if jnp.shape(seq_lengths) != batch or not jnp.issubdtype(
        jnp.asarray(seq_lengths).dtype, jnp.integer
    ):
        raise ValueError(
            f"RNN: seq_lengths: expected integers of shape {batch}, one per sequence, got"
            f" {jnp.asarray(seq_lengths).dtype} of shape {jnp.shape(seq_lengths)}"
        )
    if isinstance(seq_lengths, jax.core.Tracer):
        return
    outside = [n for n in np.ravel(seq_lengths).tolist() if not 0 <= n <= steps]
    if outside:
        raise ValueError(
            f"RNN: seq_lengths: expected 0 to {steps}, the number of time steps, got {outside}"
        )


def _names(collections: Any) -> tuple[str, ...]:
    if isinstance(collections, str):
        return (collections,)
    return tuple(collections) if isinstance(collections, (tuple, list, set, frozenset)) else ()
