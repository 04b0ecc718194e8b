"""Diagnosis: what a batch of data does to each layer of neurons, in figures and in words.

The membrane is measured as its currents drive it if it is never reset, in units in which rest is
0 and threshold is 1: after resets the membrane of a saturated layer is as small as that of a
silent one. Layers are those whose cell is a `NeuronCell`; recurrent cells of other kinds, and cells
in continuous time, are named as not covered. `first_not_finite` says in which layer of any model
the first NaN or infinity comes up.
"""

from flax_snn.diagnosis.diagnose import Diagnosis, LayerDiagnosis, compare, diagnose
from flax_snn.diagnosis.not_finite import first_not_finite
from flax_snn.diagnosis.verdict import SATURATED, SILENT, judge_activity

__all__ = [
    "SATURATED",
    "SILENT",
    "Diagnosis",
    "LayerDiagnosis",
    "compare",
    "diagnose",
    "first_not_finite",
    "judge_activity",
]


def __dir__() -> list[str]:
    return __all__
