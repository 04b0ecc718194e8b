"""Benchmarks of what survives: kills, damage, many devices."""
