"""Layers of spiking neurons in continuous time, as functions with exact gradients.

`simulate` runs the event loop: several spikes per neuron, refractory periods, recurrence, delays.
`first_spikes` finds the first spike of each neuron at once, without a loop over events.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from flax_snn import checks
from flax_snn.dynamics import LIFParameters
from flax_snn.event import event_loop
from flax_snn.event.adjoint import gradient
from flax_snn.event.arrivals import Arrivals, Recurrence, arrivals
from flax_snn.event.connections import Events, Layer
from flax_snn.event.event_loop import Limits
from flax_snn.event.physics import (
    Physics,
    certainly_zero,
    check_start,
    physics,
    rests_above,
)
from flax_snn.event.prefix import first_crossings
from flax_snn.event.spikes import Spikes, check_overflow, check_spikes, is_ordered
from flax_snn.typing import Array, Float

__all__ = ["first_spikes", "simulate"]

SLOPE_FLOOR = 1e-3
"""Least slope of a membrane at its spike, in thresholds per membrane time constant."""


def simulate(
    spikes: Spikes,
    kernel: Float[Array, "F N"],
    parameters: LIFParameters,
    *,
    budget: int,
    max_spikes: int | None = None,
    duration: float = math.inf,
    delay: Float[Array, "_ _"] | None = None,
    v_init: Any = None,
    recurrent_kernel: Float[Array, "N N"] | None = None,
    recurrent_delay: Float[Array, "_ _"] | None = None,
    recorded: Spikes | None = None,
    slope_floor: float = SLOPE_FLOOR,
) -> Spikes:
    """Simulates a layer of leaky integrate-and-fire neurons exactly, with exact gradients.

        tau_mem dV/dt = -(V - v_rest) + resistance (I + bias),    tau_syn dI/dt = -I
        an event over a weight w:  I <- I + w;    V reaches threshold:  spike, V <- v_reset

    for any ratio of the time constants. The current I is not reset. Neurons start at rest, or at
    ``v_init``.

    The gradient is that of EventProp, `flax_snn.event.adjoint`, with respect to input times,
    kernels, delays, and all parameters of the neurons. It is exact as long as no spike appears or
    disappears. Where a membrane all but fails to reach its threshold the gradient diverges; slopes
    below ``slope_floor`` count as that.

    >>> import jax, jax.numpy as jnp, flax_snn as snn
    >>> lif = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3).parameters
    >>> inputs = snn.event.from_times(jnp.array([[1e-3, 4e-3]]))
    >>> def last_spike(kernel):
    ...     spikes = snn.event.simulate(inputs, kernel, lif, budget=8)
    ...     return jnp.max(spikes.time, where=jnp.isfinite(spikes.time), initial=0.0)
    >>> float(last_spike(jnp.array([[5.0], [5.0]]))) > 4e-3
    True
    >>> jax.grad(last_spike)(jnp.array([[5.0], [5.0]])).shape
    (2, 1)

    Args:
      spikes: input spikes of F sources.
      kernel: weights.
      parameters: the neurons; each field a number or one per neuron, times in seconds.
      budget: slots K for the spikes of the layer. Spikes without a slot end the simulation of
        their sample and count in ``overflow``.
      max_spikes: most spikes of one neuron; it is silent behind them. ``None`` for no bound.
      duration: end of the simulation in seconds, infinite by default; neurons that rest at or
        above their threshold need a finite one.
      delay: delays of the inputs in seconds: of synapses ``(F, N)``, of the sources' axons
        ``(F, 1)``, or of dendrites ``(1, N)``; none by default.
      v_init: potential at time 0, below the threshold, a number or one per neuron; by default the
        potential at rest, to which a constant current ``bias`` contributes.
      recurrent_kernel: weights within the layer, (pre, post); none by default.
      recurrent_delay: delays within the layer, as ``delay``.
      recorded: spikes that were measured, on hardware for example, for these inputs. They are
        returned instead of those of the model, with the gradient that the model has at them.
      slope_floor: least slope of a membrane at its spike, in thresholds per ``tau_mem``.

    Returns:
      Spikes in K slots (those of ``recorded``, if given). Under ``jit``, where inputs cannot be
      checked, the times of a sample whose input is not in order, and of all samples where neurons
      are reset to their threshold or rest unexpectedly above it, are NaN.

    Raises:
      TypeError: not `Spikes`, not `LIFParameters`, dtypes that do not fit.
      ValueError: shapes that do not fit, times or parameters outside their range, negative delays.
      OverflowError: outside ``jit``: more spikes than slots, here or in the input.

    Reference: Wunderlich & Pehle, *Event-based backpropagation can compute exact gradients for
    spiking neural networks*, 2021.
    """
    what = "simulate"
    layer, numbers = checked_layer(what, spikes, kernel, parameters, delay, duration, v_init)
    check_start(what, numbers)
    size = layer.kernel.shape[1]
    checks.whole_number(f"{what}: budget", budget)
    if max_spikes is not None:
        checks.whole_number(f"{what}: max_spikes", max_spikes)
    if not slope_floor >= 0:
        raise ValueError(f"{what}: slope_floor: expected a number >= 0, got {slope_floor!r}")
    if recurrent_kernel is not None:
        recurrent_kernel = jnp.asarray(recurrent_kernel, layer.kernel.dtype)
        if recurrent_kernel.shape != (size, size):
            raise ValueError(
                f"{what}: recurrent_kernel: expected shape {(size, size)}, got"
                f" {recurrent_kernel.shape}"
            )
    elif recurrent_delay is not None:
        raise ValueError(f"{what}: recurrent_delay needs a recurrent_kernel, got none")
    layer = layer._replace(
        recurrent_kernel=recurrent_kernel,
        recurrent_delay=_delay(what, "recurrent_delay", recurrent_delay, size, size, kernel.dtype),
    )
    tonic = rests_above(parameters, layer.kernel.dtype)
    if tonic and math.isinf(duration):
        raise ValueError(
            f"{what}: expected a finite duration for neurons that rest at or above their"
            " threshold: they spike for ever; give duration= in seconds"
        )
    known = None
    if recorded is not None:
        check_spikes(f"{what}: recorded", recorded, size)
        if recorded.time.shape[0] != spikes.time.shape[0]:
            raise ValueError(
                f"{what}: recorded: expected spikes of {spikes.time.shape[0]} samples, got"
                f" {recorded.time.shape[0]}"
            )
        known = (recorded.time.astype(layer.kernel.dtype), recorded.index.astype(jnp.int32))
        max_spikes = None  # what was measured may hold more
    limits = Limits(budget, max_spikes, duration, not certainly_zero(parameters.refractory), tonic)
    time, index, lost = _simulated(limits, float(slope_floor), layer, spikes.index, known)
    time = jnp.where(_valid(spikes, numbers, tonic), time, jnp.nan)
    if recorded is not None:
        lost = recorded.lost()
    result = Spikes(time, index, spikes.lost() + lost, size)
    check_overflow(what, result)
    return result


def first_spikes(
    spikes: Spikes,
    kernel: Float[Array, "F N"],
    parameters: LIFParameters,
    *,
    duration: float = math.inf,
    delay: Float[Array, "_ _"] | None = None,
    v_init: Any = None,
    slope_floor: float = SLOPE_FLOOR,
) -> Float[Array, "B N"]:
    """Returns when each neuron of a layer spikes first, with the exact gradient.

    The same as the first spikes of `simulate`, found for all neurons at once from prefix sums over
    the sorted inputs.

    Args:
      spikes: input spikes of F sources.
      kernel: weights.
      parameters: the neurons, at rest below their threshold; each field a number or one per
        neuron, times in seconds.
      duration: end of the simulation in seconds, infinite by default.
      delay: delays of the inputs in seconds, as in `simulate`.
      v_init: potential at time 0, as in `simulate`.
      slope_floor: least slope of a membrane at its spike, in thresholds per ``tau_mem``.

    Returns:
      Times in seconds, ``+inf`` for neurons that stay silent, whose gradient is 0.

    Raises:
      TypeError: not `Spikes`, not `LIFParameters`, dtypes that do not fit.
      ValueError: shapes that do not fit, times or parameters outside their range, negative delays;
        neurons that rest at or above their threshold.
      OverflowError: outside ``jit``: spikes of the input were lost.

    Reference: Göltz et al., *Fast and energy-efficient neuromorphic deep learning with first-spike
    times*, 2021.
    """
    what = "first_spikes"
    layer, numbers = checked_layer(what, spikes, kernel, parameters, delay, duration, v_init)
    check_start(what, numbers)
    if rests_above(parameters, layer.kernel.dtype):
        raise ValueError(
            f"{what}: expected neurons that rest below their threshold; use simulate, or"
            " method='eventprop', for those that spike without input"
        )
    time = _first(duration, float(slope_floor), layer, spikes.index)
    return jnp.where(_valid(spikes, numbers, False), time, jnp.nan)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _simulated(
    limits: Limits, floor: float, layer: Layer, source: Array, recorded: Any
) -> tuple[Array, Array, Array]:
    time, index, _, lost = _run(limits, layer, source, recorded)
    return time, index, lost


def _run(
    limits: Limits, layer: Layer, source: Array, recorded: Any
) -> tuple[Array, Array, Any, Array]:
    """Returns spike times, neurons, currents (None if unknown) and numbers of lost spikes."""
    if recorded is not None:
        return *recorded, None, jnp.zeros(len(source), jnp.int32)
    recurrence = None
    if layer.recurrent_kernel is not None:
        recurrence = Recurrence(layer.recurrent_kernel, layer.recurrent_delay)
    return event_loop.run(layer.numbers, _ordered(layer, source), recurrence, limits)


def _simulated_forward(
    limits: Limits, floor: float, layer: Layer, source: Array, recorded: Any
) -> tuple[Any, Any]:
    time, index, current, lost = _run(limits, layer, source, recorded)
    return (time, index, lost), (layer, Events(source, time, index, current))


def _simulated_backward(limits: Limits, floor: float, residuals: Any, cotangents: Any) -> Any:
    layer, events = residuals
    single, holds = limits.max_spikes == 1, limits.holds
    grads = gradient(layer, events, cotangents[0], single=single, holds=holds, floor=floor)
    return grads, None, None


_simulated.defvjp(_simulated_forward, _simulated_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _first(duration: float, floor: float, layer: Layer, source: Array) -> Array:
    return first_crossings(layer.numbers, _ordered(layer, source), duration)[0]


def _first_forward(duration: float, floor: float, layer: Layer, source: Array) -> tuple[Any, Any]:
    time, current = first_crossings(layer.numbers, _ordered(layer, source), duration)
    return time, (layer, Events(source, time, None, current))


def _first_backward(duration: float, floor: float, residuals: Any, cotangent: Array) -> Any:
    layer, events = residuals
    grads = gradient(layer, events, cotangent, single=True, holds=False, floor=floor)
    return grads, None


_first.defvjp(_first_forward, _first_backward)


def _ordered(layer: Layer, source: Array) -> Arrivals:
    return arrivals(layer.time, source, layer.kernel, layer.delay)


def _valid(spikes: Spikes, numbers: Physics, tonic: bool) -> Array:
    """Returns whether each sample passes the checks that ``jit`` hides, ``(B, 1)``."""
    posed = jnp.all(numbers.reset < numbers.threshold)
    if not tonic:
        posed &= jnp.all(numbers.threshold > 0)
    if numbers.start is not None:
        posed &= jnp.all(numbers.start < numbers.threshold)
    return (is_ordered(spikes) & posed)[:, None]


def checked_layer(
    what: str,
    spikes: Spikes,
    kernel: Any,
    parameters: LIFParameters,
    delay: Any,
    duration: float,
    v_init: Any = None,
) -> tuple[Layer, Physics]:
    """Returns a checked feed-forward layer, and the numbers of its neurons.

    Args:
      what: name of the caller, for errors.
      spikes: input spikes.
      kernel: weights ``(F, N)``.
      parameters: the neurons.
      delay: delays of the inputs, or ``None``.
      duration: end of the simulation in seconds.
      v_init: potential at time 0, or ``None`` for that at rest.

    Raises:
      TypeError: dtypes that do not fit.
      ValueError: shapes that do not fit, numbers outside their range.
      OverflowError: spikes of the input were lost.
    """
    check_spikes(what, spikes)
    kernel = jnp.asarray(kernel)
    if kernel.ndim != 2 or 0 in kernel.shape:
        raise ValueError(
            f"{what}: kernel: expected shape (F, N) with F, N >= 1, got {kernel.shape}"
        )
    if not jnp.issubdtype(kernel.dtype, jnp.floating):
        raise TypeError(f"{what}: kernel: expected a floating dtype, got {kernel.dtype}")
    sources, size = kernel.shape
    check_spikes(what, spikes, sources)
    dtype = jnp.promote_types(kernel.dtype, spikes.time.dtype)
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not duration > 0:
        raise ValueError(f"{what}: duration: expected seconds > 0, got {duration!r}")
    numbers = physics(what, parameters, size, dtype, v_init)
    return Layer(
        numbers=numbers,
        time=spikes.time.astype(dtype),
        kernel=kernel.astype(dtype),
        delay=_delay(what, "delay", delay, sources, size, dtype),
    ), numbers


def _delay(what: str, name: str, delay: Any, sources: int, size: int, dtype: Any) -> Array | None:
    if delay is None:
        return None
    delay = jnp.asarray(delay, dtype)
    if delay.shape not in ((sources, size), (sources, 1), (1, size)):
        raise ValueError(
            f"{what}: {name}: expected delays of synapses {(sources, size)}, of axons"
            f" {(sources, 1)} or of dendrites {(1, size)}, got shape {delay.shape}"
        )
    if not isinstance(delay, jax.core.Tracer) and not bool((delay >= 0).all()):
        worst = delay[~(delay >= 0)][0]
        raise ValueError(f"{what}: {name}: expected seconds >= 0, got {worst}")
    return delay
