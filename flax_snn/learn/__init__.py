"""Learning rules beside backpropagation through time."""

from flax_snn.learn.d_rtrl import DRTRL, d_rtrl
from flax_snn.learn.eprop import EProp, eprop
from flax_snn.learn.feedback import with_feedback
from flax_snn.learn.ottt import OTTT, ottt
from flax_snn.learn.objective import cross_entropy, squared_error

__all__ = ["DRTRL", "EProp", "OTTT", "cross_entropy", "d_rtrl", "eprop", "ottt", "squared_error", "with_feedback"]


def __dir__() -> list[str]:
    return __all__
