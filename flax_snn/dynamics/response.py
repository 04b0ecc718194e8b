"""Linear response of the membrane to its input, below threshold.

Input that is white in time with mean ``m`` and variance ``q`` per step leaves a membrane that is
never reset with the mean ``m * membrane_gain`` and the variance ``q * membrane_power``: what
initialisation scales weights by. `free_membrane` is the response to recorded currents.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.dynamics.rule import Coefficients, Rule, per_channel
from flax_snn.dynamics.step import initial_state, step
from flax_snn.typing import Array, Currents, LIFState, Scalar

LONGEST = 1.0 - 1e-3
"""Decay that counts for a membrane without a leak, which has no stationary variance."""


def membrane_power(
    rule: Rule,
    coefficients: Coefficients,
    channel: int | tuple[float, ...] = 0,
    *,
    longest: float | None = LONGEST,
) -> float:
    """Sum of the squared response of the membrane to one unit of input, over all later steps.

    Solves ``P = A P A' + B B'`` for the linear recurrence of membrane and synapses.

    >>> import flax_snn as snn
    >>> d = snn.LIDynamics(tau_mem=20e-3, dt=2e-3)
    >>> a = d.coefficients().alpha
    >>> bool(abs(membrane_power(d.rule, d.coefficients()) - (1 - a) ** 2 / (1 - a**2)) < 1e-12)
    True

    Args:
      rule: the switches.
      coefficients: the numbers, not per neuron.
      channel: synaptic channel that receives the input, of ``rule.all_channels``; or the weights
        with which one input enters each of them.
      longest: decays above it, 0.999 by default, count as it; ``None``: only decays of 1, of a
        neuron without a leak, count as 0.999.

    Returns:
      The power, in squared units of membrane per unit of input.
    """
    a, b = _recurrence(rule, coefficients, channel, longest)
    lhs = np.eye(a.size) - np.kron(a, a)
    return float(np.linalg.solve(lhs, np.outer(b, b).ravel())[0])


def membrane_gain(
    rule: Rule,
    coefficients: Coefficients,
    channel: int | tuple[float, ...] = 0,
    *,
    longest: float | None = LONGEST,
) -> float:
    """Sum of the response of the membrane to one unit of input, over all later steps.

    >>> import flax_snn as snn
    >>> d = snn.LIFDynamics(tau_mem=20e-3)
    >>> round(membrane_gain(d.rule, d.coefficients()), 12)
    1.0

    Args:
      rule: the switches.
      coefficients: the numbers, not per neuron.
      channel: synaptic channel that receives the input, or weights, as in `membrane_power`.
      longest: bound of the decays, as in `membrane_power`.

    Returns:
      The gain, in units of membrane per unit of input in every step.
    """
    a, b = _recurrence(rule, coefficients, channel, longest)
    return float(np.linalg.solve(np.eye(len(a)) - a, b)[0])


def resting_potential(coefficients: Coefficients) -> Scalar:
    """Potential of the membrane without input; 0 without a leak.

    Args:
      coefficients: the numbers, also per neuron.

    Returns:
      The potential, in units of the membrane.
    """
    c = coefficients
    if isinstance(c.alpha, jax.Array):
        leaky = c.alpha < 1
        return jnp.where(leaky, c.bias / jnp.where(leaky, 1 - c.alpha, 1), 0)
    return 0.0 if c.alpha >= 1.0 else c.bias / (1.0 - c.alpha)


def resting_distance(coefficients: Coefficients) -> Any:
    """Distance of the resting membrane from threshold, in units of the membrane.

    Args:
      coefficients: the numbers, also per neuron.

    Returns:
      The distance, always above 0; 1 for a leaky integrator, and where rest is at threshold.
    """
    if coefficients.theta is None:
        return 1.0
    distance = abs(coefficients.theta - resting_potential(coefficients))
    return jnp.where(distance > 0, distance, 1) if isinstance(distance, Array) else distance or 1.0


def free_membrane(
    rule: Rule, coefficients: Coefficients, current: Currents, recurrent: Currents = None
) -> Array:
    """Membrane that currents drive if it never spikes and is never reset, above its resting value.

    Starts at rest, without a lower bound: linear in the currents.

    Args:
      rule: the switches; threshold and reset are left out.
      coefficients: the numbers, as arrays that broadcast against one step (`aligned`).
      current: weighted input ``(T, *B, N)``, or a tuple with one per synaptic channel.
      recurrent: current that the recurrent weights add, of the structure that `step` takes;
        ``None`` for nothing.

    Returns:
      The membrane after each step, ``(T, *B, N)``.
    """
    free = dataclasses.replace(
        rule,
        fire="none",
        max_spikes=None,
        emit="new",
        reset="none",
        reset_time="same",
        recurrent_lag=False,
        hold=0,
        noisy=False,
    )
    unbounded: Any = coefficients.replace(  # type: ignore[attr-defined]
        theta=None, bias=jnp.zeros_like(coefficients.bias), v_min=None
    )

    def move(state: LIFState, driven: tuple[Currents, Currents]) -> tuple[LIFState, Array]:
        x, recurrent_current = driven
        return step(
            free,
            unbounded,
            state,
            x,
            recurrent=None if recurrent_current is None else lambda _: recurrent_current,
        )

    first = current[0] if isinstance(current, tuple) else current
    start = initial_state(free, jnp.zeros_like(first[0]))
    return jax.lax.scan(move, start, (current, recurrent))[1]


def _recurrence(
    rule: Rule,
    c: Coefficients,
    channel: int | tuple[float, ...],
    longest: float | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns A and B of ``state <- A state + B x``, membrane first."""

    def bounded(decay: float) -> float:
        if longest is None:
            return decay if decay < 1.0 else LONGEST
        return min(decay, longest)

    size = 1 + rule.all_channels
    entering = channel if isinstance(channel, tuple) else np.arange(max(size - 1, 1)) == channel
    a, b = np.zeros((size, size)), np.zeros(size)
    a[0, 0] = bounded(c.alpha)
    b[0] = c.c_x * entering[0]
    rows = [per_channel(values, size - 1) for values in (c.beta, c.g, c.c_old, c.c_new)]
    for k, (beta, g, before, after) in enumerate(zip(*rows, strict=True)):
        a[1 + k, 1 + k] = bounded(beta)
        a[0, 1 + k] = before + after * a[1 + k, 1 + k]
        b[1 + k] = g * entering[k]
        b[0] += after * b[1 + k]
    return a, b
