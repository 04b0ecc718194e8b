"""Networks of recorded data: one chain of neurons of a kind, with delays and dropout.

A hidden layer is weights (with learned delays where these are asked for), neurons, and dropout
whose mask stays through time. Leaky integrators read the last one.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
from jax.nn.initializers import variance_scaling

import flax_snn as snn
from train.errors import ConfigError
from train.model.cells import HIDDEN_RATE, RECURRENT_SHARE, XI, learned_times
from train.settings import NetworkConfig
from train.settings.checks import number, share
from train.tasks.raster import Shape

DELAY_WIDTH = 1.0
"""Width in steps of the Gaussian taps by which delays are learned; evaluation rounds them."""

PUBLISHED_JUMP = -math.expm1(-1 / 180) * 120.0
"""What a spike adds to the adaptation of an adLIF neuron with b = 1 (Baronig et al. 2025)."""


@dataclasses.dataclass(frozen=True)
class RecordedNetwork(NetworkConfig):
    """Hidden layers of neurons of a kind, and leaky integrators with one neuron per class."""

    hidden: tuple[int, ...] = (128, 128)
    """Neurons of each hidden layer."""
    readout: Literal["max", "mean", "last"] = "mean"
    """Membranes of the leaky integrators are read at their maximum over time, mean or last step."""
    neuron: Literal["lif", "alif", "adlif"] = "lif"  # type: ignore[assignment]
    """Kind of the hidden neurons. `lif`: leaky integrate-and-fire, with --tau-mem and --tau-syn;
    `alif`: its threshold adapts (Bellec et al. 2020); `adlif`: an adaptation current lets its
    membrane oscillate (Baronig et al. 2025). The last two have --tau-mem and --tau-adapt."""
    tau_adapt: float = 200e-3
    """Time constant of the adaptation in seconds."""
    tau_readout: float = 100e-3
    """Time constant of the leaky integrators of the readout in seconds."""
    max_delay: float = 0.0
    """Largest delay in seconds of the weights to hidden layers, which are learned with them; 0: no
    delays. Recurrent weights have none."""
    dropout: float = 0.0
    """Share of the hidden neurons that are silenced in a training sample, all its steps."""


def check_recorded_network(config: RecordedNetwork, shape: Shape) -> None:
    """Refuses settings that cannot work.

    Args:
      config: the settings.
      shape: sizes of a sample.

    Raises:
      ConfigError: the message names the flag and the remedy.
    """
    for name in ("tau_adapt", "tau_readout"):
        number(f"--{name.replace('_', '-')}", getattr(config, name), "> 0", "seconds")
    share("--dropout", config.dropout)
    number("--max-delay", config.max_delay, ">= 0", "seconds")
    if config.max_delay and not 1 <= delay_steps(config, shape.dt) < shape.steps:
        raise ConfigError(
            f"--max-delay: expected from one step, {shape.dt:g} s, to less than a sample,"
            f" {shape.steps * shape.dt:g} s, got {config.max_delay!r}"
        )


def delay_steps(config: RecordedNetwork, dt: float) -> int:
    """Returns the largest delay in steps, the nearest whole number."""
    return round(config.max_delay / dt)


def network_of(config: RecordedNetwork, shape: Shape, training: bool) -> snn.RNN:
    """Returns the network that the settings describe.

    Args:
      config: the settings.
      shape: sizes of a sample.
      training: with dropout, and with delays spread over neighbouring steps.

    Raises:
      ConfigError: settings that the cells refuse.
    """
    cells: list[nn.RNNCellBase] = []
    try:
        for k, size in enumerate(config.hidden):
            cells += _hidden(config, shape, size, first=not k, training=training)
        reader = snn.LIDynamics(tau_mem=config.tau_readout, dt=shape.dt)
        init = _normal(config.readout_gain)
        outputs = shape.outputs * config.population
        cells.append(snn.LeakyIntegratorReadout(outputs, dynamics=reader, kernel_init=init))
        return snn.RNN(snn.Chain(cells))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"network: {error}") from error


def readout_name(config: RecordedNetwork) -> str:
    """Returns the name of the readout among the parameters: that of the last cell of the chain."""
    cells = 1 + bool(config.max_delay) + bool(config.dropout)
    return f"cells_{cells * len(config.hidden)}"


def _hidden(
    config: RecordedNetwork, shape: Shape, size: int, *, first: bool, training: bool
) -> list[nn.RNNCellBase]:
    """Returns the cells of a hidden layer: delayed weights, neurons, dropout."""
    neuron, names = _neuron(config, shape.dt)
    plain, recurrent = {
        "lif": (snn.LIFCell, snn.RecurrentLIFCell),
        "alif": (snn.ALIFCell, snn.RecurrentALIFCell),
        "adlif": (snn.AdLIFCell, snn.RecurrentAdLIFCell),
    }[config.neuron]
    fields: dict[str, Any] = {"dynamics": neuron, "learn": names if config.learn_tau else ()}
    rate = shape.input_rate if first else HIDDEN_RATE
    kernel_init = _normal(config.input_gain if first else config.layer_gain)
    if config.init == "fluctuation":
        part = 1.0 - RECURRENT_SHARE if config.recurrent else 1.0
        kernel_init = snn.initializers.fluctuation_driven(neuron, rate=rate, xi=XI, share=part)
    if config.recurrent:
        fields["recurrent_kernel_init"] = _normal(config.recurrent_gain)
    cells: list[nn.RNNCellBase] = []
    if config.max_delay:
        cells.append(
            snn.layers.DelayedDenseCell(
                size,
                max_delay=delay_steps(config, shape.dt),
                sigma=DELAY_WIDTH,
                rounded=not training,
                use_bias=False,
                kernel_init=kernel_init,
            )
        )
    else:
        fields["kernel_init"] = kernel_init
    cell = recurrent if config.recurrent else plain
    cells.append(cell(None if config.max_delay else size, **fields))
    if config.dropout:
        cells.append(snn.SequenceDropoutCell(config.dropout, deterministic=not training))
    return cells


def _neuron(config: RecordedNetwork, dt: float) -> tuple[Any, tuple[str, ...]]:
    """Returns a neuron, and the names of what it learns."""
    if config.neuron == "lif":
        surrogate = snn.surrogate.superspike(config.surrogate_slope)
        found: Any = snn.LIFDynamics(
            tau_mem=config.tau_mem, tau_syn=config.tau_syn or None, dt=dt, surrogate=surrogate
        )
        return found, learned_times(config)
    times: dict[str, Any] = {"tau_mem": config.tau_mem, "tau_adapt": config.tau_adapt, "dt": dt}
    if config.neuron == "alif":
        return snn.ALIFDynamics(**times), ("tau_mem", "tau_adapt", "beta")
    # What acts on the adaptation is scaled by (1 - beta) q, for any step and time constant here as
    # it was published for a time constant of 180 steps.
    q = PUBLISHED_JUMP / -math.expm1(-dt / config.tau_adapt)
    found = snn.AdLIFDynamics(q=q, **times)
    return found, ("tau_mem", "tau_adapt", "a", "b")


def _normal(gain: float) -> Any:
    """Returns an initialiser of weights N(0, gain^2 / fan in)."""
    return (
        nn.initializers.zeros_init() if not gain else variance_scaling(gain**2, "fan_in", "normal")
    )
