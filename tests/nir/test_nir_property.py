"""Random graphs, read here and stepped by the plain loop of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import nir
import nir_reference
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn

DT = 1e-3


def neuron(rng: np.random.Generator, size: int) -> Any:
    """A population of any type, with ``size`` neurons of different values."""

    def draw(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, size)

    tau = {"tau": draw(4e-3, 20e-3)}
    cuba = {"tau_mem": draw(4e-3, 20e-3), "tau_syn": draw(2e-3, 8e-3), "w_in": draw(1.0, 4.0)}
    leak = {"r": draw(1.0, 4.0), "v_leak": draw(-0.1, 0.1)}
    fire = {"v_threshold": draw(0.3, 0.8), "v_reset": draw(-0.2, 0.0)}
    kinds: list[Any] = [
        lambda: nir.LIF(**tau, **leak, **fire),
        lambda: nir.LIF(**tau, **leak, **fire),
        lambda: nir.CubaLIF(**cuba, **leak, **fire),
        lambda: nir.IF(r=draw(50.0, 200.0), **fire),
        lambda: nir.LI(**tau, **leak),
        lambda: nir.CubaLI(**cuba, **leak),
    ]
    return kinds[rng.integers(len(kinds))]()


def random_graph(seed: int) -> nir.NIRGraph:
    """Layers in a row, with skips, feedback, delays, scales and affine maps between them."""
    rng = np.random.default_rng(seed)
    depth, size = int(rng.integers(2, 4)), 4
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([3])})}
    edges: list[tuple[str, str]] = []
    names = rng.permutation([f"{n}{k}" for k, n in enumerate("abcdefgh")]).tolist()

    def matrix(columns: int) -> Any:
        weight = rng.normal(0.1, 1.2 / np.sqrt(columns), (size, columns)).astype(np.float32)
        if rng.random() < 0.5:
            return nir.Linear(weight)
        return nir.Affine(weight, rng.normal(0.0, 0.1, size).astype(np.float32))

    def between(source: str, target: str, label: str, columns: int) -> None:
        """A matrix, maybe with a delay or a scale behind it."""
        chain = {f"{label}_w": matrix(columns)}
        choice = rng.random()
        if choice < 0.25:
            chain[f"{label}_d"] = nir.Delay(rng.integers(1, 4, size) * DT)
        elif choice < 0.4:
            chain[f"{label}_s"] = nir.Scale(rng.uniform(0.5, 1.5, size).astype(np.float32))
        nodes.update(chain)
        path = [source, *chain, target]
        edges.extend(zip(path[:-1], path[1:], strict=True))

    before, columns = "input", 3
    layers = []
    for k in range(depth):
        name = names[k]
        nodes[name] = neuron(rng, size)
        between(before, name, f"{name}_in", columns)
        layers.append(name)
        before, columns = name, size
    if rng.random() < 0.6:  # feedback, to the layer itself or to an earlier one
        source = int(rng.integers(depth))
        between(layers[source], layers[int(rng.integers(source + 1))], "back", size)
    if rng.random() < 0.5 and depth > 2:
        between(layers[0], layers[2], "skip", size)
    nodes["output"] = nir.Output({"output": np.array([size])})
    edges.append((layers[-1], "output"))
    order = rng.permutation(len(edges))
    return nir.NIRGraph(nodes, [edges[k] for k in order], type_check=False)


SEEDS = [k if k < 10 else pytest.param(k, marks=pytest.mark.slow) for k in range(80)]


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs(seed: int) -> None:
    graph = random_graph(seed)
    rng = np.random.default_rng(1000 + seed)
    x = (rng.random((25, 3, 3)) < 0.4).astype(np.float32)
    method: Any = ("euler", "exp")[seed % 2]
    loop = nir_reference.run(graph, x, DT, method)
    network, variables = snn.nir.from_nir(graph, DT, method)
    found = jax.jit(network.apply)(variables, jnp.asarray(np.moveaxis(x, 0, 1)))
    if loop["margin"] < 1e-5:
        pytest.skip("a membrane within float32 of its threshold")
    found = np.moveaxis(np.asarray(found), 1, 0)
    np.testing.assert_allclose(found, loop["output"], rtol=2e-5, atol=2e-5)
    # And what is written of it means the same.
    written = snn.nir.to_nir(network, variables, 3, DT, method)
    again = nir_reference.run(written, x, DT, method)
    np.testing.assert_allclose(again["output"], loop["output"], rtol=2e-5, atol=2e-5)


def lif(*shape: int) -> nir.LIF:
    ones = np.ones(shape)
    return nir.LIF(
        tau=0.01 * ones, r=3 * ones, v_leak=0 * ones, v_threshold=0.5 * ones, v_reset=-0.1 * ones
    )


def test_a_loop_of_convolutions() -> None:
    """Maps in a loop: feedback with a delay, a layer onto itself with a bias, two ways between."""
    rng = np.random.default_rng(0)

    def conv(channels: int, bias: float) -> nir.Conv2d:
        weight = rng.normal(0, 0.4, (3, channels, 3, 3)).astype(np.float32)
        return nir.Conv2d((4, 5), weight, (1, 1), "same", (1, 1), 1, np.full(3, bias, np.float32))

    nodes = {
        "input": nir.Input({"input": np.array([2, 4, 5])}),
        "c": conv(2, 0.0),
        "a": lif(3, 4, 5),
        "ab": conv(3, 0.05),
        "b": lif(3, 4, 5),
        "back": conv(3, 0.1),
        "late": nir.Delay(np.full((3, 4, 5), 2 * DT)),
        "bb": conv(3, -0.1),
        "straight": nir.Scale(np.full((3, 4, 5), 0.3, np.float32)),
        "flat": nir.Flatten({"input": np.array([3, 4, 5])}, 0, -1),
        "w": nir.Linear(rng.normal(0, 0.3, (4, 60)).astype(np.float32)),
        "end": lif(4),
        "output": nir.Output({"output": np.array([4])}),
    }
    paths = "input c a ab b back late a,b bb b,a straight b,b flat w end output"
    edges = [
        edge
        for path in paths.split(",")
        for edge in zip(path.split(), path.split()[1:], strict=False)
    ]
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    x = (rng.random((30, 2, 2, 4, 5)) < 0.3).astype(np.float32)
    loop = nir_reference.run(graph, x, DT, "exp")
    assert loop["margin"] > 1e-4 and 0.02 < loop["output"].mean() < 0.5
    network, variables = snn.nir.from_nir(graph, DT, "exp")
    batch = jnp.asarray(np.moveaxis(np.moveaxis(x, 0, 1), 2, -1))
    found = np.asarray(jax.jit(network.apply)(variables, batch))
    np.testing.assert_array_equal(np.moveaxis(found, 1, 0), loop["output"])
    written = snn.nir.to_nir(network, variables, (4, 5, 2), DT, "exp")
    again, same = snn.nir.from_nir(written, DT, "exp")
    np.testing.assert_array_equal(jax.jit(again.apply)(same, batch), found)


@pytest.mark.parametrize(
    "name",
    covered_by(["hand_rec_two_layer", "hand_skip_sum", "hand_conv1d"], ["hand_rec_two_layer"]),
)
def test_an_empty_batch(name: str) -> None:
    """No samples in, no samples out, through loops, sums and flattened maps too."""
    path = Path(__file__).parents[1] / "golden" / "nir" / f"{name}.nir"
    network, variables = snn.nir.from_nir(path, DT, "euler")
    features = (16, 2) if name == "hand_conv1d" else (4,)
    empty = network.apply(variables, jnp.zeros((0, 5, *features)))
    some = network.apply(variables, jnp.zeros((2, 5, *features)))
    assert empty.shape == (0, *some.shape[1:])


def test_an_input_that_is_the_output() -> None:
    ends = {
        "input": nir.Input({"input": np.array([3])}),
        "output": nir.Output({"output": np.array([3])}),
    }
    graph = nir.NIRGraph(ends, [("input", "output")], type_check=False)
    network, variables = snn.nir.from_nir(graph, DT, "exp")
    x = jnp.arange(6.0).reshape(1, 2, 3)
    np.testing.assert_array_equal(network.apply(variables, x), x)


def test_a_chain_that_is_too_deep_is_refused() -> None:
    names = [f"s{k}" for k in range(2000)]
    nodes = {name: nir.Scale(np.ones(1, np.float32)) for name in names} | {"lif": lif(1)}
    nodes |= {"input": nir.Input({"input": np.array([1])})}
    nodes |= {"output": nir.Output({"output": np.array([1])})}
    path = ["input", *names, "lif", names[0]]
    edges = [*zip(path, path[1:], strict=False), ("lif", "output")]
    with pytest.raises(snn.nir.NIRError, match="got a deeper chain"):
        snn.nir.from_nir(nir.NIRGraph(nodes, edges, type_check=False), DT, "exp")
