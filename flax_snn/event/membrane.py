"""The membrane of a layer in continuous time: its potential when asked, its maximum, its integral.

All are sums over arrivals (`flax_snn.event.superposition`), so that they can be differentiated as
they stand, with respect to weights, times, delays and parameters; where neurons spike also with
respect to their spike times, from which the gradient goes on by `flax_snn.event.adjoint`. That is
how a loss on the voltage of a spiking layer gets its exact gradient.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from flax_snn.event.connections import Layer, over
from flax_snn.event.crossing import time_of_peak
from flax_snn.event.flow import membrane_after
from flax_snn.event.physics import Physics
from flax_snn.event.prefix import first_row, prefixes
from flax_snn.event.superposition import Lanes, current, potential
from flax_snn.typing import Array, Bool, Float, Int

__all__ = ["Membrane"]


@struct.dataclass
class Membrane:
    """Membranes of a layer of N neurons over a simulation that has been run.

    >>> import jax.numpy as jnp, flax_snn as snn
    >>> integrator = snn.LIDynamics(tau_mem=2e-3, tau_syn=2e-3)
    >>> readout = snn.event.RNN(snn.LeakyIntegratorReadout(1, dynamics=integrator))
    >>> inputs = snn.event.from_times(jnp.array([[1e-3]]))
    >>> membrane = readout.apply({"params": {"cell": {"kernel": jnp.ones((1, 1))}}}, inputs)
    >>> round(float(membrane.maximum()[0, 0]), 4)  # 1 / e for equal time constants
    0.3679

    Attributes:
      layer: what the layer is made of, and its input times.
      source: the sources of its inputs, ``(B, M)``.
      time: its own spike times ``(B, K)``; K = 0 for neurons that do not spike.
      index: their neurons.
      duration: end of the simulation in seconds; static.
    """

    layer: Layer
    source: Array
    time: Array
    index: Array
    duration: float = struct.field(pytree_node=False, default=math.inf)

    @property
    def neurons(self) -> int:
        """Number of neurons N."""
        return int(self.layer.kernel.shape[1])

    @jax.jit
    def at(self, times: Float[Array, "..."]) -> Float[Array, "B Q N"]:
        """Returns the potential at given times.

        At the time of a spike it is the threshold, from below.

        Args:
          times: finite times in seconds, ``(Q,)``, or ``(B, Q)`` for one set per sample.

        Raises:
          ValueError: times of another shape.
        """
        lanes, refractory = self._lanes(self._queries(times))
        v = potential(lanes, *self._reaching(lanes.time.shape[1]))
        v = jnp.where(refractory, lanes.numbers.reset, v) + lanes.numbers.rest
        return v.reshape(len(v), -1, self.neurons)

    @jax.jit
    def current(self, times: Float[Array, "..."]) -> Float[Array, "B Q N"]:
        """Returns the synaptic current, times resistance, at given times; see `at`."""
        lanes, _ = self._lanes(self._queries(times))
        i = current(lanes, *self._reaching(lanes.time.shape[1]))
        return i.reshape(len(i), -1, self.neurons)

    @jax.jit
    def maximum(self) -> Float[Array, "B N"]:
        """Returns the largest potential from time 0 to the end, the resting potential at least.

        The potential at time 0 counts. That of a neuron that spikes is its threshold. The gradient
        is exact: at a peak the potential is stationary, and a maximum at an arrival moves with it.
        """
        numbers = self.layer.numbers.lanes()
        lanes = Lanes(self._time_of_maximum(), None, numbers)
        top = potential(lanes, *self._reaching(self.neurons))
        neurons = jnp.arange(self.neurons, dtype=jnp.int32)[None, None, :]
        fired = jnp.any(self.index[:, :, None] == neurons, axis=1)
        if numbers.start is not None:
            top = jnp.maximum(top, numbers.start)
        return jnp.where(fired, numbers.threshold, top) + numbers.rest

    @functools.partial(jax.jit, static_argnames="end")
    def integral(self, end: float | None = None) -> Float[Array, "B N"]:
        """Returns the integral of the potential from time 0 to ``end``, in potential times seconds.

            int V dt = int_free I dt - tau_mem (rises while free) + v_reset (time held) + rest end

        with potentials above rest: the membrane equation, integrated.

        Args:
          end: in seconds; by default the end of the simulation.

        Raises:
          ValueError: no finite end.
        """
        end = self.duration if end is None else end
        if not 0 < end < math.inf:
            raise ValueError(
                f"integral: expected a finite end > 0 in seconds, got {end!r}; a simulation of"
                " infinite duration needs end="
            )
        numbers = self.layer.numbers.lanes()
        shape, dtype = (len(self.source), self.neurons), self.layer.time.dtype
        inside = self.time < end
        neuron, time = jnp.maximum(self.index, 0), jnp.where(inside, self.time, 0.0)
        free = jnp.minimum(time + self.layer.numbers.of(neuron).hold, end)
        missed = self._charge(free, neuron) - self._charge(time, neuron)

        def total(x: Array) -> Array:
            row = jnp.arange(shape[0], dtype=jnp.int32)[:, None]
            return jnp.zeros(shape, dtype).at[row, neuron].add(jnp.where(inside, x, 0.0))

        stop = jnp.full(shape, end, dtype)
        charge = self._charge(stop, self._every(self.neurons)) - total(missed)
        last = self.at(jnp.full((1,), end, dtype))[:, 0] - numbers.rest
        rises = last + total(jnp.ones_like(time)) * (numbers.threshold - numbers.reset)
        if numbers.start is not None:
            rises = rises - numbers.start
        time_held = total(free - time)
        return charge - numbers.tau_mem * rises + numbers.reset * time_held + numbers.rest * stop

    def _queries(self, times: Any) -> Float[Array, "B L"]:
        """Returns one query for every neuron at every time; neurons vary fastest over the lanes."""
        times, batch = jnp.asarray(times, self.layer.time.dtype), len(self.source)
        if times.ndim == 1:
            times = jnp.broadcast_to(times[None], (batch, len(times)))
        if times.ndim != 2 or len(times) != batch:
            raise ValueError(
                f"Membrane: expected times (Q,) or ({batch}, Q), got shape {times.shape}"
            )
        shape = (*times.shape, self.neurons)
        return jnp.broadcast_to(times[:, :, None], shape).reshape(batch, -1)

    def _every(self, lanes: int) -> Int[Array, "B L"]:
        """Returns the neuron of each lane, if neurons vary fastest."""
        neurons = jnp.arange(lanes, dtype=jnp.int32) % self.neurons
        return jnp.broadcast_to(neurons[None, :], (len(self.source), lanes))

    def _reaching(self, lanes: int) -> tuple[Array, Array]:
        return self._onto(self._every(lanes))

    def _onto(self, neuron: Int[Array, "B L"]) -> tuple[Array, Array]:
        """Returns arrival times and weights, in units of potential, at neurons."""
        layer = self.layer
        arrival, weight = over(layer.kernel, layer.delay, layer.time, self.source, neuron)
        if layer.recurrent_kernel is not None:
            inner = (layer.recurrent_kernel, layer.recurrent_delay)
            more, inner_weight = over(*inner, self.time, self.index, neuron)
            lanes = max(arrival.shape[2], more.shape[2])
            both = [jnp.broadcast_to(a, (*a.shape[:2], lanes)) for a in (arrival, more)]
            arrival = jnp.concatenate(both, axis=1)
            weight = jnp.concatenate([weight, inner_weight], axis=1)
        return arrival, weight * layer.numbers.of(neuron).gain[:, None, :]

    def _lanes(self, time: Float[Array, "B L"]) -> tuple[Lanes, Bool[Array, "B L"]]:
        """Returns lanes with the last reset before each time, and whether it is held then."""
        neuron = self._every(time.shape[1])
        numbers = self.layer.numbers.of(neuron)
        before = (self.index[:, :, None] == neuron[:, None, :]) & (
            self.time[:, :, None] < time[:, None, :]
        )
        spikes = jnp.where(before, self.time[:, :, None], -jnp.inf)
        restart = jnp.max(spikes, axis=1, initial=-jnp.inf) + numbers.hold
        return Lanes(time, restart, numbers), time < restart

    def _charge(self, until: Float[Array, "B L"], neuron: Int[Array, "B L"]) -> Float[Array, "B L"]:
        """Returns the integral of the current from time 0."""
        arrival, weight = self._onto(neuron)
        tau_syn = self.layer.numbers.of(neuron).tau_syn[:, None, :]
        until = until[:, None, :]
        felt = arrival < until
        age = jnp.where(felt, until, 0.0) - jnp.where(felt, arrival, 0.0)
        return jnp.sum(jnp.where(felt, -weight * tau_syn * jnp.expm1(-age / tau_syn), 0.0), axis=1)

    def _time_of_maximum(self) -> Float[Array, "B N"]:
        """Returns the time of the largest potential without resets, or inf if never above rest."""
        arrival, jumps = self._reaching(self.neurons)
        shifted = self.layer.delay is not None and self.layer.delay.shape[0] > 1
        if shifted or self.layer.recurrent_kernel is not None:
            order = jnp.argsort(jax.lax.stop_gradient(arrival), axis=1, stable=True)
            arrival = jnp.take_along_axis(arrival, order, axis=1)
            jumps = jnp.take_along_axis(jumps, jnp.broadcast_to(order, jumps.shape), axis=1)
        if jumps.shape[1] == 0:
            return jnp.full((jumps.shape[0], jumps.shape[2]), jnp.inf, jumps.dtype)
        fixed = jax.lax.stop_gradient((self.layer.numbers, arrival, jumps))
        shape = (jumps.shape[0], jumps.shape[2])
        behind, wait = jax.lax.cond(
            jnp.any(jnp.isfinite(arrival)),
            lambda: _largest(*fixed, self.duration),
            lambda: (jnp.zeros(shape, jnp.int32), jnp.full(shape, jnp.inf, jumps.dtype)),
        )
        start = jnp.take_along_axis(jnp.broadcast_to(arrival, jumps.shape), behind[:, None], axis=1)
        time = start[:, 0] + wait
        # The end does not move with the arrival before it.
        end = self.duration * (1.0 - 4.0 * float(jnp.finfo(time.dtype).eps))
        return jnp.where(jnp.isfinite(wait) & (time >= end), self.duration, time)


def _largest(
    numbers: Physics, time: Float[Array, "B M _"], jumps: Float[Array, "B M N"], duration: float
) -> tuple[Int[Array, "B N"], Float[Array, "B N"]]:
    """Returns after which arrival a membrane is largest, and how long after it.

    Infinitely long for one that is never above rest.
    """
    height, wait = _peaks(numbers, time, jumps, duration)
    highest = jnp.max(height, axis=1)
    best = first_row(height == highest[:, None])
    wait = jnp.take_along_axis(wait, best[:, None], axis=1)[:, 0]
    return best, jnp.where(highest > 0, wait, jnp.inf)


def _peaks(
    numbers: Physics, time: Float[Array, "B M _"], jumps: Float[Array, "B M N"], duration: float
) -> tuple[Float[Array, "B M N"], Float[Array, "B M N"]]:
    """Returns the largest potential behind each arrival, and how long after the arrival it comes.

    -inf where it comes with the next arrival, and where there is no arrival.
    """
    rows = jax.tree.map(lambda x: x[None, None, :], numbers)
    behind = prefixes(numbers, time, jumps, duration)
    rises = (behind.i > 0) & (behind.i > behind.v)
    v, i = jnp.where(rises, behind.v, 0.0), jnp.where(rises, behind.i, 1.0)
    peak = time_of_peak(v, i, rows)
    # A membrane far below rest that does not reach it any more rises for ever.
    peak = jnp.where(rises, jnp.where(peak >= 0, peak, jnp.inf), 0.0)
    wait = jnp.minimum(peak, behind.lasts)
    follows = jnp.pad(time[:, 1:], ((0, 0), (0, 1), (0, 0)), constant_values=jnp.inf) < duration
    counts = jnp.isfinite(time) & (time < duration) & ~((peak > behind.lasts) & follows)
    reached = jnp.where(jnp.isfinite(wait), wait, 0.0)
    height = membrane_after(behind.v, behind.i, reached, rows)
    return jnp.where(counts & jnp.isfinite(wait), height, -jnp.inf), reached
