"""Neurons without weights, as layers over a sequence of currents."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from flax_snn.cells import LeakyIntegratorReadout, LIFCell
from flax_snn.dynamics import LIDynamics, LIFDynamics
from flax_snn.runners.rnn import RNN
from flax_snn.surrogate import Surrogate
from flax_snn.typing import Array, Shaped

__all__ = ["LIF", "LeakyIntegrator"]


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
      individual: coefficients of which each neuron has a value of its own, as in `LIFCell`.
    """

    dynamics: LIFDynamics = LIFDynamics()
    surrogate: Surrogate | None = None
    learn: tuple[str, ...] = ()
    feature_axes: int | None = None
    time_major: bool = False
    param_dtype: Any = jnp.float32
    deterministic: bool = False
    implementation: str = "auto"
    individual: tuple[str, ...] = ()

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
            individual=self.individual,
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
      individual: coefficients of which each integrator has a value of its own, as in `LIFCell`.
    """

    dynamics: LIDynamics = LIDynamics()
    learn: tuple[str, ...] = ()
    feature_axes: int | None = None
    time_major: bool = False
    param_dtype: Any = jnp.float32
    deterministic: bool = False
    implementation: str = "auto"
    individual: tuple[str, ...] = ()

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
            individual=self.individual,
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
