"""Roles of classes in one sample: which is true, which is predicted, and in which colour."""

from __future__ import annotations

from typing import TypeAlias

from flax_snn import checks

Roles: TypeAlias = dict[int, tuple[str, str]]
"""Role of a class, in words, and its colour."""

TRUE, PREDICTED, OTHER = "tab:blue", "tab:red", "0.7"
"""Colours of the true class, of the predicted class where it is another, and of the rest."""


def class_roles(label: int | None, predicted: int | None, classes: int) -> Roles:
    """Returns name and colour of the role of each class with a role.

    Args:
      label: true class, or none.
      predicted: predicted class, or none.
      classes: number of classes.

    Raises:
      ValueError: a class outside the range.
    """
    for name, value in (("label", label), ("predicted", predicted)):
        if value is not None:
            checks.index(name, value, classes, noun="a class")
    if label is not None and label == predicted:
        return {int(label): ("true and predicted", TRUE)}
    named = ((label, "true", TRUE), (predicted, "predicted", PREDICTED))
    return {int(c): (role, color) for c, role, color in named if c is not None}
