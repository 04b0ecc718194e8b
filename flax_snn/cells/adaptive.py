"""Cells of adaptive neurons: `NeuronCell` with another default neuron."""

from __future__ import annotations

from flax_snn.cells.neuron_cell import NeuronCell
from flax_snn.cells.recurrent_cell import RecurrentNeuronCell
from flax_snn.dynamics import AdLIFDynamics, ALIFDynamics

__all__ = ["ALIFCell", "AdLIFCell", "RecurrentALIFCell", "RecurrentAdLIFCell"]


class ALIFCell(NeuronCell):
    """A layer of leaky integrate-and-fire neurons whose threshold adapts (Bellec et al. 2020).

    >>> import flax_snn as snn, jax
    >>> layer = snn.RNN(snn.ALIFCell(16, learn=("tau_mem", "tau_adapt", "beta")))
    >>> spikes, _ = layer.init_with_output(jax.random.key(0), jax.numpy.ones((4, 50, 8)))
    >>> spikes.shape
    (4, 50, 16)

    Attributes:
      dynamics: the neuron, `ALIFDynamics()` by default.

    The other attributes are those of `NeuronCell`.
    """

    dynamics: ALIFDynamics = ALIFDynamics()

    neuron = ALIFDynamics


class RecurrentALIFCell(RecurrentNeuronCell, ALIFCell):
    """A layer of ALIF neurons that feed each other; attributes as in `RecurrentNeuronCell`."""

    dynamics: ALIFDynamics = ALIFDynamics()

    neuron = ALIFDynamics


class AdLIFCell(NeuronCell):
    """A layer of leaky integrate-and-fire neurons with an adaptation current (Baronig et al. 2025).

    >>> import flax_snn as snn, jax
    >>> layer = snn.RNN(snn.AdLIFCell(16, dynamics=snn.AdLIFDynamics(scheme="euler", q=60.0)))
    >>> spikes, _ = layer.init_with_output(jax.random.key(0), jax.numpy.ones((4, 50, 8)))
    >>> spikes.shape
    (4, 50, 16)

    Attributes:
      dynamics: the neuron, `AdLIFDynamics()` by default.

    The other attributes are those of `NeuronCell`.
    """

    dynamics: AdLIFDynamics = AdLIFDynamics()

    neuron = AdLIFDynamics


class RecurrentAdLIFCell(RecurrentNeuronCell, AdLIFCell):
    """A layer of adLIF neurons that feed each other; attributes as in `RecurrentNeuronCell`."""

    dynamics: AdLIFDynamics = AdLIFDynamics()

    neuron = AdLIFDynamics
