"""Synaptic operations, counted while a model runs.

For each connection layer with input x and weights W, and each call, that is each time step,

    effective = SUM over outputs of  layer(1[x != 0], 1[W != 0], bias 0)
    dense     = SUM over outputs of  layer(1, 1, bias 0)

are the pairs of an input and a weight that are not zero, and the connections that there are. Zeros
that a convolution pads its input with are no inputs. The methods of layers are intercepted; a layer
of Flax is run once more on these zeros and ones.

Names and counts as in NeuroBench; Yik et al., The neurobench framework for benchmarking
neuromorphic computing algorithms and systems, Nature Communications 16, 2025.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.cells.weights import Projection, Recurrence
from flax_snn.layers.delayed_dense import DelayedDense, DelayedDenseCell
from flax_snn.layers.delayed_recurrent import DelayedRecurrentCell
from flax_snn.products import is_plain
from flax_snn.typing import Array

_MOST_PAIRS = 2**31 - 1
"""Pairs of one sample and step that int32 holds."""

_EXACT = 2**24
"""Up to here sums of ones are exact in float32."""

_PRODUCTS = ("dot_general", "conv_general_dilated")
"""Attributes, also with ``_cls``, that give a layer of Flax a product of its own."""

_OF_FLAX = (nn.Dense, nn.DenseGeneral, nn.Conv, nn.ConvTranspose, nn.ConvLocal)

_PLAIN = {
    "use_bias": False,
    "dtype": jnp.float32,
    "param_dtype": jnp.float32,
    "precision": jax.lax.Precision.HIGHEST,
    "dot_general": None,
    "dot_general_cls": None,
    "conv_general_dilated": None,
    "conv_general_dilated_cls": None,
    "preferred_element_type": None,
}
"""Attributes with which a layer of Flax counts in float32, without a product of its own."""


@dataclasses.dataclass
class Connections:
    """The weights of one layer.

    Attributes:
      path: where its module stands in the variables.
      weight: name of the weights among its parameters.
      dense: connections that one sample uses in one call.
      leads: for each time that it was traced, the axes of batch and time of its counts.
      time_axis: axis of the time steps that the loop around it stacks; None where there is none.
      mask: weights that are masked out of a convolution are zeros in it, None if none are.
      device: whether its product is one of its own, such as that of a crossbar.
    """

    path: tuple[str, ...]
    weight: str
    dense: int
    leads: list[tuple[int, ...]]
    time_axis: int | None
    mask: Any = None
    device: bool = False

    @property
    def name(self) -> str:
        """The path of the weights as text."""
        return "/".join((*self.path, self.weight))

    def weights(self, params: Mapping[str, Any]) -> np.ndarray:
        """Returns its weights, with zeros for those that are masked out."""
        tree: Any = params
        for name in (*self.path, self.weight):
            tree = tree[name]
        found = np.asarray(nn.unbox(tree))
        return found if self.mask is None else found * np.asarray(self.mask)


class Counts(NamedTuple):
    """What one layer did in one batch.

    Attributes:
      pairs: effective operations of each sample and step, int64 ``(B, S)``.
      ternary: whether all its inputs are -1, 0 or 1, ``(B, S)``.
    """

    pairs: np.ndarray
    ternary: np.ndarray


class ConnectionCounter:
    """Interceptor that counts, and sows its counts into ``intermediates``.

    Args:
      batch: samples B of the inputs.
      steps: time steps T of the inputs.
      time_major: whether they are ``(T, B, ...)``.

    Attributes:
      found: the connections, by the name of their weights, in order of execution.
    """

    def __init__(self, batch: int, steps: int, time_major: bool):
        self.found: dict[str, Connections] = {}
        self._first = (steps, batch) if time_major else (batch, steps)
        self._batch = batch
        self._time_major = time_major
        self._loops: list[int] = []
        self._busy = False

    def __call__(
        self,
        call: Callable[..., Any],
        args: Any,
        kwargs: Any,
        context: nn.module.InterceptorContext,
    ) -> Any:
        """Calls a method of a module, as Flax asks its interceptors to do."""
        module, method = context.module, context.method_name
        if self._busy:
            return call(*args, **kwargs)
        if isinstance(module, nn.RNN) and method == "__call__":
            given = kwargs.get("time_major")
            self._loops.append(0 if (module.time_major if given is None else given) else 1)
            try:
                return call(*args, **kwargs)
            finally:
                self._loops.pop()
        result = call(*args, **kwargs)
        if module.is_initializing():
            return result
        if isinstance(module, _OF_FLAX) and method == "__call__":
            self._count_layer(module, args[0] if args else next(iter(kwargs.values())))
        elif isinstance(module, Projection | Recurrence) and method == "of":
            weight = "kernel" if isinstance(module, Projection) else "recurrent_kernel"
            inputs = args[0] if args else next(iter(kwargs.values()))
            self._count_matrix(module, weight, inputs, not is_plain(module.dot_general))
        elif isinstance(module, DelayedDense) and method == "__call__":
            inputs = args[0] if args else kwargs["inputs"]
            self._count_matrix(module, "kernel", inputs, False)
        elif isinstance(module, DelayedDenseCell) and method == "__call__":
            inputs = args[1] if len(args) > 1 else kwargs["inputs"]
            self._count_matrix(module, "kernel", inputs, False)
        elif isinstance(module, DelayedRecurrentCell) and method == "integrate":
            self._count_matrix(module, "recurrent_kernel", result[1], False)
        return result

    def _count_layer(self, module: Any, inputs: Any) -> None:
        """Counts a layer of Flax by running it on zeros and ones."""
        inputs = jnp.asarray(inputs)
        features = _feature_axes(module)
        if features is None or inputs.ndim <= features:
            return
        kernel: Any = nn.unbox(module.get_variable("params", "kernel"))
        changes = {k: v for k, v in _PLAIN.items() if hasattr(module, k)}
        plain = module.clone(parent=None, name=None, **changes)

        def outputs(x: Array, weights: Array) -> Array:
            self._busy = True
            try:
                y = plain.apply({"params": {"kernel": weights}}, x)
            finally:
                self._busy = False
            found: Array = y.astype(jnp.int32)
            return found

        lead = inputs.shape[: inputs.ndim - features]
        shape = inputs.shape[len(lead) :]
        with jax.ensure_compile_time_eval():
            ones = outputs(jnp.ones((1, *shape)), jnp.ones(kernel.shape, jnp.float32))
            largest, dense = int(ones.max()), int(np.asarray(ones, np.int64).sum())
        if largest > _EXACT:
            raise ValueError(_too_large(module.path, "kernel", largest, _EXACT))
        indicator = (inputs != 0).astype(jnp.float32)
        pairs = outputs(indicator, (kernel != 0).astype(jnp.float32))
        pairs = jnp.sum(pairs, axis=tuple(range(len(lead), pairs.ndim)), dtype=jnp.int32)
        products = (f"{name}{cls}" for name in _PRODUCTS for cls in ("", "_cls"))
        device = not all(is_plain(getattr(module, name, None)) for name in products)
        mask = getattr(module, "mask", None)
        self._note(module, "kernel", pairs, _is_ternary(inputs, features), dense, device, mask)

    def _count_matrix(self, module: Any, weight: str, inputs: Any, device: bool) -> None:
        """Counts inputs ``(..., F)`` times weights ``(F, M)``."""
        inputs = jnp.asarray(inputs)
        kernel: Any = nn.unbox(module.get_variable("params", weight))
        each = jnp.sum(kernel != 0, axis=1, dtype=jnp.int32)
        pairs = jnp.matmul((inputs != 0).astype(jnp.int32), each)
        ternary = _is_ternary(inputs, 1)
        self._note(module, weight, pairs, ternary, math.prod(kernel.shape), device)

    def _note(
        self,
        module: nn.Module,
        weight: str,
        pairs: Array,
        ternary: Array,
        dense: int,
        device: bool,
        mask: Any = None,
    ) -> None:
        kept, more = self._kept(pairs.shape)
        dense *= more
        if dense > _MOST_PAIRS:
            raise ValueError(_too_large(module.path, weight, dense, _MOST_PAIRS))
        shape = (*kept, -1)
        pairs = jnp.sum(pairs.reshape(shape), axis=-1, dtype=jnp.int32)
        ternary = jnp.all(ternary.reshape(shape), axis=-1)
        loop = self._loops[-1] if self._loops else None
        made = Connections(module.path, weight, dense, [], loop, mask, device)
        known = self.found.setdefault(made.name, made)
        known.leads.append(kept)
        module.sow("intermediates", f"{weight}_pairs", pairs)
        module.sow("intermediates", f"{weight}_ternary", ternary)

    def _kept(self, lead: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
        """Returns the axes of batch and time of a call, and how many others each of them has."""
        in_batch = 1 if self._time_major else 0
        if lead[:2] == self._first:
            return lead[:2], math.prod(lead[2:])
        merged = math.prod(self._first)
        if lead[:1] == (merged,) and merged != self._batch:
            return self._first, math.prod(lead[1:])
        # Behind a layer that leaves another number of steps.
        if not self._loops and len(lead) > 1 and lead[in_batch] == self._batch:
            return lead[:2], math.prod(lead[2:])
        if lead[:1] == (self._batch,):
            return lead[:1], math.prod(lead[1:])
        raise ValueError(
            f"expected layers whose inputs begin with the axes of batch and time"
            f" {self._first}, or with that of the batch, got {lead}; merge and split them in this"
            " order only"
        )

    def counts(self, connections: Connections, traces: Mapping[str, Any]) -> list[Counts]:
        """Returns what a layer did in each of its calls.

        Args:
          connections: the layer.
          traces: the collection ``intermediates`` of the run, in the host's memory.

        Raises:
          ValueError: its counts are lost in a loop that drops them.
        """
        tree: Any = traces
        for name in connections.path:
            tree = tree.get(name, {})
        found = [tree.get(f"{connections.weight}_{kind}", ()) for kind in ("pairs", "ternary")]
        if not found[0]:
            raise ValueError(lost(connections.name))
        # A step inside a loop is traced more often than it is sown.
        shape = connections.leads[-1]
        calls = [
            Counts(
                self._batch_first(np.asarray(pairs, np.int64), shape, connections, np.sum),
                self._batch_first(np.asarray(ternary), shape, connections, np.all),
            )
            for pairs, ternary in zip(*found, strict=True)
        ]
        single = all(each.pairs.shape[1] == 1 for each in calls)
        if single and len(calls) > 1 and len(calls) % self._steps == 0:
            # The model itself goes from step to step.
            arrays = [np.concatenate([getattr(c, n) for c in calls], 1) for n in _FIELDS]
            split = [np.split(a, len(calls) // self._steps, axis=1) for a in arrays]
            return [Counts(*pair) for pair in zip(*split, strict=True)]
        return calls

    @property
    def _steps(self) -> int:
        return self._first[0] if self._time_major else self._first[1]

    def _batch_first(
        self,
        array: np.ndarray,
        shape: tuple[int, ...],
        connections: Connections,
        reduce: Callable[..., np.ndarray],
    ) -> np.ndarray:
        """Returns what was sown as ``(B, S)``."""
        if array.ndim == len(shape) + 1 and connections.time_axis is not None:
            array = np.moveaxis(array, connections.time_axis, 1)
            return reduce(array.reshape(*array.shape[:2], -1), axis=-1)
        if array.ndim == 1:
            return array[:, None]
        return array.T if self._time_major else array


_FIELDS = ("pairs", "ternary")


def lost(name: str) -> str:
    """Returns words for a layer whose counts do not come out of the loop that runs it."""
    return (
        f"{name}: its counts are lost in a loop that drops them, as the stock nn.RNN does: use"
        " snn.RNN, which has the same arguments and parameters"
    )


def not_counted(params: Any, found: Iterable[Connections]) -> list[str]:
    """Returns the names of parameters of two or more axes that belong to no counted layer."""
    places = {each.path for each in found}
    names = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(nn.unbox(params))[0]:
        keys = tuple(str(getattr(key, "key", key)) for key in path)
        if np.ndim(leaf) > 1 and keys[:-1] not in places:
            names.append("/".join(keys))
    return names


def _feature_axes(module: Any) -> int | None:
    """Returns the trailing axes of one input of a layer of Flax; None if they are others."""
    if isinstance(module, nn.Dense):
        return 1
    if isinstance(module, nn.DenseGeneral):
        axes: tuple[int, ...] = tuple(np.atleast_1d(module.axis).tolist())
        trailing = sorted(axes) == list(range(-len(axes), 0))
        return len(axes) if trailing and not module.batch_dims else None
    size = module.kernel_size
    return 2 if checks.is_whole_number(size) else len(size) + 1


def _is_ternary(inputs: Array, features: int) -> Array:
    axes = tuple(range(inputs.ndim - features, inputs.ndim))
    return jnp.all((inputs == 0) | (jnp.abs(inputs) == 1), axis=axes)


def _too_large(path: tuple[str, ...], weight: str, came: int, most: int) -> str:
    name = "/".join((*path, weight))
    what = f"at most {most} connections of one sample and step"
    return checks.error_text(name, what, came, "count smaller parts of the model")
