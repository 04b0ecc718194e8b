"""Fuzzing of everything that reads a file: what it may raise, how long, and in how much memory."""
