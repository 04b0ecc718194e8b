"""What all spiking cells share: input weights and a neuron, kept apart."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer

from flax_snn.cells import neuron_values, weights
from flax_snn.dynamics import Coefficients, Dynamics, LIFParameters, aligned, initial_state, step
from flax_snn.products import as_floating, is_kernel
from flax_snn.surrogate import Surrogate
from flax_snn.time_loop import Layer, LayerWeights
from flax_snn.typing import Array, Float, LIFState, PRNGKey, Shaped

__all__ = ["NeuronCell"]


class NeuronCell(nn.RNNCellBase):
    """What all cells share: optional input weights, and a neuron.

    Attributes:
      features: number of neurons N; ``None`` for a cell without input weights, whose input is the
        current itself and has any feature shape.
      dynamics: the neuron.
      learn: names of parameters to learn, one value per neuron: ``tau_mem``, ``tau_syn``,
        ``tau_syn_rec``, ``resistance`` and a positive ``threshold`` as logarithms
        (``log_tau_mem``, ...), ``v_rest``, ``v_reset``, ``bias`` as they are (``learned_bias``).
      use_bias: add a learned bias current of the input weights.
      kernel_init: initialiser of the input weights; by default normal, scaled such that inputs
        that are active in 2 % of the steps move the membrane by about its threshold.
      bias_init: initialiser of the bias, zeros by default.
      dtype: dtype of the products and of the spikes; by default that of inputs and parameters.
      param_dtype: dtype of parameters and state, float32 by default.
      dot_general_cls: class of the matrix products, as in ``nn.Dense``; by default
        ``lax.dot_general``.
      feature_axes: trailing axes of one input that are features; more than 1 only without input
        weights.
      deterministic: switch off the membrane noise of the dynamics.
      individual: names of coefficients (`flax_snn.dynamics.Coefficients`) of which each neuron has
        a value of its own that is not learned. They lie in the collection ``neuron``, with the
        shape of the features, and begin with the value of the dynamics; networks that come from
        other frameworks have them. ``nn.RNN`` needs ``variable_broadcast=("params", "neuron")``.
    """

    features: int | None = None
    dynamics: Any = None
    learn: tuple[str, ...] = ()
    use_bias: bool = False
    kernel_init: Initializer | None = None
    bias_init: Initializer = nn.initializers.zeros_init()
    dtype: Any = None
    param_dtype: Any = jnp.float32
    dot_general_cls: Any = None
    feature_axes: int = 1
    deterministic: bool = False
    individual: tuple[str, ...] = ()

    neuron: ClassVar[type[Dynamics]] = Dynamics

    def __post_init__(self) -> None:
        """Check the configuration when the cell is made, not when it runs."""
        for name in ("learn", "individual"):
            if isinstance(getattr(self, name), list):
                setattr(self, name, tuple(getattr(self, name)))
        _check_cell(self)
        super().__post_init__()

    def setup(self) -> None:
        """Create the parts that own parameters; they share the scope of the cell."""
        rule = self.dynamics.rule
        make = self.dot_general_cls
        if self.features is not None:
            self.input_dot_general = jax.lax.dot_general if make is None else make()
            self.input_weights = weights.Projection(
                features=self.features * max(rule.channels, 1),
                kernel_init=self.kernel_init or weights.active_init(self.dynamics),
                use_bias=self.use_bias,
                bias_init=self.bias_init,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                dot_general=self.input_dot_general,
            )
            nn.share_scope(self, self.input_weights)
        if self.learn:
            self.learned = neuron_values.Learned(
                dynamics=self.dynamics, learn=tuple(self.learn), param_dtype=self.param_dtype
            )
            nn.share_scope(self, self.learned)
        if self.individual:
            self.own = neuron_values.Individual(names=self.individual, param_dtype=self.param_dtype)
            nn.share_scope(self, self.own)

    def project(self, inputs: Shaped[Array | np.ndarray, "*B F"]) -> Float[Array, "*B M"]:
        """Turn inputs into currents by the input weights; knows no time.

        Args:
          inputs: spikes or analog values, any number of leading axes; bool, int8 and uint8 spikes
            are converted.

        Returns:
          Currents ``(*B, N)``; ``(*B, M)`` with M = S * N, one block of N after the other, where
          neurons have S > 1 synaptic channels. Inputs as they are for a cell without input weights.

        Raises:
          TypeError: a dtype that is neither floating nor spikes.
          ValueError: another number of features than the kernel was made for.
        """
        inputs = as_floating(inputs, self.dtype or self.param_dtype)
        return inputs if self.features is None else self.input_weights(inputs)

    def coefficients(
        self, current: Shaped[Array | np.ndarray, "*B M"] | jax.ShapeDtypeStruct
    ) -> Coefficients:
        """Return the numbers of one step, learned where named, ready to broadcast.

        Args:
          current: a current, for its shape.

        Returns:
          Coefficients in the dtype of the state.
        """
        size = current.shape[-1] // max(self.dynamics.rule.channels, 1)
        parameters: LIFParameters | None = self.learned(size) if self.learn else None
        numbers = self.dynamics.coefficients(parameters, dtype=self.param_dtype)
        if self.individual:
            shape = (*current.shape[current.ndim - self.feature_axes : -1], size)
            numbers = self.own(numbers, shape)
        return aligned(numbers, current.ndim, self.param_dtype)

    def layer(self, inputs: jax.ShapeDtypeStruct) -> tuple[Layer, LayerWeights]:
        """Return the cell as data, for loops that do not call it step by step.

        Args:
          inputs: shape and dtype of the input of one step, ``(B, *features)``.

        Returns:
          What of it is no array, and its arrays; its parameters must exist.
        """
        kernel = bias = None
        size = inputs.shape[-1]
        if self.features is not None:
            kernel, bias = self.input_weights.arrays(size)
            size = kernel.shape[1]
        feedback = self.feedback()
        current = jax.ShapeDtypeStruct((*inputs.shape[:-1], size), self.param_dtype)
        rule = self.dynamics.rule
        return Layer(rule, self.spike_derivative(), self.dtype, self.param_dtype), LayerWeights(
            coefficients=self.coefficients(current),
            kernel=kernel,
            bias=bias,
            recurrent_kernel=None
            if feedback is None
            else feedback.array(size // max(rule.channels, 1)),
        )

    def why_not_layer(self) -> str | None:
        """Say what of the cell is more than data of `layer`; ``None`` if nothing is."""
        name = type(self).__name__
        products = [getattr(self, f"{part}_dot_general", None) for part in ("input", "recurrent")]
        if not all(is_kernel(each) for each in products if each is not None):
            return f"{name} has a dot_general_cls that is more than a product with a kernel"
        if self.dynamics.rule.noisy and not self.deterministic:
            return f"{name} draws membrane noise in each step"
        return None

    def integrate(
        self,
        carry: LIFState,
        current: Float[Array, "*B M"],
        coefficients: Coefficients | None = None,
        prepared: Any = None,
    ) -> tuple[LIFState, Float[Array, "*B N"]]:
        """Advance the neurons by one time step.

        Sows the membrane ``v`` and the output ``spikes`` (``membrane`` of a readout) into
        ``intermediates``.

        Args:
          carry: state before the step.
          current: what `project` returned for this step.
          coefficients: numbers of the step; computed where not given.
          prepared: what `prepare` returned, where it was called before the loop.

        Returns:
          The state after the step, and the output ``(*B, N)``.

        Raises:
          ValueError: a current that does not fit the state; membrane noise without its RNG stream.
        """
        rule = self.dynamics.rule
        if coefficients is None:
            coefficients = self.coefficients(current)
        blocks = max(rule.channels, 1)
        weights.check_current(current, carry.v, blocks)
        current = current.astype(carry.v.dtype)
        currents = current if blocks == 1 else tuple(jnp.split(current, blocks, axis=-1))
        carry, output = step(
            rule,
            coefficients,
            carry,
            currents,
            self.spike_derivative(),
            recurrent=self._recurrent(prepared),
            noise=self._noise(carry.v),
        )
        self.sow("intermediates", "v", carry.v)
        if rule.fire != "none":
            output = output.astype(self.dtype or self.param_dtype)
            self.sow("intermediates", "spikes", output)
        return carry, output

    def __call__(
        self, carry: LIFState, inputs: Shaped[Array | np.ndarray, "*B F"]
    ) -> tuple[LIFState, Float[Array, "*B N"]]:
        """Advance the cell by one time step.

        Args:
          carry: state before the step.
          inputs: input of the step, ``(*B, F)``.

        Returns:
          The state after the step, and the output ``(*B, N)``.
        """
        return self.integrate(carry, self.project(inputs))

    @nn.nowrap
    def spike_derivative(self) -> Surrogate | None:
        """Return the surrogate derivative of the spike; none for a readout."""
        return None

    @nn.nowrap
    def feedback(self) -> weights.Recurrence | None:
        """Return the recurrent projection; none for a feed-forward cell."""
        return None

    @nn.nowrap
    def initialize_carry(self, rng: PRNGKey | None, input_shape: tuple[int, ...]) -> LIFState:
        """Return the state before the first step: membranes at ``dynamics.v_init``, no current.

        Args:
          rng: ignored.
          input_shape: shape of the input of one step, ``(*B, F)``.

        Returns:
          State with fields ``(*B, N)`` in ``param_dtype``.

        Raises:
          ValueError: the shape has too few axes or does not fit the neurons.
        """
        del rng
        shape = weights.state_shape(self, input_shape)
        v_init = weights.full(self.dynamics.v_init, shape, self.param_dtype, self.feature_axes)
        return initial_state(self.dynamics.rule, v_init, recurrent=self.recurrent)

    def prepare(self, carry: LIFState) -> Any:
        """Return what of the recurrent product is the same in all steps of a sequence.

        Args:
          carry: state, for its shape.

        Returns:
          What `integrate` takes; ``None`` where there is nothing to prepare.
        """
        feedback = self.feedback()
        return None if feedback is None else feedback.prepare(carry.v.shape[-1])

    @property
    def recurrent(self) -> bool:
        """Whether the neurons feed each other."""
        return False

    @property
    def num_feature_axes(self) -> int:
        """Trailing axes of one input that are features."""
        return self.feature_axes

    def _recurrent(self, prepared: Any) -> Any:
        feedback = self.feedback()
        if feedback is None or prepared is None:
            return feedback
        return functools.partial(feedback, prepared=prepared)

    def _noise(self, v: Array) -> Array | None:
        if not self.dynamics.rule.noisy or self.deterministic or self.is_initializing():
            return None
        if not self.has_rng("noise"):
            raise ValueError(
                f"{type(self).__name__}: membrane noise (noise_std={self.dynamics.noise_std}) needs"
                " the RNG stream 'noise': pass rngs={'noise': key} to apply (snn.RNN lifts it;"
                " nn.RNN needs split_rngs={'params': False, 'noise': True}), or switch the noise"
                " off with deterministic=True"
            )
        return jax.random.normal(self.make_rng("noise"), v.shape, v.dtype)


def _check_cell(cell: NeuronCell) -> None:
    name = type(cell).__name__
    if not isinstance(cell.dynamics, cell.neuron):
        raise TypeError(
            f"{name}: expected dynamics of type {cell.neuron.__name__}, got {cell.dynamics!r}"
        )
    surrogate = getattr(cell, "surrogate", None)
    if surrogate is not None and not isinstance(surrogate, Surrogate):
        raise TypeError(
            f"{name}: expected a Surrogate such as superspike(slope=10), called, got {surrogate!r}"
        )
    if cell.features is not None and (
        isinstance(cell.features, bool) or not isinstance(cell.features, int) or cell.features < 1
    ):
        raise ValueError(
            f"{name}: expected features to be a whole number > 0, or None for no input weights, got"
            f" {cell.features!r}"
        )
    if cell.feature_axes < 1 or (cell.features is not None and cell.feature_axes != 1):
        raise ValueError(
            f"{name}: expected feature_axes=1 with input weights and >= 1 without, got"
            f" {cell.feature_axes!r}"
        )
    if cell.use_bias and cell.features is None:
        raise ValueError(f"{name}: use_bias=True needs input weights, got features=None")
    neuron_values.check_learn(name, cell.dynamics, cell.learn)
    neuron_values.check_individual(name, cell.dynamics, cell.individual, cell.learn)
