"""What a newcomer does wrong, and the sentence that answers; and what prints and hashes well."""

import functools
import re
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn

KEY = jax.random.key(0)
X = jnp.ones((2, 6, 4))
SYNAPSE = snn.LIFDynamics(tau_syn=5e-3)
CELL = snn.LIFCell(3)

MISTAKES: list[tuple[str, Callable[[], Any], str]] = [
    ("a layer in nn.RNN", lambda: nn.RNN(snn.LIF()).init(KEY, X), "expects a cell.*snn.LIFCell"),
    ("a layer in snn.RNN", lambda: snn.RNN(snn.LIF()), "expected a cell.*got LIF; a layer runs"),
    ("a layer in Stateful", lambda: snn.Stateful(snn.LIF()), "expected a cell.*got LIF"),
    ("a layer in event.RNN", lambda: snn.event.RNN(snn.LIF()), "expected a cell.*got LIF"),
    ("a class in snn.RNN", lambda: snn.RNN(snn.LIFCell), r"the class LIFCell; make one: LIFCell\("),
    ("a number in snn.RNN", lambda: snn.RNN(8), "expected a cell .*, got int"),
    ("a runner in a runner", lambda: snn.RNN(snn.RNN(CELL)), "runner of a cell already"),
    (
        "a cell in nn.Sequential",
        lambda: nn.Sequential([snn.LIFCell(8)]).init(KEY, X),
        r"state and the input of one time step.*nn.RNN\(LIFCell",
    ),
    (
        "a chain in nn.Sequential",
        lambda: nn.Sequential([snn.Chain([CELL])]).init(KEY, X),
        r"Chain: expected the state and the input.*nn.RNN\(Chain",
    ),
    ("a cell without its state", lambda: CELL.init(KEY, None, X[:, 0]), "expected a state such as"),
    (
        "a state of another kind",
        lambda: snn.RNN(CELL).init(KEY, X, initial_carry=jnp.zeros((2, 3))),
        "expected a state such as cell.initialize_carry",
    ),
    ("cells one by one", lambda: snn.Chain(CELL, CELL), r"one sequence of cells.*Chain\(\(cell"),
    ("one cell in a chain", lambda: snn.Chain(CELL), r"one LIFCell; give Chain\(\(cell"),
    ("a class in a chain", lambda: snn.Chain([snn.LIFCell]), "number 0.*the class LIFCell"),
    ("features of LIF", lambda: snn.LIF(8), r"got the number 8;.*snn.RNN\(snn.LIFCell\(8\)\)"),
    (
        "a time constant of a cell",
        lambda: snn.LIFCell(8, tau_mem=1e-2),
        r"tau_mem is of the neuron.*dynamics=snn.LIFDynamics\(tau_mem=",
    ),
    ("a time constant of LIF", lambda: snn.LIF(tau_mem=1e-2), "tau_mem is of the neuron"),
    (
        "a class as dynamics",
        lambda: snn.LIFCell(8, dynamics=snn.LIFDynamics),
        r"expected an LIFDynamics, such as snn.LIFDynamics\(\)",
    ),
    (
        "an unknown argument of a neuron",
        lambda: snn.LIFDynamics(tau=20e-3),
        "LIFDynamics: expected names among tau_mem, .* got 'tau'; did you mean 'tau_mem'",
    ),
    (
        "an unknown argument of a cell",
        lambda: snn.LIFCell(3, use_biass=True),
        "LIFCell: expected names among features, .*; did you mean 'use_bias'",
    ),
    ("no dynamics", lambda: snn.NeuronCell(3), "expected a Neuron, such as snn.LIFDynamics"),
    ("no dynamics of a layer", lambda: snn.Neurons(), "expected a Neuron, such as"),
    (
        "a function as surrogate",
        lambda: snn.LIFCell(3, surrogate=lambda v, theta: v),
        r"got <function.*snn.surrogate.custom\(function\)",
    ),
    (
        "a constructor as surrogate",
        lambda: snn.LIF(surrogate=snn.surrogate.sigmoid),
        r"call it: snn.surrogate.superspike\(\)",
    ),
    ("a name as surrogate", lambda: snn.LIFCell(3, surrogate="sigmoid"), "got 'sigmoid'$"),
    ("one argument", lambda: snn.surrogate.custom(lambda z: z), "two arguments, membrane and"),
    ("an array as initialiser", lambda: snn.LIFCell(3, kernel_init=jnp.ones(3)), "constant"),
    ("a dtype", lambda: snn.LIFCell(3, dtype="float99"), "floating dtype, got 'float99'"),
    (
        "integer parameters",
        lambda: snn.LIFCell(3, param_dtype=jnp.int32),
        "floating dtype, got int",
    ),
    (
        "a device as product",
        lambda: snn.LIFCell(3, dot_general_cls=snn.crossbar.Device()),
        r"functools.partial\(snn.crossbar.DotGeneral, device\)",
    ),
    ("a name of a device", lambda: snn.crossbar.Device("pcm"), r"Device.pcm\(\)"),
    (
        "variables before the model",
        lambda: snn.crossbar.program({}, nn.Dense(3), KEY, X),
        "order is .model, variables, key, inputs",
    ),
    ("nothing to run", lambda: snn.RNN(CELL).init(KEY, None), "array of inputs, got None"),
    ("a word as switch", lambda: snn.RNN(CELL, time_major="yes"), "True or False, got 'yes'"),
    ("a raster as spikes", lambda: snn.event.to_raster(X, dt=1e-3, steps=5), "expected .*Spikes"),
    (
        "a seed as key",
        lambda: snn.encode.rate(0, jnp.ones(2), max_rate=9.0, dt=1e-3, steps=5),
        r"jax.random.key\(0\), got 0",
    ),
    (
        "two axes of a raster",
        lambda: snn.encode.times_to_raster([0], [0], [0], shape=(1, 2)),
        r"give \(samples, steps, units\)",
    ),
    (
        "events that do not match",
        lambda: snn.encode.times_to_raster([0, 1], [0, 1, 2], [0], shape=(2, 3, 3)),
        "one entry of each for each event",
    ),
    ("a misspelt name", lambda: snn.LIFcell, "did you mean 'LIFCell'"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES]
)
def test_a_mistake_is_answered_by_a_sentence(call: Callable[[], Any], message: str):
    with pytest.raises((TypeError, ValueError, AttributeError)) as error:
        call()
    text = " ".join(str(error.value).split())
    assert re.search(message, text), text


