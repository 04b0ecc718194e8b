"""`--check-numbers`: the first number that is not finite ends the run, and is given a place."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.data.parts import Part
from train.errors import BAD_INPUT, NotFiniteError
from train.run.check_numbers import watched
from train.run.step import create_state, train_batches
from train.settings import NetworkConfig, TrainingConfig
from train.tasks.randman import Randman, RandmanConfig, RandmanData

pytestmark = pytest.mark.optimizer

SETTINGS = RandmanConfig(
    data=RandmanData(classes=2, units=4, steps=20, dt=5e-3, samples_per_class=10),
    network=NetworkConfig(hidden=(8, 6)),
    training=TrainingConfig(batch_size=4, epochs=1, jitter=0.0),
)


@pytest.mark.slow
def test_a_run_that_is_watched_has_the_same_numbers(
    train: Callable[..., int], tmp_path: Path
) -> None:
    assert train(tmp_path / "plain") == 0
    assert train(tmp_path / "watched", "--check-numbers") == 0
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("plain", "watched")]
    records = [[json.loads(line) for line in text.splitlines()] for text in lines]
    for plain, other in zip(*records, strict=True):
        for name in ("train_loss", "validation_loss", "grad_norm"):
            # The same updates; sums over batches are added in another order.
            assert other[name] == pytest.approx(plain[name], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--feed", "streamed")])
def test_a_run_that_blows_up_ends_with_its_update_and_place(
    flags: tuple[str, ...],
    train: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more = ("--learning-rate", "1e38", "--optimizer", "sgd", "--warm-up", "0", *flags)
    assert train(tmp_path / "run", "--check-numbers", *more) == BAD_INPUT
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "error: update " in said
    places = ("updated parameters", "optimizer", "cells_", "variables", "gradient", "loss")
    assert any(place in said for place in places)


@functools.cache
def network() -> Any:
    return Randman().build(SETTINGS)


def start(batches: int = 3) -> tuple[Any, Any, Part, Any]:
    """A network, a state, samples and their order."""
    model = network()
    state = create_state(model, SETTINGS.training, 10, jnp.uint32(0))
    rng = np.random.default_rng(0)
    inputs = (rng.random((12, 20, 4)) < 0.1).astype(np.float32)
    part = Part(jnp.asarray(inputs), jnp.asarray(rng.integers(0, 2, 12), jnp.int32))
    return model, state, part, jnp.arange(4 * batches).reshape(batches, 4)


@functools.cache
def train_of(model: Any) -> Any:
    return jax.jit(lambda *given: train_batches(model, SETTINGS.training, *given))


@pytest.mark.slow
def test_sums_and_state_are_those_of_all_batches() -> None:
    model, state, part, order = start()
    expected = train_of(model)(state, part, order)
    found = watched(train_of(model), model, SETTINGS.training)(state, part, order)
    streamed = jax.tree.map(lambda x: x.reshape(3, 4, *x.shape[1:]), part)
    again = watched(train_of(model), model, SETTINGS.training)(state, streamed, None)
    for other in (found, again):
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_nan_in_the_inputs_of_a_batch_is_found_there(streamed: bool) -> None:
    model, state, part, order = start()
    # Neurons that it enters never spike again: nothing but a membrane shows it.
    spoiled = part._replace(inputs=part.inputs.at[9, 3, 2].set(jnp.nan))
    batches = jax.tree.map(lambda x: x.reshape(3, 4, *x.shape[1:]), spoiled) if streamed else None
    given = (batches, None) if streamed else (spoiled, order)
    with pytest.raises(NotFiniteError, match=r"update 3: inputs: nan at \[1, 3, 2\]"):
        watched(train_of(model), model, SETTINGS.training)(state, *given)


def test_a_parameter_that_is_not_finite_is_named() -> None:
    model, state, part, order = start()
    params = jax.tree.map(lambda x: x, state.params)
    kernel = params["cell"]["cells_1"]["kernel"]
    params["cell"]["cells_1"]["kernel"] = kernel.at[5, 1].set(jnp.inf)
    with pytest.raises(NotFiniteError, match=r"update 1: variables: inf at params/cell/cells_1/k"):
        state = state.replace(params=params)
        watched(train_of(model), model, SETTINGS.training)(state, part, order)
