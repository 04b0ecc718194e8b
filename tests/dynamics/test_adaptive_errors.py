"""What the constructors of adaptive neurons refuse, and the values that they make."""

import math
from typing import Any

import numpy as np
import pytest

from flax_snn import surrogate
from flax_snn.dynamics.adaptive.adex import AdExDynamics
from flax_snn.dynamics.adaptive.adlif import AdLIFDynamics
from flax_snn.dynamics.adaptive.alif import ALIFDynamics
from flax_snn.dynamics.adaptive.izhikevich import IzhikevichDynamics
from flax_snn.dynamics.adaptive.lsnn import LSNNDynamics
from flax_snn.dynamics.adaptive.silif import SiLIFDynamics

REFUSED = [
    (
        ALIFDynamics,
        {"tau_mem": 0.0},
        ValueError,
        "ALIFDynamics: tau_mem: .* of seconds > 0, got 0.0",
    ),
    (ALIFDynamics, {"tau_adapt": math.nan}, ValueError, "tau_adapt"),
    (ALIFDynamics, {"beta": -0.1}, ValueError, "beta: expected a finite number >= 0, got -0.1"),
    (ALIFDynamics, {"threshold": 0.0}, ValueError, "threshold: expected a finite number > 0"),
    (ALIFDynamics, {"refractory": 1.5e-3}, ValueError, "whole number of steps"),
    (ALIFDynamics, {"refractory": -1e-3}, ValueError, "refractory: .* of seconds >= 0, got -0.001"),
    (ALIFDynamics, {"dt": "1 ms"}, TypeError, "dt"),
    (ALIFDynamics, {"scheme": "sparx"}, ValueError, "scheme.*'bellec', 'same_step', got 'sparx'"),
    (
        ALIFDynamics,
        {"reset_gradient": None},
        ValueError,
        "reset_gradient.*'stop', 'flow', got None",
    ),
    (
        ALIFDynamics,
        {"surrogate": surrogate.superspike},
        TypeError,
        "surrogate: expected a Surrogate.*; call the function",
    ),
    (ALIFDynamics, {"v_init": (0.0, math.inf)}, ValueError, r"v_init\[1\]"),
    (ALIFDynamics, {"beta": np.ones(3)}, TypeError, "per-neuron values"),
    (
        AdLIFDynamics,
        {"a": 1.2},
        ValueError,
        "a: expected a finite number in .0, 1., got 1.2; give a_range",
    ),
    (
        AdLIFDynamics,
        {"b": -0.1},
        ValueError,
        "b: expected a finite number in .0, 2., got -0.1; give b_range",
    ),
    (AdLIFDynamics, {"a_range": (1.0, 0.0)}, ValueError, "least <= largest"),
    (AdLIFDynamics, {"b_range": 2.0}, TypeError, "b_range: expected a pair"),
    (AdLIFDynamics, {"q": 0.0}, ValueError, "q: expected a finite number > 0"),
    (
        AdLIFDynamics,
        {"scheme": "exact"},
        ValueError,
        "scheme: expected one of 'symplectic', 'euler'",
    ),
    (SiLIFDynamics, {"b": 2.5}, ValueError, "b: expected a finite number in .0, 2., got 2.5"),
    (SiLIFDynamics, {"threshold": -1.0}, ValueError, "threshold"),
    (
        LSNNDynamics,
        {"tau_syn": 1e-3},
        ValueError,
        "tau_syn: .* of seconds > 0.001, got 0.001; Euler",
    ),
    (
        LSNNDynamics,
        {"v_reset": 1.0},
        ValueError,
        "v_reset: expected .* < 1, got 1.0; .* fire again",
    ),
    (
        LSNNDynamics,
        {"reset_gradient": "stopped"},
        ValueError,
        "'norse', 'stop', 'flow', got 'stopped'",
    ),
    (IzhikevichDynamics, {"dt": 1.0}, ValueError, "shorter dt, which is in seconds"),
    (IzhikevichDynamics, {"a": 0.0}, ValueError, "a: expected a finite number of 1/ms > 0"),
    (IzhikevichDynamics, {"c": 30.0}, ValueError, "c: .* of mV < 30, got 30.0; .* below v_peak"),
    (IzhikevichDynamics, {"v_init": (-65.0, 40.0)}, ValueError, r"v_init\[1\].* < 30"),
    (IzhikevichDynamics, {"substeps": 0}, ValueError, "substeps"),
    (IzhikevichDynamics, {"substeps": 2.0}, ValueError, "substeps.*give an int"),
    (
        AdExDynamics,
        {"tau_mem": 0.2e-3},
        ValueError,
        "tau_mem: .* > 0.00025, got 0.0002; Euler.*more substeps",
    ),
    (AdExDynamics, {"tau_w": 0.25e-3}, ValueError, "tau_w: .* > 0.00025, got 0.00025; Euler"),
    (AdExDynamics, {"a": -1.0}, ValueError, "a: expected a finite number > -1, got -1.0"),
    (AdExDynamics, {"b": -0.1}, ValueError, "b: expected a finite number of mV >= 0"),
    (AdExDynamics, {"delta_t": 0.0}, ValueError, "delta_t: expected a finite number of mV > 0"),
    (AdExDynamics, {"v_t": 0.0}, ValueError, "v_t: .* of mV < 0, got 0.0; .* below v_peak"),
    (AdExDynamics, {"v_reset": 20.0}, ValueError, "v_reset: .* < 0, got 20.0; .* below v_peak"),
    (AdExDynamics, {"v_rest": 0.0}, ValueError, "v_rest: .* < 0, got 0.0; .* below v_peak"),
    (AdExDynamics, {"v_init": (-70.0, 1.0)}, ValueError, r"v_init\[1\].* < 0, got 1.0"),
    (AdExDynamics, {"reset_gradient": "norse"}, ValueError, "'stop', 'flow', got 'norse'"),
    (AdExDynamics, {"substeps": 0}, ValueError, "substeps: expected a whole number >= 1, got 0"),
    (AdExDynamics, {"substeps": "4"}, TypeError, "substeps: expected a whole number >= 1, got '4'"),
]


