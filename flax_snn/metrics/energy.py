"""An estimate of the energy of synaptic operations, from what one of them takes in a 45 nm chip.

    energy = (#MACs * (multiplication + addition) + #ACs * addition)

Energies per operation at 0.9 V: Horowitz, Computing's energy problem (and what we can do about it),
IEEE International Solid-State Circuits Conference, 2014, table in figure 1.1.9.

It is that of arithmetic alone. Reading weights and states from memory, moving spikes, and the
update of membranes take more in most chips, so that the estimate compares numbers of operations in
units of energy, and says little about a chip; Dampfhoffer et al., Are SNNs really more
energy-efficient than ANNs? An in-depth hardware-aware study, IEEE TETCI 7, 2023.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from flax_snn import checks

Precision = Literal["float32", "float16", "int32", "int8"]


class OperationEnergy(NamedTuple):
    """Energy of one operation in picojoules.

    Attributes:
      multiplication: of a multiplication.
      addition: of an addition.
    """

    multiplication: float
    addition: float


OPERATION_ENERGY: dict[str, OperationEnergy] = {
    "float32": OperationEnergy(3.7, 0.9),
    "float16": OperationEnergy(1.1, 0.4),
    "int32": OperationEnergy(3.1, 0.1),
    "int8": OperationEnergy(0.2, 0.03),
}
"""The table, by the precision of weights and sums."""


def energy_estimate(
    macs: float, acs: float, precision: Precision | OperationEnergy = "float32"
) -> dict[str, Any]:
    """Energy that synaptic operations would take, arithmetic alone, in picojoules.

    >>> energy_estimate(macs=100, acs=1000)["picojoules"]
    1360.0

    Args:
      macs: multiplications with accumulation, such as ``effective_macs`` of `workload`.
      acs: accumulations, such as ``effective_acs``.
      precision: a row of `OPERATION_ENERGY`, or the energies of another chip.

    Returns:
      ``picojoules``, those of ``macs`` and of ``acs`` alone, the energy of one ``multiplication``
      and one ``addition``, and the ``source`` of these.

    Raises:
      TypeError: numbers that are none.
      ValueError: negative numbers, an unknown precision.
    """
    macs, acs = checks.non_negative("macs", macs), checks.non_negative("acs", acs)
    source = "as given"
    if isinstance(precision, OperationEnergy):
        each = precision
        for name, value in each._asdict().items():
            checks.non_negative(f"precision.{name}", value, unit="picojoules")
    else:
        checks.choice("precision", precision, tuple(OPERATION_ENERGY))
        each = OPERATION_ENERGY[precision]
        source = f"Horowitz 2014, 45 nm, 0.9 V, {precision}"
    of_macs, of_acs = macs * (each.multiplication + each.addition), acs * each.addition
    return {
        "picojoules": of_macs + of_acs,
        "macs": of_macs,
        "acs": of_acs,
        "multiplication": each.multiplication,
        "addition": each.addition,
        "source": source,
    }
