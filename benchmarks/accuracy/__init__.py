"""Benchmarks of what networks learn."""
