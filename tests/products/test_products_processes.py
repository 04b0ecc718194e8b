"""Event-driven products on several devices, and in programs that another process compiled."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental import serialize_executable

from flax_snn.products import event_product

pytest.importorskip("llvmlite")

SPREAD = """
import jax, jax.numpy as jnp, numpy as np, flax.linen as nn, flax_snn as snn
from jax.sharding import AxisType, PartitionSpec as P

x = (jax.random.uniform(jax.random.key(0), (8, 50, 64)) < 0.1).astype(jnp.float32)
mesh = jax.make_mesh((2,), ("b",), axis_types=(AxisType.Auto,))
params = nn.Dense(40).init(jax.random.key(1), x)

def steepness(layer, vma, params, x):
    spec = {"in_specs": (P(), P("b")), "out_specs": P("b"), "check_vma": vma}
    return jnp.sin(jax.shard_map(layer.apply, mesh=mesh, **spec)(params, x)).sum()

for vma in (True, False):
    found, expected = (
        jax.jit(jax.value_and_grad(steepness, (2, 3)), static_argnums=(0, 1))(d, vma, params, x)
        for d in (nn.Dense(40, dot_general_cls=snn.EventDotGeneral), nn.Dense(40))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-3), found, expected)
"""


@pytest.mark.slow
def test_inside_shard_map() -> None:
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    subprocess.run([sys.executable, "-c", SPREAD], check=True, env={**os.environ, **flags})


LOAD = """
import pickle, sys
import jax.numpy as jnp, flax_snn as snn
from jax.experimental import serialize_executable

assert snn.EventDotGeneral.why_not("float32") is None  # makes the products known to XLA
with open(sys.argv[1], "rb") as file:
    program, x, kernel = pickle.load(file)
found = serialize_executable.deserialize_and_load(*program)(x, kernel)
assert jnp.allclose(found, x @ kernel, atol=1e-5)
"""


@pytest.mark.slow
def test_a_stored_program_runs_in_another_process(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = (generator.random((300, 40)) < 0.1).astype(np.float32)
    kernel = generator.normal(size=(40, 50)).astype(np.float32)
    program = jax.jit(lambda x, kernel: event_product(x, kernel, 0.2)).lower(x, kernel).compile()
    stored = serialize_executable.serialize(program)
    (tmp_path / "program").write_bytes(pickle.dumps((stored, x, kernel)))
    subprocess.run([sys.executable, "-c", LOAD, str(tmp_path / "program")], check=True)
