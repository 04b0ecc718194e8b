"""`RNN`: the cells of this package in continuous time, over their own parameters."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from flax_snn.cells import LeakyIntegratorReadout, LIFCell, RecurrentLIFCell
from flax_snn.cells.chain import Chain
from flax_snn.cells.neuron_cell import NeuronCell
from flax_snn.dynamics import LIFParameters
from flax_snn.event.layers import SLOPE_FLOOR, checked_layer, first_spikes, simulate
from flax_snn.event.membrane import Membrane
from flax_snn.event.spikes import Spikes, check_spikes, from_times
from flax_snn.event.twin import check_cell, continuous_parameters
from flax_snn.typing import Array

__all__ = ["RNN"]

Delays = Literal["synaptic", "axonal", "dendritic"]

_SPIKES_PER_NEURON = 4
_KINDS = ("synaptic", "axonal", "dendritic")


class RNN(nn.Module):
    """Runs a cell in continuous time: spikes in, spikes out, exact gradients.

    The neurons are those of the cell, with the same parameters under the same names: variables of
    ``nn.RNN(cell)`` and ``snn.RNN(cell)`` are variables of this layer, and the other way round. As
    the time step of the cell goes to 0, its spikes go to those of this layer.

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
    those of the model at the spikes that were measured.

    Attributes:
      cell: `LIFCell`, `RecurrentLIFCell` (both give spikes), `LeakyIntegratorReadout` (gives a
        `Membrane`), or a `Chain` of them, whose cells are run layer by layer.
      method: ``eventprop`` (default): event loop and adjoint, several spikes per neuron.
        ``first_spike``: the first spike of each neuron only, all at once.
      budget: slots for the spikes of a layer, with ``eventprop``; by default ``max_spikes`` per
        neuron, or 4 on average. ``overflow`` says where they do not suffice; outside ``jit`` an
        error does.
      max_spikes: most spikes of one neuron with ``eventprop``; unlimited by default.
      duration: end of the simulation in seconds; infinite by default.
      delays: learned delays of the inputs: ``synaptic``, ``axonal``, ``dendritic``; none by
        default. They are the parameter ``log_delay`` of this layer, logarithms of seconds.
      recurrent_delays: learned delays within a recurrent layer, ``log_recurrent_delay``.
      delay_init: initialiser of delays in seconds; by default uniform between 0 and ``tau_syn``.
      slope_floor: least slope of a membrane at its spike that gradients divide by, in thresholds
        per ``tau_mem``.

    Raises:
      TypeError: another cell.
      ValueError: a cell without a twin in continuous time: see `flax_snn.event.twin`.
    """

    cell: nn.RNNCellBase
    method: Literal["eventprop", "first_spike"] = "eventprop"
    budget: int | None = None
    max_spikes: int | None = None
    duration: float = math.inf
    delays: Delays | None = None
    recurrent_delays: Delays | None = None
    delay_init: Initializer | None = None
    slope_floor: float = SLOPE_FLOOR

    def __post_init__(self) -> None:
        """Check the configuration when the layer is made."""
        _check_runner(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, spikes: Spikes, *, return_membrane: bool = False) -> Any:
        """Run the layer.

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
        for k, cell in enumerate(cells):
            name = f"RNN({type(cell).__name__})"
            check_spikes(name, result)
            whole = return_membrane and k == len(cells) - 1
            suffix = "" if len(cells) == 1 else f"_{k}"
            result = self._layer(name, cell, result, suffix, whole)
        return result

    def _layer(
        self, what: str, cell: NeuronCell, spikes: Spikes, suffix: str, return_membrane: bool
    ) -> Any:
        kernel, recurrent_kernel = _kernels(what, cell, spikes)
        size = kernel.shape[1]
        parameters = continuous_parameters(cell, size)
        sources = kernel.shape[0]
        delay = self._delay("log_delay" + suffix, self.delays, sources, cell, parameters)
        if isinstance(cell, LeakyIntegratorReadout):
            layer, _ = checked_layer(what, spikes, kernel, parameters, delay, self.duration)
            none = jnp.zeros((len(spikes.time), 0), jnp.int32)
            return Membrane(layer, spikes.index, none.astype(layer.time.dtype), none, self.duration)
        recorded: Any = None
        if self.has_variable("recorded", "spikes" + suffix):
            recorded = self.get_variable("recorded", "spikes" + suffix)
        common: dict[str, Any] = {
            "duration": self.duration,
            "delay": delay,
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
            most = 1 if self.method == "first_spike" else self.max_spikes
            out = simulate(
                spikes,
                kernel,
                parameters,
                budget=self.budget or size * (most or _SPIKES_PER_NEURON),
                max_spikes=most,
                recurrent_kernel=recurrent_kernel,
                recurrent_delay=inner_delay,
                recorded=recorded,
                **common,
            )
        if not return_membrane:
            return out
        layer, _ = checked_layer(what, spikes, kernel, parameters, delay, self.duration)
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


def _cells(cell: nn.RNNCellBase) -> list[Any]:
    if not isinstance(cell, Chain):
        return [cell]
    return [inner for part in cell.cells for inner in _cells(part)]


def _kernels(what: str, cell: NeuronCell, spikes: Spikes) -> tuple[Array, Array | None]:
    """Return input and recurrent weights of a cell, which are made where it has none yet."""
    if not cell.has_variable("params", "kernel"):
        if spikes.size is None:
            raise ValueError(
                f"{what}: expected spikes that know their number of sources, to make the kernel;"
                " set size= where they are made"
            )
        dtype = spikes.time.dtype
        current = cell.project(jnp.zeros((1, spikes.size), dtype))
        feedback = cell.feedback()
        if feedback is not None:
            feedback(jnp.zeros_like(current))
        if not cell.is_initializing():
            raise ValueError(f"{what}: expected a parameter 'kernel' of the cell, found none")
    kernel: Any = nn.unbox(cell.get_variable("params", "kernel"))
    if not cell.recurrent:
        return kernel, None
    inner: Any = nn.unbox(cell.get_variable("params", "recurrent_kernel"))
    return kernel, inner


def _check_runner(layer: RNN) -> None:
    what = "event.RNN"
    if layer.method not in ("eventprop", "first_spike"):
        raise ValueError(
            f"{what}: method: expected 'eventprop' or 'first_spike', got {layer.method!r}"
        )
    known = (LIFCell, RecurrentLIFCell, LeakyIntegratorReadout)
    if not isinstance(layer.cell, nn.RNNCellBase):
        raise TypeError(f"{what}: expected a cell, got {type(layer.cell).__name__}")
    cells = _cells(layer.cell)
    for k, cell in enumerate(cells):
        if type(cell) not in known:
            names = ", ".join(c.__name__ for c in known)
            raise TypeError(
                f"{what}: expected {names} or a Chain of them, got {type(cell).__name__}: other"
                " cells have no equation in continuous time"
            )
        check_cell(what, cell)
        if isinstance(cell, LeakyIntegratorReadout) and k < len(cells) - 1:
            raise ValueError(f"{what}: a LeakyIntegratorReadout gives no spikes to the cell behind")
        if layer.method == "first_spike" and cell.recurrent:
            raise ValueError(
                f"{what}: method='first_spike' has no recurrence, got {type(cell).__name__}; use"
                " method='eventprop', with max_spikes=1 for first spikes"
            )
    for name in ("delays", "recurrent_delays"):
        if getattr(layer, name) not in (None, *_KINDS):
            raise ValueError(
                f"{what}: {name}: expected None, {', '.join(map(repr, _KINDS))}, got"
                f" {getattr(layer, name)!r}"
            )
    if layer.recurrent_delays and not any(cell.recurrent for cell in cells):
        raise ValueError(f"{what}: recurrent_delays needs a RecurrentLIFCell")
    if layer.method == "first_spike" and layer.max_spikes not in (None, 1):
        raise ValueError(
            f"{what}: method='first_spike' has one spike per neuron, got max_spikes="
            f"{layer.max_spikes!r}; use method='eventprop'"
        )
