"""Linear response of the membrane to its input, below threshold.

Input that is white in time with power ``q`` per step leaves the membrane with the variance
``q * membrane_power``. Default initialisation scales weights by it.
"""

from __future__ import annotations

import numpy as np

from flax_snn.dynamics.rule import Coefficients, Rule, per_channel

_LONGEST = 1.0 - 1e-3


def membrane_power(rule: Rule, coefficients: Coefficients, channel: int = 0) -> float:
    """Sum of the squared response of the membrane to one unit of input, over all later steps.

    Solves ``P = A P A' + B B'`` for the linear recurrence of membrane and synapses. Decays above
    0.999 count as 0.999, since an integrator without a leak has no stationary variance.

    >>> import flax_snn as snn
    >>> d = snn.LIDynamics(tau_mem=20e-3, dt=2e-3)
    >>> a = d.coefficients().alpha
    >>> bool(abs(membrane_power(d.rule, d.coefficients()) - (1 - a) ** 2 / (1 - a**2)) < 1e-12)
    True

    Args:
      rule: the switches.
      coefficients: the numbers, not per neuron.
      channel: synaptic channel that receives the input, of ``rule.all_channels``.

    Returns:
      The power, in squared units of membrane per unit of input.
    """
    size = 1 + rule.all_channels
    a, b = np.zeros((size, size)), np.zeros(size)
    a[0, 0] = min(coefficients.alpha, _LONGEST)
    b[0] = coefficients.c_x if channel == 0 else 0.0
    c = coefficients
    rows = [per_channel(values, size - 1) for values in (c.beta, c.g, c.c_old, c.c_new)]
    for k, (beta, g, before, after) in enumerate(zip(*rows, strict=True)):
        a[1 + k, 1 + k] = min(beta, _LONGEST)
        a[0, 1 + k] = before + after * a[1 + k, 1 + k]
        if k == channel:
            b[1 + k] = g
            b[0] += after * g
    lhs = np.eye(size * size) - np.kron(a, a)
    return float(np.linalg.solve(lhs, np.outer(b, b).ravel())[0])


def resting_distance(coefficients: Coefficients) -> float:
    """Distance of the resting membrane from threshold, in units of the membrane.

    Args:
      coefficients: the numbers, not per neuron.

    Returns:
      The distance, always above 0; 1 for a leaky integrator, and where rest is at threshold.
    """
    c = coefficients
    if c.theta is None:
        return 1.0
    rest = 0.0 if c.alpha >= 1.0 else c.bias / (1.0 - c.alpha)
    return abs(c.theta - rest) or 1.0
