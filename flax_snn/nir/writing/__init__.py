"""A Flax network with its variables as a NIR graph."""
