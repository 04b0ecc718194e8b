"""A run: from settings to a checkpoint, resumed where it was stopped."""
