"""Runners: a cell over a sequence of time steps.

``nn.RNN`` of Flax is the reference and always works. `RNN` here has its arguments, parameters and
numbers, and is faster and leaner.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from flax.linen.recurrent import flip_sequences

from flax_snn import checks
from flax_snn.cells import NeuronCell
from flax_snn.cells.cell_check import check_is_cell
from flax_snn.products import CHOICES
from flax_snn.representation import short_repr
from flax_snn.runners.initial_carry import check_carry, check_selectable
from flax_snn.runners.layer_run import is_chain, run_layers, why_not_layers
from flax_snn.time_loop import LOOPS, cell_scan, is_stepwise
from flax_snn.typing import Array, Int, PRNGKey, Shape, Shaped

__all__ = ["RNN"]

_IMPLEMENTATIONS = ("auto", *LOOPS)

_STREAMS = {
    "noise": True,
    "reading": True,
    "programming": False,
    "faults": False,
    "dropout": False,
}
"""Streams of random numbers that cells here need, and whether every time step draws anew."""


class RNN(nn.RNN):
    """Runs a cell over a sequence, as ``flax.linen.RNN`` does, faster and in less memory.

    Arguments, call signature, parameter tree and numbers are those of ``nn.RNN``; a model may
    exchange one for the other at any time. The cells of this package, and chains of them, run in
    the fused loop: chunk by chunk, all layers of a chain over one chunk before the next one, with
    a reverse pass that keeps one state per chunk and computes the rest again. Any other cell, a
    subclass, a cell under ``nn.remat`` or ``nn.vmap``, with membrane noise, with a
    ``dot_general_cls`` (but for crossbars with an ideal circuit), with a state that has an entry
    for all samples together, or with ``seq_lengths`` and a returned carry runs step by step, its
    input weights before the loop where that is known to be the same; so do, if not told otherwise,
    lone integrators and small recurrent layers, for which that is faster.

    What cells here need is lifted into the loop without being asked for: the RNG streams ``noise``
    and ``reading`` (split over time), ``programming`` and ``faults`` (the same in all steps), the
    collections ``crossbar`` and ``neuron``, and ``intermediates`` (stacked along the time axis),
    where traces of membranes and spikes land when the caller makes it mutable.

    >>> import flax_snn as snn, jax
    >>> layer = snn.RNN(snn.LIFCell(32))
    >>> x = jax.numpy.ones((4, 50, 20))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> spikes, traces = layer.apply(variables, x, mutable=["intermediates"])
    >>> traces["intermediates"]["cell"]["v"][0].shape
    (4, 50, 32)

    Attributes:
      cell: the cell, any ``nn.RNNCellBase``.
      implementation: ``auto`` (default) picks; ``fused``: chunk by chunk, reverse mode only;
        ``associative``: all steps at once, for cells that are never reset; ``kernel``: each layer
        as one kernel of a GPU, untested on any (``docs/gpu.md``); ``scan``: step by step
        as written, bit for bit equal at any cut of the sequence. An explicit choice that a cell
        does not allow raises.
      products: matrix products in the fused loop. ``auto`` (default): event-driven where inputs
        turn out to be mostly zero while the program runs and the layer is wide enough, which needs
        the extra ``flax-snn[cpu]`` and a single CPU device; else ``dense``. ``event``:
        event-driven whatever the density; raises where that is not possible.
      chunk: time steps of a chunk of the fused loop. ``None`` (default): such that its arrays stay
        in cache. With a given one, results are bit for bit equal at cuts on its multiples.

    The other attributes are those of ``nn.RNN``: time_major, return_carry, reverse, keep_order,
    unroll, variable_axes, variable_broadcast, variable_carry, split_rngs.

    Raises:
      TypeError: something that is not a cell; a carry with other entries or dtypes than that of
        the cell.
      ValueError: an unknown implementation, or one that the cell does not allow; a sequence
        without time steps or without a time axis; sequence lengths or a carry that do not fit the
        batch.
    """

    implementation: str = "auto"
    products: str = "auto"
    chunk: int | None = None

    def __post_init__(self) -> None:
        """Checks the configuration when the runner is made."""
        check_is_cell("RNN", self.cell)
        checks.choice("RNN: implementation", self.implementation, _IMPLEMENTATIONS)
        checks.choice("RNN: products", self.products, CHOICES)
        for name in ("time_major", "return_carry", "reverse", "keep_order"):
            checks.boolean(f"RNN: {name}", getattr(self, name))
        if self.chunk is not None:
            remedy = "give the time steps of a chunk, or leave it out"
            checks.whole_number("RNN: chunk", self.chunk, remedy=remedy)
        super().__post_init__()

    __repr__ = short_repr

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
        """Runs the cell over the sequence.

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

        if inputs is None or isinstance(inputs, str):
            raise TypeError(f"RNN: expected an array of inputs, got {inputs!r}")
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
        else:
            check_carry("RNN: initial_carry", self.cell, initial_carry, step_shape)
        lengths = seq_lengths if return_carry else None
        if lengths is not None:
            check_selectable(self.cell, initial_carry, batch)
        carry, outputs = self._run(self.cell, initial_carry, inputs, time_axis, lengths)
        if reverse and keep_order:
            outputs = flip(outputs)
        return (carry, outputs) if return_carry else outputs

    def _run(
        self, cell: nn.RNNCellBase, carry: Any, inputs: Array, time_axis: int, lengths: Any
    ) -> tuple[Any, Array]:
        if self.implementation == "scan":
            if self.products == "event":
                raise ValueError(
                    "RNN: products='event' is for the fused loop; use implementation='auto' or"
                    " products='auto'"
                )
            return self._scan(cell, carry, inputs, time_axis, lengths)
        obstacle = self._obstacle(cell, inputs, lengths)
        # Whoever watches the cells sees the same numbers, only step by step.
        chosen = self.implementation != "auto" and not is_stepwise()
        if chosen and obstacle is not None:
            raise ValueError(
                f"RNN: implementation={self.implementation!r} cannot run this: {obstacle}; use"
                " implementation='auto', or 'scan' for the loop step by step"
            )
        if obstacle is None:
            return run_layers(
                cell,
                carry,
                inputs,
                time_axis,
                implementation=self.implementation,
                chunk=self.chunk,
                products=self.products,
            )
        if self.products == "event" and not is_stepwise():
            raise ValueError(
                f"RNN: products='event' needs the fused loop, which cannot run this: {obstacle};"
                " use products='auto'"
            )
        if is_chain(cell):
            carries = []
            for inner, state in zip(cell.cells, carry, strict=True):
                state, inputs = self._run(inner, state, inputs, time_axis, lengths)
                carries.append(state)
            return tuple(carries), inputs
        return self._hoisted(cell, carry, inputs, time_axis, lengths)

    def _scan(
        self, cell: nn.RNNCellBase, carry: Any, inputs: Array, time_axis: int, lengths: Any
    ) -> tuple[Any, Array]:
        """Runs any cell step by step as it is written."""
        lift = self._lift(time_axis)

        def step(cell: Any, carry: Any, x: Array) -> Any:
            return cell(carry, x)

        return cell_scan(
            cell, step, carry, inputs, time_axis=time_axis, seq_lengths=lengths, lift=lift
        )

    def _hoisted(
        self, cell: nn.RNNCellBase, carry: Any, inputs: Array, time_axis: int, lengths: Any
    ) -> tuple[Any, Array]:
        """Runs a cell step by step, with its input weights before the loop where it is known."""
        at_once = getattr(cell, "over_time", None)
        if at_once is not None and lengths is None and not is_stepwise():
            result = at_once(carry, inputs, time_axis)
            if result is not NotImplemented:
                return result
        if not isinstance(cell, NeuronCell) or cell.overridden() is not None:
            return self._scan(cell, carry, inputs, time_axis, lengths)
        currents = cell.project(inputs)
        coefficients = cell.coefficients(jax.lax.index_in_dim(currents, 0, time_axis, False))

        prepared = None if cell.is_initializing() else cell.prepare(carry)

        def step(cell: Any, carry: Any, x: Array) -> Any:
            return cell.integrate(carry, x, coefficients, prepared)

        lift = self._lift(time_axis)
        return cell_scan(
            cell, step, carry, currents, time_axis=time_axis, seq_lengths=lengths, lift=lift
        )

    def _obstacle(self, cell: nn.RNNCellBase, inputs: Array, lengths: Any) -> str | None:
        """Returns why a loop that never calls the cell cannot run this, or None if it can."""
        if lengths is not None:
            return "it returns the carry of the last step only, not that after seq_lengths"
        if is_stepwise():
            return "the cells are being watched step by step"
        if self.variable_axes or self.variable_carry or self.unroll != 1:
            return "variable_axes, variable_carry and unroll are arguments of a loop over cells"
        if 0 in inputs.shape:
            return f"the inputs are empty, shape {inputs.shape}"
        return why_not_layers(cell)

    def _lift(self, time_axis: int) -> dict[str, Any]:
        """Returns the arguments of ``nn.scan``: those of the user, and what cells here need."""
        broadcast = self.variable_broadcast
        if isinstance(broadcast, str):
            broadcast = (broadcast,)
        if isinstance(broadcast, (tuple, list, set, frozenset)):
            taken = {*self.variable_axes, *_names(self.variable_carry)}
            broadcast = [
                *broadcast,
                *sorted({"crossbar", "delays", "neuron"} - {*broadcast} - taken),
            ]
        return {
            "variable_broadcast": broadcast,
            "variable_axes": FrozenDict({"intermediates": time_axis, **self.variable_axes}),
            "variable_carry": self.variable_carry,
            "split_rngs": FrozenDict({**_STREAMS, **self.split_rngs}),
            "unroll": self.unroll,
        }


def _time_axis(shape: Shape, feature_axes: int, time_major: bool) -> int:
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


def _check_lengths(seq_lengths: Any, batch: Shape, steps: int) -> None:
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
