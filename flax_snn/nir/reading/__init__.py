"""A NIR graph or file as a Flax network with its variables."""
