"""An imperfect substrate, simulated: neurons that differ, spikes that jitter or are lost.

    tau_n       = tau exp(s z_n)                       mismatch, drawn once: it belongs to the chip
    threshold_n = v_rest + (threshold - v_rest) exp(s z_n)
    t_k         = |t_k + jitter z_k|                   drawn anew for each run
    w           = step round(w / step)                 step = max |w| / (2^bits - 1)

with standard normal z. `simulate` runs such neurons; what comes out, disturbed, takes the place of
spikes measured on hardware: given to `snn.event.RNN` as the collection ``recorded``, it trains the
network in the loop, forward on the substrate and backward by the model.

Sources: Göltz et al., *Fast and energy-efficient neuromorphic deep learning with first-spike
times*, 2021, for mismatch and jitter of an analog chip; Schmitt et al., *Neuromorphic hardware in
the loop*, 2017.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from flax_snn import checks
from flax_snn.dynamics import LIFParameters
from flax_snn.event.physics import check_synapse
from flax_snn.event.spikes import Spikes, check_spikes, time_order
from flax_snn.typing import Array, Float

__all__ = ["disturbed", "mismatched", "quantized"]


def mismatched(
    parameters: LIFParameters,
    key: Array,
    size: int,
    *,
    tau_mem: float = 0.0,
    tau_syn: float = 0.0,
    threshold: float = 0.0,
    dtype: Any = jnp.float32,
) -> LIFParameters:
    """Draws the parameters of neurons that were designed to be equal and differ.

    Factors are log-normal of median 1, independent between neurons and fields: time constants stay
    above 0, thresholds above rest. The neurons of one key are one chip.

    >>> import jax, flax_snn as snn
    >>> lif = snn.LIFDynamics(tau_mem=20e-3, tau_syn=5e-3).parameters
    >>> chip = snn.event.mismatched(lif, jax.random.key(0), 3, threshold=0.2)
    >>> chip.threshold.shape, chip.tau_mem
    ((3,), 0.02)

    Args:
      parameters: what the neurons were meant to be; fields are numbers or arrays ``(N,)``.
      key: random key of the chip.
      size: number of neurons N.
      tau_mem: standard deviation of the logarithm of ``tau_mem``: 0.2 is about 20 %; 0: none.
      tau_syn: that of ``tau_syn``.
      threshold: that of the distance of ``threshold`` from ``v_rest``.
      dtype: floating dtype of the fields that are drawn.

    Returns:
      The parameters, with arrays ``(N,)`` in the fields that are drawn, the others as they were.

    Raises:
      TypeError: not `LIFParameters`.
      ValueError: a size below 1, a deviation that is negative or not finite,
        neurons without exactly one synapse.
    """
    what = "mismatched"
    checks.instance(f"{what}: parameters", parameters, LIFParameters)
    checks.whole_number(f"{what}: size", size)
    check_synapse(what, parameters)
    deviations = {"tau_mem": tau_mem, "tau_syn": tau_syn, "threshold": threshold}
    drawn: dict[str, Any] = {}
    for key_of_field, (name, deviation) in zip(
        jax.random.split(key, 3), deviations.items(), strict=True
    ):
        if checks.non_negative(f"{what}: {name}", deviation) == 0.0:
            continue
        factor = jnp.exp(deviation * jax.random.normal(key_of_field, (size,), dtype))
        meant = jnp.asarray(getattr(parameters, name), dtype)
        rest = jnp.asarray(parameters.v_rest if name == "threshold" else 0.0, dtype)
        drawn[name] = rest + (meant - rest) * factor
    return parameters.replace(**drawn)  # type: ignore[attr-defined]


def disturbed(spikes: Spikes, key: Array, *, jitter: float = 0.0, drop: float = 0.0) -> Spikes:
    """Returns spikes as an imperfect substrate passes them on: each a little off, some lost.

    A spike that would come before time 0 comes as long after it. Spikes that are lost here are no
    ``overflow``, which counts those that a simulation had no room for.

    >>> import jax, jax.numpy as jnp, flax_snn as snn
    >>> spikes = snn.event.from_times(jnp.array([[1e-3, 2e-3, 3e-3]]))
    >>> snn.event.disturbed(spikes, jax.random.key(0), drop=1.0).index.tolist()
    [[-1, -1, -1]]

    Args:
      spikes: spikes in K slots.
      key: random key of this run.
      jitter: standard deviation of the normal shift of each spike in seconds; 0: none.
      drop: probability that a spike is lost, from 0 to 1.

    Returns:
      Spikes in K slots, sorted again.

    Raises:
      TypeError: not `Spikes`.
      ValueError: a jitter or drop outside its range, spikes that are not in order.
      OverflowError: outside ``jit``: spikes were lost for lack of slots.
    """
    what = "disturbed"
    check_spikes(what, spikes)
    checks.non_negative(f"{what}: jitter", jitter, unit="seconds")
    checks.in_range(f"{what}: drop", drop, 0.0, 1.0, noun="a probability")
    shift_key, drop_key = jax.random.split(key)
    time, index = spikes.time, spikes.index
    if jitter:
        noise = jax.random.normal(shift_key, time.shape, time.dtype)
        time = jnp.abs(time + jitter * noise)
    if drop:
        lost = jax.random.bernoulli(drop_key, drop, time.shape)
        time, index = jnp.where(lost, jnp.inf, time), jnp.where(lost, -1, index)
    order = time_order(time)
    time, index = (jnp.take_along_axis(x, order, axis=1) for x in (time, index))
    return spikes.replace(time=time, index=index)  # type: ignore[attr-defined]


def quantized(kernel: Float[Array, "F N"], bits: int) -> Float[Array, "F N"]:
    """Rounds weights to the levels of a substrate with a sign and ``bits`` bits.

    The largest weight is the largest level, so none is cut. Not to be differentiated: the
    derivative of rounding is 0.

    >>> import jax.numpy as jnp, flax_snn as snn
    >>> snn.event.quantized(jnp.array([[0.4, -1.0], [0.7, 3.0]]), bits=2).tolist()
    [[0.0, -1.0], [1.0, 3.0]]

    Args:
      kernel: weights.
      bits: bits of the size of a weight, from 1 on.

    Raises:
      ValueError: bits below 1.
    """
    checks.whole_number("quantized: bits", bits)
    largest = jnp.max(jnp.abs(kernel))
    step = jnp.where(largest > 0, largest, 1.0) / (2**bits - 1)
    return step * jnp.round(kernel / step)
