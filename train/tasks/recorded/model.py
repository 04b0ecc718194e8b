"""A model whose network is another one in training: with dropout, and with delays spread out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

import flax_snn as snn
from flax_snn.typing import Array
from train.model import Model, Output
from train.model.crossbars import streams
from train.model.grid import GridPass, GridRunner
from train.model.own import OwnRunner, with_own_network
from train.model.runner import cells_of
from train.settings import TrainingConfig


class LoopRunner(OwnRunner):
    """Runs a network whose loop can be chosen (`--time-loop`) and whose layers may have any form.

    What its neurons do is reported as ``(B, T, N)``, channels and places of an image in one axis.
    """

    def run(self, params: Any, x: Any, noise_key: Array, lengths: Any = None) -> GridPass:
        """Runs the network on rasters."""
        output, traces = self.network.apply(
            {"params": params, **self.constants},
            self.raster(x),
            # An evaluation has no use for the key of dropout.
            rngs=streams(noise_key) | {"dropout": jax.random.fold_in(noise_key, 3)},
            mutable=["intermediates"],
        )
        cells = [jax.tree.map(_flat, cell) for cell in cells_of(traces.get("intermediates", {}))]
        spikes = tuple(cell["spikes"][0] for cell in cells if "spikes" in cell)
        return GridPass(output, spikes, cells, self.dt, lengths)

    def with_time_loop(self, implementation: str) -> GridRunner:
        """Returns the runner with another loop over time steps.

        Raises:
          ConfigError: a network that is more than one loop.
        """
        if not isinstance(self.network, snn.RNN):
            return super().with_time_loop(implementation)
        return GridRunner.with_time_loop(self, implementation)


def _flat(trace: Array) -> Array:
    """Returns a trace (B, T, ...) as (B, T, N)."""
    return trace.reshape(*trace.shape[:2], -1)


@dataclasses.dataclass(frozen=True, eq=False)
class TwoModels(Model):
    """A model with one network for evaluation and one for training, of the same parameters.

    Attributes:
      training_runner: runs the network of the training.
    """

    training_runner: GridRunner | None = None

    def apply(
        self,
        params: Any,
        inputs: Any,
        noise_key: Array,
        lengths: Any = None,
        training: TrainingConfig | None = None,
    ) -> Output:
        """Runs the network of the training if settings of the training are given, and reads it."""
        model = self if training is None else self.in_training()
        return super(TwoModels, model).apply(params, inputs, noise_key, lengths, training)

    def in_training(self) -> TwoModels:
        """Returns the model with the network of the training."""
        if self.training_runner is None:
            return self
        return dataclasses.replace(self, runner=self.training_runner, training_runner=None)

    def with_time_loop(self, implementation: str) -> Model:
        """Returns the model with another loop over time steps, in training too."""
        found: Any = super().with_time_loop(implementation)
        training = found.training_runner
        if training is not None:
            training = training.with_time_loop(implementation)
        return dataclasses.replace(found, training_runner=training)


def two_models(
    model: Model,
    network_of: Callable[[bool], nn.Module],
    *,
    readout_layer: str,
    rescaled: float | None,
    delay_width: float = 1.0,
) -> TwoModels:
    """Returns a model with networks of its own for evaluation and for training.

    Args:
      model: the model that the settings of the app describe.
      network_of: makes the network, with True that of the training.
      readout_layer: name of the readout among the parameters.
      rescaled: see `Model.rescaled`.
      delay_width: width in steps over which delays are spread in training, where there are any.

    Raises:
      ConfigError: a network that does not fit input or readout.
    """
    made: Any = with_own_network(model, network_of(False))
    fields = {f.name: getattr(made, f.name) for f in dataclasses.fields(made)}
    grid = made.grid
    runner = LoopRunner(grid.network, grid.dt, grid.steps, grid.spiking_output)
    network = network_of(True)
    shape: Any = jax.ShapeDtypeStruct((1, grid.steps, model.encode.features), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    found = jax.eval_shape(network.init, keys, shape)
    # Widths of delays are no parameters: they lie in a collection of their own.
    widths = jax.tree.map(
        lambda x: jnp.full(x.shape, delay_width, x.dtype),
        {name: tree for name, tree in found.items() if name == "delays"},
    )
    training = LoopRunner(network, grid.dt, grid.steps, grid.spiking_output, constants=widths)
    fields |= {"runner": runner, "rescaled": rescaled, "readout_layer": readout_layer}
    return TwoModels(**fields, training_runner=training)
