"""Time loops: one interface, several implementations."""

from flax_snn.time_loop.scan import scan

__all__ = ["scan"]
