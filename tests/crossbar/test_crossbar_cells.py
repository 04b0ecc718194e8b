"""Crossbars under cells: programming lasts for a sequence, noise for a step, in every runner."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn import crossbar
from flax_snn.crossbar import Device, Faults

KEY = jax.random.key(0)
LINEAR = Device.pcm(dac=None, adc=None, output_noise=0.0, tiles=(7, 9), faults=Faults(0.02, 0.02))
NN_RNN = {
    "variable_broadcast": ("params", "crossbar"),
    "split_rngs": {"params": False, "programming": False, "reading": True},
}


def run(network, variables, x, rngs=None):
    """Apply as one compiled call: op by op it takes many times longer."""
    return jax.jit(lambda v, x, rngs: network.apply(v, x, rngs=rngs))(variables, x, rngs)


def programmed(network, variables, key, x):
    return jax.jit(lambda v, k: crossbar.program(network, v, k, x))(variables, key)


def on(device):
    return None if device is None else functools.partial(crossbar.DotGeneral, device)


def chain(device):
    make = on(device)
    return snn.Chain(
        [
            snn.RecurrentLIFCell(16, dot_general_cls=make),
            snn.LIFCell(12, dot_general_cls=make, dynamics=snn.LIFDynamics(tau_syn=5e-3)),
            snn.LeakyIntegratorReadout(5, dot_general_cls=make),
        ]
    )


def spikes(*shape):
    return (jax.random.uniform(jax.random.key(1), shape) < 0.2).astype(jnp.float32)


X = spikes(3, 20, 10)


@functools.cache
def parameters():
    return jax.jit(snn.RNN(chain(None)).init)(KEY, X)


RUNNERS = {
    "auto": snn.RNN,
    "fused": functools.partial(snn.RNN, implementation="fused"),
    "scan": functools.partial(snn.RNN, implementation="scan"),
    "nn.RNN": functools.partial(nn.RNN, **NN_RNN),
}


SLOW = functools.partial(pytest.param, marks=pytest.mark.slow)


@pytest.mark.parametrize("runner", ["auto", SLOW("fused"), SLOW("scan"), SLOW("nn.RNN")])
def test_ideal_cells_are_digital(runner):
    make, variables = RUNNERS[runner], parameters()
    network = make(chain(Device.ideal(tiles=(7, 9))))
    expected = run(snn.RNN(chain(None)), variables, X)
    np.testing.assert_allclose(run(network, variables, X), expected, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(network.init)(KEY, X), variables)


@pytest.mark.parametrize("runner", [SLOW("fused"), SLOW("scan"), "nn.RNN"])
def test_all_runners_program_and_run_the_same_chips(runner):
    reference, network = snn.RNN(chain(LINEAR)), RUNNERS[runner](chain(LINEAR))
    chips = programmed(reference, parameters(), jax.random.key(2), X[:, :1])
    again = programmed(network, parameters(), jax.random.key(2), X[:, :1])
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, chips, again)
    names = set(chips["crossbar"]["cell"]["cells_0"])
    assert names == {"input_dot_general", "recurrent_dot_general"}
    aged = jax.jit(lambda v: crossbar.at_time(v, 3600.0, KEY))(chips)
    expected = run(reference, aged, X)
    np.testing.assert_allclose(run(network, aged, X), expected, atol=1e-5)
    # The same network with the weights that are on the chips.
    params = jax.tree.map(lambda leaf: leaf, parameters()["params"])
    for cell in ("cells_0", "cells_1", "cells_2"):
        held = aged["crossbar"]["cell"][cell]
        for part, kernel in (("input", "kernel"), ("recurrent", "recurrent_kernel")):
            if f"{part}_dot_general" in held:
                chip = held[f"{part}_dot_general"]["chip"]
                seen = by_tiles(chip, LINEAR.tiles)
                params["cell"][cell][kernel] = jnp.asarray(seen, jnp.float32)
    digital = run(snn.RNN(chain(None)), {"params": params}, X)
    np.testing.assert_allclose(expected, digital, atol=1e-4)


def by_tiles(chip, limits):
    """Weights on a chip: conductances times the scale of their tile."""
    matrix, scale = np.asarray(chip.reading.matrix), np.asarray(chip.reading.scale)
    rows = np.array_split(np.arange(len(matrix)), -(-len(matrix) // limits[0]))
    return np.concatenate([matrix[part] * scale[k] for k, part in enumerate(rows)])


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["fused", "scan", "nn.RNN"])
def test_training_meets_one_chip_for_the_whole_sequence(runner):
    rngs = {"programming": jax.random.key(5)}

    def loss(params, make):
        return jnp.sum(jnp.sin(make(chain(LINEAR)).apply({"params": params}, X, rngs=rngs)))

    params = parameters()["params"]
    expected, slope = jax.jit(jax.value_and_grad(loss), static_argnums=1)(params, snn.RNN)
    found, found_slope = jax.jit(jax.value_and_grad(loss), static_argnums=1)(
        params, RUNNERS[runner]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, atol=1e-3, rtol=1e-3), found_slope, slope
    )


class Currents(nn.Module):
    """Gives the currents of a cell in each step."""

    device: Device
    recurrent: bool

    @nn.compact
    def __call__(self, x):
        kind = snn.RecurrentLIFCell if self.recurrent else snn.LIFCell
        dynamics = snn.LIFDynamics(threshold=1e9, tau_mem=1e-6)  # the membrane is the current
        init = nn.initializers.normal(1.0)
        options = {"recurrent_kernel_init": init} if self.recurrent else {}
        cell = kind(
            8,
            dynamics=dynamics,
            dot_general_cls=on(self.device),
            kernel_init=init,
            name="cell",
            **options,
        )
        return snn.RNN(cell)(x)


@pytest.mark.slow
@pytest.mark.parametrize("recurrent", [False, True], ids=["feed-forward", "recurrent"])
def test_programming_is_fixed_over_a_sequence_and_output_noise_is_not(recurrent):
    steps = jnp.broadcast_to(X[:, :1], (3, 20, 10))
    network = Currents(Device.pcm(dac=None, adc=None), recurrent)
    params = jax.jit(network.init)(KEY, steps)
    rngs = {"programming": jax.random.key(2), "reading": jax.random.key(3)}

    def membranes(device, **streams):
        model = Currents(device, recurrent)
        call = functools.partial(model.apply, mutable=["intermediates"])
        _, seen = jax.jit(lambda p, rngs: call(p, steps, rngs=rngs))(params, streams)
        return np.asarray(seen["intermediates"]["cell"]["v"][0])

    quiet = membranes(Device.pcm(dac=None, adc=None, output_noise=0.0), **rngs)
    np.testing.assert_allclose(quiet, np.broadcast_to(quiet[:, :1], quiet.shape), atol=1e-6)
    noisy = membranes(Device.pcm(dac=None, adc=None), **rngs)
    added = (noisy - quiet).reshape(60, 8)
    assert np.all(np.std(added, axis=0) > 0)
    correlation = np.corrcoef(added[:-1].ravel(), added[1:].ravel())[0, 1]
    assert abs(correlation) < 5 / np.sqrt(added.size)
    other = membranes(Device.pcm(dac=None, adc=None), **rngs | {"reading": jax.random.key(4)})
    assert not np.allclose(other, noisy, atol=1e-4)


def test_the_fused_loop_refuses_what_it_cannot_and_says_so():
    network = snn.RNN(chain(Device.pcm()), implementation="fused")
    rngs = {"programming": KEY, "reading": KEY}
    with pytest.raises(ValueError, match="cannot run this: .* more than a product with a kernel"):
        network.apply(parameters(), X, rngs=rngs)


@pytest.mark.slow
def test_auto_runs_what_the_fused_loop_cannot():
    rngs = {"programming": KEY, "reading": KEY}
    found = run(snn.RNN(chain(Device.pcm())), parameters(), X, rngs)
    digital = run(snn.RNN(chain(None)), parameters(), X)
    assert np.corrcoef(np.ravel(found), np.ravel(digital))[0, 1] > 0.5


def test_evaluation_before_programming_names_the_layer_and_the_streams():
    network = snn.RNN(chain(Device.pcm()))
    words = "cells_0/input_dot_general: nothing is programmed.*nn.RNN and nn.scan need"
    with pytest.raises(ValueError, match=words):
        network.apply(parameters(), X, rngs={"reading": KEY})
    plain = nn.RNN(chain(Device.pcm()))
    with pytest.raises(ValueError, match="nothing is programmed"):
        crossbar.program(plain, parameters(), KEY, X)


def test_only_the_readout_on_a_crossbar():
    cells = [snn.LIFCell(12), snn.LeakyIntegratorReadout(5, dot_general_cls=on(LINEAR))]
    network = snn.RNN(snn.Chain(cells))
    variables = jax.jit(network.init)(KEY, X)
    chips = programmed(network, variables, KEY, X)
    assert set(chips["crossbar"]["cell"]) == {"cells_1"}
    digital = snn.RNN(snn.Chain([snn.LIFCell(12), snn.LeakyIntegratorReadout(5)]))
    found, expected = run(network, chips, X), run(digital, variables, X)
    assert 1e-3 < float(jnp.std(found - expected)) < float(jnp.std(expected))


@pytest.mark.slow
def test_chips_in_a_stream_of_steps():
    layer = snn.Stateful(snn.RecurrentLIFCell(16, dot_general_cls=on(LINEAR)))
    variables = layer.init(KEY, X[:, 0])
    state = variables.pop("membrane")
    program = functools.partial(crossbar.program, layer, mutable=["membrane"])
    chips = jax.jit(program)({**variables, "membrane": state}, KEY, X[:, 0])
    chips.pop("membrane")
    step = jax.jit(functools.partial(layer.apply, mutable=["membrane"]))
    steps = []
    for k in range(20):
        out, moved = step({**chips, "membrane": state}, X[:, k])
        state = moved["membrane"]
        steps.append(out)
    whole = run(snn.RNN(snn.RecurrentLIFCell(16, dot_general_cls=on(LINEAR))), chips, X)
    np.testing.assert_allclose(np.stack(steps, axis=1), whole, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "most"), [(Device.ideal(tiles=(7, 9)), 0.002), (LINEAR, 0.1)], ids=["ideal", "noisy"]
)
def test_convolutional_network_on_crossbars(device, most):
    """Spikes are those of the digital network, but for the noise of the devices."""

    def network(make):
        init = nn.initializers.normal(8.0)
        conv = nn.Conv(4, (3, 3), kernel_init=init, conv_general_dilated_cls=make)
        return nn.Sequential([conv, snn.LIF()])

    x = spikes(2, 6, 5, 5, 2)
    variables = jax.jit(network(None).init)(KEY, x)
    expected = np.asarray(run(network(None), variables, x))
    on_chips = network(functools.partial(crossbar.ConvGeneralDilated, device))
    found = np.asarray(run(on_chips, programmed(on_chips, variables, KEY, x), x))
    assert 0.05 < expected.mean() < 0.95
    assert np.mean(found != expected) < most
