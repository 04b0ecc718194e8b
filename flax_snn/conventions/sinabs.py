"""Neurons of sinabs (version 3.1.3), whose time constants are in steps."""

from __future__ import annotations

from flax_snn import checks
from flax_snn.conventions.decays import seconds_from_steps
from flax_snn.conventions.peer_surrogates import PeerSurrogate, surrogate_of
from flax_snn.dynamics import Discretization, LIDynamics, LIFDynamics, LIFParameters, Rule
from flax_snn.dynamics.rule import MembraneGain
from flax_snn.surrogate import single_exponential


def sinabs_lif(
    tau_mem: float,
    tau_syn: float | None = None,
    spike_threshold: float = 1.0,
    spike_fn: str = "multi",
    reset_fn: str = "subtract",
    norm_input: bool = True,
    min_v_mem: float | None = None,
    surrogate: PeerSurrogate = None,
    *,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Builds ``LIF`` of sinabs: ``i <- beta (i + x)``, ``v <- alpha v + gain i``, then ``min_v_mem``.

    ``MembraneReset`` to another value than 0 adds it to every neuron in every step in sinabs and
    does not fit the template; ``MaxSpike`` neither. With one spike per step the reset to zero is
    detached, as in sinabs.

    Args:
      tau_mem: membrane time constant in STEPS.
      tau_syn: synaptic time constant in STEPS, ``None`` for no synapse.
      spike_threshold: threshold.
      spike_fn: ``multi`` (floor(v / threshold) spikes per step) or ``single``.
      reset_fn: ``subtract``, or ``zero`` (with ``single``).
      norm_input: gain 1 - alpha instead of 1.
      min_v_mem: lower bound of the membrane, ``None`` for none.
      surrogate: ``("single_exponential", {"grad_width": 0.5, "grad_scale": 1.0})`` or a
        `Surrogate`; that if not given.
      dt: length of a step in seconds, which sinabs does not have.

    Raises:
      ValueError: a time constant not above 0; several spikes per step with a reset to zero.
    """  # noqa: E501
    checks.choice("spike_fn", spike_fn, ("multi", "single"))
    checks.choice("reset_fn", reset_fn, ("subtract", "zero"))
    gain: MembraneGain = "leak" if checks.boolean("norm_input", norm_input) else "unit"
    rule = Rule(
        discretization=Discretization("exponential", "decay", gain),
        entry="direct" if tau_syn is None else "new",
        channels=0 if tau_syn is None else 1,
        fire="floor" if spike_fn == "multi" else ">=",
        reset="soft" if reset_fn == "subtract" else "hard",
        reset_gradient="flow" if reset_fn == "subtract" else "stop",
    )
    parameters = LIFParameters(
        tau_mem=seconds_from_steps("tau_mem", tau_mem, dt),
        tau_syn=None if tau_syn is None else seconds_from_steps("tau_syn", tau_syn, dt),
        threshold=spike_threshold,
    )
    chosen = surrogate_of(surrogate, single_exponential(0.5, 1.0))
    return LIFDynamics.from_parts(parameters, dt, rule, surrogate=chosen, v_min=min_v_mem)


def sinabs_exp_leak(
    tau_mem: float,
    norm_input: bool = False,
    min_v_mem: float | None = None,
    *,
    dt: float = 1e-3,
) -> LIDynamics:
    """Builds ``ExpLeak`` of sinabs: ``v <- alpha v + gain x``, then the lower bound.

    The output here is the bounded state. sinabs bounds the state as well, but returns the value
    of the step before the bound: with ``min_v_mem`` its layer output does not fit the template.

    Args:
      tau_mem: time constant in STEPS.
      norm_input: gain 1 - alpha instead of 1.
      min_v_mem: lower bound of the membrane, ``None`` for none.
      dt: length of a step in seconds, which sinabs does not have.

    Raises:
      ValueError: a time constant not above 0.
    """
    gain: MembraneGain = "leak" if checks.boolean("norm_input", norm_input) else "unit"
    rule = Rule(
        discretization=Discretization("exponential", "unit", gain),
        fire="none",
        reset="none",
    )
    parameters = LIFParameters(tau_mem=seconds_from_steps("tau_mem", tau_mem, dt))
    return LIDynamics.from_parts(parameters, dt, rule, v_min=min_v_mem)
