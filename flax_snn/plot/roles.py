"""Roles of classes in one sample: which is true, which is predicted, and in which colour."""

from __future__ import annotations

from typing import TypeAlias

from flax_snn.plot.checks import is_index

Roles: TypeAlias = dict[int, tuple[str, str]]
"""Role of a class, in words, and its colour."""

TRUE, PREDICTED, OTHER = "tab:blue", "tab:red", "0.7"
"""Colours of the true class, of the predicted class where it is another, and of the rest."""


def class_roles(label: int | None, predicted: int | None, classes: int) -> Roles:
    """Return name and colour of the role of each class that has one.

    Args:
      label: true class, or none.
      predicted: predicted class, or none.
      classes: number of classes.

    Raises:
      ValueError: a class that is not there.
    """
    for name, value in (("label", label), ("predicted", predicted)):
        if value is not None and not is_index(value, classes):
            raise ValueError(f"{name}: expected a class in [0, {classes}), got {value!r}")
    if label is not None and label == predicted:
        return {int(label): ("true and predicted", TRUE)}
    named = ((label, "true", TRUE), (predicted, "predicted", PREDICTED))
    return {int(c): (role, color) for c, role, color in named if c is not None}
