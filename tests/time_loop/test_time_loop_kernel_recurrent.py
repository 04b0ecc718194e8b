"""The kernel of recurrent layers, interpreted: the numbers of ``nn.RNN``, limits, sequences."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by
from kernel_checks import assert_same, programs_for_cuda, results_of

import flax_snn as snn
from flax_snn.time_loop import loops_noted
from flax_snn.time_loop.kernel import cut
from flax_snn.time_loop.kernel.fits import ON_CHIP_BYTES
from flax_snn.time_loop.kernel.step import Weights

pytestmark = pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")

T, B, F, N = 11, 3, 4, 7
WIDE = {"param_dtype": jnp.float64, "recurrent_kernel_init": nn.initializers.normal(1.0)}


def lif(**arguments: Any) -> snn.LIFDynamics:
    return snn.LIFDynamics(tau_mem=8e-3, dt=2e-3, **arguments)


def recurrent(dynamics: snn.LIFDynamics, **arguments: Any) -> snn.RecurrentLIFCell:
    return snn.RecurrentLIFCell(N, dynamics=dynamics, **{**WIDE, **arguments})


def chain(**arguments: Any) -> snn.Chain:
    dynamics = lif(tau_syn=5e-3, refractory=4e-3)
    first = snn.LIFCell(5, dynamics=dynamics, param_dtype=jnp.float64)
    last = snn.LeakyIntegratorReadout(2, param_dtype=jnp.float64)
    return snn.Chain([first, recurrent(dynamics, **arguments), last])


LEARN = ("tau_mem", "tau_syn", "threshold")
CELLS: dict[str, nn.RNNCellBase] = {
    "synapse": recurrent(lif(tau_syn=5e-3)),
    "learned": recurrent(lif(tau_syn=5e-3), learn=LEARN, use_bias=True),
    "channels": recurrent(lif(tau_syn=(4e-3, 9e-3))),
    "two currents": recurrent(snn.conventions.tutorial()),
    "old spikes": recurrent(snn.conventions.zenke()),
    "old spikes late": recurrent(snn.conventions.zenke(rec_lag=True)),
    "several spikes": recurrent(lif(fire="floor", reset="soft")),
    "ALIF": snn.RecurrentALIFCell(N, **WIDE),
    "AdLIF": snn.RecurrentAdLIFCell(N, **WIDE),
    "chain": chain(learn=("threshold",)),
}
# (cell, samples of a tile, whether states are computed twice); 3 samples, 7 neurons in 16 lanes.
ROWS = [(name, rows, twice) for name in CELLS for rows in (2, 16) for twice in (False, True)]


@pytest.mark.slow  # By default test_time_loop_table.py runs a chain with recurrent weights.
@pytest.mark.parametrize(("name", "rows", "twice"), ROWS)
def test_the_numbers_of_nn_rnn_for_any_tile_and_segment(
    name: str, rows: int, twice: bool, monkeypatch: pytest.MonkeyPatch, x64: None
) -> None:
    monkeypatch.setattr(cut, "ROWS", rows)
    if twice:
        monkeypatch.setattr(cut, "SAVED_BYTES", 0)
    cell = CELLS[name]
    x = jnp.asarray(np.random.default_rng(0).normal(0.5, 2.0, (B, T, F)))
    stock = nn.RNN(cell, return_carry=True)
    variables = stock.init(jax.random.key(1), x)
    with loops_noted() as noted:
        found = results_of(snn.RNN(cell, implementation="kernel", return_carry=True), variables, x)
    assert noted == ["kernel"]
    expected = results_of(stock, variables, x)
    gradients = jax.tree_util.tree_leaves_with_path(expected[1][0])
    fed_back = [g for path, g in gradients if "recurrent_kernel" in jax.tree_util.keystr(path)]
    assert fed_back
    assert all(np.any(g != 0) for g in fed_back)
    assert_same(found, expected)


def test_what_is_no_neuron_cannot_spread_nan(x64: None) -> None:
    rng = np.random.default_rng(3)
    kernel = np.zeros((16, 16))
    kernel[:N, :N] = rng.normal(size=(N, N))
    real = (np.arange(4)[:, None] < B) & (np.arange(16) < N)
    spikes = np.where(real, rng.normal(size=(4, 16)), np.nan)
    cotangent = np.where(real, rng.normal(size=(4, 16)), np.nan)
    weights = Weights((jnp.asarray(kernel),), jnp.float64, jnp.asarray(real))
    (caused,), back = jax.vjp(weights, jnp.asarray(spikes))
    (d_spikes,) = back((jnp.asarray(cotangent),))
    expected, d_expected = np.zeros((4, 16)), np.zeros((4, 16))
    expected[:B, :N] = spikes[:B, :N] @ kernel[:N, :N]
    d_expected[:B, :N] = cotangent[:B, :N] @ kernel[:N, :N].T
    np.testing.assert_allclose(caused, expected, rtol=1e-13)
    np.testing.assert_allclose(d_spikes, d_expected, rtol=1e-13)


def shape_of(cell: Any, shape: tuple[int, ...] = (B, T, F), dtype: Any = jnp.float32) -> Any:
    variables = jax.eval_shape(
        snn.RNN(cell, implementation="scan").init, jax.random.key(0), jnp.ones((B, 1, F), dtype)
    )
    net = snn.RNN(cell, implementation="kernel")
    return jax.eval_shape(net.apply, variables, jax.ShapeDtypeStruct(shape, dtype)).shape


def test_weights_that_do_not_fit_on_chip_are_refused_in_words() -> None:
    assert ON_CHIP_BYTES == 128 * 128 * 4
    assert shape_of(snn.RecurrentLIFCell(128)) == (B, T, 128)
    with pytest.raises(ValueError, match=r"\(129, 129\).*float32: 262144 bytes.*'fused'"):
        shape_of(snn.RecurrentLIFCell(129))
    channels = lif(tau_syn=(4e-3, 9e-3))
    with pytest.raises(ValueError, match=r"65536 bytes.*\(65, 130\).*float32: 131072 bytes"):
        shape_of(snn.RecurrentLIFCell(65, dynamics=channels))
    half = snn.RecurrentLIFCell(65, dynamics=channels, dtype=jnp.bfloat16)
    assert shape_of(half, dtype=jnp.bfloat16) == (B, T, 65)


@pytest.mark.parametrize("cell", [snn.LIFCell(N), snn.RecurrentLIFCell(N)], ids=["", "recurrent"])
def test_sequences_with_nothing_in_them_are_refused_in_words(cell: Any) -> None:
    with pytest.raises(ValueError, match="expected at least one time step, got T = 0"):
        shape_of(cell, (B, 0, F))
    with pytest.raises(ValueError, match=r"inputs are empty, shape \(0, 11, 4\).*'scan'"):
        shape_of(cell, (0, T, F))
    with pytest.raises(ValueError, match="carry of the last step only"):
        net = snn.RNN(cell, implementation="kernel", return_carry=True)
        net.init_with_output(jax.random.key(0), jnp.ones((1, 2, F)), seq_lengths=jnp.ones(1, int))


ONE = snn.LIFCell(1, dynamics=lif(), learn=("tau_mem",), param_dtype=jnp.float64)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [ONE, CELLS["learned"]], ids=["one neuron", "recurrent"])
def test_streams_padding_and_a_single_neuron(cell: Any, x64: None) -> None:
    x = jnp.asarray(np.random.default_rng(5).normal(0.5, 2.0, (1, T, F)))
    scan = snn.RNN(cell, implementation="scan", return_carry=True)
    ours = snn.RNN(cell, implementation="kernel", return_carry=True)
    variables = scan.init(jax.random.key(1), x)
    whole = results_of(scan, variables, x)
    assert_same(results_of(ours, variables, x), whole)

    # In two parts, the carry of the first handed to the second.
    carry, first = ours.apply(variables, x[:, :4])
    carry, second = ours.apply(variables, x[:, 4:], initial_carry=carry)
    assert_same((carry, jnp.concatenate([first, second], 1)), whole[0][1])

    # Reversed, up to the length of a sequence.
    several = jnp.concatenate([x, 2.0 * x, -x])
    lengths = jnp.asarray([T, 1, 6])

    def outputs(implementation: str) -> Any:
        net = snn.RNN(cell, implementation=implementation, reverse=True, keep_order=True)
        return net.apply(variables, several, seq_lengths=lengths)

    assert_same(outputs("kernel"), outputs("scan"))


@pytest.mark.slow
def test_membranes_of_recurrent_layers_are_seen(x64: None) -> None:
    x = jnp.asarray(np.random.default_rng(6).normal(0.5, 2.0, (B, T, F)))
    cell = chain()
    variables = {"params": nn.RNN(cell).init(jax.random.key(1), x)["params"]}

    def seen(implementation: str) -> Any:
        def loss(variables: Any) -> Any:
            net = snn.RNN(cell, implementation=implementation)
            out, sown = net.apply(variables, x, mutable=["intermediates"])
            traces = jax.tree.leaves(sown)
            return jnp.sum(out) + sum(jnp.sum(jnp.sin(leaf)) for leaf in traces), sown

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables)

    found = seen("kernel")
    assert len(jax.tree.leaves(found[0][1])) >= 5
    assert_same(found, seen("scan"))


@pytest.mark.slow
def test_an_ensemble_of_networks_under_vmap(x64: None) -> None:
    cell = CELLS["learned"]
    x = jnp.asarray(np.random.default_rng(7).normal(0.5, 2.0, (B, T, F)))
    keys = jax.random.split(jax.random.key(1), 2)
    several = jax.vmap(lambda key: nn.RNN(cell).init(key, x))(keys)

    def found(implementation: str) -> Any:
        net = snn.RNN(cell, implementation=implementation)
        loss = jax.value_and_grad(lambda v: jnp.sum(jnp.sin(1.0 + net.apply(v, x))))
        return jax.jit(jax.vmap(loss))(several)

    expected = found("scan")
    assert expected[0][0] != expected[0][1]
    assert_same(found("kernel"), expected)


@pytest.mark.slow
def test_products_of_bfloat16_with_a_state_of_float32() -> None:
    cell = snn.RecurrentLIFCell(N, dynamics=lif(tau_syn=5e-3), dtype=jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (B, T, F)).astype(jnp.bfloat16)
    scan = snn.RNN(cell, implementation="scan", return_carry=True)
    ours = snn.RNN(cell, implementation="kernel", return_carry=True)
    variables = jax.tree.map(lambda w: 3.0 * w, scan.init(jax.random.key(1), x))
    expected = jax.jit(scan.apply)(variables, x)
    found = jax.jit(ours.apply)(variables, x)
    assert 0 < np.mean(np.float32(expected[1])) < 1
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        # Products of all steps at once, and of one, round differently.
        a, b = np.float32(a), np.float32(b)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-2 * np.abs(b).max())


CUDA = [("synapse", 1), ("two currents", 4), ("learned", 4), ("channels", 1), ("AdLIF", 4)]


@pytest.mark.parametrize(("name", "segment"), covered_by(CUDA, CUDA[:1]))
def test_it_is_lowered_for_cuda_without_a_gpu(
    name: str, segment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = CELLS[name].clone(param_dtype=jnp.float32)
    x = jax.ShapeDtypeStruct((B, T, F), jnp.float32)
    # Forward and in reverse.
    assert programs_for_cuda(cell, x, segment, monkeypatch) == 2
