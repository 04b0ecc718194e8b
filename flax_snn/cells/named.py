"""Spiking cells: RNN cells of Flax Linen that drop into ``nn.RNN`` and ``nn.scan``.

A cell is input weights and a neuron, kept apart: `project` turns input into current and knows no
time, `integrate` advances the neuron by one step of `flax_snn.dynamics`. The state lives in the
carry, so one cell runs under ``nn.RNN``, ``snn.RNN`` and ``snn.Stateful``.
"""

from __future__ import annotations

from flax_snn.cells.neuron_cell import NeuronCell
from flax_snn.cells.recurrent_cell import RecurrentNeuronCell
from flax_snn.dynamics import LIDynamics, LIFDynamics

__all__ = ["LIFCell", "LeakyIntegratorReadout", "RecurrentLIFCell"]


class LIFCell(NeuronCell):
    """A layer of leaky integrate-and-fire neurons.

        current = inputs @ kernel (+ bias)
        state, spikes = step(state, current)         flax_snn.dynamics

    The default neuron is the exact solution of the membrane equation over a step, with a hard
    reset in the same step whose gradient is stopped, and the surrogate superspike(10). Without
    ``features`` the cell has no weights and acts on currents of any feature shape.

    >>> import flax.linen as nn, flax_snn as snn, jax, jax.numpy as jnp
    >>> layer = nn.RNN(snn.LIFCell(128, dynamics=snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3)))
    >>> x = (jax.random.uniform(jax.random.key(0), (8, 100, 40)) < 0.05).astype(jnp.float32)
    >>> variables = layer.init(jax.random.key(1), x)
    >>> spikes = layer.apply(variables, x)
    >>> spikes.shape, bool(0.02 < spikes.mean() < 0.5)
    ((8, 100, 128), True)

    Attributes:
      features: number of neurons N; ``None`` for no input weights.
      dynamics: the neuron, `LIFDynamics()` by default; see `flax_snn.conventions` for those of
        other frameworks.

    The other attributes are those of `NeuronCell`.

    Raises:
      TypeError: dynamics that never spike.
      ValueError: unknown names in ``learn``; features below 1.

    Reference: Gerstner, Kistler, Naud, Paninski, *Neuronal Dynamics*, 2014, chapter 1; Neftci,
    Mostafa, Zenke, *Surrogate gradient learning in spiking neural networks*, 2019.
    """

    dynamics: LIFDynamics = LIFDynamics()

    neuron = LIFDynamics


class RecurrentLIFCell(RecurrentNeuronCell, LIFCell):
    """A layer of leaky integrate-and-fire neurons that feed each other.

        current = inputs @ kernel (+ bias) + spikes @ recurrent_kernel

    The spikes are those of the step before, or those of this step, as the dynamics say; the
    recurrent current has a synapse of its own where the dynamics have ``tau_syn_rec``. The
    recurrent kernel is (pre, post).

    >>> import flax.linen as nn, flax_snn as snn, jax
    >>> layer = nn.RNN(snn.RecurrentLIFCell(16))
    >>> variables = layer.init(jax.random.key(0), jax.numpy.ones((4, 10, 5)))
    >>> jax.tree.map(lambda p: p.shape, variables["params"])
    {'cell': {'kernel': (5, 16), 'recurrent_kernel': (16, 16)}}

    The attributes are those of `RecurrentNeuronCell`.
    """

    dynamics: LIFDynamics = LIFDynamics()

    neuron = LIFDynamics


class LeakyIntegratorReadout(NeuronCell):
    """A layer of leaky integrators: a membrane per class that never spikes, as a readout.

        current = inputs @ kernel (+ bias)
        v <- alpha v + (1 - alpha) current,   output v

    >>> import flax.linen as nn, flax_snn as snn, jax
    >>> readout = nn.RNN(snn.LeakyIntegratorReadout(10, dynamics=snn.LIDynamics(tau_mem=20e-3)))
    >>> v, variables = readout.init_with_output(jax.random.key(0), jax.numpy.ones((4, 50, 128)))
    >>> v.shape
    (4, 50, 10)

    Attributes:
      features: number of integrators C; ``None`` for no input weights.
      dynamics: the integrator, `LIDynamics()` by default.

    The other attributes are those of `NeuronCell`.

    Raises:
      TypeError: dynamics that spike.

    Reference: Zenke & Vogels, *The remarkable robustness of surrogate gradient learning*, 2021.
    """

    dynamics: LIDynamics = LIDynamics()

    neuron = LIDynamics
