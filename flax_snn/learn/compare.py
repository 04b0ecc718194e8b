"""How far the gradient of each rule is from backpropagation through time, layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from flax_snn.learn.bptt import bptt
from flax_snn.learn.d_rtrl import d_rtrl
from flax_snn.learn.eprop import eprop
from flax_snn.learn.objective import StepLoss, cross_entropy, squared_error
from flax_snn.learn.ottt import ottt

RULES: dict[str, Any] = {"bptt": bptt, "eprop": eprop, "ottt": ottt, "d_rtrl": d_rtrl}
"""All rules by name: ``loss, gradients = RULES[name](model, variables, batch, loss)``."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Gradients of rules beside those of backpropagation through time; printed as a table.

    Attributes:
      norms: norm of the full gradient of each parameter, by its path.
      cosines: by rule and path, the cosine between the gradient of the rule and the full one; NaN
        where one of them is zero.
      ratios: by rule and path, the norm of the gradient of the rule over that of the full one.
      refused: by rule, why it does not fit this model.
    """

    norms: dict[str, float]
    cosines: dict[str, dict[str, float]]
    ratios: dict[str, dict[str, float]]
    refused: dict[str, str]

    def __str__(self) -> str:
        """Returns a table: a row for each parameter, cosine and relative norm of each rule."""
        wide = max(len(path) for path in [*self.norms, "parameter"])
        head = f"{'parameter':{wide}}  {'|bptt|':>9}"
        lines = [head + "".join(f"  {rule + ': cos':>13} {'norm':>6}" for rule in self.cosines)]
        for path, norm in self.norms.items():
            line = f"{path:{wide}}  {norm:>9.3g}"
            for rule, cosines in self.cosines.items():
                line += f"  {cosines[path]:>13.3f} {self.ratios[rule][path]:>6.2f}"
            lines.append(line)
        return "\n".join([*lines, *(f"{rule}: {why}" for rule, why in self.refused.items())])


def compare_gradients(
    model: nn.Module,
    variables: Any,
    batch: Any,
    loss: StepLoss | None = None,
    *,
    rules: Any = ("eprop", "ottt", "d_rtrl"),
    **options: Any,
) -> Comparison:
    """Returns cosine and norm of the gradients of rules beside the full gradient.

    >>> import flax_snn as snn, jax, jax.numpy as jnp
    >>> model = snn.RNN(snn.Chain([snn.LIFCell(16), snn.LeakyIntegratorReadout(3)]))
    >>> x, labels = jnp.ones((4, 20, 8)), jnp.array([0, 1, 2, 0])
    >>> variables = jax.jit(model.init)(jax.random.key(0), x)
    >>> table = snn.learn.compare_gradients(model, variables, (x, labels), rules=("eprop",))
    >>> round(table.cosines["eprop"]["cell/cells_0/kernel"], 3)  # no recurrent weights: exact
    1.0

    Args:
      model: the model.
      variables: its variables.
      batch: inputs and targets, as the rules take them.
      loss: loss of a step; by default `cross_entropy` for integer targets, else `squared_error`.
      rules: names of `RULES`, or a mapping from names of your own to functions with the signature
        of the rules.
      **options: ``mask`` or ``seq_lengths``, for all of them.

    Returns:
      A table, to print; what a rule refuses stands below it, with the reason.
    """
    inputs, targets = batch
    if loss is None:
        whole = all(
            jnp.issubdtype(jnp.asarray(t).dtype, jnp.integer) for t in jax.tree.leaves(targets)
        )
        loss = cross_entropy if whole else squared_error
    chosen = rules if isinstance(rules, Mapping) else {name: RULES[name] for name in rules}
    full = _by_path(bptt(model, variables, (inputs, targets), loss, **options)[1])
    cosines: dict[str, dict[str, float]] = {}
    ratios: dict[str, dict[str, float]] = {}
    refused: dict[str, str] = {}
    for name, rule in chosen.items():
        try:
            found = _by_path(rule(model, variables, (inputs, targets), loss, **options)[1])
        except (TypeError, ValueError) as error:
            refused[name] = str(error)
            continue
        cosines[name] = {path: _cosine(found[path], full[path]) for path in full}
        ratios[name] = {path: _ratio(found[path], full[path]) for path in full}
    norms = {path: float(np.linalg.norm(array)) for path, array in full.items()}
    return Comparison(norms, cosines, ratios, refused)


def _by_path(gradient: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(gradient)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf, np.float64).ravel()
        for path, leaf in leaves
    }


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else float("nan")


def _ratio(a: np.ndarray, b: np.ndarray) -> float:
    norm = float(np.linalg.norm(b))
    return float(np.linalg.norm(a)) / norm if norm else float("nan")
