"""Traces of single neurons at the border of two chunks: what they add, and what they become.

    G_ij  += SUM_b SUM_m eps_bijm dE/dh_bjm
    eps_m <- SUM_m' eps_m' dh_m/dh_m' + SUM_t pre_i[t] dh_jm/dI_j[t]

These are the largest arrays of a rule, a matrix for each sample, and they are read and written once
for each chunk. On CPUs sample by sample, so that the matrix of one sample stays in cache between
the two; elsewhere in one batched product.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from flax_snn.learn.components import Components
from flax_snn.typing import Array


class Border(NamedTuple):
    """Traces of one array of a layer, with what a chunk does to them.

    Attributes:
      held: traces before the chunk, ``(B, F, M)`` for each component of its own.
      arriving: for each signal and component, the cotangent before the chunk, ``(B, M)``.
      moving: for each component after and before the chunk, how one moves the other, ``(B, M)``;
        empty if no chunk follows.
      pre: inputs of the weights ``(T, B, F)``.
      driven: for each component, how the currents move it, ``(T, B, M)``.
      through: pairs of a shared trace ``(B, F)`` and how it moves each component, ``(B, M)``.
    """

    held: tuple[Array, ...]
    arriving: list[list[Array]]
    moving: list[list[Array]]
    pre: Array
    driven: list[Array]
    through: list[tuple[Array, list[Array]]]


Crossed = tuple[list[list[Array]], list[tuple[Array, ...]]]
"""For each array what its traces add to each gradient ``(F, M)``, and the traces after."""


def cross(parts: Components, borders: list[Border]) -> Crossed:
    """Returns what the traces of a layer add to its gradients, and what they become.

    Args:
      parts: components of the neurons.
      borders: one for each array of the layer.
    """
    if not borders or not borders[0].moving:
        return [_added(each) for each in borders], [() for _ in borders]
    result: Crossed = lax.platform_dependent(
        borders,
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


def _at_once(parts: Components, borders: list[Border]) -> Crossed:
    after = []
    for border in borders:
        pre, found = jnp.moveaxis(border.pre, 0, 1), []
        for k, driven in enumerate(border.driven):
            total = jnp.einsum("bti,btj->bij", pre, jnp.moveaxis(driven, 0, 1))
            for trace, columns in border.through:
                total = total + trace[:, :, None] * columns[k][:, None]
            for m in _sources(parts, k):
                total = total + border.held[m] * border.moving[k][m][:, None]
            found.append(total)
        after.append(tuple(found))
    return [_added(border) for border in borders], after


def _by_samples(parts: Components, borders: list[Border]) -> Crossed:
    def sample(added: list[list[Array]], now: Any) -> Any:
        b, all_of_sample = now
        found = []
        for border, mine, sums in zip(borders, all_of_sample, added, strict=True):
            held, arriving, moving, through = mine
            for k, row in enumerate(arriving):
                for trace, each in zip(held, row, strict=True):
                    sums[k] = sums[k] + trace * each[None]
            pre = lax.dynamic_index_in_dim(border.pre, b, 1, keepdims=False)
            after = []
            for k, sequence in enumerate(border.driven):
                driven = lax.dynamic_index_in_dim(sequence, b, 1, keepdims=False)
                total = pre.T @ driven
                for trace, columns in through:
                    total = total + trace[:, None] * columns[k][None]
                for m in _sources(parts, k):
                    total = total + held[m] * moving[k][m][None]
                after.append(total)
            found.append(tuple(after))
        return added, found

    none = [[jnp.zeros_like(each.held[0][0]) for _ in each.arriving] for each in borders]
    samples = jnp.arange(borders[0].pre.shape[1], dtype=jnp.int32)
    rows = [(each.held, each.arriving, each.moving, each.through) for each in borders]
    result: Crossed = lax.scan(sample, none, (samples, rows))
    return result
