"""The network with the meaning of its input and output: encoder, runner, readout, objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

import flax_snn as snn
from flax_snn import event
from flax_snn.typing import Array, Float, Int
from train.data.parts import Part
from train.errors import ConfigError
from train.model.crossbars import Crossbars
from train.model.encoders import Encoder
from train.model.grid import GridRunner
from train.model.objectives import Objective
from train.model.runner import Pass, Runner
from train.model.spread import each_alone
from train.settings import TrainingConfig


class Remedies(NamedTuple):
    """What helps, in words that name the flags of the task.

    Attributes:
      silent: against a silent layer.
      saturated: against a saturated one; ``None`` where activity is not counted in time steps.
      vanished: against a gradient of zero.
    """

    silent: str
    saturated: str | None
    vanished: str


class Output(NamedTuple):
    """What a network does with a batch.

    Attributes:
      z: what the objective compares with the labels, leading axis B.
      spikes: spikes of each layer that spikes, in the form in which the runner has them.
      activity: their number per sample, neuron and slot, ``(B, N)`` for each of these layers; see
        `Model.slot`.
      lost: spikes of each sample that found no room in a layer, at least so many; 0: all is well.
      penalty: what is added to the training loss besides the objective.
    """

    z: Any
    spikes: tuple[Any, ...]
    activity: tuple[Float[Array, "B _"], ...]
    lost: Int[Array, "B"]
    penalty: Array | float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A network with the meaning of its input and output.

    Attributes:
      encode: makes what the runner takes of stored samples.
      runner: runs the chain of cells, in time steps or in continuous time.
      readout: makes of what the network does what the objective compares with the labels.
      objective: what it is trained for.
      layers: names of the layers that spike, in order.
      depth: number of hidden layers.
      outputs: output neurons.
      slot: seconds in which activity counts spikes: a time step, or the whole sample.
      slot_name: ``step`` or ``sample``.
      remedies: what helps a layer of this network that is silent or saturated, in words.
      threshold: firing threshold of the neurons.
      population: output neurons per class.
      readout_layer: name of the output neurons among the parameters, whose first weights stay.
      rescaled: spread of the membranes to which the weights are rescaled on data before training
        (`--init lsuv`); ``None`` leaves them.
      reading: what is read from an output neuron, in words for the pictures.
      mesh: devices over which a batch is spread; ``None``: one device.
      reads: the readout by its name in the settings, `max`, `mean`, ...; empty for another one.
    """

    encode: Encoder
    runner: Runner
    readout: Callable[[Pass], Any]
    objective: Objective
    layers: tuple[str, ...]
    depth: int
    outputs: int
    slot: float
    slot_name: str
    remedies: Remedies
    threshold: float = 1.0
    population: int = 1
    readout_layer: str = ""
    rescaled: float | None = None
    reading: str = ""
    reads: str = ""
    mesh: Any = None

    def init(self, key: Array) -> Any:
        """Returns fresh parameters."""
        one = jax.tree.map(lambda x: jnp.zeros((1, *x.shape), x.dtype), self.encode.sample)
        return self.runner.init(key, self.encode(one))

    def run(self, params: Any, inputs: Any, noise_key: Array, lengths: Any = None) -> Pass:
        """Runs the network on stored samples; see `Runner.run`."""
        encode = each_alone(lambda _, inputs: self.encode(inputs), self.mesh)
        return self.runner.run(params, encode(None, inputs), noise_key, lengths)

    def apply(
        self,
        params: Any,
        inputs: Any,
        noise_key: Array,
        lengths: Any = None,
        training: TrainingConfig | None = None,
    ) -> Output:
        """Runs the network, and reads it out.

        Args:
          params: parameters, as `init` returns them.
          inputs: samples, with a leading axis B.
          noise_key: random key of membrane noise, and of crossbars.
          lengths: steps of each sample that are not padding, int32 ``(B,)``; ``None`` for all.
          training: settings of the training, whose penalties are added; ``None`` for none.
        """
        if self.mesh is not None and not isinstance(self.runner, GridRunner):
            return self._apply_each(params, inputs, noise_key, lengths, training)
        found = self.run(params, inputs, noise_key, lengths)
        counts = found.counts()
        if self.slot_name == "step":
            steps: Any = self.steps
            if lengths is not None:
                steps = jnp.maximum(lengths, 1)[:, None].astype(jnp.float32)
            counts = tuple(each / steps for each in counts)
        return Output(
            z=self.readout(found),
            spikes=found.spikes,
            activity=counts,
            lost=found.lost(),
            penalty=0.0 if training is None else found.rate_penalty(training),
        )

    def _apply_each(
        self, params: Any, inputs: Any, noise_key: Array, lengths: Any, training: Any
    ) -> Output:
        """Runs a network in continuous time, where samples do not depend on each other."""
        alone = dataclasses.replace(self, mesh=None)

        def run(shared: Any, samples: Any) -> tuple[Any, ...]:
            found = alone.apply(shared[0], samples[0], shared[1], samples[1], training)
            return found.z, found.spikes, found.activity, found.lost

        # There is no penalty in continuous time: the runner refuses it.
        return Output(*each_alone(run, self.mesh)((params, noise_key), (inputs, lengths)))

    def over(self, mesh: Any) -> Model:
        """Returns the model for batches that are spread over the axis ``data`` of a mesh.

        Raises:
          ConfigError: the mesh has an axis ``model``, and the network runs in continuous time.
        """
        if mesh.shape["model"] > 1 and not isinstance(self.runner, GridRunner):
            raise ConfigError(
                "--model-devices: a network in continuous time looks for the next spike of all"
                " neurons of a layer, which stays on one device; leave the flag out, or add"
                " --method surrogate"
            )
        return dataclasses.replace(self, mesh=mesh)

    def in_training(self) -> Model:
        """Returns the model as it is trained, where that differs from its evaluation."""
        return self

    @property
    def grid(self) -> GridRunner:
        """The runner, where it runs in time steps.

        Raises:
          ConfigError: it runs in continuous time.
        """
        if not isinstance(self.runner, GridRunner):
            raise ConfigError(
                "expected a network in time steps, this one runs in continuous time; add --method"
                " surrogate, which runs the same weights in time steps"
            )
        return self.runner

    @property
    def steps(self) -> int:
        """Time steps of a sample."""
        return self.grid.steps

    @property
    def bounded(self) -> bool:
        """Whether a layer has room for a limited number of spikes, so that some may be lost."""
        return self.runner.bounded

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the layers with weights among the parameters, the readout last."""
        return tuple(f"cells_{k}" for k in range(self.depth + 1))

    def spikes(self, params: Any, inputs: Any) -> tuple[event.Spikes, ...]:
        """Returns the spikes of the input and of each layer of `layers`, as times and neurons."""
        # Op by op, the first call of an event layer takes longer than to compile it as a whole.
        output = jax.jit(self.apply)(params, inputs, jax.random.key(0))
        return (
            self.encode.spikes(inputs),
            *(self.runner.events(layer) for layer in output.spikes),
        )

    def predict(self, params: Any, inputs: Any, lengths: Any = None) -> Array:
        """Returns the prediction for each sample: a class, or values ``(B, D)``."""
        output = jax.jit(self.apply)(params, inputs, jax.random.key(0), lengths)
        return self.objective.predict(output.z)

    def begin(self, params: Any, batch: Callable[[], Part]) -> tuple[Any, list[str]]:
        """Returns the parameters that training begins with.

        Args:
          params: parameters, as `init` returns them.
          batch: makes a batch of training samples, for initialisers that need data.

        Returns:
          The parameters, and in words what was done to them.
        """
        if self.rescaled is None:
            return params, []
        scaled, words = self.rescale(params, batch(), self.rescaled)
        return scaled, [f"lsuv: {line}" for line in words.splitlines()]

    def rescale(self, params: Any, batch: Part, spread: float) -> tuple[Any, str]:
        """Returns parameters rescaled layer by layer, but for those of the output neurons.

        Args:
          params: parameters, as `init` returns them.
          batch: training samples.
          spread: standard deviation of the free membranes in units of the threshold.

        Returns:
          The parameters, and in words what was done to each hidden layer.

        Raises:
          ConfigError: a layer that the batch does not reach, or whose membranes are not finite.
        """
        network, inputs = self.on_grid(batch.inputs)
        try:
            variables, report = snn.initializers.lsuv(
                network, {"params": params}, inputs, target=spread, seq_lengths=batch.lengths
            )
        except ValueError as error:
            raise ConfigError(
                f"--init {error} (in this app: a larger --batch-size, an --init-spread nearer"
                " to 1, or --init gains, which looks at no data)"
            ) from error

        def settled(path: Any, scaled: Any, first: Any) -> Any:
            # Output neurons that fire before they know anything are silenced, and learn slowly.
            return first if self.readout_layer in [entry.key for entry in path] else scaled

        scaled = jax.tree_util.tree_map_with_path(settled, variables["params"], params)
        return scaled, "\n".join(str(layer) for layer in report.layers[: self.depth])

    def settle(self, params: Any) -> Any:
        """Returns parameters as they stay after an update."""
        crossbars = self.runner.crossbars
        return params if crossbars is None else crossbars.settle(params)

    def on_grid(self, inputs: Any) -> tuple[nn.Module, Float[Array, "B T F"]]:
        """Returns the network and its input in time steps, to look into its membranes.

        Raises:
          ConfigError: it runs in continuous time.
        """
        return self.runner.on_grid(self.encode(jax.tree.map(jnp.asarray, inputs)))

    def with_time_loop(self, implementation: str) -> Model:
        """Returns the model with another loop over time steps, as ``snn.RNN`` names them.

        Raises:
          ConfigError: it runs in continuous time, or the loop cannot run it.
        """
        return self._with_runner(self.runner.with_time_loop(implementation))

    def with_network(self, network: nn.Module, variables: Mapping[str, Any]) -> Model:
        """Returns the model with another network for the same input and output.

        Args:
          network: maps ``(B, T, F)`` to ``(B, T, C)``, and sows what its cells do.
          variables: all its variables.

        Raises:
          ConfigError: it does not fit, or this one runs in continuous time.
        """
        constants = {name: value for name, value in variables.items() if name != "params"}
        runner = self.grid.with_network(network, constants)
        params = variables.get("params", {})
        runner.check(params, self.encode.features, self.outputs, len(self.layers))
        return self._with_runner(runner)

    def without_crossbars(self) -> Model:
        """Returns the model as its weights say."""
        if self.runner.crossbars is None:
            return self
        return self.with_crossbars(None)

    def with_crossbars(self, crossbars: Crossbars | None) -> Model:
        """Returns the model with layers on crossbars, or with none.

        Raises:
          ConfigError: it runs in continuous time.
        """
        return self._with_runner(self.runner.with_crossbars(crossbars))

    def program(self, params: Any, key: Array, fault_key: Array) -> Any:
        """Returns chips with these weights, for a model with crossbars.

        Args:
          params: parameters.
          key: random key of the programming.
          fault_key: random key of the faults.

        Returns:
          The collection ``crossbar``, for `on_chips`.

        Raises:
          ConfigError: it runs in continuous time.
        """
        return self.runner.program(params, self.encode.features, key, fault_key)

    def on_chips(self, chips: Any) -> Model:
        """Returns the model with its weights on chips, as they were last looked at.

        Raises:
          ConfigError: it runs in continuous time.
        """
        return self._with_runner(self.runner.on_chips(chips))

    def _with_runner(self, runner: Runner) -> Model:
        return dataclasses.replace(self, runner=runner)
