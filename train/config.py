"""Settings of a run: frozen dataclasses, one field per flag.

A `Config` holds everything that decides the result, and is what a checkpoint stores. `RunOptions`
say where a run goes and how it is shown; they change no number and are not stored, so that no path
of one machine travels with a checkpoint.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

Readout = Literal["spikes", "first", "max", "mean", "last"]
Method = Literal["eventprop", "first_spike", "surrogate"]
CrossbarKind = Literal["none", "ideal", "pcm", "reram"]
CrossbarLayers = Literal["readout", "all"]
CrossbarScaling = Literal["none", "abs_max"]


@dataclasses.dataclass(frozen=True)
class RandmanData:
    """The Randman data set; see ``flax_snn.datasets.randman``."""

    classes: int = 10
    """Number of classes, each a manifold of its own."""
    units: int = 20
    """Input units, each of which spikes once per sample."""
    dim: int = 1
    """Dimension of the manifolds; larger is harder."""
    alpha: float = 1.0
    """Smoothness of the manifolds; smaller is rougher and harder."""
    variant: Literal["paper", "numpy", "torch"] = "numpy"
    """Which published formula makes the manifolds."""
    steps: int = 100
    """Time steps of a sample."""
    dt: float = 2e-3
    """Length of a time step in seconds."""
    step_frac: float = 0.5
    """Fraction of the steps in which inputs spike; the rest is silent."""
    samples_per_class: int = 1000
    """Samples of each class: 80 % train, 10 % validation, 10 % test."""
    data_seed: int = 0
    """Seed of the data set: manifolds, samples and split."""


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
    """Synaptic time constant of all neurons in seconds."""
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


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Optimiser, schedule, regularisers; by default AdamW with warm-up and half a cosine."""

    epochs: int = 30
    """Most passes over the training samples; the schedule of the learning rate scales with them."""
    batch_size: int = 250
    """Samples per update."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """`adamw`, or `sgd` with --momentum."""
    learning_rate: float = 3e-2
    """Highest learning rate of a network with one hidden layer; with n of them, divided by
    sqrt(n)."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls to zero after the warm-up: as half a cosine, linearly, not."""
    warm_up: float = 0.1
    """Share of the run in which the learning rate rises linearly from a tenth of the highest."""
    weight_decay: float = 1e-4
    """Decoupled weight decay of AdamW, per update and unit of learning rate; weights only, not
    time constants."""
    momentum: float = 0.9
    """Momentum of SGD."""
    clip_norm: float = 0.0
    """Gradients whose global norm is larger are scaled down to this norm; 0: none."""
    label_smoothing: float = 0.1
    """Share of the target that is spread evenly over the classes; training loss only."""
    jitter: float = 2e-3
    """Standard deviation, in seconds, by which input spikes are shifted at random in training."""
    lower_rate: float = 0.0
    """Firing rate in Hz below which a neuron is penalised (with --rate-strength)."""
    upper_rate: float = 0.0
    """Firing rate in Hz above which a neuron is penalised (with --rate-strength); 0: none."""
    rate_strength: float = 0.0
    """Factor of the firing-rate penalty, which is in Hz^2, in the training loss; 0: none."""
    patience: int = 0
    """End the run after so many epochs without a better validation score; 0: never."""
    seed: int = 0
    """Seed of the network's weights, of noise and of the order of samples."""


@dataclasses.dataclass(frozen=True)
class CrossbarConfig:
    """Layers on memristive crossbars, and hardware-aware training; see ``flax_snn.crossbar``."""

    crossbar: CrossbarKind = "none"
    """Train against this crossbar: each batch meets chips of its own. `pcm`: phase-change memory;
    `reram`: resistive memory; `ideal`: one that computes what the weights say."""
    crossbar_layers: CrossbarLayers = "all"
    """Layers that lie on crossbars, recurrent weights included: the last one, or all."""
    crossbar_scaling: CrossbarScaling = "none"
    """`abs_max`: inputs are scaled to their largest value, and a step without any is not read: no
    noise comes of it, which helps where spikes are rare. `none`: every step is read."""
    crossbar_noise: float = 1.0
    """Factor of the noise of the devices in training; more than 1 makes weights sturdier."""
    crossbar_time: float = 86400.0
    """Age in seconds of the chips that training meets, a day by default; 0: as programmed, or the
    first age that was measured."""
    weight_clip: float = 1.5
    """Weights on crossbars stay within so many times the root mean square of their matrix, so that
    the largest one does not cost the others resolution; 0: no bound."""


NO_CROSSBAR = CrossbarConfig()
"""A network whose weights are numbers."""


@dataclasses.dataclass(frozen=True)
class RandmanConfig:
    """Everything that decides the result of ``python -m train.randman``."""

    data: RandmanData = RandmanData()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    crossbar: CrossbarConfig = CrossbarConfig()


@dataclasses.dataclass(frozen=True)
class RandmanRegressionConfig:
    """Everything that decides the result of ``python -m train.randman_regression``."""

    data: RandmanData = RandmanData(classes=1, samples_per_class=5000)
    network: NetworkConfig = NetworkConfig(readout="mean")
    training: TrainingConfig = TrainingConfig()
    crossbar: CrossbarConfig = CrossbarConfig()


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
    crossbar: CrossbarConfig = CrossbarConfig()


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where a run goes, how it is fed and how it is shown."""

    workdir: Path | None = None
    """Directory of the run; by default checkpoints/<task>/<time>, the newest with --resume."""
    resume: bool = False
    """Go on with the run in the directory, exactly as if it had never stopped. Its settings are
    kept; a flag that differs from them is refused. A directory without a run begins one."""
    overwrite: bool = False
    """Replace the run that the directory already holds."""
    data: Literal["memory", "tfds"] = "memory"
    """Where samples come from: generated in `memory`, or prepared once on disk by `tfds` and
    streamed. The samples, and their order, are the same."""
    data_dir: Path | None = None
    """Where tfds keeps prepared data; by default $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    feed: Literal["auto", "resident", "streamed"] = "auto"
    """`resident`: the training samples lie on the device and an epoch is one compiled call;
    `streamed`: they come in chunks of batches. `auto`: resident where they fit."""
    chunk: int = 16
    """Batches of a chunk, where they are streamed."""
    time_loop: Literal["auto", "fused", "scan"] = "auto"
    """How networks on time steps run: `fused` in chunks of steps, `scan` step by step, the slower
    reference. The same network, but not bit for bit: resume a run with the loop it began with."""
    save_every: float = 1.0
    """Least time in seconds from one checkpoint to the next. A run that is killed loses so much at
    most, and the epoch that runs."""
    plots: bool = True
    """Draw learning curves, a sample, firing rates, ... into the run directory at the end."""
    tensorboard: bool = False
    """Write TensorBoard events into the run directory too; needs the extra `tensorboard`."""
    quiet: bool = False
    """Show no progress, only the result."""
    cache: bool = True
    """Keep compiled functions on disk, so that the next run starts sooner."""
    cache_dir: Path | None = None
    """Where they are kept; by default $JAX_COMPILATION_CACHE_DIR, or flax_snn/xla in the user's
    cache directory."""
