"""What the tests of the kernel compare: numbers with gradients, and programs for a GPU."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.time_loop.kernel import cut, loop


def results_of(net: Any, variables: Any, x: Any) -> Any:
    """Return carry and outputs of a runner, and gradients that reach all of both."""

    def loss(variables: Any, x: Any) -> Any:
        carry, out = net.apply(variables, x)
        floats = [leaf for leaf in jax.tree.leaves(carry) if leaf.dtype == x.dtype]
        ends = [jnp.sum(jnp.sin(leaf)) for leaf in floats]
        weights = jnp.cos(jnp.arange(out.size, dtype=out.dtype)).reshape(out.shape)
        return jnp.sum(weights * out) + sum(ends), (carry, out)

    return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(variables, x)


def assert_same(found: Any, expected: Any) -> None:
    """Compare float64 results to 1e-10 of the largest value of each array."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * (1.0 + float(jnp.abs(b).max())))


def programs_for_cuda(
    cell: nn.RNNCellBase, x: jax.ShapeDtypeStruct, segment: int, monkeypatch: pytest.MonkeyPatch
) -> int:
    """Return how many Triton programs the gradient of a layer has, lowered without a GPU."""
    if jax.__version_info__ >= (0, 11):
        device = jax.sharding.AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")
        mesh = jax.sharding.AbstractMesh((1,), ("x",), abstract_device=device)
    else:
        mesh = jax.sharding.AbstractMesh((), ())
    chain_of = cut.chain_of

    def compiled(run: Any) -> Any:
        return chain_of(run, interpret=False, segment=segment)

    monkeypatch.setattr(loop, "chain_of", compiled)
    net = snn.RNN(cell, implementation="kernel")
    variables = jax.eval_shape(snn.RNN(cell, implementation="scan").init, jax.random.key(0), x)

    def loss(variables: Any, x: Any) -> Any:
        return jnp.sum(net.apply(variables, x).astype(jnp.float32))

    with jax.sharding.use_abstract_mesh(mesh):
        traced = jax.jit(jax.grad(loss)).trace(variables, x)
        return traced.lower(lowering_platforms=("cuda",)).as_text().count("xla.gpu.triton")
