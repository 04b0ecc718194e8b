"""The seam of neurons: what any kind may do, what a broken one is told, what subclasses keep."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn
from examples.own_neuron import ExponentialDynamics
from flax_snn.dynamics import Neuron

B, T, F, N = 3, 40, 6, 5


class State(NamedTuple):
    v: Any
    count: Any


@dataclasses.dataclass(frozen=True)
class Plain(Neuron):
    """A leaky neuron of 12 lines whose state is a NamedTuple with an integer."""

    tau_mem: float = 10e-3
    fault: str = ""

    def initial_state(self, v_init: Any, *, recurrent: bool = False) -> Any:
        count = jnp.zeros(v_init.shape, jnp.int32)
        if self.fault == "no membrane":
            return {"potential": v_init}
        return State(v_init, count)

    def learnable(self, learn: Any = ()) -> Any:
        return {"tau_mem": snn.dynamics.time_constant(self.tau_mem, self.dt)}

    def coefficients(self, values: Any = None, *, dtype: Any = None) -> Any:
        decay = jnp.exp(-self.dt / self.values(values)["tau_mem"])
        theta = np.ones(7) if self.fault == "coefficients" else 1.0
        return {"decay": decay, "theta": theta}

    def step(
        self,
        c: Any,
        state: Any,
        x: Any,
        surrogate: Any = None,
        *,
        recurrent: Any = None,
        noise: Any = None,
    ) -> Any:
        before = snn.dynamics.spike(state.v, surrogate, False, c["theta"])
        x = x if recurrent is None else x + recurrent(before)
        v = c["decay"] * (state.v - before * c["theta"]) + x
        s = snn.dynamics.spike(v, surrogate, False, c["theta"])
        if self.fault == "shape":
            v = v[..., :2]
        if self.fault == "dtype":
            v = v.astype(jnp.float16)
        if self.fault == "structure":
            return {"v": v}, s
        return State(v, state.count + (s > 0).astype(jnp.int32)), s


KINDS: dict[str, Neuron] = {
    "own": ExponentialDynamics(),
    "named tuple": Plain(),
    "alif": snn.ALIFDynamics(tau_adapt=50e-3, beta=0.5, refractory=2e-3),
    "alif, same step": snn.ALIFDynamics(scheme="same_step"),
    "lsnn": snn.LSNNDynamics(tau_adapt=50e-3),
    "adlif": snn.AdLIFDynamics(q=10.0),
    "adlif, euler": snn.AdLIFDynamics(scheme="euler", q=10.0),
    "silif": snn.SiLIFDynamics(),
    "izhikevich": snn.IzhikevichDynamics(),
    "adex": snn.AdExDynamics(),
}


def cell_of(name: str, recurrent: bool, **arguments: Any) -> Any:
    kind = snn.RecurrentNeuronCell if recurrent else snn.NeuronCell
    return kind(N, dynamics=KINDS[name], **arguments)


def inputs() -> jax.Array:
    return (jax.random.uniform(jax.random.key(3), (B, T, F)) < 0.3).astype(jnp.float32)


def results(runner: Any, variables: Any, x: jax.Array) -> Any:
    """Outputs, last carry, and gradients of a loss on both."""

    def loss(variables: Any, x: jax.Array) -> Any:
        carry, out = runner.apply(variables, x, return_carry=True)
        floats = [a for a in jax.tree.leaves(carry) if jnp.issubdtype(a.dtype, jnp.floating)]
        parts = [jnp.sum(jnp.cos(jnp.arange(out.size, dtype=out.dtype)) * out.ravel())]
        return sum(parts + [jnp.sum(jnp.sin(a)) for a in floats]), (carry, out)

    return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(variables, x)


ROWS = [(name, recurrent) for name in KINDS for recurrent in (False, True)]


@pytest.mark.parametrize(
    ("name", "recurrent"),
    covered_by(ROWS, [("own", False), ("named tuple", True)]),
)
def test_all_loops_agree_for_any_neuron(name: str, recurrent: bool) -> None:
    learn = tuple(KINDS[name].learnable())[:2]
    wide = {"param_dtype": jnp.float64}
    with jax.enable_x64(True):
        chain = snn.Chain(
            [cell_of(name, recurrent, learn=learn, **wide), snn.LeakyIntegratorReadout(3, **wide)]
        )
        x = inputs().astype(jnp.float64)
        variables = jax.jit(nn.RNN(chain).init)(jax.random.key(0), x)
        expected = results(nn.RNN(chain), variables, x)
        for arguments in ({"implementation": "fused", "chunk": 7}, {"implementation": "scan"}):
            found = results(snn.RNN(chain, **arguments), variables, x)
            for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
                scale = 1.0 + float(jnp.abs(b).max())
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("name", covered_by(["own", "alif", "izhikevich"], ["alif"]))
def test_streaming_is_the_sequence(name: str) -> None:
    x = inputs()
    layer = snn.Stateful(cell_of(name, True))
    variables = layer.init(jax.random.key(0), x[:, 0])
    state, outputs = {"membrane": variables["membrane"]}, []
    step = jax.jit(
        lambda s, x: layer.apply({"params": variables["params"], **s}, x, mutable=["membrane"])
    )
    for t in range(T):
        out, state = step(state, x[:, t])
        outputs.append(out)
    whole = nn.RNN(cell_of(name, True)).apply({"params": variables["params"]}, x)
    np.testing.assert_array_equal(jnp.stack(outputs, 1), whole)


@pytest.mark.parametrize("name", covered_by(KINDS, ["own", "izhikevich"]))
def test_any_neuron_is_diagnosed_and_described(name: str) -> None:
    net = snn.RNN(cell_of(name, False))
    variables = net.init(jax.random.key(0), inputs())
    diagnosis = snn.diagnosis.diagnose(net, variables, inputs())
    assert np.isfinite(diagnosis.layers[0].spread)
    assert type(KINDS[name]).__name__ in KINDS[name].describe()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("shape", "keep its shape and dtype"),
        ("dtype", "keep its shape and dtype"),
        ("structure", "structure that initial_state returns"),
        ("coefficients", "does not broadcast"),
        ("no membrane", "an entry 'v', the membrane"),
    ],
)
def test_broken_neurons_are_refused_when_the_cell_is_made(fault: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        snn.NeuronCell(N, dynamics=Plain(fault=fault))
    assert "NeuronCell: Plain" in str(caught.value)


def test_what_is_no_neuron_is_refused() -> None:
    class Changing(Plain):
        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(TypeError, match="dynamics: expected a Neuron, .*got None"):
        snn.NeuronCell(N)
    with pytest.raises(TypeError, match="frozen=True"):
        snn.NeuronCell(N, dynamics=Changing())
    with pytest.raises(TypeError, match="membrane and threshold"):
        snn.surrogate.custom(lambda v: v)
    one = snn.surrogate.Surrogate("one argument", lambda v: v)
    with pytest.raises(TypeError, match="two arguments"):
        snn.NeuronCell(N, dynamics=Plain(), surrogate=one)
    with pytest.raises(ValueError, match="never spikes"):
        snn.LeakyIntegratorReadout(N, surrogate=snn.surrogate.superspike())
    with pytest.raises(ValueError, match="Plain has"):
        snn.NeuronCell(N, dynamics=Plain(), learn=("threshold",))


def test_older_parts_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValueError, match="ALIFDynamics"):
        snn.RNN(snn.ALIFCell(N), implementation="associative").init(jax.random.key(0), inputs())
    net = snn.RNN(snn.ALIFCell(N))
    with pytest.raises(snn.nir.NIRError, match="ALIFDynamics"):
        snn.nir.to_nir(net, net.init(jax.random.key(0), inputs()), (F,), dt=1e-3)


def test_a_subclass_with_other_defaults_keeps_the_fused_loop() -> None:
    class Mine(snn.LIFCell):
        use_bias: bool = True

    class Stepping(snn.LIFCell):
        def __call__(self, carry: Any, inputs: Any) -> Any:
            return super().__call__(carry, 2.0 * inputs)

    snn.RNN(Mine(N), implementation="fused").init(jax.random.key(0), inputs())
    for cell in (Stepping(N), nn.remat(snn.LIFCell)(N)):
        with pytest.raises(ValueError, match="__call__ of its own"):
            snn.RNN(cell, implementation="fused").init(jax.random.key(0), inputs())
    variables = snn.RNN(Stepping(N)).init(jax.random.key(0), inputs())
    found = snn.RNN(Stepping(N)).apply(variables, inputs())
    np.testing.assert_array_equal(found, nn.RNN(Stepping(N)).apply(variables, inputs()))


def test_flax_looks_inside() -> None:
    cell = snn.RecurrentALIFCell(N, learn=("tau_mem", "beta"))
    for net in (snn.RNN(cell), nn.RNN(cell)):
        variables = net.init(jax.random.key(0), inputs())
        plain = net.apply(variables, inputs())
        out, seen = net.apply(variables, inputs(), capture_intermediates=True)
        np.testing.assert_array_equal(out, plain)
        assert "intermediates" in seen
        table = net.tabulate(jax.random.key(0), inputs(), console_kwargs={"width": 200})
        assert not any(word in table for word in ("why_not", "spike_derivative", "feedback"))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_a_slow_membrane_of_low_precision_parameters_arrives(dtype: Any) -> None:
    layer = snn.LeakyIntegrator(dynamics=snn.LIDynamics(tau_mem=0.3), param_dtype=dtype)
    out = layer.apply({}, jnp.ones((1, 4000, 1), dtype))
    np.testing.assert_allclose(out[0, -1, 0], -np.expm1(-4.0 / 0.3), rtol=1e-3)
    kept = layer.clone(state_dtype=dtype).apply({}, jnp.ones((1, 4000, 1), dtype))
    assert kept.dtype == dtype and abs(float(kept[0, -1, 0]) - 1) > 0.02  # stalls


def test_layers_without_weights_take_a_dtype() -> None:
    x = jnp.ones((2, 20, 3), jnp.bfloat16) * 3
    out = snn.LIF(dtype=jnp.bfloat16).apply({}, x)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, snn.LIF().apply({}, x.astype(jnp.float32)))
