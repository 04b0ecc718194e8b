"""Native kernels for products with spikes: compiled by LLVM, called by XLA on CPUs.

Nothing here is imported before a product needs it. `kernels.py` has the loops, `threads.py` cuts
them into blocks, `builder.py` has what they are built of, `xla_call.py` knows XLA's C interface,
`library.py` says whether all can be used on this machine.
"""

from flax_snn.products.native.library import call, denser, threads, why_unavailable

__all__ = ["call", "denser", "threads", "why_unavailable"]


def __dir__() -> list[str]:
    return __all__
