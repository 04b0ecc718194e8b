"""What comes back from a run: a trained network for Python, and files for other frameworks."""
