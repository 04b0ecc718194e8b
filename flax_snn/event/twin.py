"""Which cells have a twin in continuous time, and what its parameters are.

The event layers read the physics of a cell, `flax_snn.dynamics.LIFParameters`, and nothing of its
discretisation. As ``dt`` goes to 0, steps that give an input spike a fixed jump of the synaptic
current, and the membrane a share ``dt / tau_mem`` of it, go to the same neuron; others go to a
neuron with other weights, and are refused.
"""

from __future__ import annotations

from flax_snn.cells.neuron_cell import NeuronCell
from flax_snn.dynamics import LIFParameters
from flax_snn.event.physics import check_synapse


def check_cell(what: str, cell: NeuronCell) -> None:
    """Raise where a cell has no twin in continuous time.

    Raises:
      ValueError: so it is; the message says why, and what to do.
    """
    name = f"{what}({type(cell).__name__})"
    dynamics = cell.dynamics
    if cell.features is None:
        raise ValueError(f"{name}: expected a cell with input weights, got features=None")
    if dynamics.parameters is None or dynamics.rule.discretization is None:
        raise ValueError(
            f"{name}: expected dynamics with time constants, got coefficients of a time step that"
            " no set of time constants reproduces"
        )
    check_synapse(name, dynamics.parameters)
    how = dynamics.rule.discretization
    if how.synapse_gain == "normalized" or how.membrane_gain in ("unit", "decay"):
        raise ValueError(
            f"{name}: expected a step whose weights mean the same for every dt, got synapse gain"
            f" {how.synapse_gain!r} and membrane gain {how.membrane_gain!r}; rescale the weights"
            " for discretization='exact'"
        )
    if dynamics.spikes and dynamics.rule.reset == "none":
        raise ValueError(
            f"{name}: expected reset='hard' or 'soft', got 'none': a neuron that is not reset"
            " stays at its threshold"
        )
    if dynamics.rule.noisy and not cell.deterministic:
        raise ValueError(f"{name}: event layers have no membrane noise; set deterministic=True")
    if dynamics.v_init != dynamics.parameters.v_rest:
        raise ValueError(
            f"{name}: expected neurons that start at rest, got v_init={dynamics.v_init!r} and"
            f" v_rest={dynamics.parameters.v_rest!r}"
        )
    if dynamics.v_min is not None:
        raise ValueError(f"{name}: event layers have no lower bound v_min={dynamics.v_min!r}")
    if cell.use_bias:
        raise ValueError(
            f"{name}: a bias of the input weights is a current per time step and has no twin; use"
            " learn=('bias',) for a constant current"
        )
    if cell.dot_general_cls is not None:
        raise ValueError(f"{name}: event layers use the kernel itself, not dot_general_cls")


def continuous_parameters(cell: NeuronCell, size: int) -> LIFParameters:
    """Return the physics of a cell, learned where it learns; a soft reset as a reset potential."""
    parameters: LIFParameters = cell.learned(size) if cell.learn else cell.dynamics.parameters
    if cell.dynamics.rule.reset == "soft":
        # The spike comes exactly at the threshold, from which the threshold is subtracted.
        parameters = parameters.replace(  # type: ignore[attr-defined]
            v_reset=0.0 * parameters.threshold
        )
    return parameters
