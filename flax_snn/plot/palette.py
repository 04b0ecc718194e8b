"""Colours and shapes that tell up to ten classes apart, also for the colour-blind.

Colours: Petroff, Accessible Color Sequences for Data Visualization, 2021. Shapes repeat what the
colours say.
"""

from __future__ import annotations

from typing import NamedTuple

MOST_CLASSES = 10
"""Most classes that colours and shapes tell apart."""

COLORS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
"""Colours of the classes, as names that matplotlib knows."""

_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">", "p")

_PALE = 0.3
"""Share of the colour in its pale twin; the rest is white."""


class ClassStyle(NamedTuple):
    """How a class is drawn, the same in every picture.

    Attributes:
      color: of its samples.
      pale: of the region in which it is predicted.
      marker: shape of its samples.
    """

    color: str
    pale: tuple[float, float, float]
    marker: str


def class_style(label: int) -> ClassStyle:
    """Returns the style of a class below `MOST_CLASSES`."""
    from matplotlib.colors import to_rgb

    red, green, blue = (1.0 - _PALE * (1.0 - part) for part in to_rgb(COLORS[label]))
    return ClassStyle(COLORS[label], (red, green, blue), _MARKERS[label])
