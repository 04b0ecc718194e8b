"""Settings of Yin-Yang."""

from __future__ import annotations

import dataclasses
from typing import Literal

from train.settings import CrossbarConfig, TrainingConfig, added

Method = Literal["eventprop", "first_spike", "surrogate"]


@dataclasses.dataclass(frozen=True)
class YinYangData:
    """The Yin-Yang data set; see ``flax_snn.datasets.yin_yang``."""

    train_samples: int = 5000
    """Training samples."""
    test_samples: int = 1000
    """Samples of the validation and of the test part, each."""
    data_seed: int = 42
    """Seed of the training samples; the validation part has the one below it, the test part the
    next one: 42, 41 and 40 are the published parts."""


@dataclasses.dataclass(frozen=True)
class YinYangNetwork:
    """Hidden layers of LIF neurons and one output neuron per class, which the first spike names."""

    method: Method = "first_spike"
    """How spikes and gradients are computed. `first_spike`: exact spike times, one spike per
    neuron, the gradient of its time; `eventprop`: exact spike times, several spikes per neuron,
    gradients by the adjoint; `surrogate`: time steps of --dt and surrogate gradients. The
    parameters are those of one network: train.evaluate --method runs them by another one."""
    hidden: tuple[int, ...] = (120,)
    """Neurons of each hidden layer."""
    delays: Literal["none", "synaptic", "axonal", "dendritic"] = "none"
    """Delays that are learned with the weights, not on the time grid: one per synapse, one per
    source, or one per neuron of the layer."""
    tau_mem: float = 20e-3
    """Membrane time constant of all neurons in seconds."""
    tau_syn: float = 5e-3
    """Synaptic time constant of all neurons in seconds."""
    threshold: float = 1.0
    """Membrane potential at which a neuron spikes; it is reset to 0."""
    window: float = 30e-3
    """Time in seconds of the input spike of the value 1; that of the value 0 is at time 0."""
    bias: bool = True
    """Whether one more input spikes at time 0 in each sample."""
    duration: float = 50e-3
    """Length of a sample in seconds; later spikes are not simulated."""
    input_mean: float = 2.5
    """Mean of the initial weights from the inputs. Neurons that stay silent on all samples never
    learn: nearly all of them spike with the default."""
    input_std: float = 1.5
    """Their standard deviation."""
    layer_mean: float = 0.6
    """Mean of the initial weights between hidden layers."""
    layer_std: float = 0.3
    """Their standard deviation."""
    readout_mean: float = 0.4
    """Mean of the initial weights to the output neurons; about 1 with 30 hidden neurons."""
    readout_std: float = 0.3
    """Their standard deviation."""
    max_spikes: int = 0
    """Most spikes of a neuron in a sample (`eventprop`); 0: no bound."""
    budget: float = 3.0
    """Room for the spikes of a layer in a sample, per neuron (`eventprop`). Spikes that find none
    are counted and reported."""
    slope_floor: float = 0.1
    """Least slope of a membrane at its spike by which a gradient is divided, in thresholds per
    --tau-mem (`first_spike`, `eventprop`). A spike that was all but missed has an all but infinite
    gradient, which would take over its batch."""
    dt: float = 5e-4
    """Length of a time step in seconds (`surrogate`)."""
    surrogate_slope: float = 10.0
    """Slope of the SuperSpike surrogate derivative (`surrogate`)."""


@dataclasses.dataclass(frozen=True)
class SpikeTimeLoss:
    """What the output neurons are trained for."""

    loss: Literal["ttfs", "mse", "max"] = "ttfs"
    """`ttfs`: cross-entropy of the first spike times; `mse`: squared distance of these to target
    times; `max`: the output neurons do not spike, cross-entropy of their highest potentials."""
    loss_tau: float = 0.25e-3
    """`ttfs`: time in seconds by which an earlier spike multiplies the odds of its class by e;
    `mse`: unit of time of the distance."""
    late_penalty: float = 3e-3
    """`ttfs`: factor of the penalty exp(t / late_tau) - 1 on the time t of the label neuron."""
    late_tau: float = 6.4e-3
    """`ttfs`: time constant of that penalty in seconds."""
    target_early: float = 25e-3
    """`mse`: time in seconds at which the label neuron is to spike."""
    target_late: float = 30e-3
    """`mse`: time in seconds at which the other output neurons are to spike."""
    continuation_slope: float = 20e-3
    """A silent output neuron counts as spiking after the sample, the later the further its highest
    potential stayed below threshold: so many seconds per unit of potential."""
    max_scale: float = 4.0
    """`max`: factor from membrane potentials to logits."""


@dataclasses.dataclass(frozen=True)
class YinYangConfig:
    """Everything that decides the result of ``python -m train.yin_yang``."""

    data: YinYangData = YinYangData()
    network: YinYangNetwork = YinYangNetwork()
    loss: SpikeTimeLoss = SpikeTimeLoss()
    training: TrainingConfig = TrainingConfig(
        epochs=300,
        batch_size=75,
        learning_rate=2e-2,
        warm_up=0.0,
        weight_decay=0.0,
        clip_norm=0.5,
        label_smoothing=0.0,
        jitter=0.0,
    )
    crossbar: CrossbarConfig = added(3, CrossbarConfig())
