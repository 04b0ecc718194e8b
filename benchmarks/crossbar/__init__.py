"""Benchmarks of analog crossbars."""
