"""Matrix products of layers of neurons."""

from flax_snn.products.dense import as_floating, as_kernel, feed_back, is_kernel, project

__all__ = ["as_floating", "as_kernel", "feed_back", "is_kernel", "project"]
