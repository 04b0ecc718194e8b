"""Runnable comparisons; each rewrites its tracked JSON under ``benchmarks/results``."""