@pytest.mark.parametrize(
    ("kind", "fields", "error", "message"), REFUSED, ids=lambda v: v if isinstance(v, str) else None
)
def test_constructors_refuse(kind: Any, fields: Any, error: Any, message: str, unchecked: None):
    with pytest.raises(error, match=message):
        kind(**fields)


@pytest.mark.parametrize("kind", [ALIFDynamics, AdLIFDynamics, SiLIFDynamics])
def test_decays_outside_0_and_1_are_refused(kind: Any):
    name = "rho" if kind is ALIFDynamics else "beta"
    with pytest.raises(
        ValueError, match="alpha: expected a finite number in .0, 1., got 1.0; a decay is exp"
    ):
        kind.from_decays(alpha=1.0, **{name: 0.5})


def test_ranges_can_be_widened():
    neuron = AdLIFDynamics(a=-0.5, a_range=(-1, 1), v_init=np.asarray([0.0, 0.5]))
    assert neuron.a_range == (-1.0, 1.0) and neuron.v_init == (0.0, 0.5)
    assert neuron.learnable()["a"].bounds == (-1.0, 1.0)
    hash(neuron)


def test_a_start_at_rest_follows_rest():
    assert LSNNDynamics(v_rest=0.2).replace(v_rest=0.3).v_init == 0.3
    assert LSNNDynamics(v_rest=0.2, v_init=0.0).replace(v_rest=0.3).v_init == 0.0
    assert LSNNDynamics().replace(v_rest=0.3, v_init=0.1).v_init == 0.1


KINDS = (
    *(ALIFDynamics, AdLIFDynamics, SiLIFDynamics),
    *(LSNNDynamics, IzhikevichDynamics, AdExDynamics),
)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_is_told_the_nearest_field(kind: Any):
    message = rf"{kind.__name__}: expected names among .*, got 'v_innit'; did you mean 'v_init'"
    with pytest.raises(TypeError, match=message):
        kind(v_innit=0.0)
    with pytest.raises(TypeError, match=message):
        kind().replace(v_innit=0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_neuron_shows_what_is_not_at_its_default(kind: Any):
    """What is shown is an expression that makes the neuron again."""
    assert repr(kind()) == f"{kind.__name__}()"
    names = vars(surrogate) | {kind.__name__: kind}
    for changes in ({"dt": 5e-4}, {"reset_gradient": "flow", "v_init": (-70.0, -65.5)}):
        neuron = kind(**changes)
        shown = ", ".join(f"{name}={value!r}" for name, value in changes.items())
        assert repr(neuron) == f"{kind.__name__}({shown})"
        assert eval(repr(neuron), dict(names)) == neuron
