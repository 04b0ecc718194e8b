"""Graphs of strangers: no value changes without a word, and memory and time are bounded."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import h5py
import jax.numpy as jnp
import nir
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.nir import NIRError
from flax_snn.nir.rounding import without_rounding


def lif(size: int, **fields: Any) -> nir.LIF:
    ones = np.ones(size)
    values = {"tau": 0.01 * ones, "r": ones, "v_leak": 0 * ones, "v_threshold": ones}
    return nir.LIF(**(values | {"v_reset": 0 * ones} | fields))


def row(shape: Any, out: Any, *nodes: Any) -> nir.NIRGraph:
    """A graph of nodes one after the other, with the shapes that its ends claim."""
    named = {f"n{k}": node for k, node in enumerate(nodes)}
    order = ["input", *named, "output"]
    ends = {"input": nir.Input({"input": np.array(shape)})}
    ends |= {"output": nir.Output({"output": np.array(out)})}
    edges = list(zip(order, order[1:], strict=False))
    return nir.NIRGraph(ends | named, edges, type_check=False)


@pytest.mark.parametrize(
    "nodes",
    [
        (lif(3),),
        (nir.Linear(np.ones((3, 2))),),
        (nir.Flatten({"input": np.array([], int)}, 0, -1),),
        (nir.Scale(np.float32(2.0)),),
        (nir.LIF(*(np.array(v) for v in (0.01, 1.0, 0.0, 1.0, 0.0))),),
    ],
)
def test_an_input_without_axes_is_refused(nodes: tuple[Any, ...]) -> None:
    graph = row(np.zeros(0, int), [3], *nodes)
    with pytest.raises(
        NIRError, match=r"'input' .*shape: expected at least one value, got an empt"
    ):
        snn.nir.from_nir(graph, 1e-3, "exp")


# Whole numbers.


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, jnp.bfloat16])
def test_whole_numbers_are_exact_or_refused(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 64, 3000)
    numbers = [int(rng.integers(0, 2**63)) >> int(b) for b in bits]
    numbers += [2**k + d for k in range(63) for d in (-1, 0, 1) if 2**k + d >= 0]
    numbers += [-n for n in numbers] + [-(2**63), 2**63 - 1]
    kept = 0
    for n in numbers:
        with np.errstate(over="ignore"):
            rounded = np.array(n, np.int64).astype(dtype).item()
        exact = np.isfinite(rounded) and int(rounded) == n  # Python compares without rounding
        kept += exact
        try:
            found = without_rounding(np.array([n], np.int64), dtype, "here")
        except NIRError as error:
            assert not exact and f"can hold, got {n}; write" in str(error)
        else:
            assert exact and int(found.item()) == n
    assert 100 < kept < len(numbers)
    # Unsigned ones beyond int64 too.
    assert without_rounding(np.array([2**63], np.uint64), np.float32, "here").item() == 2.0**63
    with pytest.raises(NIRError, match=f"got {2**64 - 1};"):
        without_rounding(np.array([1, 2**64 - 1], np.uint64), np.float64, "here")


def test_a_weight_that_float32_would_round_is_named() -> None:
    weight = np.array([[1, 2**24 + 1], [3, 4]])
    with pytest.raises(NIRError, match="'n0' .Linear.: weight: .* float32 can hold, got 16777217"):
        snn.nir.from_nir(row([2], [2], nir.Linear(weight)), 1e-3, "exp")
    graph = row([2], [2], nir.Linear(weight - [[0, 1], [0, 0]]))
    _, variables = snn.nir.from_nir(graph, 1e-3, "exp")
    np.testing.assert_array_equal(variables["params"]["kernel"].T, [[1, 2**24], [3, 4]])
    # Floating-point numbers are rounded, as the argument param_dtype says.
    graph = row([2], [2], nir.Linear(weight.astype(np.float64)))
    _, variables = snn.nir.from_nir(graph, 1e-3, "exp")
    assert variables["params"]["kernel"][1, 0] == 2**24


def test_a_value_of_a_neuron_that_would_be_rounded_is_named() -> None:
    node = lif(2, v_leak=np.array([0, 2**53 + 1]))
    with pytest.raises(NIRError, match="'n0' .LIF.: v_leak: .*, got 9007199254740993"):
        snn.nir.from_nir(row([2], [2], node), 1e-3, "exp")


def test_small_whole_numbers_do_not_wrap_around_in_a_sum() -> None:
    # Two biases are added into one; 100 + 100 is -56 in eight bits.
    big = np.full(2, 100, np.int8)
    graph = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([2])}),
            "front": nir.Affine(np.eye(2), big),
            "lif": lif(2),
            "back": nir.Affine(np.eye(2), big),
            "output": nir.Output({"output": np.array([2])}),
        },
        [
            ("input", "front"),
            ("front", "lif"),
            ("lif", "back"),
            ("back", "lif"),
            ("lif", "output"),
        ],
        type_check=False,
    )
    _, variables = snn.nir.from_nir(graph, 1e-3, "exp")
    np.testing.assert_array_equal(variables["params"]["cell"]["bias"], 200.0)


# Thresholds that a surrogate is divided by.


def test_a_threshold_at_the_reset_that_a_surrogate_is_divided_by() -> None:
    ones = np.ones(2)
    graph = row([2], [2], lif(2, v_reset=ones))
    assert snn.nir.from_nir(graph, 1e-3, "exp")  # the default is not divided by anything
    surrogate = snn.surrogate.relu_grad(v_reset=1.0)
    with pytest.raises(NIRError, match=r"'n0' .LIF.: v_threshold: expected a threshold > 1, since"):
        snn.nir.from_nir(graph, 1e-3, "exp", surrogate=surrogate)
    graph.nodes["n0"].metadata = {"surrogate": "relu_grad(height=0.3, v_reset=1.0, width=1.0)"}
    with pytest.raises(NIRError, match="expected a threshold > 1, since"):
        snn.nir.from_nir(graph, 1e-3, "exp")


def test_one_neuron_of_many_at_a_threshold_of_zero() -> None:
    surrogate = snn.surrogate.single_exponential()
    graph = row([3], [3], lif(3, v_threshold=np.array([1.0, 0.5, 0.0])))
    with pytest.raises(NIRError, match="expected a threshold > 0, .* got 0; raise it"):
        snn.nir.from_nir(graph, 1e-3, "exp", surrogate=surrogate)
    graph = row([3], [3], nir.LI(*np.ones((2, 3)), np.zeros(3)), nir.Threshold(np.array([1, 0, 1])))
    with pytest.raises(NIRError, match="expected a threshold > 0, .* got 0; raise it"):
        snn.nir.from_nir(graph, 1e-3, "exp", surrogate=surrogate)


# Memory and time.

WIDE = [1, 2**20, 2**20]


@pytest.mark.parametrize(
    ("graph", "node"),
    [
        (row(WIDE, [2**40], nir.Flatten({"input": np.array(WIDE)}, 0, -1)), "n0|input|output"),
        (
            row(WIDE, WIDE, nir.Conv2d(None, np.ones((1, 1, 1, 1)), 1, 0, 1, 1, np.zeros(1))),
            "n0|in",
        ),
        (row([1000], [1000], nir.Delay(np.full(1000, 1e3))), "n0"),
    ],
    ids=["a flat map", "a map", "a delay"],
)
def test_sizes_that_a_file_only_claims_are_refused(graph: nir.NIRGraph, node: str) -> None:
    with pytest.raises(NIRError, match=f"node '({node}).*expected a network of at most 2147483648"):
        snn.nir.from_nir(graph, 1e-3, "exp")


def test_a_larger_limit_lets_a_large_network_pass() -> None:
    graph = row([1000], [1000], nir.Delay(np.full(1000, 0.5)))
    with pytest.raises(NIRError, match="over 500 steps; pass a larger max_bytes"):
        snn.nir.from_nir(graph, 1e-3, "exp", max_bytes=10**6)
    assert snn.nir.from_nir(graph, 1e-3, "exp", max_bytes=10**7)


def nested(copies: int) -> nir.NIRGraph:
    """Pairs of nested graphs that pass on what they receive: each pair doubles the values."""

    def wire() -> nir.NIRGraph:
        ends = {"input": nir.Input({"input": np.array([1])})}
        ends |= {"output": nir.Output({"output": np.array([1])})}
        return nir.NIRGraph(ends, [("input", "output")], type_check=False)

    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([1])})}
    edges, before = [], ["input"]
    for k in range(copies):
        pair = [f"{end}{k}" for end in "ab"]
        nodes |= {name: wire() for name in pair}
        edges += [(source, name) for source in before for name in pair]
        before = pair
    nodes["last"] = nir.Scale(np.ones(1))
    nodes["output"] = nir.Output({"output": np.array([1])})
    edges += [*((source, "last") for source in before), ("last", "output")]
    return nir.NIRGraph(nodes, edges, type_check=False)


def test_values_that_are_joined_again_and_again() -> None:
    network, variables = snn.nir.from_nir(nested(3), 1e-3, "exp")
    assert network.apply(variables, jnp.ones((1, 1, 1))).item() == 2.0**3
    began = time.monotonic()
    with pytest.raises(NIRError, match="expected a sum of at most 10000 values"):
        snn.nir.from_nir(nested(60), 1e-3, "exp")
    assert time.monotonic() - began < 20.0  # without a bound, 2^60 sums


def test_a_long_chain_is_wired_in_time_proportional_to_its_length(tmp_path: Path) -> None:
    path, count = tmp_path / "chain.nir", 300
    with h5py.File(path, "w") as file:
        nodes = file.create_group("node/nodes")
        file["node/type"] = "NIRGraph"

        def node(name: str, **fields: Any) -> None:
            for key, value in fields.items():
                nodes[f"{name}/{key}"] = value

        # In the reverse of the alphabet, shapes are found one after the other.
        names = [f"n{count - k:05}" for k in range(count)]
        node("input", type="Input", shape=np.array([2]))
        node("output", type="Output", shape=np.array([2]))
        for name in names:
            node(name, type="Flatten", start_dim=0, end_dim=0)
        order = ["input", *names, "output"]
        edges = [[a, b] for a, b in zip(order, order[1:], strict=False)]
        file.create_dataset("node/edges", data=edges, dtype=h5py.string_dtype())
    network, variables = snn.nir.from_nir(path, 1e-3, "exp")
    np.testing.assert_array_equal(network.apply(variables, jnp.ones((1, 2, 2))), 1.0)


def test_more_objects_than_any_network_has(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("flax_snn.nir.file.hdf5._MAX_OBJECTS", 50)
    path = tmp_path / "many.nir"
    with h5py.File(path, "w") as file:
        for k in range(60):
            file[f"node/nodes/{k}"] = k
    with pytest.raises(NIRError, match="at most 50 objects, 32 deep, got more"):
        snn.nir.from_nir(path, 1e-3, "exp")
