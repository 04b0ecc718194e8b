"""Learning rules beside backpropagation through time: gradients while the sequence runs.

Every rule takes a model, its variables, a batch and the loss of a step, and returns the loss of the
batch, summed over steps and samples, with a gradient like that of ``jax.grad``:

    loss, gradients = snn.learn.eprop(model, variables, (inputs, targets), snn.learn.cross_entropy)

=========  ==================================  ===================================================
rule       networks                            what its gradient leaves out
=========  ==================================  ===================================================
`eprop`    one layer of neurons, a readout     spikes that act through recurrent weights
`d_rtrl`   any chain of cells                  the same, and what layers above remember
`ottt`     deep feed-forward, convolutional    resets, and what layers above remember
`bptt`     all                                 nothing; its memory grows with the sequence
=========  ==================================  ===================================================

Memory of the online rules does not grow with the length of the sequence. `Stream` makes them learn
step by step without end, and `compare_gradients` shows how far each is from `bptt` in a network.
"""

from flax_snn.learn.bptt import bptt
from flax_snn.learn.compare import RULES, Comparison, compare_gradients
from flax_snn.learn.d_rtrl import DRTRL, d_rtrl
from flax_snn.learn.eligibility import eligibility_traces
from flax_snn.learn.eprop import EProp, eprop
from flax_snn.learn.feedback import with_feedback
from flax_snn.learn.objective import StepLoss, cross_entropy, squared_error
from flax_snn.learn.ottt import OTTT, ottt
from flax_snn.learn.stream import ONLINE, Learned, Stream

__all__ = [
    "DRTRL",
    "EProp",
    "Comparison",
    "Learned",
    "ONLINE",
    "OTTT",
    "RULES",
    "StepLoss",
    "Stream",
    "bptt",
    "compare_gradients",
    "cross_entropy",
    "d_rtrl",
    "eligibility_traces",
    "eprop",
    "ottt",
    "squared_error",
    "with_feedback",
]


def __dir__() -> list[str]:
    return __all__
