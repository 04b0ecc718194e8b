"""Neurons that adapt, one kind a file, and what they share."""
