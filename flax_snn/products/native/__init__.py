"""Native kernels for products with spikes: compiled by LLVM, called by XLA on CPUs.

Nothing here is imported before a product needs it. `kernels.py` has the loops over matrices,
`images.py` those over images; both are made of the inner loops in `vectors.py`, the memory in
`memory.py` and what is in `builder.py`. `threads.py` cuts them into blocks, `xla_call.py` knows
XLA's C interface, `library.py` says whether all can be used on this machine.
"""

from flax_snn.products.native.library import call, denser, threads, why_unavailable

__all__ = ["call", "denser", "threads", "why_unavailable"]


def __dir__() -> list[str]:
    return __all__
