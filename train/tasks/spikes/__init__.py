"""Spikes of your own, from a file: no code needed."""
