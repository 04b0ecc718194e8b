"""`RNN`: the cells of this package in continuous time, over their own parameters."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from flax_snn import checks
from flax_snn.cells.cell_check import check_is_cell
from flax_snn.cells.chain import Chain
from flax_snn.cells.neuron_cell import NeuronCell
from flax_snn.dynamics import LIFParameters
from flax_snn.event.membrane import Membrane
from flax_snn.event.simulation import (
    SLOPE_FLOOR,
    checked_layer,
    first_spikes,
    simulate,
)
from flax_snn.event.spikes import Spikes, check_spikes, from_times
from flax_snn.event.twin import check_cell, continuous_parameters, start_potential
from flax_snn.typing import Array

__all__ = ["RNN"]

Delays = Literal["synaptic", "axonal", "dendritic"]

Counts = int | tuple[int | None, ...] | None

_SPIKES_PER_NEURON = 4
_KINDS = ("synaptic", "axonal", "dendritic")


class RNN(nn.Module):
    """Runs a cell in continuous time: spikes in, spikes out, exact gradients.

    The neurons are those of the cell, with the same parameters under the same names: variables of
    ``nn.RNN(cell)`` and ``snn.RNN(cell)`` are variables of this layer, and the other way round. As
    the time step of the cell goes to 0, its spikes go to those of this layer. A `Chain` is run
    layer by layer.

    >>> import flax.linen as nn, flax_snn as snn, jax, jax.numpy as jnp
    >>> lif = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3)
    >>> init = nn.initializers.uniform(4.0)
    >>> net = nn.Sequential([
    ...     snn.event.RNN(snn.LIFCell(16, dynamics=lif, kernel_init=init), method="first_spike"),
    ...     snn.event.RNN(snn.LIFCell(3, dynamics=lif, kernel_init=init), method="first_spike"),
    ... ])
    >>> inputs = snn.event.from_times(jnp.array([[0.0, 2e-3, 5e-3]]))
    >>> spikes, variables = jax.jit(net.init_with_output)(jax.random.key(0), inputs)
    >>> spikes.first_times().shape
    (1, 3)
    >>> jax.tree.map(jnp.shape, variables["params"]["layers_0"])
    {'cell': {'kernel': (3, 16)}}

    Spikes that were measured, on hardware for example, enter through the collection ``recorded``:
    the variable ``spikes`` of a layer there replaces the spikes of the model, while gradients are
    those of the model at the spikes that were measured. (In a chain they are named ``spikes_0``,
    ``spikes_1``, ..., and delays ``log_delay_0``, ..., by the number of the layer.)

    Where the caller makes the collection ``intermediates`` mutable, each cell sows its `Spikes` as
    ``spikes`` and its `Membrane` as ``v``, under the names that `flax_snn.RNN` has for its traces.

    Attributes:
      cell: any `NeuronCell` whose neuron has a twin in continuous time, such as `LIFCell` and
        `RecurrentLIFCell` (both give spikes) or `LeakyIntegratorReadout` (gives a `Membrane`), or a
        `Chain` of them.
      method: how spikes and gradients are found, which is not the discretisation that `method`
        means in `flax_snn.nir`. ``eventprop`` (default): event loop and adjoint, several spikes per
        neuron.
        ``first_spike``: the first spike of each neuron only, all at once.
      budget: slots for the spikes of a layer, with ``eventprop``; by default ``max_spikes`` per
        neuron, or 4 on average. ``overflow`` says where they do not suffice; outside ``jit`` an
        error does. A tuple has one entry per layer of a chain, ``None`` for the default and for a
        readout.
      max_spikes: most spikes of one neuron with ``eventprop``; unlimited by default. A tuple as
        with ``budget``.
      duration: end of the simulation in seconds; infinite by default.
      delays: learned delays of the inputs: ``synaptic``, ``axonal``, ``dendritic``; none by
        default. They are the parameter ``log_delay`` of this layer, logarithms of seconds.
      recurrent_delays: learned delays within a recurrent layer, ``log_recurrent_delay``.
      delay_init: initialiser of delays in seconds; by default uniform between 0 and ``tau_syn``.
      slope_floor: least slope of a membrane at its spike that gradients divide by, in thresholds
        per ``tau_mem``.

    Raises:
      TypeError: another cell, or one whose step is not that of `NeuronCell`.
      ValueError: a cell without a twin in continuous time (see `flax_snn.event.twin`); budgets that
        are no whole numbers or do not fit the layers.
    """

    cell: nn.RNNCellBase
    method: Literal["eventprop", "first_spike"] = "eventprop"
    budget: Counts = None
    max_spikes: Counts = None
    duration: float = math.inf
    delays: Delays | None = None
    recurrent_delays: Delays | None = None
    delay_init: Initializer | None = None
    slope_floor: float = SLOPE_FLOOR

    def __post_init__(self) -> None:
        """Checks the configuration when the layer is made."""
        for name in ("budget", "max_spikes"):
            if isinstance(getattr(self, name), list):
                setattr(self, name, tuple(getattr(self, name)))
        _check_runner(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, spikes: Spikes, *, return_membrane: bool = False) -> Any:
        """Runs the layer.

        Args:
          spikes: input spikes.
          return_membrane: return the membrane too.

        Returns:
          `Spikes`, or the `Membrane` of a readout; ``(spikes, membrane)`` with
          ``return_membrane=True``.

        Raises:
          TypeError: not `Spikes`.
          ValueError: spikes that do not fit the kernel; spikes that do not know their number of
            sources, at ``init``.
          OverflowError: outside ``jit``: more spikes than slots.
        """
        result: Any = spikes
        cells = _cells(self.cell)
        for k, (label, cell) in enumerate(cells):
            name = f"RNN({label}{type(cell).__name__})"
            check_spikes(name, result)
            suffix = "" if len(cells) == 1 else f"_{k}"
            traced = cell.is_mutable_collection("intermediates") and not self.is_initializing()
            whole = traced or return_membrane and k == len(cells) - 1
            result, membrane = self._layer(name, cell, result, k, suffix, whole)
            if traced:
                cell.sow("intermediates", "v", membrane)
                if cell.dynamics.spikes:
                    cell.sow("intermediates", "spikes", result)
        if not cells[-1][1].dynamics.spikes:
            return membrane
        return (result, membrane) if return_membrane else result

    def _layer(
        self, what: str, cell: NeuronCell, spikes: Spikes, k: int, suffix: str, whole: bool
    ) -> tuple[Any, Any]:
        """Returns the spikes of layer k, and its membrane if it is a readout or wanted."""
        kernel, recurrent_kernel = _kernels(what, cell, spikes)
        size = kernel.shape[1]
        parameters = continuous_parameters(cell, size)
        start = start_potential(cell, parameters)
        sources = kernel.shape[0]
        delay = self._delay("log_delay" + suffix, self.delays, sources, cell, parameters)
        layer: Any = None
        if whole or not cell.dynamics.spikes:
            layer, _ = checked_layer(what, spikes, kernel, parameters, delay, self.duration, start)
        if not cell.dynamics.spikes:
            none = jnp.zeros((len(spikes.time), 0), jnp.int32)
            time = none.astype(layer.time.dtype)
            return None, Membrane(layer, spikes.index, time, none, self.duration)
        recorded: Any = None
        if self.has_variable("recorded", "spikes" + suffix):
            recorded = self.get_variable("recorded", "spikes" + suffix)
        common: dict[str, Any] = {
            "duration": self.duration,
            "delay": delay,
            "v_init": start,
            "slope_floor": self.slope_floor,
        }
        inner_delay = None
        if self.method == "first_spike" and recorded is None:
            out = from_times(first_spikes(spikes, kernel, parameters, **common))
            out = dataclasses.replace(out, overflow=spikes.lost())
        else:
            if recurrent_kernel is not None:
                inner_delay = self._delay(
                    "log_recurrent_delay" + suffix, self.recurrent_delays, size, cell, parameters
                )
            most = 1 if self.method == "first_spike" else _count_of(self.max_spikes, k)
            try:
                out = simulate(
                    spikes,
                    kernel,
                    parameters,
                    budget=_count_of(self.budget, k) or size * (most or _SPIKES_PER_NEURON),
                    max_spikes=most,
                    recurrent_kernel=recurrent_kernel,
                    recurrent_delay=inner_delay,
                    recorded=recorded,
                    **common,
                )
            except OverflowError as error:
                raise OverflowError(f"{what}: {str(error).removeprefix('simulate: ')}") from None
        if not whole:
            return out, None
        layer = layer._replace(recurrent_kernel=recurrent_kernel, recurrent_delay=inner_delay)
        return out, Membrane(layer, spikes.index, out.time, out.index, self.duration)

    def _delay(
        self,
        name: str,
        kind: Delays | None,
        sources: int,
        cell: NeuronCell,
        parameters: LIFParameters,
    ) -> Array | None:
        if kind is None:
            return None
        shape = {
            "synaptic": (sources, cell.features),
            "axonal": (sources, 1),
            "dendritic": (1, cell.features),
        }[kind]

        def init(key: Array, shape: tuple[int, int], dtype: Any) -> Array:
            if self.delay_init is None:
                # Away from 0, whose logarithm is not finite.
                share = jax.random.uniform(key, shape, dtype, minval=0.05)
                return jnp.log(share) + jnp.log(jnp.mean(jnp.asarray(parameters.tau_syn, dtype)))
            return jnp.log(self.delay_init(key, shape, dtype))

        return jnp.exp(self.param(name, init, shape, cell.param_dtype))


def _cells(cell: Any, label: str = "") -> list[tuple[str, Any]]:
    """Returns the cells of nested chains in their order, each with its name for errors."""
    if not isinstance(cell, Chain) or type(cell).__call__ is not Chain.__call__:
        return [(label and f"{label}, ", cell)]
    lead = label and f"{label}/"
    nested = (_cells(inner, f"{lead}cells_{k}") for k, inner in enumerate(cell.cells))
    return [labelled for cells in nested for labelled in cells]


def _count_of(counts: Counts, k: int) -> int | None:
    return counts[k] if isinstance(counts, tuple) else counts


def _kernels(what: str, cell: NeuronCell, spikes: Spikes) -> tuple[Array, Array | None]:
    """Returns input and recurrent weights of a cell, and creates them at ``init``."""
    if not cell.has_variable("params", "kernel"):
        if spikes.size is None:
            raise ValueError(
                f"{what}: expected spikes that know their number of sources, to make the kernel;"
                " set size= where they are made"
            )
        if not cell.is_initializing():
            raise ValueError(f"{what}: expected a parameter 'kernel' of the cell, found none")
        # One time step makes all parameters, in the order and with the values of other runners.
        step = jnp.zeros((1, spikes.size), cell.param_dtype)
        cell(cell.initialize_carry(None, step.shape), step)
    kernel: Any = nn.unbox(cell.get_variable("params", "kernel"))
    if not cell.recurrent:
        return kernel, None
    inner: Any = nn.unbox(cell.get_variable("params", "recurrent_kernel"))
    return kernel, inner


def _check_runner(layer: RNN) -> None:
    what = "event.RNN"
    checks.choice(f"{what}: method", layer.method, ("eventprop", "first_spike"))
    check_is_cell(what, layer.cell)
    cells = [cell for _, cell in _cells(layer.cell)]
    for k, cell in enumerate(cells):
        if not isinstance(cell, NeuronCell):
            raise TypeError(
                f"{what}: expected a NeuronCell, such as LIFCell, or a Chain of them, got"
                f" {type(cell).__name__}: other cells have no equation in continuous time"
            )
        check_cell(what, cell)
        if not cell.dynamics.spikes and k < len(cells) - 1:
            raise ValueError(
                f"{what}: a {type(cell).__name__} gives no spikes to the cell behind; make it the"
                " last of the chain"
            )
        if layer.method == "first_spike" and cell.recurrent:
            raise ValueError(
                f"{what}: method='first_spike' has no recurrence, got {type(cell).__name__}; use"
                " method='eventprop', with max_spikes=1 for first spikes"
            )
    for name in ("delays", "recurrent_delays"):
        checks.choice(f"{what}: {name}", getattr(layer, name), (None, *_KINDS))
    if layer.recurrent_delays and not any(cell.recurrent for cell in cells):
        raise ValueError(
            f"{what}: recurrent_delays needs a recurrent cell, such as RecurrentLIFCell"
        )
    for name in ("budget", "max_spikes"):
        _check_counts(what, name, getattr(layer, name), cells)
    once = layer.max_spikes if isinstance(layer.max_spikes, tuple) else (layer.max_spikes,)
    if layer.method == "first_spike" and not set(once) <= {None, 1}:
        raise ValueError(
            f"{what}: method='first_spike' has one spike per neuron, got max_spikes="
            f"{layer.max_spikes!r}; use method='eventprop'"
        )


def _check_counts(what: str, name: str, counts: Any, cells: list[Any]) -> None:
    if counts is None:
        return
    if not isinstance(counts, tuple):
        checks.whole_number(f"{what}: {name}", counts)
        return
    if len(counts) != len(cells):
        raise ValueError(
            f"{what}: {name}: expected one number for all layers or one entry for each of the"
            f" {len(cells)}, got {len(counts)} entries, {counts!r}"
        )
    for k, (count, cell) in enumerate(zip(counts, cells, strict=True)):
        if count is None:
            continue
        if not cell.dynamics.spikes:
            raise ValueError(
                f"{what}: {name}[{k}]: expected None for a {type(cell).__name__}, which has no"
                f" spikes, got {count!r}"
            )
        checks.whole_number(f"{what}: {name}[{k}]", count)
