"""A batch over a mesh of devices: as `nn.RNN`, no activation is gathered, the numbers are the same.

The devices are virtual ones of the CPU, which a process has to ask for before JAX starts: this file
is its own program, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from flax_snn.time_loop import fused
from tests.covering_rows import covered_by

DEVICES = 8
FLAGS = f"--xla_force_host_platform_device_count={DEVICES}"

# Cell and samples: few; more than a tile, and no power of two; tiles; recurrent, a chain.
CASES = {"few": ("lif", 64), "uneven": ("lif", 1000), "tiles": ("recurrent", 2048)}
CASES |= {"chain": ("chain", 512)}
STEPS = 200


# What is compiled by default; the slow suite compiles all of it.
QUICK = [("uneven", "Auto")]


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the program below prints about the rows of the tests that were chosen."""
    here = [item for item in request.session.items if item.path == request.path]
    rows = sorted({"-".join(item.callspec.params.values()) for item in here})
    flags = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    program = [sys.executable, "-m", "tests.runners.test_sharding", *rows]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "kind"),
    [(case, kind) for case in CASES for kind in ("Auto", "Explicit")],
)
def test_nothing_but_gradients_of_weights_is_exchanged(
    found: dict[str, Any], case: str, kind: str
) -> None:
    for loop in ("fused", "auto"):
        assert found[f"{case} {kind} {loop}"]["gathers"] == 0
    # A device may keep the states of all steps, up to so much memory.
    room = fused.KEPT_BYTES
    assert found[f"{case} {kind} fused"]["bytes"] < found[f"{case} Auto nn.RNN"]["bytes"] + room


@pytest.mark.parametrize("kind", covered_by(["Auto", "Explicit"], ["Auto"]))
def test_values_and_gradients_are_those_of_one_device(found: dict[str, Any], kind: str) -> None:
    # float64, and as many summands in another order.
    assert found[f"{kind} values"] < 1e-11
    assert found[f"{kind} second derivatives"] < 1e-11
    assert found[f"{kind} spread"] == ["data", "data"]


def main(rows: list[str]) -> None:
    """Compile and run on eight devices, and print what was found.

    Args:
      rows: ``case-kind`` for what is exchanged, and ``kind`` for values.
    """
    import functools

    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    import flax_snn as snn

    def net_of(name: str, dtype: Any) -> nn.RNNCellBase:
        make = {"param_dtype": dtype}
        hidden = (snn.RecurrentLIFCell if name != "lif" else snn.LIFCell)(32, **make)
        readout = snn.LeakyIntegratorReadout(10, learn=("tau_mem",), **make)
        return snn.Chain((hidden, readout)) if name == "chain" else hidden

    runners = {
        "fused": functools.partial(snn.RNN, implementation="fused"),
        "auto": snn.RNN,
        "nn.RNN": nn.RNN,
    }
    found: dict[str, Any] = {}

    def gradient(runner: Any, variables: Any, x: Any) -> Any:
        return jax.grad(lambda v, x: (runner.apply(v, x) ** 2).sum())(variables, x)

    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(kind,))
        spread, same = (NamedSharding(mesh, PartitionSpec(*a)) for a in (("data",), ()))

        def abstract(leaf: Any, sharding: Any) -> Any:
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        for case, (name, batch) in CASES.items():
            for loop, make in runners.items():
                wanted = f"{case}-{kind.name}" in rows
                if loop == "nn.RNN":  # newer versions of JAX refuse its gradient with Explicit
                    either = {f"{case}-{other}" for other in ("Auto", "Explicit")} & set(rows)
                    wanted = bool(either) and kind is AxisType.Auto
                if not wanted:
                    continue
                runner = make(net_of(name, jnp.float32))
                x = jax.ShapeDtypeStruct((batch, STEPS, 20), jnp.float32)
                variables = jax.eval_shape(runner.init, jax.random.key(0), x)
                placed = jax.tree.map(functools.partial(abstract, sharding=same), variables)
                run = jax.jit(functools.partial(gradient, runner))
                compiled = run.lower(placed, abstract(x, spread)).compile()
                memory = compiled.memory_analysis().temp_size_in_bytes
                gathers = compiled.as_text().count(" all-gather(")
                found[f"{case} {kind.name} {loop}"] = {"gathers": gathers, "bytes": memory}

        if kind.name not in rows:
            continue
        jax.config.update("jax_enable_x64", True)
        runner = snn.RNN(net_of("chain", jnp.float64), implementation="fused")
        x = jax.random.normal(jax.random.key(0), (16, 30, 5), jnp.float64)
        variables = runner.init(jax.random.key(1), x)

        def penalty(variables: Any, x: Any, runner: Any = runner) -> Any:
            return sum((g**2).sum() for g in jax.tree.leaves(gradient(runner, variables, x)))

        def values(variables: Any, x: Any, runner: Any = runner) -> Any:
            carry, out = runner.apply(variables, x, return_carry=True)
            return (out, carry), gradient(runner, variables, x)

        def off(ours: Any, right: Any) -> float:
            pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(right), strict=True)
            return max(float(abs(a - b).max() / (1 + abs(b).max())) for a, b in
                       (jax.device_get(pair) for pair in pairs))  # fmt: skip

        placed = jax.device_put(variables, same), jax.device_put(x, spread)
        ours, right = jax.jit(values)(*placed), jax.jit(values)(variables, x)
        found[f"{kind.name} values"] = off(ours, right)
        leaves = [ours[0][0], jax.tree.leaves(ours[0][1])[0]]
        found[f"{kind.name} spread"] = [leaf.sharding.spec[0] for leaf in leaves]
        twice = jax.jit(jax.grad(penalty))
        found[f"{kind.name} second derivatives"] = off(twice(*placed), twice(variables, x))
        jax.config.update("jax_enable_x64", False)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
