"""What conventions refuse, and surrogates by the names of the frameworks."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
from convention_arguments import REQUIRED

import flax_snn as snn

pytestmark = pytest.mark.usefixtures("unchecked")

c = snn.conventions

SWITCHES = {"bool", "str"}


def parameters_of(name: str) -> dict[str, Any]:
    return dict(inspect.signature(getattr(c, name)).parameters)


@pytest.mark.parametrize("name", c.__all__)
def test_conventions_refuse_unknown_parameters(name: str) -> None:
    make, required = getattr(c, name), REQUIRED.get(name, {})
    make(**required)
    with pytest.raises(TypeError, match="unexpected keyword argument 'tau_membrane'"):
        make(**required, tau_membrane=1.0)


NUMBERS = [
    (name, key)
    for name in c.__all__
    for key, parameter in parameters_of(name).items()
    if key != "surrogate" and parameter.annotation not in SWITCHES
]


@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_every_number_of_every_convention_is_checked(name: str, key: str) -> None:
    make, required = getattr(c, name), REQUIRED.get(name, {})
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="expected a"):
            make(**(required | {key: value}))
    with pytest.raises((TypeError, ValueError), match="expected a"):
        make(**(required | {key: "1"}))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *((name, "beta") for name in REQUIRED if not name.startswith("sinabs")),
        ("spyx_li", "beta"),
        ("snntorch_synaptic", "alpha"),
        ("spyx_cubalif", "alpha"),
        *(("tutorial", key) for key in ("alpha", "beta", "beta_rec")),
        *(("spikingjelly_cuba", key) for key in ("c_decay", "v_decay")),
    ],
)
def test_decays_lie_between_0_and_1(name: str, key: str) -> None:
    make, required = getattr(c, name), REQUIRED.get(name, {})
    for value in (-1e-6, 1.000001, 20.0):
        with pytest.raises(ValueError, match=rf"{key}: expected a decay per step in \[0, 1\], got"):
            make(**(required | {key: value}))
    for value in (0.0, 1.0):
        make(**(required | {key: value}))


TIMES = [
    (name, key)
    for name, key in NUMBERS
    if key.startswith("tau") or key in ("dt", "dt_ms", "R") or key.endswith("_inv")
]


@pytest.mark.parametrize(("name", "key"), TIMES)
def test_times_of_conventions_are_above_zero(name: str, key: str) -> None:
    make, required = getattr(c, name), REQUIRED.get(name, {})
    for value in (0.0, -1.0):
        with pytest.raises(ValueError, match=r"expected a finite number (of [\w/ ]+ )?> [01]"):
            make(**(required | {key: value}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: c.spikingjelly_lif(tau=1.0),
            "tau: expected a finite number of steps > 1, got 1.0",
        ),
        (lambda: c.spikingjelly_li(tau=0.5), "tau: expected a finite number of steps > 1"),
        (lambda: c.norse_lif(tau_syn_inv=1000.0), "dt: Euler"),
        (lambda: c.norse_lif_box(dt=0.02), "dt: Euler"),
        (lambda: c.norse_li(tau_mem_inv=2000.0), "dt: Euler"),
        (lambda: c.norse_li_box(dt=0.02), "dt: Euler"),
        (lambda: c.norse_lif_box(reset_method="zero"), "reset_method: expected one of 'value'"),
        (lambda: c.jaxsnn_lif(dt=5e-3), "dt: Euler"),
        (lambda: c.jaxsnn_li(dt=5e-3), "dt: Euler"),
        (lambda: c.refractory(dt=10e-3), "dt: Euler"),
        (lambda: c.refractory(t_ref=-1e-3), "t_ref: expected seconds >= 0"),
        (lambda: c.refractory(t_ref=-1e-5), "t_ref: expected seconds >= 0"),
        (lambda: c.network(dt=10.0), "dt: Euler"),
        (lambda: c.rockpool(threshold=0.0), "needs a threshold > 0"),
        (lambda: c.rockpool_torch(threshold=-1.0), "needs a threshold > 0"),
        (lambda: c.sinabs_lif(10.0, spike_threshold=0.0), "needs a threshold > 0"),
        (lambda: c.sinabs_lif(10.0, reset_fn="zero"), "needs reset='soft'"),
        (lambda: c.sinabs_lif(10.0, spike_fn="max"), "spike_fn: expected one of 'multi'"),
        (lambda: c.sinabs_lif(10.0, reset_fn="hard"), "reset_fn: expected one of 'subtract'"),
        (lambda: c.jaxpike_lif(reset="hard"), "reset: expected one of 'subtract', 'zero'"),
        (lambda: c.brainpy_lif(spk_reset="zero"), "spk_reset: expected one of 'soft', 'hard'"),
        (lambda: c.snntorch_leaky(0.9, reset_mechanism="hard"), "reset_mechanism: expected one"),
        (lambda: c.tutorial(slope=0.0), "slope: expected a finite number > 0"),
        (lambda: c.snntorch_leaky(0.9, surrogate=("sine", {})), "surrogate: expected a Surrogate"),
        (
            lambda: c.snntorch_leaky(0.9, surrogate=("atan", {"slope": 2.0})),
            "surrogate 'atan': expected parameters alpha, got",
        ),
    ],
)
def test_conventions_refuse(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (name, key)
        for name in c.__all__
        for key, parameter in parameters_of(name).items()
        if parameter.annotation == "bool"
    ],
)
def test_switches_of_conventions_are_bools(name: str, key: str) -> None:
    for value in (1, "yes", None):
        with pytest.raises(TypeError, match=f"{key}: expected True or False, got"):
            getattr(c, name)(**(REQUIRED.get(name, {}) | {key: value}))


@pytest.mark.parametrize("peer", ["atan", ("atan",), 3.0, ("atan", 2.0)])
def test_surrogates_of_conventions_are_surrogates_or_pairs(peer: Any) -> None:
    with pytest.raises(TypeError, match="surrogate: expected a Surrogate or"):
        c.snntorch_leaky(0.9, surrogate=peer)


def test_surrogates_by_the_names_of_the_frameworks() -> None:
    s = snn.surrogate
    for peer, ours in (
        (("atan", {"alpha": 3.0}), s.arctan(3.0)),
        (("fast_sigmoid", {"slope": 5.0}), s.superspike(5.0)),
        (["superspike", {"k": 7.0}], s.superspike(7.0)),
        (("sigmoid", {"alpha": 2.0}), s.sigmoid(2.0)),
        (
            ("single_exponential", {"grad_width": 0.3, "grad_scale": 2.0}),
            s.single_exponential(0.3, 2.0),
        ),
        (s.triangular(2.0), s.triangular(2.0)),
    ):
        assert c.snntorch_leaky(0.9, surrogate=peer).surrogate == ours
    brainpy = c.brainpy_lif(V_reset=-0.5, surrogate=("relu_grad", {"alpha": 0.2, "width": 2.0}))
    assert brainpy.surrogate == s.relu_grad(0.2, 2.0, -0.5)
