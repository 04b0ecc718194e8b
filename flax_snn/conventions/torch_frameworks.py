"""Neurons of Norse (version 1.1.0), SpikingJelly (2.0.0) and sinabs (3.1.3)."""

from __future__ import annotations

from flax_snn.conventions.domain import PeerSurrogate, choice, decay, flag, surrogate_of
from flax_snn.dynamics import (
    Coefficients,
    Discretization,
    LIDynamics,
    LIFDynamics,
    LIFParameters,
    Rule,
)
from flax_snn.dynamics.parameters import number
from flax_snn.surrogate import Surrogate, sigmoid, single_exponential, superspike

_EULER = Discretization("euler", "unit", "leak")
_EULER_JUMP = Discretization("euler", "decay", "leak")


def norse_lif(
    tau_mem_inv: float = 100.0,
    tau_syn_inv: float = 200.0,
    v_leak: float = 0.0,
    v_th: float = 1.0,
    v_reset: float = 0.0,
    alpha: float = 100.0,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Build the LIF neuron of Norse: Euler steps, the current jumps before it drives the membrane.

        i_jump = i + x,  v <- v + dt tau_mem_inv (v_leak - v + i_jump),  i <- i_jump (1 - dt tau_syn_inv)

    The gradient flows through the reset in feed-forward layers and is stopped in recurrent ones,
    as in Norse. Its recurrent weights are (post, pre), and its recurrent cells zero the diagonal.

    Args:
      tau_mem_inv: inverse membrane time constant in 1/s.
      tau_syn_inv: inverse synaptic time constant in 1/s.
      v_leak: resting potential, also that before the first step.
      v_th: threshold.
      v_reset: reset potential.
      alpha: steepness that Norse 1.1.0 accepts for its ``super`` surrogate and ignores: the
        surrogate is superspike(1) whatever it is.
      dt: length of a step in seconds.

    Raises:
      ValueError: dt not below a time constant.
    """  # noqa: E501
    number("alpha", alpha)
    rule = Rule(
        discretization=_EULER_JUMP, entry="jump", channels=1, reset_gradient="stop_if_recurrent"
    )
    parameters = LIFParameters(
        tau_mem=_inverse("tau_mem_inv", tau_mem_inv),
        tau_syn=_inverse("tau_syn_inv", tau_syn_inv),
        threshold=v_th,
        v_rest=v_leak,
        v_reset=v_reset,
    )
    return LIFDynamics.from_parts(parameters, dt, rule, surrogate=superspike(1.0))


def norse_lif_box(
    tau_mem_inv: float = 100.0,
    v_leak: float = 0.0,
    v_th: float = 1.0,
    v_reset: float = 0.0,
    alpha: float = 100.0,
    reset_method: str = "value",
    dt: float = 1e-3,
) -> LIFDynamics:
    """Build the LIF neuron of Norse without a synapse: ``v <- v + dt tau_mem_inv (v_leak - v + x)``.

    Args:
      tau_mem_inv: inverse membrane time constant in 1/s.
      v_leak: resting potential, also that before the first step.
      v_th: threshold.
      v_reset: reset potential of ``reset_method="value"``.
      alpha: accepted and ignored, as in Norse 1.1.0 (`norse_lif`).
      reset_method: ``value`` (to v_reset) or ``subtract`` (the threshold; Norse then ignores
        v_reset).
      dt: length of a step in seconds.

    Raises:
      ValueError: dt not below the time constant, unknown reset method.
    """
    number("alpha", alpha)
    choice("reset_method", reset_method, ("value", "subtract"))
    rule = Rule(
        discretization=_EULER,
        reset="hard" if reset_method == "value" else "soft",
        reset_gradient="flow",
    )
    parameters = LIFParameters(
        tau_mem=_inverse("tau_mem_inv", tau_mem_inv),
        threshold=v_th,
        v_rest=v_leak,
        v_reset=v_reset,
    )
    return LIFDynamics.from_parts(parameters, dt, rule, surrogate=superspike(1.0))


def norse_li(
    tau_mem_inv: float = 100.0, tau_syn_inv: float = 200.0, v_leak: float = 0.0, dt: float = 1e-3
) -> LIDynamics:
    """Build the leaky integrator of Norse: `norse_lif` without threshold and reset.

    Args:
      tau_mem_inv: inverse membrane time constant in 1/s.
      tau_syn_inv: inverse synaptic time constant in 1/s.
      v_leak: resting potential, also that before the first step.
      dt: length of a step in seconds.

    Raises:
      ValueError: dt not below a time constant.
    """
    rule = Rule(discretization=_EULER_JUMP, entry="jump", channels=1, fire="none", reset="none")
    parameters = LIFParameters(
        tau_mem=_inverse("tau_mem_inv", tau_mem_inv),
        tau_syn=_inverse("tau_syn_inv", tau_syn_inv),
        v_rest=v_leak,
    )
    return LIDynamics.from_parts(parameters, dt, rule)


def norse_li_box(
    tau_mem_inv: float = 100.0, v_leak: float = 0.0, dt: float = 1e-3
) -> LIDynamics:
    """Build the leaky integrator of Norse without a synapse.

    Args:
      tau_mem_inv: inverse membrane time constant in 1/s.
      v_leak: resting potential, also that before the first step.
      dt: length of a step in seconds.

    Raises:
      ValueError: dt not below the time constant.
    """
    rule = Rule(discretization=_EULER, fire="none", reset="none")
    parameters = LIFParameters(tau_mem=_inverse("tau_mem_inv", tau_mem_inv), v_rest=v_leak)
    return LIDynamics.from_parts(parameters, dt, rule)


def spikingjelly_lif(
    tau: float = 2.0,
    decay_input: bool = True,
    v_threshold: float = 1.0,
    v_reset: float | None = 0.0,
    detach_reset: bool = False,
    surrogate: PeerSurrogate = None,
    *,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Build ``LIFNode`` of SpikingJelly: ``v <- v + (x - (v - v_reset)) / tau``.

    Without ``decay_input``: ``v <- v - (v - v_reset) / tau + x``. v_reset is also the resting
    potential and that before the first step. Spikes where ``v >= v_threshold``.

    Args:
      tau: membrane time constant in steps, above 1.
      decay_input: whether the input is divided by tau.
      v_threshold: threshold.
      v_reset: reset and resting potential; ``None``: subtract the threshold, rest at 0.
      detach_reset: stop the gradient through the spike in the reset.
      surrogate: ``("sigmoid", {"alpha": 4.0})``, ``("atan", {"alpha": 2.0})`` or a `Surrogate`;
        sigmoid with alpha 4 if not given.
      dt: length of a step in seconds, which SpikingJelly does not have.

    Raises:
      ValueError: tau not above 1.
    """
    gain = "leak" if flag("decay_input", decay_input) else "unit"
    rule = Rule(
        discretization=Discretization("euler", "unit", gain),  # type: ignore[arg-type]
        fire=">=",
        reset="soft" if v_reset is None else "hard",
        reset_gradient="stop" if flag("detach_reset", detach_reset) else "flow",
    )
    level = 0.0 if v_reset is None else v_reset
    parameters = LIFParameters(
        tau_mem=_steps("tau", tau, dt, above=1.0),
        threshold=v_threshold,
        v_rest=level,
        v_reset=level,
    )
    chosen = surrogate_of(surrogate, sigmoid(4.0))
    return LIFDynamics.from_parts(parameters, dt, rule, surrogate=chosen)


def spikingjelly_cuba(
    c_decay: float = 0.5,
    v_decay: float = 0.75,
    v_threshold: float = 0.5,
    v_reset: float | None = 0.0,
    surrogate: PeerSurrogate = None,
    *,
    dt: float = 1e-3,
) -> LIFDynamics:
    """Build ``CUBALIFNode`` of SpikingJelly: ``i <- c_decay i + x``, ``v <- v_decay v + i``.

    Args:
      c_decay: decay of the synaptic current per step.
      v_decay: decay of the membrane per step.
      v_threshold: threshold.
      v_reset: reset potential; ``None``: subtract the threshold.
      surrogate: as in `spikingjelly_lif`; sigmoid with alpha 4 if not given (SpikingJelly's own
        default is a rectangle).
      dt: length of a step in seconds, which SpikingJelly does not have.

    Raises:
      ValueError: a decay outside 0..1.
    """
    rule = Rule(
        discretization=Discretization("exponential", "unit", "unit"),
        entry="new",
        channels=1,
        fire=">=",
        reset="soft" if v_reset is None else "hard",
        reset_gradient="flow",
    )
    coefficients = Coefficients(
        alpha=decay("v_decay", v_decay),
        theta=number("v_threshold", v_threshold),
        beta=(decay("c_decay", c_decay),),
        g=(1.0,),
        c_new=(1.0,),
        v_reset=None if v_reset is None else number("v_reset", v_reset),
    )
    chosen = surrogate_of(surrogate, sigmoid(4.0))
    start = 0.0 if v_reset is None else v_reset
    return LIFDynamics.from_coefficients(
        coefficients, dt=dt, rule=rule, surrogate=chosen, v_init=start
    )


def spikingjelly_li(tau: float = 2.0, *, dt: float = 1e-3) -> LIDynamics:
    """Build ``NonSpikingLIFNode`` of SpikingJelly: ``v <- v + (x - v) / tau``.

    SpikingJelly restarts it from 0 in each call; here the carry decides.

    Args:
      tau: time constant in steps, above 1.
      dt: length of a step in seconds, which SpikingJelly does not have.

    Raises:
      ValueError: tau not above 1.
    """
    rule = Rule(discretization=_EULER, fire="none", reset="none")
    return LIDynamics.from_parts(
        LIFParameters(tau_mem=_steps("tau", tau, dt, above=1.0)), dt, rule
    )


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
    """Build ``LIF`` of sinabs: ``i <- beta (i + x)``, ``v <- alpha v + gain i``, then ``min_v_mem``.

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
    choice("spike_fn", spike_fn, ("multi", "single"))
    choice("reset_fn", reset_fn, ("subtract", "zero"))
    gain = "leak" if flag("norm_input", norm_input) else "unit"
    rule = Rule(
        discretization=Discretization("exponential", "decay", gain),  # type: ignore[arg-type]
        entry="direct" if tau_syn is None else "new",
        channels=0 if tau_syn is None else 1,
        fire="floor" if spike_fn == "multi" else ">=",
        reset="soft" if reset_fn == "subtract" else "hard",
        reset_gradient="flow" if reset_fn == "subtract" else "stop",
        floor=min_v_mem is not None,
    )
    parameters = LIFParameters(
        tau_mem=_steps("tau_mem", tau_mem, dt),
        tau_syn=None if tau_syn is None else _steps("tau_syn", tau_syn, dt),
        threshold=spike_threshold,
    )
    chosen: Surrogate = surrogate_of(surrogate, single_exponential(0.5, 1.0))
    return LIFDynamics.from_parts(parameters, dt, rule, surrogate=chosen, v_min=min_v_mem)


def sinabs_exp_leak(
    tau_mem: float,
    norm_input: bool = False,
    min_v_mem: float | None = None,
    *,
    dt: float = 1e-3,
) -> LIDynamics:
    """Build ``ExpLeak`` of sinabs: ``v <- alpha v + gain x``, then the lower bound.

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
    gain = "leak" if flag("norm_input", norm_input) else "unit"
    rule = Rule(
        discretization=Discretization("exponential", "unit", gain),  # type: ignore[arg-type]
        fire="none",
        reset="none",
        floor=min_v_mem is not None,
    )
    parameters = LIFParameters(tau_mem=_steps("tau_mem", tau_mem, dt))
    return LIDynamics.from_parts(parameters, dt, rule, v_min=min_v_mem)


def _inverse(name: str, value: float) -> float:
    return 1.0 / number(name, value, positive=True, unit="1/s")


def _steps(name: str, value: float, dt: float, above: float = 0.0) -> float:
    steps = number(name, value, positive=True, unit="steps")
    if steps <= above:
        raise ValueError(f"{name}: expected more than {above:g} steps, got {value!r}")
    return steps * number("dt", dt, positive=True, unit="seconds")
