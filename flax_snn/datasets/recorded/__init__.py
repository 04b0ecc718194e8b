"""Data sets that were recorded: downloads, and sources of their samples."""
