"""The cell that all spiking cells are: input weights, and a neuron that knows nothing of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer

from flax_snn.cells import neuron_values, weights
from flax_snn.cells.carry_check import check_state
from flax_snn.cells.cell_check import check_cell, check_has_state, check_names
from flax_snn.cells.membrane_noise import membrane_noise
from flax_snn.dynamics import Neuron, aligned
from flax_snn.dynamics.promises import entry_without_batch
from flax_snn.products import as_floating, is_kernel
from flax_snn.representation import short_repr
from flax_snn.surrogate import Surrogate
from flax_snn.time_loop import Layer, LayerWeights
from flax_snn.typing import Array, Float, PRNGKey, Shape, Shaped

__all__ = ["NeuronCell"]

_STEP = ("__call__", "project", "integrate", "coefficients", "layer", "prepare", "parameter_values")
"""Methods that make the step of a cell: one that has others is called step by step."""


class NeuronCell(nn.RNNCellBase):
    """A layer of neurons of any kind: optional input weights, and a neuron.

    `LIFCell`, `LeakyIntegratorReadout`, ... are this cell with another default neuron, and a neuron
    of your own (a subclass of `flax_snn.Neuron`) runs in this one.

    >>> import flax.linen as nn, flax_snn as snn, jax
    >>> layer = snn.RNN(snn.NeuronCell(16, dynamics=snn.LIFDynamics(tau_mem=10e-3)))
    >>> spikes, _ = layer.init_with_output(jax.random.key(0), jax.numpy.ones((4, 50, 8)))
    >>> spikes.shape
    (4, 50, 16)

    Attributes:
      features: number of neurons N; ``None`` for a cell without input weights, whose input is the
        current itself and has any feature shape.
      dynamics: the neuron.
      learn: names of values of the neuron to learn (`Neuron.learnable`), one value per neuron:
        for LIF neurons ``tau_mem``, ``tau_syn``, ``tau_syn_rec``, ``resistance`` and a positive
        ``threshold`` as logarithms (``log_tau_mem``, ...), ``v_rest``, ``v_reset``, ``bias`` as
        they are (``learned_bias``). Learning cannot leave the domain that the dynamics accept.
      use_bias: add a learned bias current of the input weights.
      kernel_init: initialiser of the input weights; by default normal, scaled such that inputs
        that are active in 2 % of the steps move the membrane by about its threshold.
      bias_init: initialiser of the bias, zeros by default.
      dtype: dtype of the products and of the spikes; by default that of inputs and parameters.
      param_dtype: dtype of the parameters, float32 by default.
      dot_general_cls: class of the matrix products, as in ``nn.Dense``; by default
        ``lax.dot_general``.
      feature_axes: trailing axes of one input that are features; more than 1 only without input
        weights.
      deterministic: switch off the membrane noise of the dynamics.
      individual: names of coefficients of which each neuron has a value of its own that is not
        learned. They lie in the collection ``neuron``, with the shape of the features, and begin
        with the value of the dynamics; networks that come from other frameworks have them.
        ``nn.RNN`` needs ``variable_broadcast=("params", "neuron")``.
      surrogate: surrogate derivative of the spike; that of the dynamics by default.
      state_dtype: dtype of the state; that of the parameters by default, but at least float32,
        since a slow membrane stops moving in fewer bits.
      values: values of the neuron in their units (seconds for time constants), one per neuron, by
        the names of ``learn``: an array ``(N,)``, or an initialiser ``(key, shape, dtype)``. Where
        a name is learned too, learning starts from them; else they are constants, and those that
        an initialiser draws lie in the collection ``neuron``.
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
    surrogate: Surrogate | None = None
    state_dtype: Any = None
    values: Any = None

    neuron: ClassVar[type[Neuron]] = Neuron

    def __new__(cls, *_: Any, **arguments: Any) -> NeuronCell:
        """Checks the names of the arguments, where Python would only say that one is unknown."""
        check_names(cls, arguments, cls.neuron)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Checks the configuration when the cell is made, not when it runs."""
        for name in ("learn", "individual"):
            if isinstance(getattr(self, name), list):
                setattr(self, name, tuple(getattr(self, name)))
        self.values = neuron_values.as_given(self.values)
        check_cell(self)
        super().__post_init__()

    __repr__ = short_repr

    def setup(self) -> None:
        """Creates the submodules with parameters; they share the scope of the cell."""
        make = self.dot_general_cls
        if self.features is not None:
            self.input_dot_general = jax.lax.dot_general if make is None else make()
            self.input_weights = weights.Projection(
                features=self.features * self.dynamics.blocks,
                kernel_init=self.kernel_init or weights.active_init(self.dynamics),
                use_bias=self.use_bias,
                bias_init=self.bias_init,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                dot_general=self.input_dot_general,
            )
            nn.share_scope(self, self.input_weights)
        if self.learn or self.values:
            self.neuron_values = neuron_values.NeuronValues(
                dynamics=self.dynamics,
                learn=tuple(self.learn),
                given=self.values or {},
                param_dtype=self.param_dtype,
                state_dtype=self.dtype_of_state,
            )
            nn.share_scope(self, self.neuron_values)
        if self.individual:
            self.individual_values = neuron_values.Individual(
                names=self.individual, dtype=self.dtype_of_state
            )
            nn.share_scope(self, self.individual_values)

    def project(self, inputs: Shaped[Array | np.ndarray, "*B F"]) -> Float[Array, "*B M"]:
        """Turns inputs into currents by the input weights, whatever the time step.

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
        return inputs if self.features is None else self.input_weights.of(inputs)

    @nn.nowrap
    def parameter_values(self, size: int) -> dict[str, Any]:
        """Returns the values of the neuron by name, in their units; learned ones are ``(N,)``.

        Args:
          size: number of neurons N.
        """
        changes = self.neuron_values.of(size) if self.learn or self.values else {}
        values: dict[str, Any] = self.dynamics.values(changes)
        return values

    @nn.nowrap
    def values_of(self, params: Mapping[str, Any]) -> dict[str, Array]:
        """Returns what was learned, in its units, read from the parameters of this cell.

        >>> import flax_snn as snn, jax
        >>> cell = snn.LIFCell(2, learn=("tau_mem",))
        >>> params = snn.RNN(cell).init(jax.random.key(0), jax.numpy.ones((1, 5, 3)))["params"]
        >>> cell.values_of(params["cell"])["tau_mem"].round(4).tolist()
        [0.019999999552965164, 0.019999999552965164]

        Args:
          params: parameters of the cell, ``variables["params"][...]`` down to its name.

        Returns:
          The learned values by name, ``(N,)`` in the unit of the dynamics (seconds for time
          constants); a tuple of them for several synaptic channels.

        Raises:
          ValueError: a learned value is not among the parameters.
        """
        return neuron_values.read(self, params)

    @nn.nowrap
    def coefficients(
        self, current: Shaped[Array | np.ndarray, "*B M"] | jax.ShapeDtypeStruct
    ) -> Any:
        """Returns the coefficients of a step, with learned values, ready to broadcast.

        Args:
          current: a current, for its shape.

        Returns:
          Coefficients in the dtype of the state.
        """
        size = current.shape[-1] // self.dynamics.blocks
        changes = self.neuron_values.of(size) if self.learn or self.values else None
        numbers = self.dynamics.coefficients(changes, dtype=self.dtype_of_state)
        if self.individual:
            shape = (*current.shape[current.ndim - self.feature_axes : -1], size)
            numbers = self.individual_values.of(numbers, shape)
        return aligned(numbers, current.ndim, self.dtype_of_state)

    @nn.nowrap
    def layer(self, inputs: jax.ShapeDtypeStruct) -> tuple[Layer, LayerWeights]:
        """Returns the cell as data, for loops that do not call it step by step.

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
        current = jax.ShapeDtypeStruct((*inputs.shape[:-1], size), self.dtype_of_state)
        recurrent_kernel = None
        if feedback is not None:
            recurrent_kernel = feedback.array(size // self.dynamics.blocks)
        return self.static_layer, LayerWeights(
            coefficients=self.coefficients(current),
            kernel=kernel,
            bias=bias,
            recurrent_kernel=recurrent_kernel,
        )

    @property
    def static_layer(self) -> Layer:
        """The part of the cell that is not an array."""
        return Layer(
            self.dynamics,
            self.spike_derivative(),
            self.dtype,
            self.param_dtype,
            self.dtype_of_state,
            weights.product_of_loops(self),
        )

    @nn.nowrap
    def why_not_layer(self) -> str | None:
        """Returns why the cell is more than the data of `layer`, or None if it is not."""
        name = type(self).__name__
        method = self.overridden()
        if method is not None:
            return f"{name} has a {method} of its own"
        products = [getattr(self, f"{part}_dot_general", None) for part in ("input", "recurrent")]
        if not all(is_kernel(each) for each in products if each is not None):
            return f"{name} has a dot_general_cls that is more than a product with a kernel"
        if self.dynamics.noisy and not self.deterministic:
            return f"{name} draws membrane noise in each step"
        entry = entry_without_batch(self.dynamics, self.recurrent)
        if entry is not None:
            return (
                f"the state of {type(self.dynamics).__name__} has an entry {entry} that does not"
                " begin with the batch axes"
            )
        return None

    @nn.nowrap
    def overridden(self) -> str | None:
        """Returns the name of a step method that a subclass or transformation changed, or None."""
        for name in _STEP:
            if getattr(type(self), name) is not getattr(NeuronCell, name):
                return name
        return None

    def integrate(
        self,
        carry: Any,
        current: Float[Array, "*B M"],
        coefficients: Any = None,
        prepared: Any = None,
    ) -> tuple[Any, Float[Array, "*B N"]]:
        """Advances the neurons by one time step.

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
          TypeError: a state with other entries or dtypes than `initialize_carry` makes.
          ValueError: a current that does not fit the state; membrane noise without its RNG stream.
        """
        check_state(self, carry, current.shape)
        if coefficients is None:
            coefficients = self.coefficients(current)
        v = self.dynamics.membrane(carry)
        weights.check_current(current, v, self.dynamics.blocks)
        carry, output = self.static_layer.integrate(
            coefficients, carry, current, self._recurrent(prepared), membrane_noise(self, v)
        )
        self.sow("intermediates", "v", self.dynamics.membrane(carry))
        if self.dynamics.spikes:
            self.sow("intermediates", "spikes", output)
        return carry, output

    def __call__(
        self, carry: Any, inputs: Shaped[Array | np.ndarray, "*B F"] | None = None
    ) -> tuple[Any, Float[Array, "*B N"]]:
        """Advances the cell by one time step.

        Args:
          carry: state before the step.
          inputs: input of the step, ``(*B, F)``.

        Returns:
          The state after the step, and the output ``(*B, N)``.

        Raises:
          TypeError: called with an input alone, as a layer; a runner gives it the state.
        """
        inputs = check_has_state(self, carry, inputs)
        return self.integrate(carry, self.project(inputs))

    @nn.nowrap
    def spike_derivative(self) -> Surrogate | None:
        """Returns the surrogate derivative of the spike: that of the cell, or of the dynamics."""
        if not self.dynamics.spikes:
            return None
        return self.surrogate or self.dynamics.surrogate

    @nn.nowrap
    def feedback(self) -> weights.Recurrence | None:
        """Returns the recurrent projection, or None for a feed-forward cell."""
        return None

    @nn.nowrap
    def initialize_carry(self, rng: PRNGKey | None, input_shape: Shape) -> Any:
        """Returns the state before the first step: membranes at ``dynamics.v_init``, no current.

        Args:
          rng: ignored.
          input_shape: shape of the input of one step, ``(*B, F)``.

        Returns:
          State with entries ``(*B, N)`` in the dtype of the state.

        Raises:
          ValueError: the shape has too few axes or does not fit the neurons.
        """
        del rng
        shape = weights.state_shape(self, input_shape)
        v_init = weights.full(self.dynamics.v_init, shape, self.dtype_of_state, self.feature_axes)
        return self.dynamics.initial_state(v_init, recurrent=self.recurrent)

    @nn.nowrap
    def prepare(self, carry: Any) -> Any:
        """Returns what the recurrent product computes once for a sequence, or None for nothing.

        Args:
          carry: state, for its shape.
        """
        feedback = self.feedback()
        size = self.dynamics.membrane(carry).shape[-1]
        return None if feedback is None else feedback.prepare(size)

    @property
    def recurrent(self) -> bool:
        """Whether the neurons feed each other."""
        return False

    @property
    def dtype_of_state(self) -> Any:
        """Dtype of the state."""
        if self.state_dtype is not None:
            return self.state_dtype
        return neuron_values.at_least_float32(self.param_dtype)

    @property
    def num_feature_axes(self) -> int:
        """Trailing axes of one input that are features."""
        return self.feature_axes

    def _recurrent(self, prepared: Any) -> Any:
        feedback = self.feedback()
        if feedback is None:
            return None
        return functools.partial(feedback.of, prepared=prepared)
