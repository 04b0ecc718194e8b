"""Simulations to read and run from a clone: ``python -m examples.<name>``."""
