"""What a GPU says about the time loops: one command (README.md)."""
