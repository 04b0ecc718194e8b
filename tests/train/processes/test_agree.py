"""What processes agree on, one after the other over a coordinator that is a dictionary."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from train import processes
from train.errors import ConfigError, InputError
from train.processes import agree


class Coordinator:
    """Holds what was said; a process that asks for what nobody has said yet would wait."""

    def __init__(self) -> None:
        self.said: dict[str, str] = {}
        self.barriers: list[str] = []

    def key_value_set(self, key: str, value: str, allow_overwrite: bool = False) -> None:
        assert allow_overwrite or key not in self.said
        self.said[key] = value

    def blocking_key_value_get(self, key: str, timeout: int) -> str:
        return self.said[key]

    def key_value_dir_get(self, key: str) -> list[tuple[str, str]]:
        return [(k, v) for k, v in self.said.items() if k.startswith(f"{key}/")]

    def key_value_delete(self, key: str) -> None:
        for name, _ in self.key_value_dir_get(key):
            del self.said[name]

    def wait_at_barrier(self, name: str, timeout: int) -> None:
        self.barriers.append(name)


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """``become(k)`` makes this process the k-th of two, at its beginning."""
    coordinator = Coordinator()

    def call(index: int, size: int = 2) -> Coordinator:
        monkeypatch.setattr(agree, "_answers", itertools.count())
        monkeypatch.setattr(agree, "_barriers", itertools.count())
        agree.join(index, size, coordinator)
        return coordinator

    yield call
    agree.join(0, 1, None)


def never() -> Any:
    raise AssertionError("only the first process is to be asked")


def test_one_process_asks_nobody() -> None:
    assert (processes.count(), processes.index(), processes.first()) == (1, 0, True)
    assert processes.from_first(lambda: {1, 2}) == {1, 2}  # not even made JSON of
    assert [processes.stop_code(code) for code in (0, 143)] == [0, 143]
    processes.wait("nobody")


def test_all_have_what_the_first_one_found(become: Any) -> None:
    become(0)
    values = [{"path": "a", "steps": [1, 2.5, None]}, "x", 0]
    assert [processes.from_first(lambda v=v: v) for v in values] == values
    become(1)
    assert not processes.first()
    assert [processes.from_first(never) for _ in values] == values


def test_an_error_of_the_first_one_is_that_of_all(become: Any) -> None:
    def refuse() -> Any:
        raise ConfigError("--workdir: expected a folder")

    for index, function in ((0, refuse), (1, never)):
        become(index)
        with pytest.raises(InputError, match="--workdir: expected a folder"):
            processes.from_first(function)


def test_a_signal_to_any_process_stops_all(become: Any) -> None:
    # It comes to the second one after both have asked once, and the first one asks again after it.
    become(0)
    assert processes.stop_code(0) == 0
    become(1)
    assert processes.stop_code(143) == 0
    become(0)
    agree._answers = itertools.count(1)
    assert processes.stop_code(0) == 143
    become(1)
    agree._answers = itertools.count(1)
    assert processes.stop_code(143) == 143


def test_answers_do_not_pile_up(become: Any) -> None:
    coordinator = become(0)
    for k in range(3 * agree._KEPT):
        assert processes.from_first(lambda k=k: k) == k
        assert len(coordinator.said) <= 2 * agree._KEPT
    # Nothing was forgotten before all had read it.
    assert len(coordinator.barriers) == 2


def test_an_error_of_all_is_told_from_that_of_one(become: Any) -> None:
    coordinator = become(0)
    assert agree.all_met(ConfigError("expected 1"))
    become(1)
    assert agree.all_met(ConfigError("expected 1"))
    become(1)
    assert not agree.all_met(ConfigError("no such folder on this machine"))

    def nobody_comes(name: str, timeout: int) -> None:
        raise RuntimeError("DEADLINE_EXCEEDED")

    coordinator.wait_at_barrier = nobody_comes
    assert not agree.all_met(ConfigError("expected 1"))


def test_spread_arrays_come_whole_to_the_host() -> None:
    mesh = Mesh(np.asarray(jax.devices()[:1]), ("model",))
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    placed = jax.device_put(array, NamedSharding(mesh, PartitionSpec(None, "model")))
    found = processes.on_host({"a": placed, "b": array, "key": jax.random.key(0), "none": None})
    assert isinstance(found["a"], np.ndarray) and found["b"] is array
    np.testing.assert_array_equal(found["a"], array)
    assert jax.dtypes.issubdtype(found["key"].dtype, jax.dtypes.prng_key)
