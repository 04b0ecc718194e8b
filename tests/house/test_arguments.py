"""Public functions name and order their arguments alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import flax_snn as snn

PREDICTED = {"predictions", "outputs", "spikes", "membranes", "v", "times", "logits", "first"}
TRUE = {"targets", "labels"}


def public_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in snn.__all__:
        thing = getattr(snn, name)
        if isinstance(thing, ModuleType):
            for inner in thing.__all__:
                if inspect.isfunction(getattr(thing, inner)):
                    yield f"snn.{name}.{inner}", getattr(thing, inner)
        elif inspect.isfunction(thing):
            yield f"snn.{name}", thing


FUNCTIONS = dict(public_functions())


def positional(function: Callable[..., Any]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_predicted_comes_before_what_is_true(name: str) -> None:
    names = positional(FUNCTIONS[name])
    true = [k for k, each in enumerate(names) if each in TRUE]
    predicted = [k for k, each in enumerate(names) if each in PREDICTED]
    if true and predicted:
        assert predicted[0] < true[0], names


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_linen_module_is_the_model_and_comes_before_its_variables(name: str) -> None:
    names = positional(FUNCTIONS[name])
    assert not {"network", "module", "net"} & set(names), f"{names}: a Linen module is 'model'"
    if "model" in names:  # without one, `params` are what an optimizer has: `layers.clip_delays`
        assert "params" not in names, f"{names}: what apply takes is 'variables'"
    if "model" in names and "variables" in names:
        assert names[:2] == ["model", "variables"], names


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_draws_data_takes_its_key_first_as_jax_random_does(name: str) -> None:
    names = positional(FUNCTIONS[name])
    if "key" in names and name.startswith(("snn.encode", "snn.datasets")):
        assert names[0] == "key", names


def test_the_tables_see_functions_of_every_room() -> None:
    rooms = {name.split(".")[1] for name in FUNCTIONS}
    assert {"losses", "metrics", "initializers", "encode", "crossbar", "nir", "plot"} <= rooms
    both = [n for n in FUNCTIONS if {*positional(FUNCTIONS[n])} & TRUE]
    assert len(FUNCTIONS) > 80 and len(both) > 15
