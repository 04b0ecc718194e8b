"""Settings of the training: optimizer, schedule, regularizers."""

from __future__ import annotations

import dataclasses
from typing import Literal

import tyro

from train.settings.versions import added


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
    rule: Literal["bptt", "eprop", "ottt", "d_rtrl"] = added(4, "bptt")
    """Where gradients come from. `bptt`: backpropagation through time. The others need no memory
    of the sequence, leave something out and follow a loss in each time step: `eprop` for one layer
    and leaky integrators, `ottt` for feed-forward networks, `d_rtrl` for layers that answer their
    input in its own step, as with --neuron portable; docs/online.md."""
    feedback: Literal["symmetric", "random"] = added(4, "symmetric")
    """How errors reach the neurons of `--rule eprop`: by the weights of the readout, or by random
    ones that stay."""
    learn_from: float = added(4, 0.0)
    """Time in seconds of a sample from which on errors count, for the rules beside `bptt`."""
    init_from: str = added(4, "")
    """Begin with the weights of this run or checkpoint, in place of random ones."""
    extended_from: tyro.conf.Suppress[tuple[int, ...]] = added(4, ())
    """Epochs after which the run was finished, before it went on with a larger --epochs."""
