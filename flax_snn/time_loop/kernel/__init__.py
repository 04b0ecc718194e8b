"""The kernel for GPUs: all time steps of a layer in one program of the device."""

from flax_snn.time_loop.kernel.loop import Kernel

__all__ = ["Kernel"]
