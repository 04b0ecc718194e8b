"""Neurons without weights, as layers over a sequence of currents."""

from __future__ import annotations

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.cells import LeakyIntegratorReadout, LIFCell, NeuronCell
from flax_snn.cells.cell_check import check_dynamics, check_names, check_surrogate
from flax_snn.dynamics import LIDynamics, LIFDynamics
from flax_snn.representation import short_repr
from flax_snn.runners.rnn import RNN
from flax_snn.surrogate import Surrogate
from flax_snn.typing import Array, Shape, Shaped

__all__ = ["LIF", "LeakyIntegrator", "Neurons"]


class Neurons(nn.Module):
    """Neurons of any kind without weights, as a layer over a sequence of currents.

    >>> import flax_snn as snn, jax
    >>> layer = snn.Neurons(snn.LIFDynamics(tau_mem=5e-3))
    >>> layer.apply({}, jax.numpy.ones((2, 10, 8, 8, 4))).shape
    (2, 10, 8, 8, 4)

    Attributes:
      dynamics: the neuron.
      surrogate: surrogate derivative of the spike; that of the dynamics by default.
      learn: values of the neuron to learn, one value per entry of the last axis.
      feature_axes: trailing axes that are features. ``None`` (default): all behind the time axis
        of inputs with ONE batch axis, ``(B, T, *features)``; inputs with no or several batch axes
        need it given.
      time_major: inputs are ``(T, B, *features)``.
      param_dtype: dtype of parameters, float32 by default.
      deterministic: switch off the membrane noise of the dynamics.
      implementation: as in `RNN`.
      individual: coefficients of which each neuron has a value of its own, as in `NeuronCell`.
      dtype: dtype of the spikes; that of the parameters by default.
      state_dtype: dtype of the state; that of the parameters, but at least float32, by default.
      values: values of the neuron in their units, one per entry of the last axis, as in
        `NeuronCell`.
    """

    dynamics: Any = None
    surrogate: Surrogate | None = None
    learn: tuple[str, ...] = ()
    feature_axes: int | None = None
    time_major: bool = False
    param_dtype: Any = jnp.float32
    deterministic: bool = False
    implementation: str = "auto"
    individual: tuple[str, ...] = ()
    dtype: Any = None
    state_dtype: Any = None
    values: Any = None

    cell_class: ClassVar[type[NeuronCell]] = NeuronCell

    def __new__(cls, *_: Any, **arguments: Any) -> Neurons:
        """Checks the names of the arguments, where Python would only say that one is unknown."""
        check_names(cls, arguments, cls.cell_class.neuron)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Checks the neuron when the layer is made."""
        name = type(self).__name__
        if checks.is_whole_number(self.dynamics):
            raise TypeError(
                f"{name}: expected dynamics such as snn.LIFDynamics(), got the number"
                f" {self.dynamics!r}; {name} has no weights and takes its number of neurons from"
                " its input. A layer with input weights is a cell in a runner:"
                f" snn.RNN(snn.{self.cell_class.__name__}({self.dynamics!r}))"
            )
        check_dynamics(name, self.dynamics, self.cell_class.neuron)
        check_surrogate(name, self.surrogate)
        super().__post_init__()

    __repr__ = short_repr

    @property
    def num_feature_axes(self) -> int:
        """Not for layers: runners ask cells for it, and get an error that names the cell.

        Raises:
          TypeError: always.
        """
        name, cell = type(self).__name__, self.cell_class.__name__
        raise TypeError(
            f"{name}: a runner such as nn.RNN expects a cell, got a layer over whole sequences;"
            f" call {name}(...) without a runner, or run the cell: nn.RNN(snn.{cell}(features))"
        )

    @nn.compact
    def __call__(self, inputs: Shaped[Array | np.ndarray, "..."], **arguments: Any) -> Any:
        """Runs the neurons over the sequence.

        Args:
          inputs: currents ``(B, T, *features)``, time first with ``time_major``.
          **arguments: those of `RNN`: initial_carry, seq_lengths, return_carry, reverse, ...

        Returns:
          Spikes (membranes of integrators) in the shape of the inputs, or ``(carry, spikes)`` with
          ``return_carry=True``.

        Raises:
          ValueError: fewer than three axes without ``feature_axes``.
        """
        cell = self.cell_class(
            dynamics=self.dynamics,
            surrogate=self.surrogate,
            learn=self.learn,
            individual=self.individual,
            feature_axes=_feature_axes(self, jnp.shape(inputs)),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            state_dtype=self.state_dtype,
            values=self.values,
            deterministic=self.deterministic,
            name="cell",
        )
        runner = RNN(cell, time_major=self.time_major, implementation=self.implementation)
        return runner(inputs, **arguments)


class LIF(Neurons):
    """Leaky integrate-and-fire neurons without weights, as a layer over a sequence of currents.

    What stands between convolutions: ``nn.Sequential([nn.Conv(...), snn.LIF(), ...])``.

    >>> import flax.linen as nn, flax_snn as snn, jax
    >>> net = nn.Sequential([nn.Conv(4, (3, 3)), snn.LIF(dynamics=snn.LIFDynamics(tau_mem=5e-3))])
    >>> spikes, _ = net.init_with_output(jax.random.key(0), jax.numpy.ones((2, 10, 8, 8, 1)))
    >>> spikes.shape
    (2, 10, 8, 8, 4)

    Attributes:
      dynamics: the neuron, `LIFDynamics()` by default.

    The other attributes are those of `Neurons`.
    """

    dynamics: LIFDynamics = LIFDynamics()

    cell_class = LIFCell


class LeakyIntegrator(Neurons):
    """Leaky integrators without weights, as a layer over a sequence of currents.

    Their output is the membrane, in the dtype of the state.

    Attributes:
      dynamics: the integrator, `LIDynamics()` by default.

    The other attributes are those of `Neurons`.
    """

    dynamics: LIDynamics = LIDynamics()

    cell_class = LeakyIntegratorReadout


def _feature_axes(layer: Neurons, shape: Shape) -> int:
    if layer.feature_axes is not None:
        return layer.feature_axes
    if len(shape) < 3:
        order = "(T, B, *features)" if layer.time_major else "(B, T, *features)"
        raise ValueError(
            f"{type(layer).__name__}: expected inputs {order}, got shape {shape}; with no or"
            " several batch axes say how many trailing axes are features: feature_axes=1"
        )
    return len(shape) - 2
