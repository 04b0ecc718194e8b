"""The network of Yin-Yang: values become spike times, first spikes a class; three methods."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

import flax_snn as snn
from flax_snn import event, losses
from flax_snn.typing import Array
from train.errors import ConfigError
from train.model import Model
from train.model.continuous import EventRunner
from train.model.crossbars import crossbars_of
from train.model.encoders import Latencies
from train.model.grid import GridRunner
from train.model.model import Remedies
from train.model.objectives.cross_entropy import CLASSIFICATION
from train.model.runner import Pass, Runner
from train.settings import NO_CROSSBAR, CrossbarConfig
from train.tasks.yin_yang.objective import FirstSpikes, spike_time_objective
from train.tasks.yin_yang.settings import SpikeTimeLoss, YinYangNetwork

REMEDIES = Remedies(
    silent="raise the mean of the weights to it (--input-mean, --layer-mean, --readout-mean)",
    saturated=None,
    vanished="wake the layers in front of the output, raise --input-mean or --layer-mean, or"
    " --continuation-slope",
)


def build_point_model(
    config: YinYangNetwork,
    loss: SpikeTimeLoss,
    *,
    values: int,
    classes: int,
    crossbar: CrossbarConfig = NO_CROSSBAR,
) -> Model:
    """Builds the network that the settings describe.

    Args:
      config: settings of the network.
      loss: what its output neurons are trained for.
      values: values of a point.
      classes: number of output neurons.
      crossbar: which layers lie on crossbars.

    Returns:
      The model, without parameters.

    Raises:
      ConfigError: settings that the layers refuse.
    """
    spiking = loss.loss != "max"
    try:
        chain = snn.Chain(_cells(config, classes, spiking))
        runner: Runner
        if config.method == "surrogate":
            runner = _on_grid(config, chain, spiking)
        else:
            runner = _in_continuous_time(config, chain, spiking)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"network: {error}") from error
    hidden = tuple(f"hidden_{k + 1}" for k in range(len(config.hidden)))

    def first_spikes(run: Pass) -> FirstSpikes:
        times = run.first_times()
        continued = losses.wake_silent(
            times,
            run.v_max(),
            threshold=config.threshold,
            cap=config.duration,
            slope=loss.continuation_slope,
        )
        return FirstSpikes(times, continued)

    def highest_potentials(run: Pass) -> Array:
        return loss.max_scale * run.v_max()

    model = Model(
        encode=Latencies(values, config.window, config.bias),
        runner=runner,
        readout=first_spikes if spiking else highest_potentials,
        objective=spike_time_objective(loss) if spiking else CLASSIFICATION,
        layers=(*hidden, "output") if spiking else hidden,
        depth=len(hidden),
        outputs=classes,
        slot=config.duration,
        slot_name="sample",
        remedies=REMEDIES,
        threshold=config.threshold,
    )
    return model.with_crossbars(crossbars_of(crossbar, model.parts))


def _cells(config: YinYangNetwork, classes: int, spiking: bool) -> list[nn.RNNCellBase]:
    neuron = snn.LIFDynamics(
        tau_mem=config.tau_mem,
        tau_syn=config.tau_syn,
        threshold=config.threshold,
        dt=config.dt,
        surrogate=snn.surrogate.superspike(config.surrogate_slope),
    )
    integrator = snn.LIDynamics(tau_mem=config.tau_mem, tau_syn=config.tau_syn, dt=config.dt)
    weights = [(config.input_mean, config.input_std)]
    weights += [(config.layer_mean, config.layer_std)] * (len(config.hidden) - 1)
    cells: list[nn.RNNCellBase] = [
        snn.LIFCell(size, dynamics=neuron, kernel_init=_normal(mean, std))
        for size, (mean, std) in zip(config.hidden, weights, strict=True)
    ]
    init = _normal(config.readout_mean, config.readout_std)
    if spiking:
        return [*cells, snn.LIFCell(classes, dynamics=neuron, kernel_init=init)]
    return [*cells, snn.LeakyIntegratorReadout(classes, dynamics=integrator, kernel_init=init)]


def _on_grid(config: YinYangNetwork, chain: snn.Chain, spiking: bool) -> GridRunner:
    steps = round(config.duration / config.dt)
    return GridRunner(snn.RNN(chain), config.dt, steps, spiking)


def _in_continuous_time(config: YinYangNetwork, chain: snn.Chain, spiking: bool) -> EventRunner:
    several = config.method == "eventprop"
    room: dict[str, Any] = {}
    if several:
        # Of an output neuron only the first spike is read.
        room = {
            "budget": (*(math.ceil(config.budget * size) for size in config.hidden), None),
            "max_spikes": (
                *(config.max_spikes or None for _ in config.hidden),
                1 if spiking else None,
            ),
        }
    network = event.RNN(
        chain,
        method="eventprop" if several else "first_spike",
        duration=config.duration,
        slope_floor=config.slope_floor,
        delays=None if config.delays == "none" else config.delays,
        **room,
    )
    return EventRunner(network, spiking, bounded=several)


def _normal(mean: float, std: float) -> Any:
    def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        return mean + std * jax.random.normal(key, shape, dtype)

    return init
