"""Dense weights whose connections have delays of their own, as a layer and as a cell.

    y[t, j] = bias_j + SUM_i w_ij SUM_k g_ij[k] x[t - k, i],     k = 0 .. max_delay

with x = 0 before the start. While delays are learned their taps g are Gaussians, and in the network
that is evaluated single steps (`delay_taps`). Hammouamri, Khalfaoui-Hassani & Masquelier, *Learning
delays in spiking neural networks using dilated convolutions with learnable spacings*, 2024.
"""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax.nn.initializers import Initializer

from flax_snn import checks
from flax_snn.cells.cell_check import check_has_state
from flax_snn.cells.neuron_values import at_least_float32
from flax_snn.layers.delay_taps import TapShape
from flax_snn.layers.delayed_product import Method
from flax_snn.layers.delayed_weights import Delays, Kind, arrived, check_spread, uniform_delays
from flax_snn.products import as_floating
from flax_snn.representation import short_repr
from flax_snn.sequence_mask import step_mask
from flax_snn.typing import Array, PRNGKey, Shape, Shaped

__all__ = ["DelayedConnections", "DelayedDense", "DelayedDenseCell"]


class DelayedConnections(nn.Module):
    """What the layer and the cell with delayed weights share: the weights, and their product.

    Attributes:
      features: number of neurons N.
      max_delay: largest delay in time steps, K - 1 for K taps. A time in seconds is ``max_delay``
        times the step ``dt`` of the neurons.
      kind: what a delay belongs to: ``synapse`` (default), one for each weight; ``axon``, one for
        each input; ``dendrite``, one for each neuron. The last two cost about what ``nn.Dense``
        costs, and chips more often have them.
      sigma: width in steps over which a delay is spread at the beginning; by default half of
        ``max_delay``. It lies in the collection ``delays``, where `snn.layers.with_sigma` sets it.
      rounded: use single taps at the rounded delays, for evaluation and for delays that are not
        learned.
      learn_sigma: learn a width for each delay, as a logarithm, instead.
      tap_shape: ``gaussian`` (default) or ``triangular``.
      epsilon: is added to the sum that normalises the taps, 0 by default; ``dcls`` has 1e-7.
      use_bias: add a learned bias.
      kernel_init: initialiser of the weights, LeCun normal by default, for analog inputs and for
        a normalisation behind them (`ThresholdNorm`); for spikes and neurons right behind them
        ``snn.initializers.fluctuation_driven(dynamics, rate=...)``.
      bias_init: initialiser of the bias, zeros by default.
      delay_init: initialiser of the delays in steps, by default uniform over the whole range;
        ``nn.initializers.constant(array)`` for given ones.
      dtype: dtype of the products; by default that of inputs and parameters.
      param_dtype: dtype of weights and bias, float32 by default. Delays have at least float32,
        since a delay of 24 steps moves in steps of 1/16 in bfloat16.
      implementation: how the product with a sequence is computed: ``convolution``, in the
        ``frequency`` domain (several times faster on a CPU from about 8 taps on, exact up to
        rounding; a number that is not finite reaches the steps before it, too), or what is faster
        (``auto``, default).
    """

    features: int
    max_delay: int
    kind: Kind = "synapse"
    sigma: float | None = None
    rounded: bool = False
    learn_sigma: bool = False
    tap_shape: TapShape = "gaussian"
    epsilon: float = 0.0
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros_init()
    delay_init: Initializer | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32
    implementation: Method = "auto"

    def __post_init__(self) -> None:
        """Checks the configuration when the layer is made."""
        name = type(self).__name__
        checks.whole_number(f"{name}: features", self.features)
        check_spread(name, self)
        for field in ("dtype", "param_dtype"):
            if getattr(self, field) is not None:
                remedy = "give one such as jnp.float32"
                checks.floating(f"{name}: {field}", getattr(self, field), remedy=remedy)
        super().__post_init__()

    __repr__ = short_repr

    @nn.compact
    def weights(
        self, inputs: int, rounded: bool | None = None, sigma: Any = None
    ) -> tuple[Array, Array, Array | None]:
        """Returns the kernel ``(F, N)``, the taps of its delays, and the bias or None."""
        single = self.rounded if rounded is None else rounded
        checks.boolean(f"{type(self).__name__}: rounded", single)
        kernel = self.param("kernel", self.kernel_init, (inputs, self.features), self.param_dtype)
        delays = Delays(
            spread=check_spread(type(self).__name__, self),
            delay_init=self.delay_init or uniform_delays(self.max_delay),
            dtype=at_least_float32(self.param_dtype),
        )
        nn.share_scope(self, delays)
        taps = delays.of(inputs, self.features, single, sigma)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        return kernel, taps, bias

    @nn.nowrap
    def product(self, window: Array, weights: tuple[Array, Array, Array | None]) -> Array:
        """Returns what arrives of ``(*B, max_delay + T, F)`` in T steps, ``(*B, T, N)``."""
        kernel, taps, bias = weights
        window, _, bias = promote_dtype(window, kernel, bias, dtype=self.dtype)
        flat = window.reshape((math.prod(window.shape[:-2]), *window.shape[-2:]))
        out = arrived(flat, kernel, taps, self.kind, self.max_delay, self.implementation)
        out = out.reshape((*window.shape[:-2], *out.shape[1:]))
        return out if bias is None else out + bias.reshape((1,) * (out.ndim - 1) + (-1,))

    @nn.nowrap
    def as_input(self, inputs: Shaped[Array | np.ndarray, "..."], axes: str) -> Array:
        """Returns inputs as a floating array.

        Raises:
          TypeError: a dtype that is neither floating nor spikes.
          ValueError: too few axes, no features, or another number than the kernel was made for.
        """
        name = type(self).__name__
        inputs = as_floating(inputs, self.dtype or self.param_dtype)
        checks.rank(f"{name}: inputs", inputs, axes)
        features = inputs.shape[-1]
        if features == 0:
            raise ValueError(f"{name}: expected at least one input feature, got {inputs.shape}")
        if self.has_variable("params", "kernel"):
            kernel: Any = nn.unbox(self.get_variable("params", "kernel"))
            if kernel.shape[0] != features:
                raise ValueError(
                    f"{name}: expected {kernel.shape[0]} features on the last axis, as the kernel"
                    f" was made for, got {features}"
                )
        return inputs

    @nn.nowrap
    def initialize_carry(self, rng: PRNGKey | None, input_shape: Shape) -> Array:
        """Returns the inputs of the ``max_delay`` steps before the first one: zeros.

        Args:
          rng: ignored.
          input_shape: shape of the input of one step, ``(*B, F)``.

        Returns:
          Zeros ``(*B, max_delay, F)``, oldest first.
        """
        del rng
        if len(input_shape) < 1:
            raise ValueError(
                f"{type(self).__name__}: expected the shape of the input of one step, (*B, F), got"
                f" {tuple(input_shape)}"
            )
        shape = (*input_shape[:-1], self.max_delay, input_shape[-1])
        return jnp.zeros(shape, self.dtype or self.param_dtype)


