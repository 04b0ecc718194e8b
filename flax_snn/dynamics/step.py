r"""The step: the one place where a membrane moves.

    r     = fire(v)                             spikes that the entering membrane implies
    x'    = x + q W                             q: spikes before (emit new, or lag) or r (emit old)
    i_new = beta i + g x'                       for each synaptic channel
    v_int = alpha v + c_old i + c_new i_new + c_x x' + bias  [+ noise]
    s     = fire(v_int)  or  r
    v_new = reset(v_int, s)                     or, in the next step: reset(v, r), reset(v_int, r)

Every convention of the field is a choice of coefficients and switches in this template
(`flax_snn.conventions`); the time loops and cells call `step` and retype nothing.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.dynamics.rule import Coefficients, Rule, per_channel
from flax_snn.surrogate import Surrogate
from flax_snn.typing import Array, Currents, Float, LIFState, Projection, Scalar


def step(
    rule: Rule,
    coefficients: Coefficients,
    state: LIFState,
    current: Currents,
    surrogate: Surrogate | None = None,
    *,
    recurrent: Projection | None = None,
    noise: Float[Array, "*B N"] | None = None,
) -> tuple[LIFState, Float[Array, "*B N"]]:
    """Advances a layer of neurons by one time step.

    Args:
      rule: the switches.
      coefficients: the numbers, as arrays that broadcast against the state (`aligned`).
      state: state before the step, fields ``(*B, N)``.
      current: weighted input of the step, ``(*B, N)``, or a tuple with one per synaptic channel.
      surrogate: derivative of the spike; ``None`` only for leaky integrators.
      recurrent: maps spikes ``(*B, N)`` to the recurrent current they cause, ``(*B, N)``; a tuple
        with one for each of several synaptic channels.
      noise: unit Gaussian noise ``(*B, N)``, for a noisy rule.

    Returns:
      The state after the step, and the output ``(*B, N)``: the spikes, or the membrane of a leaky
      integrator.
    """
    c = coefficients
    stop = rule.reset_gradient == "stop" or (
        rule.reset_gradient == "stop_if_recurrent" and recurrent is not None
    )
    delayed = rule.reset_time != "same" and rule.reset != "none"
    test = functools.partial(fire, rule.fire, rule.max_spikes, surrogate)
    r: Any = test(state.v, c.theta) if delayed or rule.emit == "old" else None
    gate = lax.stop_gradient(r) if delayed and (stop or rule.reset_time == "give-back") else r

    inputs, direct = _inputs(rule, state, current, r, recurrent)
    old = _channels(state.i)
    new = tuple(
        beta * i if x is None else beta * i + g * x
        for beta, g, i, x in zip(
            per_channel(c.beta, len(old)), per_channel(c.g, len(old)), old, inputs, strict=True
        )
    )
    v = state.v
    if delayed and rule.reset_site == "state":
        v = _reset(rule, c, v, gate, detached=stop)
    v = _integrate(rule, c, v, old, new, direct, noise)
    if delayed and rule.reset_site == "sum":
        v = _reset(rule, c, v, gate, detached=stop)
    pause: Any = state.refractory
    if rule.hold:
        v = jnp.where(pause > 0, c.v_reset, v)
    if rule.fire == "none":
        v = v if c.v_min is None else jnp.maximum(v, c.v_min)
        return LIFState(v=v, i=_packed(new)), v

    s = r if rule.emit == "old" else test(v, c.theta)
    spent = lax.stop_gradient(s) if stop else s
    if rule.reset != "none" and rule.reset_time == "same":
        v = _reset(rule, c, v, spent, detached=stop)
    elif rule.reset != "none" and rule.reset_time == "give-back":
        v = _reset(rule, c, v, spent - gate)
    if rule.hold:  # no reset, and no gradient of one, moves a refractory membrane
        v = jnp.where(pause > 0, c.v_reset, v)
    if c.v_min is not None:
        v = jnp.maximum(v, c.v_min)
    if rule.hold:
        pause = jnp.where(s > 0, rule.hold, jnp.maximum(pause - 1, 0))
    spikes = None if state.s is None else s
    return LIFState(v=v, i=_packed(new), s=spikes, refractory=pause), s


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def fire(
    test: str,
    max_spikes: int | None,
    surrogate: Surrogate | None,
    v: Float[Array, "*B N"],
    theta: Array,
) -> Float[Array, "*B N"]:
    """Spikes of a membrane: the exact step forward, the surrogate as its derivative.

    The derivative with respect to the threshold is the negative surrogate; for ``floor``, whose
    spikes are ``v / theta``, it is ``-v / theta`` times the surrogate.

    Args:
      test: ``Rule.fire``: ``>``, ``>=``, ``half`` or ``floor``.
      max_spikes: most spikes in one step, for ``floor``.
      surrogate: derivative ``ds/dv``.
      v: membrane potential ``(*B, N)``.
      theta: threshold, broadcasts against ``v``.

    Returns:
      Number of spikes ``(*B, N)``, in the dtype of ``v``.
    """
    if test == "floor":
        # A divisor that XLA cannot fold: it would multiply by the rounded reciprocal of a constant,
        # and a membrane exactly at threshold would not spike.
        count = jnp.where(v >= theta, jnp.floor(v / (theta + 0 * v)), 0)
        return count if max_spikes is None else jnp.minimum(count, max_spikes)
    if test == "half":
        return 0.5 * ((v > theta).astype(v.dtype) + (v >= theta).astype(v.dtype))
    return (v >= theta if test == ">=" else v > theta).astype(v.dtype)


@fire.defjvp
def _fire_jvp(test, max_spikes, surrogate, primals, tangents):  # type: ignore[no-untyped-def]
    if surrogate is None:
        raise ValueError("fire: expected a surrogate, since spikes are differentiated, got None")
    v, theta = primals
    dv, dtheta = tangents
    h = surrogate(v, theta)
    dtheta_gain = v / theta if test == "floor" else 1.0
    return fire(test, max_spikes, surrogate, v, theta), h * (dv - dtheta_gain * dtheta)


def initial_state(rule: Rule, v_init: Array, *, recurrent: bool = False) -> LIFState:
    """State of neurons at rest, with no current, no spike and no refractoriness.

    Args:
      rule: the switches; they say which fields exist.
      v_init: membrane potential ``(*B, N)``.
      recurrent: whether the layer is recurrent and may have to remember its spikes.

    Returns:
      The state, floating fields in the dtype of ``v_init``.
    """
    zeros = jnp.zeros_like(v_init)
    return LIFState(
        v=v_init,
        i=_packed((zeros,) * rule.all_channels),
        s=zeros if recurrent and rule.uses_previous_spikes() else None,
        refractory=jnp.zeros(v_init.shape, jnp.int32) if rule.hold else None,
    )


def aligned(coefficients: Any, ndim: int, dtype: Any) -> Any:
    """Gives every coefficient the dtype of the state, and ``(N,)`` arrays leading axes of 1.

    Args:
      coefficients: numbers or arrays.
      ndim: number of axes of the state.
      dtype: dtype of the state.

    Returns:
      Coefficients that broadcast against the state without promotion.
    """

    def align(value: Scalar) -> Array:
        array = jnp.asarray(value, dtype)
        return array if array.ndim == 0 else array.reshape((1,) * (ndim - array.ndim) + array.shape)

    return jax.tree.map(align, coefficients)


def _inputs(
    rule: Rule,
    state: LIFState,
    current: Currents,
    r: Any,
    recurrent: Projection | None,
) -> tuple[tuple[Array | None, ...], tuple[Array, ...]]:
    """Returns the input of each synaptic channel, and what acts on the membrane directly."""
    inputs = _channels(current)
    if recurrent is None:
        return ((*inputs, None) if rule.recurrent_channel else inputs[: rule.channels]), inputs[:1]
    feedback = _channels(recurrent(cast(Array, state.s) if rule.uses_previous_spikes() else r))
    if rule.recurrent_channel:
        return (*inputs, *feedback), inputs[:1]
    if rule.channels == 0:
        return (), (*inputs, *feedback)
    summed = tuple(x + y for x, y in zip(inputs, feedback, strict=True))
    return summed, summed[:1]


def _integrate(
    rule: Rule,
    c: Coefficients,
    v: Array,
    old: tuple[Array, ...],
    new: tuple[Array, ...],
    direct: tuple[Array, ...],
    noise: Array | None,
) -> Array:
    """Returns the sum that the fire test sees: decayed membrane, currents, bias, noise."""
    v = c.alpha * v
    if rule.entry != "direct":
        gains, currents = (c.c_new, new) if rule.entry == "new" else (c.c_old, old)
        for gain, i in zip(per_channel(gains, len(old)), currents, strict=True):
            v = v + gain * i
    for x in direct if rule.entry in ("direct", "jump") else ():
        v = v + c.c_x * x
    v = v + c.bias
    return v if noise is None or not rule.noisy else v + c.noise_std * noise


def _reset(
    rule: Rule, c: Coefficients, v: Array, spikes: Array, *, detached: bool = False
) -> Array:
    if rule.reset == "soft":
        return v - (c.theta - c.v_reset if rule.reset_span else c.theta) * spikes
    if rule.reset_gradient == "spike_only":
        return v - (lax.stop_gradient(v) - c.v_reset) * spikes
    if detached and rule.fire in (">", ">="):  # the same numbers and gradients, in one operation
        return jnp.where(spikes > 0, c.v_reset, v)
    return (1 - spikes) * v + c.v_reset * spikes


def _channels(currents: Currents) -> tuple[Array, ...]:
    if currents is None:
        return ()
    return currents if isinstance(currents, tuple) else (currents,)


def _packed(channels: tuple[Array, ...]) -> Currents:
    return (channels or (None,))[0] if len(channels) < 2 else channels
