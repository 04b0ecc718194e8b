"""What the app asks of a network, whatever runs it: time steps, or exact events.

Two questions are for those who draw: `Model.predict` says what a trained network makes of inputs,
such as points ``(N, 4)`` of the Yin-Yang plane, and `Model.spikes` what spikes on the way, layer by
layer, the input first.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import flax.linen as nn
import jax

from flax_snn.typing import Array, Float, Int, Num
from train.config import TrainingConfig
from train.errors import ConfigError
from train.health import RASTER, Remedies
from train.objective import Objective

if TYPE_CHECKING:
    from flax_snn import event
    from train.analog import Crossbars


_NO_STEPS = (
    "--crossbar: crossbars multiply in time steps, this network has none; add --method surrogate,"
    " which runs the same weights in time steps"
)


class Output(NamedTuple):
    """What a network does with a batch.

    Attributes:
      z: what the objective compares with the labels, leading axis B.
      spikes: spikes of each layer that spikes, in the form in which the network has them.
      activity: their number per sample, neuron and slot, ``(B, N)`` for each of these layers; see
        `Model.slot`.
      lost: spikes of each sample that found no room in a layer, at least so many; 0: all is well.
    """

    z: Any
    spikes: tuple[Any, ...]
    activity: tuple[Float[Array, "B _"], ...]
    lost: Int[Array, "B"]


@dataclasses.dataclass(frozen=True, eq=False)
class Model(abc.ABC):
    """A network with the meaning of its input and output.

    Attributes:
      network: the layers.
      objective: what its output is trained for.
      input_shape: shape of one sample.
      layers: names of the layers that spike, in order.
      slot: seconds in which activity counts spikes: a time step, or the whole sample.
      input_dtype: dtype of inputs as they lie on the device.
      slot_name: what a slot is, as in "0.1 spikes per ...".
      remedies: what helps a layer of this network that is silent or saturated, in words.
    """

    network: Any
    objective: Objective
    input_shape: tuple[int, ...]
    layers: tuple[str, ...]
    slot: float

    input_dtype: ClassVar[Any]
    slot_name: ClassVar[str] = "step"
    remedies: ClassVar[Remedies] = RASTER

    @abc.abstractmethod
    def init(self, key: Array) -> Any:
        """Return fresh parameters."""

    @property
    @abc.abstractmethod
    def depth(self) -> int:
        """Number of hidden layers."""

    @property
    def bounded(self) -> bool:
        """Whether a layer has room for a limited number of spikes, so that some may be lost."""
        return False

    @abc.abstractmethod
    def apply(self, params: Any, inputs: Num[Array, "B ..."], noise_key: Array) -> Output:
        """Run the network.

        Args:
          params: parameters, as `init` returns them.
          inputs: samples.
          noise_key: random key of membrane noise, and of crossbars.

        Returns:
          What it does.
        """

    @abc.abstractmethod
    def augment(
        self, inputs: Num[Array, "B ..."], key: Array, deviation: float
    ) -> Num[Array, "B ..."]:
        """Return training samples with input spikes that come a little early or late.

        Args:
          inputs: samples.
          key: random key.
          deviation: standard deviation of the shifts in seconds; 0: none.

        Returns:
          Samples, in the dtype of the inputs.
        """

    @abc.abstractmethod
    def spikes(self, params: Any, inputs: Num[Array, "B ..."]) -> tuple[event.Spikes, ...]:
        """Return the spikes of the input and of each layer of `layers`, as times and neurons."""

    def predict(self, params: Any, inputs: Num[Array, "B ..."]) -> Array:
        """Return the prediction for each sample: a class, or values ``(B, D)``."""
        output = jax.jit(self.apply)(params, inputs, jax.random.key(0))
        return self.objective.predict(output.z)

    def begin(self, params: Any, batch: Callable[[], Any]) -> tuple[Any, list[str]]:
        """Return the parameters that training begins with.

        Args:
          params: parameters, as `init` returns them.
          batch: makes a batch of training samples, for initialisers that need data.

        Returns:
          The parameters, and in words what was done to them.
        """
        del batch
        return params, []

    def settle(self, params: Any) -> Any:
        """Return parameters as they stay after an update."""
        return params

    @property
    @abc.abstractmethod
    def parts(self) -> tuple[str, ...]:
        """Names of the layers with weights among the parameters, the readout last."""

    def without_crossbars(self) -> Model:
        """Return the model as its weights say."""
        return self

    def with_crossbars(self, crossbars: Crossbars) -> Model:
        """Return the model with layers on crossbars.

        Raises:
          ConfigError: it runs in continuous time.
        """
        del crossbars
        raise ConfigError(_NO_STEPS)

    def program(self, params: Any, key: Array, fault_key: Array) -> Any:
        """Return chips with these weights, for a model with crossbars.

        Args:
          params: parameters.
          key: random key of the programming.
          fault_key: random key of the faults.

        Returns:
          The collection ``crossbar``, for `on_chips`.

        Raises:
          ConfigError: it runs in continuous time.
        """
        del params, key, fault_key
        raise ConfigError(_NO_STEPS)

    def on_chips(self, chips: Any) -> Model:
        """Return the model with its weights on chips, as they were last looked at.

        Raises:
          ConfigError: it runs in continuous time.
        """
        del chips
        raise ConfigError(_NO_STEPS)

    def penalty(self, config: TrainingConfig, output: Output) -> Array | float:
        """Return what is added to the training loss besides the objective.

        Args:
          config: settings of the training.
          output: what `apply` returned.

        Returns:
          A number; 0 for none.
        """
        del config, output
        return 0.0

    def on_grid(self, inputs: Num[Array, "B ..."]) -> tuple[nn.Module, Float[Array, "B T F"]]:
        """Return the network and its input in time steps, for those who look into its membranes.

        Raises:
          ConfigError: it runs in continuous time.
        """
        raise ConfigError(
            "--diagnose looks at membranes in time steps, this network has none; add --method"
            " surrogate, which runs the same weights in time steps"
        )

    def with_time_loop(self, implementation: str) -> Model:
        """Return the model with another loop over time steps, as ``snn.RNN`` names them.

        Raises:
          ConfigError: it runs in continuous time.
        """
        raise ConfigError(
            f"--time-loop {implementation}: expected a network on time steps, this one runs in"
            " continuous time; leave the flag out"
        )
