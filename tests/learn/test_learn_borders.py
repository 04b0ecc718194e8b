"""Traces at the border of two chunks against sums written out in NumPy, in both forms."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn.learn import borders
from flax_snn.learn.components import Components

SAMPLES, ROWS, INPUTS, CURRENTS, SIGNALS = 3, 4, 5, 6, 2
# The first component of its own moves itself and the second, which moves itself alone.
PARTS = Components((1,), (0, 2), frozenset({(0, 0), (0, 2), (2, 2)}), False)


@pytest.mark.parametrize("form", [borders._by_samples, borders._at_once, borders.cross])
def test_traces_add_up_as_their_definition(form: Any, x64: None) -> None:
    rng = np.random.default_rng(0)
    held = rng.normal(size=(2, SAMPLES, INPUTS, CURRENTS))
    arriving = rng.normal(size=(SIGNALS, 2, SAMPLES, CURRENTS))
    moving = rng.normal(size=(2, 2, SAMPLES, CURRENTS))
    rows = rng.normal(size=(ROWS, SAMPLES, INPUTS))
    driven = rng.normal(size=(ROWS, SAMPLES, 2, CURRENTS))
    added = np.zeros((SIGNALS, INPUTS, CURRENTS))
    after = np.zeros_like(held)
    for b in range(SAMPLES):
        for i in range(INPUTS):
            for j in range(CURRENTS):
                for k in range(2):
                    added[:, i, j] += held[k, b, i, j] * arriving[:, k, b, j]
                    after[k, b, i, j] = sum(rows[r, b, i] * driven[r, b, k, j] for r in range(ROWS))
                after[0, b, i, j] += held[0, b, i, j] * moving[0, 0, b, j]
                after[1, b, i, j] += held[0, b, i, j] * moving[1, 0, b, j]
                after[1, b, i, j] += held[1, b, i, j] * moving[1, 1, b, j]
    border = borders.Border(
        tuple(map(jnp.asarray, held)),
        [list(map(jnp.asarray, each)) for each in arriving],
        [list(map(jnp.asarray, each)) for each in moving],
        jnp.asarray(rows),
        jnp.asarray(driven.reshape(ROWS, SAMPLES, -1)),
    )
    found_added, found_after = form(PARTS, border)
    np.testing.assert_allclose(np.stack(found_added), added, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.stack(found_after), after, rtol=1e-12, atol=1e-12)
    last = border._replace(moving=[], rows=None, driven=None)
    found_added, found_after = borders.cross(PARTS, last)
    np.testing.assert_allclose(np.stack(found_added), added, rtol=1e-12, atol=1e-12)
    assert found_after == ()
