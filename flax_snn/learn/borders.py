"""Traces of single neurons at the border of two chunks: what they add, and what they become.

    G_ij  += SUM_b SUM_m eps_bijm dE/dh_bjm
    eps_m <- SUM_m' eps_m' dh_m/dh_m' + SUM_t pre_i[t] dh_jm/dI_j[t]

These are the largest arrays of a rule, a matrix for each sample, and they are read and written once
for each chunk: those of all weights that bring the same currents, and of all components, by one
product. On CPUs sample by sample, so that the matrix of one sample stays in cache; elsewhere
in one batched product.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from flax_snn.learn.components import Components
from flax_snn.typing import Array


class Border(NamedTuple):
    """Traces of the weights that bring the same currents, with what a chunk does to them.

    Attributes:
      held: traces before the chunk, ``(B, F, M)`` for each component of its own: F inputs of all
        these weights, M currents.
      arriving: for each signal and component, the cotangent before the chunk, ``(B, M)``.
      moving: for each component after and before the chunk, how one moves the other, ``(B, M)``;
        empty if no chunk follows.
      rows: inputs of the weights, and behind the last step the shared traces, ``(R, B, F)``.
      driven: how each row moves the components through the currents, ``(R, B, K M)``: those of the
        first component come first.
    """

    held: tuple[Array, ...]
    arriving: list[list[Array]]
    moving: list[list[Array]]
    rows: Array | None
    driven: Array | None


Crossed = tuple[list[Array], tuple[Array, ...]]
"""What the traces add to the gradient of each signal, ``(F, M)``, and the traces after."""


def cross(parts: Components, border: Border) -> Crossed:
    """Returns what traces add to the gradients, and what they become.

    Args:
      parts: components of the neurons.
      border: the traces.
    """
    if border.rows is None:
        return _added(border), ()
    result: Crossed = lax.platform_dependent(
        border,
        cpu=functools.partial(_by_samples, parts),
        default=functools.partial(_at_once, parts),
    )
    return result


def _added(border: Border) -> list[Array]:
    """Returns what the traces add to each gradient."""
    found = []
    for row in border.arriving:
        total = jnp.zeros_like(border.held[0][0])
        for trace, each in zip(border.held, row, strict=True):
            total = total + jnp.sum(trace * each[:, None], axis=0)
        found.append(total)
    return found


def _sources(parts: Components, target: int) -> list[int]:
    """Returns the numbers of the components that move a component."""
    return [k for k, m in enumerate(parts.own) if (m, parts.own[target]) in parts.reach]


def _at_once(parts: Components, border: Border) -> Crossed:
    rows, driven = border.rows, border.driven
    assert rows is not None and driven is not None
    product = jnp.einsum("bti,btj->bij", jnp.moveaxis(rows, 0, 1), jnp.moveaxis(driven, 0, 1))
    after = []
    for k, total in enumerate(jnp.split(product, len(parts.own), axis=-1)):
        for m in _sources(parts, k):
            total = total + border.held[m] * border.moving[k][m][:, None]
        after.append(total)
    return _added(border), tuple(after)


def _by_samples(parts: Components, border: Border) -> Crossed:
    rows, driven = border.rows, border.driven
    assert rows is not None and driven is not None

    def sample(sums: list[Array], now: Any) -> Any:
        inputs, outputs, mine, arriving, moving = now
        added = list(sums)
        for k, row in enumerate(arriving):
            for trace, each in zip(mine, row, strict=True):
                added[k] = added[k] + trace * each[None]
        after = []
        for k, total in enumerate(jnp.split(inputs.T @ outputs, len(mine), axis=-1)):
            for m in _sources(parts, k):
                total = total + mine[m] * moving[k][m][None]
            after.append(total)
        return added, tuple(after)

    none = [jnp.zeros_like(border.held[0][0]) for _ in border.arriving]
    by_sample = (jnp.moveaxis(rows, 1, 0), jnp.moveaxis(driven, 1, 0))
    every = (*by_sample, border.held, border.arriving, border.moving)
    result: Crossed = lax.scan(sample, none, every)
    return result
