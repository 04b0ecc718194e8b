"""Benchmarks of the event-based part."""
