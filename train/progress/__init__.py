"""What a run shows while it goes: progress, health, TensorBoard."""