def test_lists_and_tuples_of_cells_make_the_same_chain():
    listed, tupled = snn.Chain([snn.LIFCell(3)]), snn.Chain((snn.LIFCell(3),))
    assert listed == tupled and hash(listed) == hash(tupled)
    made = [snn.RNN(each).init(KEY, X) for each in (listed, tupled)]
    assert jax.tree.structure(made[0]) == jax.tree.structure(made[1])
    assert len({snn.RNN(listed), snn.RNN(tupled)}) == 1


@pytest.mark.parametrize(
    ("instance", "text"),
    [
        (snn.LIFCell(3), "LIFCell(features=3)"),
        (snn.LIF(), "LIF()"),
        (
            snn.LIFCell(3, learn=("tau_mem",), dtype=jnp.bfloat16),
            "LIFCell(features=3, learn=('tau_mem',), dtype=bfloat16)",
        ),
        (
            snn.RecurrentLIFCell(2, dynamics=snn.LIFDynamics(tau_mem=5e-3)),
            "RecurrentLIFCell(features=2, dynamics=LIFDynamics(tau_mem=0.005))",
        ),
        (
            snn.RNN(snn.Chain([snn.LIFCell(3), snn.LeakyIntegratorReadout(2)]), time_major=True),
            "RNN(cell=Chain(cells=(LIFCell(features=3), LeakyIntegratorReadout(features=2))),"
            " time_major=True)",
        ),
        (snn.Stateful(snn.LIFCell(3)), "Stateful(cell=LIFCell(features=3))"),
        (
            snn.LIFCell(
                3,
                dot_general_cls=functools.partial(
                    snn.crossbar.DotGeneral, snn.crossbar.Device(levels=4)
                ),
            ),
            "LIFCell(features=3, dot_general_cls=partial(DotGeneral, Device(levels=4)))",
        ),
        (
            snn.LIFCell(9, values={"tau_mem": np.full(9, 0.5)}),
            "(0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ... 9 in all)",
        ),
    ],
)
def test_a_module_shows_what_is_not_at_its_default(instance: Any, text: str):
    assert text in repr(instance)
    assert len(repr(instance)) < 200


def test_a_bound_module_shows_no_parent_and_runs_under_tabulate():
    class Outer(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            layer = snn.RNN(snn.LIFCell(3), name="hidden")
            shown.append(repr(layer))
            return layer(x)

    shown: list[str] = []
    assert "hidden" in Outer().tabulate(KEY, X)
    assert set(shown) == {"RNN(cell=LIFCell(features=3, name='LIFCell_0'), name='hidden')"}


@pytest.mark.parametrize("layer", [snn.LIF, snn.LeakyIntegrator])
def test_the_dtype_of_a_layer_is_that_of_its_output(layer: Any):
    x = jnp.ones((2, 6, 4), jnp.bfloat16)
    assert layer().apply({}, x).dtype == jnp.float32
    spikes = snn.LIF(dtype=jnp.bfloat16).apply({}, x)
    assert spikes.dtype == jnp.bfloat16
    np.testing.assert_array_equal(spikes.astype(jnp.float32), snn.LIF().apply({}, x))
