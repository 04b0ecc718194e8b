"""Data of a run: parts, the order of samples in each epoch, and their way to the device."""
