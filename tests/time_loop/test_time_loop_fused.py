"""The fused loop against the loop step by step: random networks in float64, cuts, memory."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Any

import flax.linen as nn
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.time_loop import chunks, fused
from tests.cell_table import case
from tests.covering_rows import covered_by

NO_SHRINKING = [phase for phase in hypothesis.Phase if phase is not hypothesis.Phase.shrink]

RULES: list[dict[str, Any]] = [
    {},
    {"reset": "soft"},
    {"reset": "soft", "reset_gradient": "flow", "tau_syn": 3e-3},
    {"reset_time": "next", "tau_syn": 3e-3},
    {"reset_time": "next", "reset_site": "sum", "fire": ">=", "reset_gradient": "flow"},
    {"reset_time": "give-back", "reset": "soft"},
    {"emit": "old", "reset_time": "next", "tau_syn": 3e-3},
    {"emit": "old", "reset_time": "next", "reset_gradient": "stop_if_recurrent"},
    {"reset_gradient": "spike_only", "v_reset": -0.3},
    {"refractory": 2e-3, "tau_syn": 3e-3, "v_rest": 0.1},
    {"fire": "floor", "reset": "soft", "v_min": -0.5},
    {"tau_syn": (2e-3, 7e-3), "discretization": "euler"},
    {"reset": "none", "tau_syn": 3e-3},
]


@st.composite
def networks(draw: Any) -> tuple[Any, ...]:
    """Cells as (kind, features, arguments of the dynamics, of the cell), and sizes."""
    cells: list[Any] = []
    for _ in range(draw(st.integers(1, 2))):
        rule = dict(draw(st.sampled_from(RULES)))
        recurrent = draw(st.booleans())
        if recurrent and not isinstance(rule.get("tau_syn"), tuple) and draw(st.booleans()):
            rule["tau_syn"], rule["tau_syn_rec"] = 3e-3, 6e-3
        names = ["tau_mem", "threshold", *(["tau_syn"] if rule.get("tau_syn") else [])]
        learn = tuple(draw(st.lists(st.sampled_from(names), unique=True)))
        arguments = {"learn": learn, "use_bias": draw(st.booleans())}
        kind = snn.RecurrentLIFCell if recurrent else snn.LIFCell
        cells.append((kind, draw(st.integers(1, 5)), rule, arguments))
    if draw(st.booleans()):
        rule = {"tau_syn": draw(st.sampled_from([None, 3e-3]))}
        learn = draw(st.sampled_from([(), ("tau_mem",)]))
        cells.append((snn.LeakyIntegratorReadout, 3, rule, {"learn": learn}))
    # samples, steps, inputs, steps of a chunk
    return (cells, *(draw(st.integers(1, most)) for most in (4, 13, 4, 7)), draw(st.booleans()))


def chain_of(cells: Any) -> snn.Chain:
    made = []
    for kind, features, rule, arguments in cells:
        dynamics = kind.neuron(tau_mem=8e-3, **rule)
        made.append(kind(features, dynamics=dynamics, param_dtype=jnp.float64, **arguments))
    return snn.Chain(made)


@pytest.mark.slow
@hypothesis.given(networks(), st.integers(0, 2**16), st.booleans())
@hypothesis.settings(max_examples=5, phases=NO_SHRINKING)
def test_random_networks(network: Any, seed: int, time_major: bool) -> None:
    with jax.enable_x64(True):
        check_network(network, seed, time_major)


@pytest.mark.slow
@hypothesis.given(networks(), st.integers(0, 2**16), st.booleans())
@hypothesis.settings(max_examples=80)
def test_many_random_networks(network: Any, seed: int, time_major: bool) -> None:
    with jax.enable_x64(True):
        check_network(network, seed, time_major)


def check_network(network: Any, seed: int, time_major: bool) -> None:
    """Outputs, traces, final carry and all gradients: the same numbers but for rounding."""
    cells, batch, steps, features, chunk, chosen = network
    chain = chain_of(cells)
    keys = jax.random.split(jax.random.key(seed), 4)
    shape = (steps, batch, features) if time_major else (batch, steps, features)
    x = 2.0 * jax.random.normal(keys[0], shape, jnp.float64)
    stock = nn.RNN(
        chain, time_major=time_major, variable_axes={"intermediates": 0 if time_major else 1}
    )
    fused = snn.RNN(chain, time_major=time_major, implementation="fused")
    fused = fused if chosen else fused.clone(chunk=chunk)
    variables = {"params": stock.init(keys[1], x)["params"]}
    carry = chain.initialize_carry(keys[2], (batch, features))

    def run(runner: Any, variables: Any, x: Any, v: Any) -> Any:
        begin = jax.tree.map(lambda leaf: leaf, carry)
        begin = (begin[0].replace(v=begin[0].v + v), *begin[1:])
        (last, out), traces = runner.apply(
            variables, x, initial_carry=begin, return_carry=True, mutable=["intermediates"]
        )
        # Everything that may have a gradient has one, each entry another.
        floats = [a for a in jax.tree.leaves((last, out, traces)) if a.dtype == jnp.float64]
        parts = [jnp.sum(jnp.sin(jnp.arange(1.0, a.size + 1)) * a.ravel()) for a in floats]
        return functools.reduce(jnp.add, parts), (last, out, traces)

    arguments = (variables, x, 0.1 * jax.random.normal(keys[3], carry[0].v.shape, jnp.float64))
    results = {}
    for name, runner in {"stock": stock, "fused": fused}.items():
        gradient = jax.value_and_grad(functools.partial(run, runner), (0, 1, 2), has_aux=True)
        results[name] = jax.jit(gradient)(*arguments)
    for ours, expected in zip(
        jax.tree.leaves(results["fused"]), jax.tree.leaves(results["stock"]), strict=True
    ):
        scale = 1.0 + float(jnp.abs(expected).max(initial=0.0))
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["recurrent", "refractory", "chain"])
def test_cuts_on_multiples_of_the_chunk_change_no_bit(name: str) -> None:
    c = case(name)
    run = jax.jit(
        functools.partial(snn.RNN(c.cell, implementation="fused", chunk=5).apply, return_carry=True)
    )
    whole = run(c.variables, c.x)  # 24 steps
    for cuts in ([10], [5, 20], [20]):
        carry, parts = None, []
        for part in np.split(np.asarray(c.x), cuts, axis=1):
            carry, out = run(c.variables, part, initial_carry=carry)
            parts.append(out)
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole[1])
        jax.tree.map(np.testing.assert_array_equal, carry, whole[0])


@pytest.mark.slow
def test_tiles_of_the_batch_are_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    c = case("recurrent_learned")
    x = jnp.concatenate([c.x] * 4)

    def loss(variables: Any, x: Any) -> jax.Array:
        out = snn.RNN(c.cell, implementation="fused", chunk=7).apply(variables, x)
        return jnp.sum(jnp.arange(24.0)[:, None] * out.sum(0))

    expected = jax.value_and_grad(loss, (0, 1))(c.variables, x)
    monkeypatch.setattr(chunks, "TILE", 14)  # recurrent: twice as much, 4 of 12 samples
    monkeypatch.setattr(chunks, "FED_BACK_ROWS", 1)
    assert chunks.plan(24, 12, 7, recurrent=True, axis=1, length=7).tiles == 3
    found = jax.value_and_grad(loss, (0, 1))(c.variables, x)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


SQUARES = [(128, 8), (256, 64), (512, 64), (1024, 64), (2048, 64), (2048, 8), (4096, 512)]


@pytest.mark.parametrize(("width", "batch"), SQUARES)
@pytest.mark.parametrize("recurrent", [False, True])
def test_chunks_have_the_rows_that_pay_for_reading_a_kernel(
    width: int, batch: int, recurrent: bool
) -> None:
    """Each chunk reads a kernel and its gradient, each recurrent step the kernel of the layer."""
    steps = 500
    cut = chunks.plan(
        steps, batch, width, recurrent=recurrent, axis=1, length=None, kernel=width**2
    )
    assert cut.tiles * cut.tile == batch and cut.count * cut.length >= steps
    # Half as many, or a quarter more, where a divisor of the steps is taken.
    assert 2 * cut.tile * cut.length > min(width, 512, batch * 64)
    assert 4 * cut.tile * cut.length * width <= 5 * max(2**18, 512 * width, batch * width * 8)
    if recurrent:
        assert cut.tile >= min(batch, width, 64)
    small = chunks.plan(steps, batch, width, recurrent=recurrent, axis=1, length=None, kernel=1)
    assert small.tile * small.length <= cut.tile * cut.length or recurrent


@pytest.mark.slow
def test_half_precision_products_have_gradients_of_their_inputs() -> None:
    cell = snn.RecurrentLIFCell(7, dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (3, 24, 5))
    variables = nn.RNN(cell).init(jax.random.key(1), x)

    def loss(variables: Any, x: Any, runner: Any) -> jax.Array:
        return jnp.sum(
            jnp.arange(24.0)[None, :, None] * runner(cell).apply(variables, x).astype("f4")
        )

    ours, stock = (jax.grad(loss, (0, 1))(variables, x, r) for r in (snn.RNN, nn.RNN))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(stock), strict=True):
        assert a.dtype == b.dtype == jnp.float32
        # bfloat16 has 8 bits; the products are summed in another order, over 24 steps.
        np.testing.assert_allclose(a, b, rtol=0, atol=0.08 * float(jnp.abs(b).max()))


def gradient_memory(steps: int, runner: Any) -> float:
    """Temporary memory in bytes of a gradient, by XLA's own account."""
    chain = snn.Chain([*(snn.LIFCell(32) for _ in range(3)), snn.LeakyIntegratorReadout(4)])
    x = jax.ShapeDtypeStruct((4, steps, 16), jnp.float32)
    net = runner(chain)
    variables = jax.eval_shape(net.init, jax.random.key(0), x)

    def loss(variables: Any, x: Any) -> jax.Array:
        return jnp.sum(net.apply(variables, x, return_carry=True)[0][-1].v)

    compiled = jax.jit(jax.grad(loss)).lower(variables, x).compile()
    return float(compiled.memory_analysis().temp_size_in_bytes)


