"""Networks exported with a batch size that is not known yet, as `jax.export` allows."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn


def chain(*cells: nn.RNNCellBase, **options: Any) -> nn.Module:
    return snn.RNN(snn.Chain([*cells, snn.LeakyIntegratorReadout(3)]), **options)


# Only the loop step by step takes them, so that is what `auto` chooses.
MODELS = {
    "feed-forward": lambda: chain(snn.LIFCell(8)),
    "scan": lambda: chain(snn.LIFCell(8), implementation="scan"),
    "dense": lambda: chain(snn.LIFCell(8), products="dense"),
    "recurrent": lambda: chain(snn.RecurrentLIFCell(8), return_carry=True),
    "reverse": lambda: snn.RNN(snn.LIFCell(8), reverse=True, keep_order=True),
    "flax": lambda: nn.RNN(snn.LIFCell(8)),
    "adaptive": lambda: chain(snn.RecurrentALIFCell(8)),
    "delays": lambda: chain(snn.LIFCell(8), snn.DelayedDenseCell(8, max_delay=3)),
    "dropout": lambda: chain(snn.LIFCell(8), snn.SequenceDropoutCell(0.5, deterministic=True)),
}


@pytest.mark.parametrize("name", covered_by(MODELS, ["feed-forward", "recurrent"]))
def test_a_batch_of_any_size(name: str) -> None:
    model = MODELS[name]()
    x = jax.random.bernoulli(jax.random.key(0), 0.3, (4, 10, 6)).astype(jnp.float32)
    variables = model.init(jax.random.key(1), x)

    def run(x: Any) -> Any:
        return model.apply(variables, x)

    batch = jax.export.symbolic_shape("b")[0]
    exported = jax.export.export(jax.jit(run))(jax.ShapeDtypeStruct((batch, 10, 6), jnp.float32))
    for size in (2, 4):
        ours, exact = exported.call(x[:size]), run(x[:size])
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(exact), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("options", [{"implementation": "fused"}, {"products": "event"}])
def test_the_fused_loop_needs_sizes(options: dict[str, str]) -> None:
    model = chain(snn.LIFCell(8), **options)
    x = jnp.ones((4, 10, 6))
    variables = model.init(jax.random.key(1), x)
    batch = jax.export.symbolic_shape("b")[0]
    run = jax.jit(lambda x: model.apply(variables, x))
    with pytest.raises(ValueError, match="use implementation="):
        jax.export.export(run)(jax.ShapeDtypeStruct((batch, 10, 6), jnp.float32))
