"""The task of spoken digits."""
