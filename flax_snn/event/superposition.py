"""Membranes as sums over arrivals, at given times and for known spike times.

A membrane is linear between its resets. With the arrivals ``x_m`` of weights ``w_m``, and the last
end ``r`` of a reset before ``t`` (the end of the refractory period; before the first spike the
potential ``v_init`` at time 0 stands in the place of ``v_reset``, and 0 in that of ``r``)

    V(t) = sum_m w_m psi_m(t) + v_reset exp(-(t - r) / tau_mem)
    psi_m(t) = K(t - x_m)                                  arrivals after r
             = exp(-(r - x_m) / tau_syn) K(t - r)          arrivals before: what is left of them
    I(t) = sum_m w_m exp(-(t - x_m) / tau_syn)

K is the kernel of `flax_snn.dynamics.membrane_kernel`. No loop over events is needed, and none is
differentiated: spike times enter as numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from flax_snn.event.flow import kernel
from flax_snn.event.physics import Physics
from flax_snn.typing import Array, Float


class Lanes(NamedTuple):
    """Queries, one per lane: a neuron, and the time at which its membrane is wanted.

    Attributes:
      time: the time, ``(B, L)``; a lane whose time is not finite has no query.
      restart: end of the last reset before it, ``(B, L)``; ``-inf`` for none; ``None`` where no
        lane has one.
      numbers: the neurons, each field ``(B, L)`` or ``(1, L)`` or ``(1, 1)``.
    """

    time: Array
    restart: Any
    numbers: Physics


def potential(
    lanes: Lanes, arrival: Float[Array, "B M _"], weight: Float[Array, "B M _"]
) -> Float[Array, "B L"]:
    """Returns the potential above rest, 0 for lanes without a query.

    Args:
      lanes: where and when.
      arrival: arrival times, ``+inf`` for none, ``(B, M, L)`` or ``(B, M, 1)``.
      weight: weights in units of potential.
    """
    return driven(lanes, arrival, weight) + left_of_reset(lanes)


def driven(
    lanes: Lanes, arrival: Float[Array, "B M _"], weight: Float[Array, "B M _"]
) -> Float[Array, "B L"]:
    """Returns the contribution of arrivals to the potential; see `potential`."""
    numbers = _with_arrivals(lanes.numbers)
    time = lanes.time[:, None, :]
    felt = jnp.isfinite(time) & (arrival < time)
    arrival = jnp.where(felt, arrival, 0.0)
    start = arrival
    if lanes.restart is not None:
        start = jnp.where(felt, jnp.maximum(arrival, lanes.restart[:, None, :]), 0.0)
    since = jnp.where(felt, time, 0.0) - start
    response = kernel(jnp.maximum(since, 0.0), numbers)
    if lanes.restart is not None:
        response = response * jnp.exp(-(start - arrival) / numbers.tau_syn)
    return jnp.sum(jnp.where(felt, weight * response, 0.0), axis=1)


def left_of_reset(lanes: Lanes) -> Float[Array, "B L"]:
    """Returns the contribution of the last reset to the potential, or of time 0 if none came."""
    first = _left_of_start(lanes)
    if lanes.restart is None:
        return first
    return jnp.where(_was_reset(lanes), lanes.numbers.reset * remaining(lanes), first)


def current(
    lanes: Lanes,
    arrival: Float[Array, "B M _"],
    weight: Float[Array, "B M _"],
    *,
    at_restart: bool = False,
) -> Float[Array, "B L"]:
    """Returns the synaptic current at the time of each lane, or at its last reset.

    An arrival at that very time counts at a reset, and not at the time of a lane: a spike of a
    neuron that feeds itself without delay arrives behind the spike, and at its reset.

    Args:
      lanes: where and when.
      arrival: arrival times, ``(B, M, L)`` or ``(B, M, 1)``.
      weight: weights in units of potential.
      at_restart: the current at the last reset, 0 where there was none.
    """
    numbers = _with_arrivals(lanes.numbers)
    if at_restart:
        time = jnp.where(_was_reset(lanes), lanes.restart, -jnp.inf)[:, None, :]
        felt = arrival <= time
    else:
        time = lanes.time[:, None, :]
        felt = jnp.isfinite(time) & (arrival < time)
    age = jnp.where(felt, time, 0.0) - jnp.where(felt, arrival, 0.0)
    return jnp.sum(jnp.where(felt, weight * jnp.exp(-age / numbers.tau_syn), 0.0), axis=1)


def remaining(lanes: Lanes) -> Float[Array, "B L"]:
    """Returns the decay of a reset potential, ``exp(-(t - r) / tau_mem)``, or 1 without a reset."""
    reset = _was_reset(lanes)
    age = jnp.where(reset, lanes.time, 0.0) - jnp.where(reset, lanes.restart, 0.0)
    return jnp.exp(-jnp.maximum(age, 0.0) / lanes.numbers.tau_mem)


def _left_of_start(lanes: Lanes) -> Float[Array, "B L"]:
    start, asked = lanes.numbers.start, jnp.isfinite(lanes.time)
    if start is None:
        return jnp.zeros_like(lanes.time)
    age = jnp.maximum(jnp.where(asked, lanes.time, 0.0), 0.0)
    return jnp.where(asked, start * jnp.exp(-age / lanes.numbers.tau_mem), 0.0)


def _was_reset(lanes: Lanes) -> Array:
    return jnp.isfinite(lanes.restart) & jnp.isfinite(lanes.time)


def _with_arrivals(numbers: Physics) -> Physics:
    """Returns the numbers of lanes with an axis for the arrivals in the middle."""
    wider: Physics = jax.tree.map(lambda x: x[:, None, :], numbers)
    return wider
