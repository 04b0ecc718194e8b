"""The reverse pass: exact gradients of spike times by the adjoint of the membrane (EventProp).

A spike at ``t_k`` of a neuron solves ``V(t_k) = theta``. Its costate

    lambda_k = p_V(t_k^-) = -G_k / V'(t_k^-)          tau_mem V'(t_k^-) = I(t_k^-) - theta
    G_k = dL/dt_k - lambda_next exp(-(t_next - r_k) / tau_mem) V'(r_k^+) + sum_s g_s

takes up the loss, the next spike of the same neuron (r_k: end of the reset, with
``tau_mem V'(r_k^+) = I(r_k) - v_reset``) and the arrivals s that it causes in its own layer. Going
back in time, each spike is visited once. Between spikes the costates follow their closed flow,

    p_V(t) = lambda_k exp(-(t_k - t) / tau_mem)          t between r_(k-1) and t_k
    p_I(t) = sum over later spikes k of lambda_k psi_t(t_k)

where psi (`flax_snn.event.superposition`) is how much current at t the membrane still feels at
``t_k``. So an arrival at x over a weight w gets ``dL/dw = p_I(x)`` and
``dL/dx = g = w (p_I / tau_syn - p_V / tau_mem)``, and a parameter gets
``sum_k lambda_k dV(t_k)/dp``: all of them are the derivative of those sums at the spikes that are
known, weighted with lambda. In the variables of Wunderlich & Pehle ``lambda_V = -p_V / tau_mem``
and ``lambda_I = -p_I / tau_syn``; what they write for the jump of lambda_V at a spike, with
``theta - v_reset`` in it, is the line for lambda_k.

What is kept of the forward pass are input spikes, spikes and the currents at them. Source:
Wunderlich & Pehle, *Event-based backpropagation can compute exact gradients for spiking neural
networks*, 2021.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from flax_snn.event.connections import Events, Layer, over
from flax_snn.event.contraction import block_sizes, contracted, currents, lanes_of
from flax_snn.event.flow import kernel as response_kernel
from flax_snn.event.superposition import Lanes, remaining
from flax_snn.typing import Array, Float


@functools.partial(jax.jit, static_argnames=("single", "holds", "floor"))
def gradient(
    layer: Layer,
    events: Events,
    cotangent: Float[Array, "B K"],
    *,
    single: bool,
    holds: bool,
    floor: float,
) -> Layer:
    """Returns the gradient of a loss with respect to weights, times, delays and parameters.

    Args:
      layer: the layer.
      events: input spikes and spikes of the layer.
      cotangent: gradient with respect to the spike times, taken as independent.
      single: no neuron spikes more than once.
      holds: there may be a refractory period.
      floor: least slope of a membrane at its spike, in thresholds per membrane time constant; a
        lower one counts as this.

    Returns:
      Gradients in the places of what they belong to.
    """
    inputs = layer.time.shape[1]
    layer, events, cotangent = _in_blocks(layer, events, cotangent)
    before, felt_before = None, jnp.zeros_like(events.time)
    if not single:
        before, felt_before = spikes_before(events, layer.kernel.shape[1])
    lanes = lanes_of(layer.numbers, events, before)
    theta = lanes.numbers.threshold
    real = jnp.isfinite(events.time)
    if events.current is not None and (single or not holds and layer.recurrent_kernel is None):
        # Nothing arrives between a spike and the end of its reset.
        arriving, restarted = events.current, felt_before
    else:
        arriving, restarted = currents(layer, events, lanes)
    # abs: a neuron that rests above its threshold has a negative one.
    rising = jnp.maximum(arriving - theta, floor * jnp.abs(theta))
    # A floor of 0 leaves no gradient to a membrane that only touches its threshold.
    span = jnp.where(rising > 0, lanes.numbers.tau_mem / jnp.where(rising > 0, rising, 1.0), 0.0)
    loss = jnp.where(real, cotangent, 0.0)
    if single and layer.recurrent_kernel is None:
        costate = -loss * span
    else:
        resumed = jnp.zeros_like(loss)
        if before is not None:
            rise = (restarted - lanes.numbers.reset) / lanes.numbers.tau_mem
            resumed = jnp.where(jnp.isfinite(before), remaining(lanes) * rise, 0.0)
        costate = _backwards(layer, events, lanes, loss, span, resumed)
    result = contracted(layer, events, before, jnp.where(real, costate, 0.0))
    return result._replace(time=result.time[:, :inputs])


def _in_blocks(layer: Layer, events: Events, cotangent: Array) -> tuple[Layer, Events, Array]:
    """Adds empty slots until the slots fill whole blocks."""
    each = events.index is None
    slots = events.time.shape[1]
    arrivals, spikes = block_sizes(layer.time.shape[1], slots, each)

    def padded(x: Array, block: int, empty: float) -> Array:
        more = -x.shape[1] % max(block, 1)
        return jnp.pad(x, ((0, 0), (0, more)), constant_values=empty)

    if layer.recurrent_kernel is not None:
        # Spikes are arrivals too.
        spikes = math.lcm(spikes, block_sizes(slots, slots, each)[0])
    layer = layer._replace(time=padded(layer.time, arrivals, math.inf))
    events = Events(
        source=padded(events.source, arrivals, -1),
        time=padded(events.time, spikes, math.inf),
        index=None if each else padded(events.index, spikes, -1),
        current=None if events.current is None else padded(events.current, spikes, 0.0),
    )
    return layer, events, padded(cotangent, spikes, 0.0)


def spikes_before(events: Events, neurons: int) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
    """Returns time and current of the previous spike of the same neuron, for each spike.

    Args:
      events: spikes of a layer.
      neurons: number of its neurons.

    Returns:
      Its time, -inf where there is none, and the current then, 0 where currents are not known.
    """
    row = jnp.arange(len(events.time), dtype=jnp.int32)
    slot = jnp.arange(events.time.shape[1], dtype=jnp.int32)

    def step(last: Array, spike: tuple[Array, Array]) -> tuple[Array, Array]:
        slot, index = spike
        target = jnp.where(index < 0, neurons, index)
        before = last.at[row, target].get(mode="fill", fill_value=-1)
        return last.at[row, target].set(slot, mode="drop"), before

    none = jnp.full((len(events.time), neurons), -1, jnp.int32)
    _, before = jax.lax.scan(step, none, (slot, events.index.T))
    before = before.T
    some, before = before >= 0, jnp.maximum(before, 0)
    time = jnp.where(some, jnp.take_along_axis(events.time, before, axis=1), -jnp.inf)
    if events.current is None:
        return time, jnp.zeros_like(time)
    return time, jnp.where(some, jnp.take_along_axis(events.current, before, axis=1), 0.0)


def _backwards(
    layer: Layer, events: Events, lanes: Lanes, loss: Array, span: Array, resumed: Array
) -> Float[Array, "B K"]:
    """Visits the spikes from the last to the first and returns their costates lambda.

    Args:
      layer: the layer.
      events: its spikes.
      lanes: the membrane of each spike.
      loss: gradient of the loss with respect to each spike time.
      span: ``1 / V'(t_k^-)``.
      resumed: ``exp(-(t_k - r) / tau_mem) V'(r^+)`` behind the reset before, 0 without one.
    """
    batch, slots = loss.shape
    row = jnp.arange(batch, dtype=jnp.int32)

    def visit(carry: tuple[Array, Array], k: Array) -> tuple[tuple[Array, Array], None]:
        costate, pull = carry
        neuron = events.index[:, k]
        target = jnp.where(neuron < 0, pull.shape[1], neuron)
        jump = loss[:, k] - pull.at[row, target].get(mode="fill", fill_value=0.0)
        if layer.recurrent_kernel is not None:
            jump = jump + _caused(layer, events, lanes, costate, k)
        here = jnp.where(neuron < 0, 0.0, -jump * span[:, k])
        pull = pull.at[row, target].set(here * resumed[:, k], mode="drop")
        return (costate.at[:, k].set(here), pull), None

    none = (jnp.zeros_like(loss), jnp.zeros((batch, layer.kernel.shape[1]), loss.dtype))
    order = jnp.arange(slots - 1, -1, -1, dtype=jnp.int32)
    (costate, _), _ = jax.lax.scan(visit, none, order)
    return costate


def _caused(
    layer: Layer, events: Events, lanes: Lanes, costate: Array, k: Array
) -> Float[Array, "B"]:
    """Returns the sum of g over the arrivals that spike k causes in its own layer.

    Spikes q that feel the arrival at x give ``p_I = lambda psi`` and, where x is behind their last
    reset, ``p_V = lambda exp(-(t_q - x) / tau_mem)``.
    """
    neuron = jnp.maximum(events.index, 0)
    time, source = events.time[:, k, None], events.index[:, k, None]
    inner = (layer.recurrent_kernel, layer.recurrent_delay)
    arrival, weight = over(*inner, time, source, neuron)
    arrival, numbers = jnp.broadcast_to(arrival[:, 0], costate.shape), lanes.numbers
    felt = jnp.isfinite(lanes.time) & (arrival < lanes.time)
    free = felt if lanes.restart is None else felt & (arrival > lanes.restart)
    start = arrival if lanes.restart is None else jnp.maximum(arrival, lanes.restart)
    start, arrival = jnp.where(felt, start, 0.0), jnp.where(felt, arrival, 0.0)
    since = jnp.where(felt, lanes.time, 0.0) - start
    psi = jnp.exp(-(start - arrival) / numbers.tau_syn) * response_kernel(since, numbers)
    p_i = jnp.where(felt, psi, 0.0)
    p_v = jnp.where(free, jnp.exp(-since / numbers.tau_mem), 0.0)
    g = weight[:, 0] * numbers.gain * (p_i / numbers.tau_syn - p_v / numbers.tau_mem)
    return jnp.sum(costate * g, axis=1)
