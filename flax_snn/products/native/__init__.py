"""Native kernels for products with spikes: compiled by LLVM, called by XLA on CPUs.

Nothing here is imported before a product needs it. `kernels.py` has the loops, `builder.py` what
they are built of, `xla_call.py` what XLA's C interface looks like, `library.py` whether all can be
used on this machine.
"""

from flax_snn.products.native.library import call, why_unavailable

__all__ = ["call", "why_unavailable"]


def __dir__() -> list[str]:
    return __all__
