"""Traces of single neurons at the border of two chunks: what they add, and what they become.

    G_ij  += SUM_b SUM_m eps_bijm dE/dh_bjm
    eps_m <- SUM_m' eps_m' dh_m/dh_m' + SUM_t pre_i[t] dh_jm/dI_j[t]

These are the largest arrays of a rule, a matrix for each sample, and they are read and written once
for each chunk. On CPUs sample by sample, so that the matrix of one sample stays in cache between
the two; elsewhere in one batched product.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from flax_snn.learn.components import Components
from flax_snn.typing import Array


class Borders(NamedTuple):
    """Traces of one array of a layer, with what a chunk does to them.

    Attributes:
      parts: components of the neurons.
      held: traces before the chunk, ``(B, F, M)`` for each component of its own.
      arriving: for each signal and component, the cotangent before the chunk, ``(B, M)``.
      moving: for each component after and before the chunk, how one moves the other, ``(B, M)``;
        empty if no chunk follows.
      pre: inputs of the weights ``(T, B, F)``.
      driven: for each component, how the currents move it, ``(T, B, M)``.
      through: pairs of a shared trace ``(B, F)`` and how it moves each component, ``(B, M)``.
    """

    parts: Components
    held: tuple[Array, ...]
    arriving: list[list[Array]]
    moving: list[list[Array]]
    pre: Array
    driven: list[Array]
    through: list[tuple[Array, list[Array]]]

    def crossed(self) -> tuple[list[Array], tuple[Array, ...]]:
        """Returns what the traces add to each gradient ``(F, M)``, and the traces after."""
        if not self.moving:
            return self._added(), ()
        return lax.platform_dependent(cpu=self._by_samples, default=self._at_once)

    def _added(self) -> list[Array]:
        return [
            sum(
                jnp.sum(trace * each[:, None], axis=0)
                for trace, each in zip(self.held, row, strict=True)
            )
            for row in self.arriving
        ]

    def _at_once(self) -> tuple[list[Array], tuple[Array, ...]]:
        pre, after = jnp.moveaxis(self.pre, 0, 1), []
        for k, driven in enumerate(self.driven):
            total = jnp.einsum("bti,btj->bij", pre, jnp.moveaxis(driven, 0, 1))
            for trace, columns in self.through:
                total = total + trace[:, :, None] * columns[k][:, None]
            for m in self._sources(k):
                total = total + self.held[m] * self.moving[k][m][:, None]
            after.append(total)
        return self._added(), tuple(after)

    def _by_samples(self) -> tuple[list[Array], tuple[Array, ...]]:
        def sample(added: list[Array], now: Any) -> Any:
            b, held, arriving, moving, through = now
            pre = lax.dynamic_index_in_dim(self.pre, b, 1, keepdims=False)
            for k, row in enumerate(arriving):
                for trace, each in zip(held, row, strict=True):
                    added[k] = added[k] + trace * each[None]
            after = []
            for k, driven in enumerate(self.driven):
                mine = lax.dynamic_index_in_dim(driven, b, 1, keepdims=False)
                total = pre.T @ mine
                for trace, columns in through:
                    total = total + trace[:, None] * columns[k][None]
                for m in self._sources(k):
                    total = total + held[m] * moving[k][m][None]
                after.append(total)
            return added, tuple(after)

        none = [jnp.zeros_like(self.held[0][0]) for _ in self.arriving]
        samples = jnp.arange(self.pre.shape[1], dtype=jnp.int32)
        each = (samples, self.held, self.arriving, self.moving, self.through)
        added, after = lax.scan(sample, none, each)
        return added, after

    def _sources(self, target: int) -> list[int]:
        """Returns the numbers of the components that move a component."""
        own = self.parts.own
        return [k for k, m in enumerate(own) if (m, own[target]) in self.parts.reach]