class DelayedDense(DelayedConnections):
    """Dense weights with learned delays, as a layer over sequences.

        y[t, j] = bias_j + SUM_i w_ij SUM_k g_ij[k] x[t - k, i]

    What stands before neurons without weights, or before a runner: ``DelayedDense -> snn.LIF``.
    Training anneals the width of the taps from outside, and evaluation rounds the delays:

    >>> import flax_snn as snn, jax
    >>> layer = snn.DelayedDense(16, max_delay=24)
    >>> spikes = jax.random.bernoulli(jax.random.key(1), 0.1, (4, 100, 8))
    >>> variables = layer.init(jax.random.key(0), spikes)
    >>> narrow = snn.layers.with_sigma(variables, 0.5)  # as training goes on
    >>> layer.apply(narrow, spikes).shape
    (4, 100, 16)
    >>> layer.apply({"params": variables["params"]}, spikes, rounded=True).shape
    (4, 100, 16)

    In chunks it gives what it gives for the whole sequence: pass on the carry, which holds the last
    ``max_delay`` inputs.

    >>> carry, first = layer.apply(narrow, spikes[:, :50], return_carry=True)
    >>> _, second = layer.apply(narrow, spikes[:, 50:], initial_carry=carry, return_carry=True)
    >>> second.shape
    (4, 50, 16)

    A network that is one step, such as a `Chain`, takes `DelayedDenseCell`, which has the same
    parameters.

    The parameters are ``kernel`` (F, N), ``delay`` in steps ((F, N), (F,) or (N,)), ``bias``, and
    with ``learn_sigma`` ``log_sigma``. A delay that an optimiser moves out of the range counts as
    the end of it, with the gradient that a delay there has; `snn.layers.clip_delays` moves it back.

    Attributes:
      time_major: sequences are ``(T, *B, F)``.

    The other attributes are those of `DelayedConnections`.
    """

    time_major: bool = False

    def __call__(
        self,
        inputs: Shaped[Array | np.ndarray, "..."],
        *,
        rounded: bool | None = None,
        sigma: Any = None,
        initial_carry: Array | None = None,
        return_carry: bool = False,
        seq_lengths: Any = None,
    ) -> Any:
        """Returns what arrives through the delayed weights.

        Args:
          inputs: ``(*B, T, F)``, or ``(T, *B, F)`` with ``time_major``: spikes or analog values.
          rounded: single taps at the rounded delays; by default as the attribute says.
          sigma: width of the taps in steps, a positive number or an array of the shape of the
            delays; by default that of the collection ``delays``.
          initial_carry: the inputs before the sequence, ``(*B, max_delay, F)``; by default zeros.
          return_carry: return the inputs that are still under way, too.
          seq_lengths: int ``(*B,)``: the inputs after so many steps are padding and count as 0, and
            the carry is that after so many steps.

        Returns:
          Currents ``(*B, T, N)``, time first with ``time_major``, or ``(carry, currents)``.

        Raises:
          TypeError: inputs that are neither floating nor spikes.
          ValueError: no time steps, other features than before, a carry of another shape, a width
            that is not positive or is missing.
        """
        inputs = self.as_input(inputs, "(*B, T, F)")
        if self.time_major:
            inputs = jnp.moveaxis(inputs, 0, -2)
        batch, (steps, features) = inputs.shape[:-2], inputs.shape[-2:]
        if steps == 0:
            raise ValueError(
                f"DelayedDense: expected at least one time step, got T = 0 in {inputs.shape}"
            )
        mask = step_mask(batch, steps, seq_lengths=seq_lengths)
        if mask is not None:
            inputs = jnp.where(mask[..., None], inputs, jnp.zeros((), inputs.dtype))
        if initial_carry is None:
            before = jnp.zeros((*batch, self.max_delay, features), inputs.dtype)
        else:
            before = _as_carry(self, initial_carry, (*batch, self.max_delay, features))
        before, inputs = promote_dtype(before, inputs)
        window = jnp.concatenate([before, inputs], axis=-2)
        currents = self.product(window, self.weights(features, rounded, sigma))
        if self.time_major:
            currents = jnp.moveaxis(currents, -2, 0)
        if not return_carry:
            return currents
        return _last(window, self.max_delay, seq_lengths), currents


