"""The model on rasters that the settings describe."""

from __future__ import annotations

import flax_snn as snn
from train.errors import ConfigError
from train.model.cells import chain_of, neuron_of
from train.model.crossbars import crossbars_of
from train.model.encoders import Encoder
from train.model.grid import GridRunner
from train.model.model import Model, Remedies
from train.model.objectives import Objective, find_loss
from train.model.readouts import READING, readout_of
from train.settings import NO_CROSSBAR, CrossbarConfig, NetworkConfig

REMEDIES = Remedies(
    silent="start from --init lsuv, raise the gain of its weights, or wake it with --lower-rate",
    saturated="start from --init lsuv, lower the gain of its weights, or calm it with --upper-rate",
    vanished="start from --init lsuv, or lower --surrogate-slope",
)


def build_network(
    config: NetworkConfig,
    encode: Encoder,
    *,
    steps: int,
    outputs: int,
    dt: float,
    input_rate: float,
    values: Objective | None = None,
    crossbar: CrossbarConfig = NO_CROSSBAR,
) -> Model:
    """Builds the network that the settings describe.

    Args:
      config: settings of the network.
      encode: makes rasters of samples.
      steps: time steps T of a sample.
      outputs: classes, or values to predict.
      dt: length of a time step in seconds.
      input_rate: mean firing rate of an input in Hz, which `--init fluctuation` goes by.
      values: the objective of a network that predicts values; ``None`` for classes, whose loss the
        settings name.
      crossbar: which layers lie on crossbars.

    Returns:
      The model, without parameters.

    Raises:
      ConfigError: settings that the cells refuse.
    """
    try:
        neurons = outputs * config.population
        chain = chain_of(config, neurons, dt, input_rate)
        neuron = neuron_of(config, dt)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"network: {error}") from error
    hidden = [f"hidden_{k + 1}" for k in range(len(config.hidden))]
    spiking = config.readout in ("spikes", "first")
    model = Model(
        encode=encode,
        runner=GridRunner(snn.RNN(chain), dt, steps, spiking),
        readout=readout_of(config, values is not None, dt),
        objective=values or find_loss(config.loss, "classes").make(outputs),
        layers=(*hidden, "output") if spiking else tuple(hidden),
        depth=len(hidden),
        outputs=neurons,
        slot=dt,
        slot_name="step",
        remedies=REMEDIES,
        threshold=float(neuron.coefficients().theta),
        population=config.population,
        readout_layer=f"cells_{len(hidden)}",
        rescaled=config.init_spread if config.init == "lsuv" else None,
        reading=READING[config.readout],
        reads=config.readout,
    )
    return model.with_crossbars(crossbars_of(crossbar, model.parts))
