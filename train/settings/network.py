"""Settings of networks on rasters: hidden layers of neurons and a readout."""

from __future__ import annotations

import dataclasses
from typing import Literal

from train.settings.versions import added

Readout = Literal["spikes", "first", "max", "mean", "last"]


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Hidden layers of LIF neurons, and a readout with one neuron per class."""

    hidden: tuple[int, ...] = (128,)
    """Neurons of each hidden layer."""
    recurrent: bool = True
    """Whether the neurons of a hidden layer feed each other."""
    readout: Readout = "spikes"
    """`spikes`: output neurons spike, and the most spikes win; `first`: the first spike wins.
    `max`, `mean`, `last`: leaky integrators that do not spike, read at their maximum over time,
    mean, or last step."""
    population: int = 1
    """Output neurons per class, whose outputs are pooled."""
    init: Literal["lsuv", "fluctuation", "gains"] = "lsuv"
    """Initial weights of hidden layers: `gains` as below; `lsuv` (layer-sequential unit variance):
    these, rescaled layer by layer on one training batch; `fluctuation`: from time constants and
    input rates."""
    init_spread: float = 1.0
    """Standard deviation of membranes that are never reset, in units of the threshold, at which
    `lsuv` aims."""
    neuron: Literal["lif", "portable", "tutorial"] = "lif"
    """`lif`: the exact step of the default neuron, with --tau-mem and --tau-syn. `portable`: Euler
    steps, an input acts in the step in which it comes: what most frameworks that read NIR compute.
    `tutorial`: the equations and decays of the pure-JAX tutorial, in which time constants are
    steps."""
    tau_mem: float = 20e-3
    """Membrane time constant of all neurons in seconds."""
    tau_syn: float = 10e-3
    """Synaptic time constant of all neurons in seconds; 0: no synapse, an input acts at once and
    does not last."""
    learn_tau: bool = True
    """Whether each hidden neuron learns time constants of its own."""
    input_gain: float = 8.0
    """Initial input weights are normal with standard deviation input_gain / sqrt(fan in)."""
    layer_gain: float = 4.0
    """Initial weights between hidden layers: layer_gain / sqrt(fan in)."""
    recurrent_gain: float = 0.3
    """Initial recurrent weights: recurrent_gain / sqrt(neurons)."""
    readout_gain: float = 3.0
    """Initial weights of the readout: readout_gain / sqrt(fan in)."""
    surrogate_slope: float = 10.0
    """Slope of the SuperSpike surrogate derivative."""
    count_scale: float = 0.5
    """Factor from spike counts to logits (readout `spikes`)."""
    membrane_scale: float = 4.0
    """Factor from membrane potentials to logits (the other readouts)."""
    loss: str = added(4, "cross_entropy")
    """What the network is trained for: `cross_entropy` or `brier` of classes; see
    `train/model/objectives`. Values are trained by their mean squared error."""
