"""What event layers refuse, and what they say."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

import flax_snn as snn
from flax_snn.dynamics import Coefficients, Discretization, LIFParameters
from flax_snn.event import RNN, first_spikes, from_times, simulate

LIF = LIFParameters(tau_mem=2.0, tau_syn=1.0)
INPUTS = from_times(jnp.array([[0.1, 0.4]]))
KERNEL = jnp.ones((2, 3))

BOTH = [first_spikes, functools.partial(simulate, budget=4)]


def cell(features: Any = 3, **arguments: Any) -> snn.LIFCell:
    names = ("use_bias", "dot_general_cls", "dtype", "individual")
    of_cell = {k: arguments.pop(k) for k in names if k in arguments}
    dynamics = snn.LIFDynamics(**{"tau_syn": 5e-3, **arguments})
    return snn.LIFCell(features, dynamics=dynamics, **of_cell)


def normalized(**gains: Any) -> snn.LIFCell:
    return cell(discretization=Discretization("exponential", **gains))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: cell(tau_syn=None), "with a synapse, got tau_syn=None.*give tau_syn in seconds"),
        (lambda: snn.LIFCell(3), "with a synapse, got tau_syn=None"),
        (lambda: cell(tau_syn=(5e-3, 9e-3)), "one synaptic current per neuron"),
        (lambda: cell(tau_syn_rec=9e-3), "one synaptic current per neuron"),
        (lambda: cell(None), "a cell with input weights, got features=None"),
        (lambda: normalized(synapse_gain="normalized"), "'normalized': .* the same for every dt"),
        (lambda: normalized(membrane_gain="unit"), "membrane_gain='unit': .* the same for every"),
        (lambda: normalized(membrane_gain="decay"), "membrane_gain='decay': .* the same for every"),
        (
            lambda: snn.LIFCell(3, dynamics=snn.conventions.zenke(unit_gain=True)),
            "rescale the weights for discretization='exact'",
        ),
        (lambda: cell(reset="none"), "reset='hard' or 'soft', got 'none'"),
        (lambda: cell(noise_std=0.1), "no membrane noise; set deterministic=True"),
        (lambda: cell(v_min=-1.0), "v_min=-1.0: event layers have no lower bound"),
        (lambda: cell(use_bias=True), r"current per time step.*learn=\('bias',\)"),
        (lambda: cell(dot_general_cls=nn.Dense), "the kernel itself, not dot_general_cls"),
        (lambda: cell(dtype=jnp.bfloat16), "dtype of the parameters and of the spike times"),
        (lambda: cell(individual=("alpha",)), r"individual=\('alpha',\): .*in its unit, values="),
        (lambda: cell(reset="none", refractory=2e-3, emit="old"), "two spikes at each crossing"),
        (lambda: snn.ALIFCell(3), r"RNN\(ALIFCell\): ALIFDynamics has no twin.*snn.RNN"),
        (
            lambda: snn.Chain([snn.LeakyIntegratorReadout(2, dynamics=LI), cell()]),
            "LeakyIntegratorReadout gives no spikes to the cell behind",
        ),
    ],
)
def test_cells_without_a_twin(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RNN(given())


LI = snn.LIDynamics(tau_syn=5e-3)


def test_coefficients_have_no_physics() -> None:
    dynamics = snn.LIFDynamics(tau_syn=5e-3)
    numbers = dynamics.coefficients()
    assert isinstance(numbers, Coefficients)
    rule = dataclasses.replace(dynamics.rule, discretization=None)
    given = snn.LIFDynamics.from_coefficients(numbers, dt=1e-3, rule=rule)
    with pytest.raises(ValueError, match="time constants, got coefficients of a time step"):
        RNN(snn.LIFCell(3, dynamics=given))


class OwnChain(snn.Chain):
    """A chain that might do anything."""

    def __call__(self, carry: Any, inputs: Any) -> Any:
        return super().__call__(carry, 2 * inputs)


@pytest.mark.parametrize("given", [nn.LSTMCell(3), snn.Chain([nn.GRUCell(2)]), OwnChain([cell()])])
def test_cells_without_an_equation(given: Any) -> None:
    with pytest.raises(TypeError, match="expected a NeuronCell, such as LIFCell.*no equation in"):
        RNN(given)


def test_what_is_no_cell() -> None:
    with pytest.raises(TypeError, match="event.RNN: cell: expected a cell .*, got Dense"):
        RNN(nn.Dense(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "backprop"}, "method: expected one of 'eventprop', .*, got 'backprop'"),
        ({"delays": "neural"}, "delays: expected one of None, 'synaptic', .*, got 'neural'"),
        ({"recurrent_delays": "axonal"}, "needs a recurrent cell, such as RecurrentLIFCell"),
        ({"method": "first_spike", "max_spikes": 2}, "one spike per neuron, got max_spikes=2"),
        ({"budget": 0}, "event.RNN: budget: expected a whole number >= 1, got 0"),
        ({"budget": True}, "budget: expected a whole number >= 1, got True"),
        ({"budget": 4.0}, "budget: expected a whole number >= 1, got 4.0"),
        ({"max_spikes": 0}, "max_spikes: expected a whole number >= 1, got 0"),
        ({"budget": (4, 4)}, r"one entry for each of the 1, got 2 entries, \(4, 4\)"),
        ({"budget": ()}, "one entry for each of the 1, got 0 entries"),
        ({"budget": [0]}, r"budget\[0\]: expected a whole number >= 1, got 0"),
        ({"max_spikes": (True,)}, r"max_spikes\[0\]: expected a whole number >= 1, got True"),
        ({"method": "first_spike", "max_spikes": (2,)}, r"one spike per neuron, .*\(2,\)"),
    ],
)
def test_options_of_the_runner(options: Any, message: str) -> None:
    error = TypeError if "got True" in message else ValueError
    with pytest.raises(error, match=message):
        RNN(cell(), **options)


def test_first_spike_has_no_recurrence() -> None:
    recurrent = snn.RecurrentLIFCell(3, dynamics=snn.LIFDynamics(tau_syn=5e-3))
    with pytest.raises(ValueError, match="has no recurrence, got RecurrentLIFCell.*max_spikes=1"):
        RNN(recurrent, method="first_spike")


def test_init_needs_the_number_of_sources() -> None:
    inputs = INPUTS.replace(size=None)
    with pytest.raises(ValueError, match=r"RNN\(LIFCell\): .*number of sources.*set size="):
        RNN(cell()).init(jax.random.key(0), inputs)
    params = {"params": {"cell": {"kernel": KERNEL}}}
    layer = RNN(cell(), method="first_spike")
    assert jax.eval_shape(layer.apply, params, inputs).size == 3


def test_apply_needs_the_kernel_and_spikes_that_fit_it() -> None:
    with pytest.raises(ValueError, match="expected a parameter 'kernel' of the cell, found none"):
        RNN(cell()).apply({"params": {}}, INPUTS)
    params = {"params": {"cell": {"kernel": jnp.ones((5, 3))}}}
    with pytest.raises(ValueError, match="spikes of 5 sources, as the kernel was made for, got 2"):
        RNN(cell()).apply(params, INPUTS)


def test_the_runner_takes_spikes_only(unchecked: None) -> None:
    params = {"params": {"cell": {"kernel": KERNEL}}}
    with pytest.raises(TypeError, match=r"RNN\(LIFCell\): expected snn.event.Spikes, got"):
        RNN(cell()).apply(params, jnp.ones((1, 10, 2)))


@pytest.mark.parametrize("ask", BOTH, ids=["first_spikes", "simulate"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tau_mem": 0.0}, "tau_mem: expected a time constant > 0 in seconds, got 0.0"),
        ({"tau_syn": -1.0}, "tau_syn: expected a time constant > 0 in seconds, got -1.0"),
        ({"tau_mem": math.nan}, "tau_mem: expected finite numbers, got nan"),
        ({"tau_mem": math.inf}, "tau_mem: expected finite numbers, got inf"),
        ({"refractory": -1e-3}, "refractory: expected seconds >= 0, got -0.001"),
        ({"v_reset": 1.0}, "v_reset: expected a potential below the threshold.*got 1.0"),
        ({"v_reset": 2.0}, "v_reset: expected a potential below the threshold.*got 2.0"),
        ({"threshold": -1.0}, "v_reset: expected a potential below the threshold"),
        ({"tau_mem": jnp.ones(2)}, r"tau_mem: expected a number or one per neuron, \(3,\), got"),
        ({"threshold": jnp.array([1.0, -1.0, 1.0])}, "v_reset: expected a potential below"),
        ({"tau_syn": None}, "with a synapse, got tau_syn=None"),
        ({"tau_syn": (1.0, 2.0)}, "one synaptic current per neuron"),
    ],
)
def test_parameters_outside_their_range(ask: Any, changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(INPUTS, KERNEL, LIF.replace(**changes))


def test_neurons_that_spike_for_ever() -> None:
    for tonic in ({"v_rest": 1.0}, {"v_rest": 2.0}, {"bias": 1.5}):
        with pytest.raises(ValueError, match="finite duration.*spike for ever; give duration="):
            simulate(INPUTS, KERNEL, LIF.replace(**tonic), budget=4)
        with pytest.raises(ValueError, match="rest below their threshold; use simulate"):
            first_spikes(INPUTS, KERNEL, LIF.replace(**tonic), duration=3.0)


@pytest.mark.parametrize("ask", BOTH, ids=["first_spikes", "simulate"])
def test_shapes_and_ranges(ask: Any) -> None:
    with pytest.raises(ValueError, match="spikes of 4 sources.*got 2"):
        ask(INPUTS, jnp.ones((4, 3)), LIF)
    with pytest.raises(ValueError, match=r"kernel: expected shape \(F, N\) with F, N >= 1"):
        ask(INPUTS, jnp.ones((2, 0)), LIF)
    for duration in (0, -1.0, math.nan, True):
        with pytest.raises(ValueError, match="duration: expected seconds > 0, got"):
            ask(INPUTS, KERNEL, LIF, duration=duration)
    for shape in ((3, 2), (1, 1), (3, 3)):
        with pytest.raises(ValueError, match="delay: expected delays of synapses"):
            ask(INPUTS, KERNEL, LIF, delay=jnp.ones(shape))
    for bad in (-1e-3, math.nan):
        with pytest.raises(ValueError, match=f"delay: expected seconds >= 0, got {bad}"[:45]):
            ask(INPUTS, KERNEL, LIF, delay=jnp.full((2, 3), bad))


@pytest.mark.parametrize("ask", BOTH, ids=["first_spikes", "simulate"])
def test_other_types(ask: Any, unchecked: None) -> None:
    with pytest.raises(ValueError, match=r"kernel: expected shape \(F, N\)"):
        ask(INPUTS, jnp.ones(3), LIF)
    with pytest.raises(TypeError, match="kernel: expected a floating dtype, got int32"):
        ask(INPUTS, jnp.ones((2, 3), jnp.int32), LIF)
    with pytest.raises(TypeError, match="expected a LIFParameters, got LIFDynamics"):
        ask(INPUTS, KERNEL, snn.LIFDynamics(tau_syn=5e-3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 0}, "budget: expected a whole number >= 1, got 0"),
        ({"budget": 4, "max_spikes": 0}, "max_spikes: expected a whole number >= 1, got 0"),
        ({"budget": 4, "slope_floor": -1.0}, "slope_floor: expected a number >= 0, got -1.0"),
        ({"budget": 4, "slope_floor": math.nan}, "slope_floor: expected a number >= 0, got nan"),
        ({"budget": 4, "recurrent_delay": jnp.ones((3, 3))}, "needs a recurrent_kernel"),
        (
            {"budget": 4, "recurrent_kernel": jnp.ones((2, 3))},
            r"recurrent_kernel: expected shape \(3, 3\), got \(2, 3\)",
        ),
        (
            {
                "budget": 4,
                "recurrent_kernel": jnp.ones((3, 3)),
                "recurrent_delay": jnp.full((3, 3), -1.0),
            },
            "recurrent_delay: expected seconds >= 0, got -1.0",
        ),
    ],
)
def test_options_of_simulate(options: Any, message: str, unchecked: None) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(INPUTS, KERNEL, LIF, **options)
