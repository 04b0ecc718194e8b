"""Networks exported with a batch size that is not known yet, as `jax.export` allows."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn

READOUT = snn.LeakyIntegratorReadout(3)
MODELS: dict[str, nn.Module] = {
    "chain": snn.RNN(snn.Chain([snn.LIFCell(8), READOUT])),
    "recurrent": snn.RNN(snn.Chain([snn.RecurrentLIFCell(8), READOUT]), return_carry=True),
    "reverse": snn.RNN(snn.LIFCell(8), reverse=True, keep_order=True),
    "scan": snn.RNN(snn.Chain([snn.LIFCell(8), READOUT]), implementation="scan"),
    "fused": snn.RNN(snn.Chain([snn.LIFCell(8), READOUT]), implementation="fused"),
    "flax": nn.RNN(snn.LIFCell(8)),
    "adaptive": snn.RNN(snn.ALIFCell(8)),
    "delays": snn.RNN(snn.DelayedLIFCell(8, max_delay=3)) if hasattr(snn, "DelayedLIFCell") else None,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_of_any_size(name: str) -> None:
    model = MODELS[name]
    x = jax.random.bernoulli(jax.random.key(0), 0.3, (4, 10, 6)).astype(jnp.float32)
    variables = model.init(jax.random.key(1), x)

    def run(x: Any) -> Any:
        return model.apply(variables, x)

    batch = jax.export.symbolic_shape("b")[0]
    shape = jax.ShapeDtypeStruct((batch, 10, 6), jnp.float32)
    exported = jax.export.export(jax.jit(run))(shape)
    for size in (2, 4):
        ours, exact = exported.call(x[:size]), run(x[:size])
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(exact), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