class DelayedDenseCell(DelayedConnections, nn.RNNCellBase):
    """Dense weights with learned delays, as a cell: one time step, for chains and streaming.

    Its carry holds the last ``max_delay`` inputs, and its parameters are those of `DelayedDense`.
    `snn.RNN` runs it over a whole sequence at once, as that layer would. ``nn.RNN``, which goes
    step by step, needs ``variable_broadcast=("params", "delays")``.

    >>> import flax_snn as snn, jax
    >>> net = snn.RNN(snn.Chain((snn.DelayedDenseCell(16, max_delay=24), snn.LIFCell())))
    >>> spikes, _ = net.init_with_output(jax.random.key(0), jax.numpy.ones((4, 50, 8)))
    >>> spikes.shape
    (4, 50, 16)

    The attributes are those of `DelayedConnections`.
    """

    def __call__(
        self, carry: Array, inputs: Shaped[Array | np.ndarray, "*B F"] | None = None
    ) -> tuple[Array, Array]:
        """Advances by one time step.

        Args:
          carry: the inputs of the ``max_delay`` steps before, ``(*B, max_delay, F)``.
          inputs: input of the step, ``(*B, F)``.

        Returns:
          The inputs of the ``max_delay`` steps before the next one, and the currents ``(*B, N)``.
        """
        x = self.as_input(check_has_state(self, carry, inputs), "(*B, F)")
        carry, out = self._advanced(carry, x[..., None, :])
        return carry, out[..., 0, :]

    def over_time(self, carry: Array, inputs: Array, time_axis: int) -> Any:
        """Runs the cell over a whole sequence at once, for runners.

        Args:
          carry: the inputs of the ``max_delay`` steps before, ``(*B, max_delay, F)``.
          inputs: ``(*B, T, F)``, or ``(T, *B, F)`` with a time axis of 0.
          time_axis: axis of the time steps in inputs and outputs.

        Returns:
          The carry after the sequence and the currents, or ``NotImplemented`` for a subclass with a
          step of its own.
        """
        if type(self).__call__ is not DelayedDenseCell.__call__:
            return NotImplemented
        inputs = jnp.moveaxis(self.as_input(inputs, "(*B, T, F)"), time_axis, -2)
        carry, out = self._advanced(carry, inputs)
        return carry, jnp.moveaxis(out, -2, time_axis)

    @property
    def num_feature_axes(self) -> int:
        """Trailing axes of one input that are features."""
        return 1

    def _advanced(self, carry: Any, inputs: Array) -> tuple[Array, Array]:
        shape = (*inputs.shape[:-2], self.max_delay, inputs.shape[-1])
        before = _as_carry(self, carry, shape)
        if jnp.finfo(inputs.dtype).bits > jnp.finfo(before.dtype).bits:
            raise TypeError(
                f"DelayedDenseCell: expected inputs no wider than the {before.dtype} carry, got"
                f" {inputs.dtype}; set dtype={inputs.dtype} or convert the inputs"
            )
        window = jnp.concatenate([before, inputs.astype(before.dtype)], axis=-2)
        out = self.product(window, self.weights(inputs.shape[-1]))
        return _last(window, self.max_delay), out


def _as_carry(layer: DelayedConnections, carry: Any, shape: Shape) -> Array:
    remedy = "start from initialize_carry(key, step_shape), or go on with what the layer returned"
    name = f"{type(layer).__name__}: carry"
    checks.shape(name, carry, shape, remedy=remedy)
    return checks.floating(name, jnp.asarray(carry))


def _last(window: Array, count: int, seq_lengths: Any = None) -> Array:
    """Returns the last inputs of a window, or the last ones before the padding."""
    if seq_lengths is None:
        return window[..., window.shape[-2] - count :, :]
    steps = window.shape[-2] - count
    lengths = jnp.clip(jnp.asarray(seq_lengths).astype(jnp.int32), 0, steps)
    index = lengths[..., None] + jnp.arange(count, dtype=jnp.int32).reshape(
        (1,) * lengths.ndim + (-1,)
    )
    return jnp.take_along_axis(window, index[..., None], axis=-2)
