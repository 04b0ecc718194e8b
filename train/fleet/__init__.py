"""Several runs of one task, side by side: seeds and settings."""
