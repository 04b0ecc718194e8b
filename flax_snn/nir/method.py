"""How a node in continuous time is advanced by one step: the argument ``method``.

NIR defines nodes by differential equations and leaves the step to the reader. Over one step of
length dt, a state with the time constant tau decays by

    euler    1 - dt / tau       forward Euler, as snnTorch, SpikingJelly, Norse and Spyx step
    exp      exp(-dt / tau)     exact decay, as jaxpike, sinabs and Rockpool step

and what drives it (v_leak + r x for a membrane) is weighted by 1 minus the decay.

This is not the ``method`` of `flax_snn.event.RNN`, which says how event-based gradients are
computed. It corresponds to ``discretization`` of `flax_snn.LIFDynamics`: "euler" there is "euler"
here; "exact" and "exponential" there have the decay of "exp" here, with gains of their own that
`to_nir` writes into r and w_in.
"""

from __future__ import annotations

from typing import Any, Literal

from flax_snn.nir.error import fail

Method = Literal["euler", "exp"]


def check_method(method: Any, remedy: str = "") -> None:
    """Raises unless a method is one of the two.

    Args:
      method: the argument to check.
      remedy: what to do about another value, for the error message.

    Raises:
      NIRError: it is neither ``"euler"`` nor ``"exp"``.
    """
    if method not in ("euler", "exp"):
        raise fail("method", "'euler' or 'exp'", repr(method), remedy)
