"""Runners: a cell over a sequence of time steps.

``nn.RNN`` of Flax is the reference and always works. `RNN` here has its arguments, parameters and
numbers, and takes the input products out of the time loop.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import FrozenDict
from flax.linen.recurrent import flip_sequences

from flax_snn.cells import LeakyIntegratorReadout, LIFCell, RecurrentLIFCell
from flax_snn.chain import Chain, check_carries
from flax_snn.dynamics import LIDynamics, LIFDynamics
from flax_snn.surrogate import Surrogate
from flax_snn.time_loop import scan
from flax_snn.typing import Array, Int, PRNGKey, Shaped

__all__ = ["RNN", "LIF", "LeakyIntegrator"]

_HOISTABLE = (LIFCell, RecurrentLIFCell, LeakyIntegratorReadout)
_IMPLEMENTATIONS = ("auto", "hoisted", "scan")


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

    def __post_init__(self) -> None:
        """Check the configuration when the runner is made."""
        if self.implementation not in _IMPLEMENTATIONS:
            raise ValueError(
                f"RNN: implementation: expected one of {', '.join(_IMPLEMENTATIONS)}, got"
                f" {self.implementation!r}"
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
            carries = []
            for inner, state in zip(cell.cells, carry, strict=True):
                state, inputs = self._run(inner, state, inputs, time_axis, lengths)
                carries.append(state)
            return tuple(carries), inputs

        loop = {"time_axis": time_axis, "seq_lengths": lengths}
        if type(cell) in _HOISTABLE and self.implementation != "scan":
            currents = cell.project(inputs)
            coefficients = cell.coefficients(jax.lax.index_in_dim(currents, 0, time_axis, False))
            return scan(
                cell,
                lambda cell, carry, x: cell.integrate(carry, x, coefficients),
                carry,
                currents,
                lift=self._lift(time_axis),
                **loop,
            )
        if self.implementation == "hoisted":
            raise ValueError(
                f"RNN: implementation='hoisted' knows {', '.join(c.__name__ for c in _HOISTABLE)}"
                f" and Chain, got {type(cell).__name__}; use implementation='auto'"
            )
        return scan(
            cell,
            lambda cell, carry, x: cell(carry, x),
            carry,
            inputs,
            lift=self._lift(time_axis),
            **loop,
        )

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


class LIF(nn.Module):
    """Leaky integrate-and-fire neurons without weights, as a layer over a sequence of currents.

    What stands between convolutions: ``nn.Sequential([nn.Conv(...), snn.LIF(), ...])``.

    >>> import flax.linen as nn, flax_snn as snn, jax
    >>> net = nn.Sequential([nn.Conv(4, (3, 3)), snn.LIF(dynamics=snn.LIFDynamics(tau_mem=5e-3))])
    >>> spikes, _ = net.init_with_output(jax.random.key(0), jax.numpy.ones((2, 10, 8, 8, 1)))
    >>> spikes.shape
    (2, 10, 8, 8, 4)

    Attributes:
      dynamics: the neuron, `LIFDynamics()` by default.
      surrogate: surrogate derivative of the spike; that of the dynamics by default.
      learn: parameters of the neuron to learn, one value per entry of the last axis.
      feature_axes: trailing axes that are features. ``None`` (default): all behind the time axis
        of inputs with ONE batch axis, ``(B, T, *features)``; inputs with no or several batch axes
        need it given.
      time_major: inputs are ``(T, B, *features)``.
      param_dtype: dtype of state and parameters, float32 by default.
      deterministic: switch off the membrane noise of the dynamics.
      implementation: as in `RNN`.
    """

    dynamics: LIFDynamics = LIFDynamics()
    surrogate: Surrogate | None = None
    learn: tuple[str, ...] = ()
    feature_axes: int | None = None
    time_major: bool = False
    param_dtype: Any = jnp.float32
    deterministic: bool = False
    implementation: str = "auto"

    @nn.compact
    def __call__(self, inputs: Shaped[Array | np.ndarray, "..."], **arguments: Any) -> Any:
        """Run the neurons over the sequence.

        Args:
          inputs: currents ``(B, T, *features)``, time first with ``time_major``.
          **arguments: those of `RNN`: initial_carry, seq_lengths, return_carry, reverse, ...

        Returns:
          Spikes in the shape of the inputs, or ``(carry, spikes)`` with ``return_carry=True``.

        Raises:
          ValueError: fewer than three axes without ``feature_axes``.
        """
        cell = LIFCell(
            dynamics=self.dynamics,
            surrogate=self.surrogate,
            learn=self.learn,
            feature_axes=_feature_axes(self, jnp.shape(inputs)),
            param_dtype=self.param_dtype,
            deterministic=self.deterministic,
            name="cell",
        )
        return _weightless(self, cell, inputs, arguments)


class LeakyIntegrator(nn.Module):
    """Leaky integrators without weights, as a layer over a sequence of currents.

    Attributes:
      dynamics: the integrator, `LIDynamics()` by default.
      learn: parameters of the integrator to learn, one value per entry of the last axis.
      feature_axes: trailing axes that are features, as in `LIF`.
      time_major: inputs are ``(T, B, *features)``.
      param_dtype: dtype of state and parameters, float32 by default.
      deterministic: switch off the membrane noise of the dynamics.
      implementation: as in `RNN`.
    """

    dynamics: LIDynamics = LIDynamics()
    learn: tuple[str, ...] = ()
    feature_axes: int | None = None
    time_major: bool = False
    param_dtype: Any = jnp.float32
    deterministic: bool = False
    implementation: str = "auto"

    @nn.compact
    def __call__(self, inputs: Shaped[Array | np.ndarray, "..."], **arguments: Any) -> Any:
        """Run the integrators over the sequence.

        Args:
          inputs: currents ``(B, T, *features)``, time first with ``time_major``.
          **arguments: those of `RNN`.

        Returns:
          Membranes in the shape of the inputs, or ``(carry, membranes)``.

        Raises:
          ValueError: fewer than three axes without ``feature_axes``.
        """
        cell = LeakyIntegratorReadout(
            dynamics=self.dynamics,
            learn=self.learn,
            feature_axes=_feature_axes(self, jnp.shape(inputs)),
            param_dtype=self.param_dtype,
            deterministic=self.deterministic,
            name="cell",
        )
        return _weightless(self, cell, inputs, arguments)


def _weightless(
    layer: LIF | LeakyIntegrator, cell: nn.RNNCellBase, inputs: Any, arguments: dict[str, Any]
) -> Any:
    runner = RNN(cell, time_major=layer.time_major, implementation=layer.implementation)
    return runner(inputs, **arguments)


def _feature_axes(layer: LIF | LeakyIntegrator, shape: tuple[int, ...]) -> int:
    if layer.feature_axes is not None:
        return layer.feature_axes
    if len(shape) < 3:
        order = "(T, B, *features)" if layer.time_major else "(B, T, *features)"
        raise ValueError(
            f"{type(layer).__name__}: expected inputs {order}, got shape {shape}; with no or"
            " several batch axes say how many trailing axes are features: feature_axes=1"
        )
    return len(shape) - 2


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
