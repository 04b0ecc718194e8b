"""Matrix products and convolutions of layers of neurons."""

from flax_snn.products.choice import CHOICES, convolution_for, product_for, why_not_events
from flax_snn.products.convolution import conv_general_dilated
from flax_snn.products.dense import as_floating, as_kernel, feed_back, is_kernel, is_plain, project
from flax_snn.products.event import EventDotGeneral, event_kernel_gradient, event_product
from flax_snn.products.event_convolution import EventConvGeneralDilated
from flax_snn.products.primitives import is_explicit

__all__ = [
    "CHOICES",
    "EventConvGeneralDilated",
    "EventDotGeneral",
    "as_floating",
    "as_kernel",
    "conv_general_dilated",
    "convolution_for",
    "event_kernel_gradient",
    "event_product",
    "feed_back",
    "is_explicit",
    "is_kernel",
    "is_plain",
    "product_for",
    "project",
    "why_not_events",
]


def __dir__() -> list[str]:
    return __all__
