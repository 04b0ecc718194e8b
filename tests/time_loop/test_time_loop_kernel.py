"""The kernel, interpreted: the numbers of ``nn.RNN``, any size, little memory, refusals."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernel_checks import assert_same, programs_for_cuda, results_of

import flax_snn as snn
from flax_snn.time_loop import LOOPS, loops_noted
from flax_snn.time_loop.elementwise import why_not_elementwise
from flax_snn.time_loop.kernel import cut

pytestmark = pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")

T, B, F, N = 11, 3, 4, 7
WIDE = {"param_dtype": jnp.float64}


def lif(**arguments: Any) -> snn.LIFDynamics:
    return snn.LIFDynamics(tau_mem=8e-3, dt=2e-3, **arguments)


def chain(**arguments: Any) -> snn.Chain:
    first = snn.LIFCell(N, dynamics=lif(tau_syn=5e-3, refractory=4e-3), **arguments)
    return snn.Chain([first, snn.LeakyIntegratorReadout(2, **arguments)])


LEARN = ("tau_mem", "tau_syn", "threshold")
CELLS: dict[str, nn.RNNCellBase] = {
    "learned": snn.LIFCell(N, dynamics=lif(tau_syn=5e-3), learn=LEARN, use_bias=True, **WIDE),
    "refractory": snn.LIFCell(N, dynamics=lif(tau_syn=5e-3, refractory=4e-3), **WIDE),
    "channels": snn.LIFCell(N, dynamics=lif(tau_syn=(4e-3, 9e-3)), **WIDE),
    "next step": snn.LIFCell(N, dynamics=lif(reset_time="next", reset="soft"), **WIDE),
    "several spikes": snn.LIFCell(N, dynamics=lif(fire="floor", reset="soft"), **WIDE),
    "weightless": snn.LIFCell(dynamics=lif(), **WIDE),
    "ALIF": snn.ALIFCell(N, **WIDE),
    "AdLIF": snn.AdLIFCell(N, **WIDE),
    "chain": chain(**WIDE),
}
# (cell, neurons of a block, whether states are computed twice)
ROWS = [(name, block, twice) for name in CELLS for block in (8, 128) for twice in (False, True)]


@pytest.mark.slow  # By default test_time_loop_table.py runs the kernel.
@pytest.mark.parametrize(("name", "block", "twice"), ROWS)
def test_the_numbers_of_nn_rnn_for_any_block_and_segment(
    name: str, block: int, twice: bool, monkeypatch: pytest.MonkeyPatch, x64: None
) -> None:
    # 21 neurons of all samples: no multiple of any block. 11 steps: segments of 4, 4 and 3.
    monkeypatch.setattr(cut, "BLOCK", block)
    if twice:
        monkeypatch.setattr(cut, "SAVED_BYTES", 0)
    cell = CELLS[name]
    features = N if name == "weightless" else F
    x = jnp.asarray(np.random.default_rng(0).normal(0.5, 2.0, (B, T, features)))
    stock = nn.RNN(cell, return_carry=True)
    variables = stock.init(jax.random.key(1), x)
    with loops_noted() as noted:
        found = results_of(snn.RNN(cell, implementation="kernel", return_carry=True), variables, x)
    assert noted == ["kernel"]
    expected = results_of(stock, variables, x)
    assert any(np.any(out != 0) for out in jax.tree.leaves(expected[0][1][1]))
    assert_same(found, expected)


def test_bfloat16_in_and_out_and_spikes_kept_in_one_byte() -> None:
    cell = chain(dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (B, T, F)).astype(jnp.bfloat16)
    scan = snn.RNN(cell, implementation="scan", return_carry=True)
    ours = snn.RNN(cell, implementation="kernel", return_carry=True)
    variables = jax.tree.map(lambda w: 3.0 * w, scan.init(jax.random.key(1), x))
    (carry, out), back = jax.jit(lambda v: jax.vjp(lambda v: ours.apply(v, x), v))(variables)
    expected_carry, expected = jax.jit(scan.apply)(variables, x)
    for a, b in zip(
        jax.tree.leaves((carry, out)), jax.tree.leaves((expected_carry, expected)), strict=True
    ):
        assert a.dtype == b.dtype
        # Products of all steps at once, and of one, round differently.
        a, b = np.float32(a), np.float32(b)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-2 * np.abs(b).max())
    assert carry[0].v.dtype == jnp.float32
    kept = [leaf for leaf in jax.tree.leaves(back) if leaf.shape == (T, B, N)]
    assert [leaf.dtype for leaf in kept] == [jnp.uint8]
    assert 0 < np.mean(kept[0]) < 1


def refused(cell: Any, **arguments: Any) -> str:
    net = snn.RNN(cell, implementation="kernel", **arguments)
    with pytest.raises(ValueError, match="implementation='kernel' cannot run this: ") as error:
        jax.eval_shape(net.init, jax.random.key(0), jnp.ones((B, T, F)))
    return str(error.value)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    v: Any


@dataclasses.dataclass(frozen=True)
class Inhibited(snn.dynamics.Neuron):
    """A neuron that sees the mean of all neurons: one step is not elementwise."""

    def initial_state(self, v_init: Any, *, recurrent: bool = False) -> Any:
        return State(v_init)

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> Any:
        return {"decay": 0.9}

    def step(self, c: Any, state: Any, x: Any, surrogate: Any = None, **_: Any) -> Any:
        s = snn.dynamics.spike(state.v, surrogate, False, jnp.ones((), state.v.dtype))
        v = c["decay"] * state.v + x - jnp.mean(s, axis=-1, keepdims=True)
        return State(v), s

    def membrane(self, state: Any) -> Any:
        return state.v


def test_what_it_cannot_run_is_refused_in_words() -> None:
    assert "chunk=3" in refused(snn.LIFCell(N), chunk=3)
    assert "'reduce_sum'" in refused(snn.NeuronCell(N, dynamics=Inhibited()))


def test_an_array_too_long_for_its_index_is_refused() -> None:
    net = snn.RNN(snn.LIFCell(), implementation="kernel", time_major=True)
    with pytest.raises(ValueError, match="entries"):
        jax.eval_shape(net.apply, {}, jax.ShapeDtypeStruct((2**11, 1, 2**20), jnp.float32))


@pytest.mark.parametrize(
    "way", [jax.jacfwd, jax.hessian, lambda f: jax.grad(lambda x: jnp.sum(jax.grad(f)(x)))]
)
def test_other_derivatives_are_refused_in_words(way: Any) -> None:
    net = snn.RNN(snn.LIFCell(), implementation="kernel")
    x = jnp.ones((1, 2, 2))
    with pytest.raises(TypeError, match="use implementation='scan'"):
        way(lambda x: jnp.sum(net.apply({}, x)))(x)


ROW = jax.ShapeDtypeStruct((7,), jnp.float32)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda v: jnp.where(jax.nn.sigmoid(v) > 0.5, jnp.exp(v), v**3), None),
        (lambda v: v - jnp.mean(v), "'reduce_sum'"),
        (lambda v: v[::-1], "'rev'"),
        (lambda v: jnp.cumsum(v), "'cumsum'"),
        (lambda v: v * jnp.arange(7.0), "'iota'"),
        (lambda v: v * np.linspace(0, 1, 7, dtype=np.float32), r"\(7,\)"),
        (lambda v: v + jnp.ones(3), "cannot be traced"),
        (lambda v: v.reshape(7, 1) * v, "cannot be traced|'reshape'"),
    ],
)
def test_what_is_elementwise_is_read_off_the_program(function: Any, reason: str | None) -> None:
    found = why_not_elementwise(function, 7, ROW)
    if reason is None:
        assert found is None
        v = np.linspace(-2, 2, 7, dtype=np.float32)
        np.testing.assert_array_equal(function(v)[::-1], function(v[::-1].copy()))
    else:
        assert found is not None
        with pytest.raises(ValueError, match=reason):
            raise ValueError(found)


def test_auto_never_takes_it() -> None:
    net = snn.RNN(snn.LIFCell(N))
    with loops_noted() as noted:
        jax.eval_shape(net.init, jax.random.key(0), jnp.ones((B, T, F)))
    assert noted
    assert "kernel" not in noted
    assert "kernel" in LOOPS


@pytest.mark.parametrize("segment", [1, 4])
def test_it_is_lowered_for_cuda_without_a_gpu(
    segment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = jax.ShapeDtypeStruct((B, T, F), jnp.bfloat16)
    # Two layers, forward and in reverse.
    assert programs_for_cuda(chain(dtype=jnp.bfloat16), x, segment, monkeypatch) == 4
