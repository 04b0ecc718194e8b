"""Cells whose recurrent connections have delays of their own.

    current[t, j] = (x[t] @ kernel)_j + SUM_i r_ij SUM_k g_ij[k] s[t' - k, i],   k = 0 .. max_delay

with t' the step whose spikes the neuron is fed without delays, usually the one before: a delay of 0
is the connection that `RecurrentNeuronCell` has. The taps g are those of `delay_taps`.

A spike is multiplied by its weights once, when it is emitted, and what it will cause waits in the
carry until it is due. So the loop remembers currents, which are linear in what it adds, and its
reverse pass has to keep no past spikes but those of the step.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.nn.initializers import Initializer

from flax_snn import checks
from flax_snn.cells.carry_check import check_state
from flax_snn.cells.cell_check import check_has_state
from flax_snn.cells.membrane_noise import membrane_noise
from flax_snn.cells.neuron_cell import NeuronCell
from flax_snn.cells.neuron_values import at_least_float32
from flax_snn.cells.recurrent_cell import RecurrentNeuronCell
from flax_snn.cells.weights import check_current
from flax_snn.layers.delay_taps import TapShape
from flax_snn.layers.delayed_weights import Delays, Kind, check_spread, uniform_delays, wider
from flax_snn.time_loop.layer import in_blocks
from flax_snn.typing import Array, PRNGKey, Shape, Shaped

__all__ = ["DelayedRecurrentCell", "DelayedState"]


@struct.dataclass
class DelayedState:
    """State of a layer with delayed recurrent connections between two steps.

    Attributes:
      neuron: state of the neurons.
      waiting: what past spikes will cause in the next ``max_delay`` steps, ``(*B, max_delay, M)``,
        the next step first.
    """

    neuron: Any
    waiting: Array


class DelayedRecurrentCell(RecurrentNeuronCell):
    """A layer of neurons of any kind that feed each other through connections with learned delays.

    >>> import flax_snn as snn, jax
    >>> layer = snn.RNN(snn.DelayedRecurrentCell(16, dynamics=snn.LIFDynamics(), max_delay=10))
    >>> spikes, _ = layer.init_with_output(jax.random.key(0), jax.numpy.ones((4, 50, 8)))
    >>> spikes.shape
    (4, 50, 16)

    The width of the taps is the variable ``recurrent_sigma`` in the collection ``delays``, which
    `snn.layers.with_sigma` sets; ``nn.RNN`` needs ``variable_broadcast=("params", "delays")``. The
    delays are the parameter ``recurrent_delay``, in steps that come on top of that of the recurrent
    connection itself.

    Attributes:
      max_delay: largest delay in time steps.
      kind: what a delay belongs to, ``synapse`` (default), ``axon`` or ``dendrite``.
      sigma: width in steps over which a delay is spread at the beginning; by default half of
        ``max_delay``.
      rounded: use single taps at the rounded delays.
      learn_sigma: learn a width for each delay, as a logarithm.
      tap_shape: ``gaussian`` (default) or ``triangular``.
      epsilon: is added to the sum that normalises the taps.
      delay_init: initialiser of the delays in steps, uniform over the whole range by default.

    The other attributes are those of `RecurrentNeuronCell`.
    """

    max_delay: int = 0
    kind: Kind = "synapse"
    sigma: float | None = None
    rounded: bool = False
    learn_sigma: bool = False
    tap_shape: TapShape = "gaussian"
    epsilon: float = 0.0
    delay_init: Initializer | None = None

    def __post_init__(self) -> None:
        """Checks the configuration when the cell is made."""
        name = type(self).__name__
        check_spread(name, self)
        if self.dot_general_cls is not None:
            raise ValueError(
                f"{name}: dot_general_cls: expected none, got one: a product of its own does not"
                " know of delays; use RecurrentLIFCell, or delays in front of the cell"
            )
        super().__post_init__()

    def setup(self) -> None:
        """Creates the submodules with parameters; they share the scope of the cell."""
        super().setup()
        self.delays = Delays(
            spread=check_spread(type(self).__name__, self),
            delay_init=self.delay_init or uniform_delays(self.max_delay),
            dtype=at_least_float32(self.param_dtype),
            prefix="recurrent_",
        )
        nn.share_scope(self, self.delays)

    def __call__(
        self, carry: Any, inputs: Shaped[Array | np.ndarray, "*B F"] | None = None
    ) -> tuple[Any, Array]:
        """Advances the cell by one time step.

        Args:
          carry: state before the step, a `DelayedState`.
          inputs: input of the step, ``(*B, F)``.

        Returns:
          The state after the step, and the output ``(*B, N)``.
        """
        inputs = check_has_state(self, carry, inputs)
        return self.integrate(carry, self.project(inputs))

    def integrate(
        self, carry: Any, current: Array, coefficients: Any = None, prepared: Any = None
    ) -> tuple[Any, Array]:
        """Advances the neurons by one time step; arguments are those of `NeuronCell.integrate`."""
        self._check(carry, current.shape)
        v = self.dynamics.membrane(carry.neuron)
        check_current(current, v, self.dynamics.blocks)
        if coefficients is None:
            coefficients = self.coefficients(current)
        if prepared is None:
            prepared = self._connections(v.shape[-1], v.dtype)
        noise = membrane_noise(self, v)
        carry, output = self._advanced(carry, current, coefficients, prepared, noise)
        self.sow("intermediates", "v", self.dynamics.membrane(carry.neuron))
        if self.dynamics.spikes:
            self.sow("intermediates", "spikes", output)
        return carry, output

    def over_time(self, carry: Any, inputs: Array, time_axis: int) -> Any:
        """Runs the cell over a whole sequence with its taps computed once, for runners.

        Args:
          carry: state before the first step.
          inputs: ``(*B, T, F)``, or ``(T, *B, F)`` with a time axis of 0.
          time_axis: axis of the time steps in inputs and outputs.

        Returns:
          The carry after the sequence and the outputs, or ``NotImplemented`` for membrane noise and
          for subclasses with a step of their own.
        """
        kind = type(self)
        own = ("__call__", "integrate", "_advanced")
        if any(getattr(kind, n) is not getattr(DelayedRecurrentCell, n) for n in own) or (
            kind.project is not NeuronCell.project
        ):
            return NotImplemented
        if self.is_initializing() or (self.dynamics.noisy and not self.deterministic):
            return NotImplemented
        currents = jnp.moveaxis(self.project(inputs), time_axis, 0)
        self._check(carry, currents.shape[1:])
        v = self.dynamics.membrane(carry.neuron)
        check_current(currents[0], v, self.dynamics.blocks)
        coefficients = self.coefficients(currents[0])
        prepared = self._connections(v.shape[-1], v.dtype)
        traced = self.is_mutable_collection("intermediates")

        def step(carry: Any, current: Array) -> Any:
            carry, output = self._advanced(carry, current, coefficients, prepared)
            return carry, (output, self.dynamics.membrane(carry.neuron) if traced else None)

        carry, outputs = jax.lax.scan(step, carry, currents)
        output, v = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, time_axis), outputs)
        if traced:
            self.sow("intermediates", "v", v)
            if self.dynamics.spikes:
                self.sow("intermediates", "spikes", output)
        return carry, output

    @nn.nowrap
    def initialize_carry(self, rng: PRNGKey | None, input_shape: Shape) -> DelayedState:
        """Returns the state before the first step, in which no spike is under way.

        Args:
          rng: ignored.
          input_shape: shape of the input of one step, ``(*B, F)``.
        """
        neuron = super().initialize_carry(rng, input_shape)
        v = self.dynamics.membrane(neuron)
        blocks = 1 if self.kind == "axon" else self.dynamics.recurrent_blocks
        shape = (*v.shape[:-1], self.max_delay, v.shape[-1] * blocks)
        return DelayedState(neuron, jnp.zeros(shape, v.dtype))

    @nn.nowrap
    def _advanced(
        self,
        carry: DelayedState,
        current: Array,
        coefficients: Any,
        prepared: tuple[Array, Array | None],
        noise: Array | None = None,
    ) -> tuple[DelayedState, Array]:
        kernel, taps = prepared
        after: list[Array] = []

        def recurrent(spikes: Array) -> Any:
            dtype = spikes.dtype
            if taps is None:  # a kernel for every tap
                size = (*spikes.shape[:-1], self.max_delay + 1, -1)
                caused = jnp.matmul(spikes.astype(kernel.dtype), kernel).reshape(size)
            else:
                axon = self.kind == "axon"
                sent = spikes.astype(kernel.dtype)
                sent = sent if axon else jnp.matmul(sent, kernel)
                caused = sent[..., None, :] * taps.reshape((1,) * (sent.ndim - 1) + taps.shape)
            end = [(0, 0)] * (carry.waiting.ndim - 2) + [(0, 1), (0, 0)]
            due = jnp.pad(carry.waiting, end) + caused.astype(dtype)
            now, later = due[..., 0, :], due[..., 1:, :]
            after.append(later)
            if self.kind == "axon":
                now = jnp.matmul(now.astype(kernel.dtype), kernel).astype(dtype)
            return in_blocks(now, self.dynamics.recurrent_blocks)

        neuron, output = self.static_layer.integrate(
            coefficients, carry.neuron, current, recurrent, noise
        )
        return DelayedState(neuron, after[0]), output

    @nn.nowrap
    def _connections(self, size: int, dtype: Any) -> tuple[Array, Array | None]:
        """Returns a kernel for every tap side by side, or the kernel and the taps beside it."""
        if self.is_initializing():
            self.recurrent_weights.of(jnp.zeros((1, size), dtype))
        kernel = self.recurrent_weights.array(size)
        outputs = size * self.dynamics.recurrent_blocks
        taps = self.delays.of(size, outputs, self.rounded)
        if jnp.issubdtype(taps.dtype, jnp.integer):
            lags = jnp.arange(self.max_delay + 1, dtype=taps.dtype)
            taps = (lags[:, None] == taps[None]).astype(at_least_float32(self.param_dtype))
        product = self.dtype or wider(dtype, kernel.dtype)
        if self.kind != "synapse":
            return kernel.astype(product), taps.astype(product)
        each = jnp.moveaxis(taps * kernel.astype(taps.dtype)[None], 0, 1)  # (pre, K, post)
        return each.reshape(size, -1).astype(product), None

    @nn.nowrap
    def _check(self, carry: Any, current_shape: Shape) -> None:
        if not isinstance(carry, DelayedState):
            raise TypeError(
                f"{type(self).__name__}: expected a DelayedState such as"
                f" cell.initialize_carry(key, step_shape) returns, got {type(carry).__name__}"
            )
        check_state(self, carry.neuron, current_shape)
        v = self.dynamics.membrane(carry.neuron)
        blocks = 1 if self.kind == "axon" else self.dynamics.recurrent_blocks
        expected = (*v.shape[:-1], self.max_delay, v.shape[-1] * blocks)
        checks.shape(f"{type(self).__name__}: carry.waiting", carry.waiting, expected)
