"""Learning rules beside backpropagation through time."""

from flax_snn.learn.eprop import EProp, eprop
from flax_snn.learn.feedback import with_feedback
from flax_snn.learn.objective import cross_entropy, squared_error

__all__ = ["EProp", "cross_entropy", "eprop", "squared_error", "with_feedback"]


def __dir__() -> list[str]:
    return __all__