KEEPING = {"whole": (2**23, 512, 2**26), "in chunks": (0, 0, 2**26), "nothing": (0, 512, 0)}
KEPT_CELLS: dict[str, Any] = {
    "recurrent": lambda: [
        snn.RecurrentLIFCell(5, dynamics=snn.LIFDynamics(tau_syn=4e-3), param_dtype=jnp.float64),
        snn.LIFCell(4, learn=("tau_mem",), param_dtype=jnp.float64),
    ],
    "adaptive": lambda: [
        snn.ALIFCell(5, param_dtype=jnp.float64),
        snn.LIFCell(4, param_dtype=jnp.float64),
    ],
}


KEPT_ROWS = [(cells, keeping) for cells in KEPT_CELLS for keeping in KEEPING]


@pytest.mark.parametrize(
    ("cells", "keeping"),
    covered_by(KEPT_ROWS, [("recurrent", "in chunks")]),
)
def test_gradients_do_not_depend_on_what_is_kept(
    cells: str, keeping: str, x64: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against nn.RNN; traces count in the loss, and the last chunk overlaps the one before it."""
    sizes = ("KEPT_BYTES", "KEPT_FEATURES", "KEPT_WIDE_BYTES")
    for name, value in zip(sizes, KEEPING[keeping], strict=True):
        monkeypatch.setattr(fused, name, value)
    chain = snn.Chain(KEPT_CELLS[cells]())
    x = 2.0 * jax.random.normal(jax.random.key(0), (3, 67, 6), jnp.float64)
    variables = nn.RNN(chain).init(jax.random.key(1), x)
    variables = jax.tree.map(lambda a: 2.0 * a if a.ndim == 2 else a, variables)
    runners = {
        "ours": snn.RNN(chain, implementation="fused"),
        "reference": nn.RNN(chain, variable_axes={"intermediates": 1}),
    }
    found = {}
    for name, runner in runners.items():

        def loss(variables: Any, x: Any, runner: Any = runner) -> Any:
            out, traces = runner.apply(variables, x, mutable=["intermediates"])
            seen = traces["intermediates"]["cell"]["cells_0"]
            return jnp.sum(out**2) + jnp.mean(jnp.sin(seen["v"][0])) + jnp.mean(seen["spikes"][0])

        found[name] = jax.jit(jax.value_and_grad(loss, (0, 1)))(variables, x)
    assert float(jnp.abs(found["ours"][1][1]).sum()) > 0.1
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), *found.values()
    )


@pytest.mark.slow
def test_memory_hardly_grows_with_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "KEPT_BYTES", 0)  # steps that are this few would be kept
    ours = {steps: gradient_memory(steps, snn.RNN) for steps in (500, 5000)}
    scan = gradient_memory(500, functools.partial(snn.RNN, implementation="scan"))
    # Per step one state in 50 remains: 3 membranes of 4 x 32 numbers.
    assert ours[5000] - ours[500] < 1.3 * (4500 / 50) * (3 * 32 + 4) * 4 * 4
    assert ours[5000] < scan


@pytest.mark.slow
def test_inputs_stay_bytes_until_a_chunk_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "KEPT_BYTES", 0)
    chain = snn.Chain([snn.LIFCell(8), snn.LeakyIntegratorReadout(2)])
    net = snn.RNN(chain)
    x = jnp.ones((4, 2000, 64), jnp.uint8)
    variables = net.init(jax.random.key(0), x)
    compiled = jax.jit(jax.grad(lambda v, x: net.apply(v, x).sum())).lower(variables, x).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < x.size  # 4 x.size as float32


def _curvature(runner: Any, variables: Any, x: Any) -> Any:
    """Gradient of a gradient penalty, for parameters and inputs."""

    def penalty(variables: Any, x: Any) -> Any:
        inner = jax.grad(lambda v, x: jnp.sum(runner.apply(v, x) ** 2), (0, 1))(variables, x)
        parts = [jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(inner)]
        return functools.reduce(jnp.add, parts)

    return jax.jit(jax.grad(penalty, (0, 1)))(variables, x)


CURVED: dict[str, Any] = {
    "learned": lambda: snn.LIFCell(
        4, dynamics=snn.LIFDynamics(tau_syn=3e-3), learn=("tau_mem",), param_dtype=jnp.float64
    ),
    "adaptive": lambda: snn.RecurrentALIFCell(3, learn=("beta",), param_dtype=jnp.float64),
    "chain": lambda: snn.Chain(
        [
            snn.RecurrentLIFCell(4, param_dtype=jnp.float64),
            snn.LeakyIntegratorReadout(2, param_dtype=jnp.float64),
        ]
    ),
}


@pytest.mark.parametrize("name", CURVED)
@pytest.mark.slow
def test_second_derivatives_are_those_of_the_stock_runner(name: str) -> None:
    with jax.enable_x64(True):
        x = (jax.random.uniform(jax.random.key(0), (2, 13, 5)) < 0.4).astype(jnp.float64)
        fused = snn.RNN(CURVED[name](), implementation="fused", chunk=5)
        stock = nn.RNN(CURVED[name]())
        variables = stock.init(jax.random.key(1), x)
        pairs = zip(
            jax.tree.leaves(_curvature(fused, variables, x)),
            jax.tree.leaves(_curvature(stock, variables, x)),
            strict=True,
        )
        for ours, expected in pairs:
            scale = float(jnp.abs(expected).max())
            assert scale > 0.0
            np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9 * scale)


EXPORT = """
import sys
import jax, jax.export, jax.numpy as jnp, numpy as np
import flax_snn as snn

x = jax.random.normal(jax.random.key(0), (7, 30, 12))
chain = snn.Chain([snn.RecurrentLIFCell(5), snn.LeakyIntegratorReadout(3)])
for sizes in ("b, 30, 12", "b, t, 12"):
    symbols = jax.ShapeDtypeStruct(jax.export.symbolic_shape(sizes), jnp.float32)
    for net in (snn.LIF(), snn.RNN(snn.LIFCell(4)), snn.RNN(chain)):
        variables = net.init(jax.random.key(1), x)
        run = jax.jit(lambda x: net.apply(variables, x))
        np.testing.assert_allclose(jax.export.export(run)(symbols).call(x), run(x), atol=2e-5)
    net = snn.RNN(snn.LIFCell(4), implementation="fused")
    try:
        jax.export.export(jax.jit(lambda x: net.apply(net.init(jax.random.key(1), x), x)))(symbols)
    except ValueError as error:
        assert "sizes that are known" in str(error)
    else:
        raise AssertionError("the fused loop took symbols")
"""


@pytest.mark.slow
def test_sizes_may_be_symbols() -> None:
    """In a process of its own: the checked annotations of the tests know no symbols."""
    run = subprocess.run([sys.executable, "-c", EXPORT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
