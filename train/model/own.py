"""A network of a user's own, in the place of the one that the settings describe."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from flax_snn.typing import Float, Num
from train.errors import ConfigError
from train.model.grid import GridRunner
from train.model.model import Model


def with_own_network(model: Model, network: Any) -> Model:
    """Returns the model with a Linen module of its own between input and readout.

    Args:
      model: the model that the settings describe.
      network: maps rasters ``(B, T, F)`` to spikes or membranes ``(B, T, C)``, and sows the spikes
        of its cells, as the runners of flax_snn do.

    Raises:
      ConfigError: no Linen module, one that does not fit input or readout, or a model with
        crossbars.
    """
    if not isinstance(network, nn.Module):
        raise ConfigError(f"network: expected a Linen module, got {network!r:.80}")
    if model.runner.crossbars is not None:
        raise ConfigError(
            "--crossbar: networks of your own are not put on crossbars; make them of layers with"
            " dot_general_cls, see docs/crossbar.md"
        )
    grid = model.grid
    runner = OwnRunner(network, grid.dt, grid.steps, grid.spiking_output)
    inputs = jax.ShapeDtypeStruct((1, grid.steps, model.encode.features), jnp.float32)

    def traced(inputs: Any, key: Any) -> tuple[Any, Any]:
        found = runner.run(runner.init(key, inputs), inputs, key)
        return found.output, found.spikes

    try:
        output, spikes = jax.eval_shape(traced, inputs, jax.random.key(0))
    except Exception as error:  # whatever a network of another's does
        raise ConfigError(
            f"network: it does not run on inputs {inputs.shape}: {type(error).__name__}:"
            f" {str(error).splitlines()[0] if str(error) else ''}"
        ) from error
    _check_output(model, output, spikes)
    hidden = len(spikes) - grid.spiking_output
    names = tuple(f"hidden_{k + 1}" for k in range(hidden))
    return dataclasses.replace(
        model,
        runner=runner,
        layers=(*names, "output") if grid.spiking_output else names,
        depth=max(hidden, 1),
        rescaled=None,
    )


class OwnRunner(GridRunner):
    """Runs a network that is no chain: its input in floating point, no crossbars, its own loop."""

    def raster(self, x: Any) -> Num[Any, "B T F"]:
        """Returns the input in time steps and in floating point, for layers of any kind."""
        return super().raster(x).astype(jnp.float32)

    def with_time_loop(self, implementation: str) -> GridRunner:
        """Refuses another loop: the network says which it has."""
        raise ConfigError(
            f"--time-loop {implementation}: a network of your own has the loops that it says; leave"
            " it out"
        )

    def with_crossbars(self, crossbars: Any) -> GridRunner:
        """Refuses crossbars.

        Raises:
          ConfigError: there are to be some.
        """
        if crossbars is None:
            return self
        raise ConfigError("--crossbar: networks of your own are not put on crossbars; leave it out")


def _check_output(model: Model, output: Any, spikes: tuple[Float[Any, "B T N"], ...]) -> None:
    steps, outputs, spiking = model.steps, model.outputs, model.runner.spiking_output
    if getattr(output, "shape", None) != (1, steps, outputs):
        raise ConfigError(
            f"network: expected outputs (B, {steps}, {outputs}), batch-major, one for each step and"
            f" class or value, got {getattr(output, 'shape', output)!r:.80}"
        )
    if spiking and (not spikes or spikes[-1].shape[-1] != outputs):
        raise ConfigError(
            "network: its last layer does not spike, and --readout spikes and first count on it;"
            " give settings whose readout is max, mean or last, or end in a layer that spikes"
        )
