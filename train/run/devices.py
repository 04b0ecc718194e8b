"""The devices of a run: one named mesh, made once, which everything else asks.

The axes are ``data``, over which each batch is spread, and ``model``, over which the neurons of
wide layers are. One device is a mesh of one. Computations are written for the whole batch; XLA
divides them, and adds the exchange: sums of gradients over ``data``.

Letters: B samples of a batch, of all devices together.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from flax_snn.typing import Int
from train.errors import ConfigError
from train.settings import RunOptions

NARROW = 32
"""Neurons of a layer that a device has to have at least for the layer to be spread over devices:
what narrower pieces save is less than their exchange costs."""


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a run.

    Attributes:
      mesh: mesh of the axes ``data`` and ``model``.
    """

    mesh: Mesh

    @property
    def data(self) -> int:
        """Number of parts of a batch."""
        return int(self.mesh.shape["data"])

    @property
    def model(self) -> int:
        """Number of parts of a wide layer."""
        return int(self.mesh.shape["model"])

    @property
    def everywhere(self) -> NamedSharding:
        """Placement of arrays of which each device has the whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    def batch(self, axis: int = 0) -> NamedSharding:
        """Returns the placement of arrays whose samples are spread.

        Args:
          axis: axis of the samples of a batch.
        """
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, "data"))

    def rows(self, batch_size: int) -> Int[np.ndarray, "_"] | None:
        """Returns which samples of a batch this process has to read; None for all."""
        if jax.process_count() == 1:
            return None
        indices = self.batch().addressable_devices_indices_map((batch_size,)).values()
        parts = [np.arange(batch_size)[index] for index in indices if index is not None]
        return np.unique(np.concatenate(parts))

    def place(self, tree: Any, sharding: NamedSharding | None = None) -> Any:
        """Returns arrays on the devices.

        Args:
          tree: arrays that each process has as a whole, such as all samples.
          sharding: their placement; by default `everywhere`.
        """
        sharding = sharding or self.everywhere

        def put(leaf: Any) -> jax.Array:
            if sharding.is_fully_addressable:
                return jax.device_put(leaf, sharding)
            if isinstance(leaf, jax.Array) and leaf.sharding == sharding:
                return leaf
            array = np.asarray(leaf)
            array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype), copy=False)
            return jax.make_array_from_callback(array.shape, sharding, lambda i: array[i])

        return jax.tree.map(put, tree)

    def gather(self, tree: Any, axis: int = 0) -> Any:
        """Returns arrays on the devices, made of what each process has read of them.

        Args:
          tree: arrays of the samples `rows` of each batch.
          axis: axis of these samples.
        """
        sharding = self.batch(axis)
        if sharding.is_fully_addressable:
            return jax.device_put(tree, sharding)
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)

    def of_state(self, state: Any) -> Any:
        """Returns the placement of the state of a run: wide layers over ``model``, others whole.

        A layer is wide where each device has at least `NARROW` of its neurons. The axis of a weight
        that is spread is that of its outputs, or, of a layer that is not wide behind one that is,
        that of its inputs. What the optimizer keeps for a weight lies where the weight lies.

        Args:
          state: shapes of its arrays, as `jax.eval_shape` gives them.

        Returns:
          A tree of the same form; one placement for all without an axis ``model``.

        Raises:
          ConfigError: no layer is wide, or one cannot be cut into equal parts.
        """
        if self.model == 1:
            return self.everywhere
        placed = jax.tree.map(lambda x: self._of_weight(x.shape), state)
        specs = [sharding.spec for sharding in jax.tree.leaves(placed)]
        if not any("model" in spec for spec in specs):
            raise ConfigError(
                f"--model-devices {self.model}: expected a layer of at least"
                f" {NARROW * self.model} neurons ({NARROW} for each device), got none; raise"
                " --hidden, or leave the flag out"
            )
        return placed

    def _of_weight(self, shape: tuple[int, ...]) -> NamedSharding:
        spec: list[str | None] = [None] * len(shape)
        wide = [axis for axis, size in enumerate(shape) if size >= NARROW * self.model]
        if len(shape) > 2:  # a convolution: the channels of its output, then of its input
            wide = [axis for axis in wide if axis >= len(shape) - 2]
        if wide:
            size = shape[wide[-1]]
            if size % self.model:
                raise ConfigError(
                    f"--model-devices {self.model}: expected layers whose neurons can be cut into"
                    f" {self.model} equal parts, got {size} neurons; take"
                    f" {size - size % self.model} or {size + self.model - size % self.model}"
                )
            spec[wide[-1]] = "model"
        return NamedSharding(self.mesh, PartitionSpec(*spec))


def find_devices(options: RunOptions) -> Devices:
    """Returns the devices of a run.

    Args:
      options: ``devices`` and ``model_devices``.

    Raises:
      ConfigError: more devices than there are, or a number that cannot be divided as it has to be.
    """
    processes = jax.process_count()
    model = options.model_devices
    wanted = options.devices or processes * max(model, 1)
    for name, value in (("--devices", wanted), ("--model-devices", model)):
        if value < 1:
            raise ConfigError(f"{name}: expected at least 1, got {value}")
    if wanted % processes or wanted // processes % model:
        raise ConfigError(
            f"--devices {wanted}: expected a multiple of {processes * model}, for as many devices"
            f" of each of {processes} processes, of which {model} (--model-devices) share a layer"
        )
    each = wanted // processes
    found: list[Any] = []
    for process in range(processes):
        here = [d for d in jax.devices() if d.process_index == process]
        if len(here) < each:
            among = f" for process {process} of {processes}" if processes > 1 else ""
            raise ConfigError(
                f"--devices {wanted}: expected at most the {len(here)} devices there are, got"
                f" {each}{among}; lower it (CPUs: XLA_FLAGS=--xla_force_host_platform_device_count="
                f"{each} makes virtual ones)"
            )
        found += sorted(here, key=lambda d: d.id)[:each]
    return Devices(Mesh(np.asarray(found).reshape(-1, model), ("data", "model")))


def check_several(options: RunOptions, together: int) -> None:
    """Refuses several runs side by side where each of them needs all devices or processes.

    Args:
      options: how each of them is run.
      together: most runs at the same time; 0: as many as suits.

    Raises:
      ConfigError: with what to do instead.
    """
    if options.processes > 1 or options.cluster:
        raise ConfigError(
            "several runs (--seeds, train.sweep) share one process: leave --processes and --cluster"
            " out, or start a run of several processes for each seed, with --seed"
        )
    if together > 1 and options.devices > 1:
        raise ConfigError(
            f"--together {together}: runs that are spread over --devices {options.devices} run one"
            " after the other; leave --together out, or --devices"
        )


def check_batch(batch_size: int, devices: Devices) -> None:
    """Refuses batches that cannot be cut into equal parts.

    Raises:
      ConfigError: with both numbers.
    """
    left = batch_size % devices.data
    if left:
        near = [n for n in (batch_size - left, batch_size - left + devices.data) if n]
        raise ConfigError(
            f"--batch-size {batch_size}: expected a multiple of the {devices.data} devices over"
            f" which a batch is spread; take {' or '.join(map(str, near))}"
        )
