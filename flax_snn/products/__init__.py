"""Matrix products of layers of neurons."""

from flax_snn.products.choice import CHOICES, product_for, why_not_events
from flax_snn.products.dense import as_floating, as_kernel, feed_back, is_kernel, project
from flax_snn.products.event import EventDotGeneral, event_kernel_gradient, event_product

__all__ = [
    "CHOICES",
    "EventDotGeneral",
    "as_floating",
    "as_kernel",
    "event_kernel_gradient",
    "event_product",
    "feed_back",
    "is_kernel",
    "product_for",
    "project",
    "why_not_events",
]


def __dir__() -> list[str]:
    return __all__
