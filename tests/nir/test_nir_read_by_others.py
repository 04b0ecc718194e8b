"""Which files the official `nir.read` reads, and what is said when it refuses one that is right."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import nir
import nir_reference
import numpy as np
import pytest
from covering_rows import covered_by, first_of_each

import flax_snn as snn
from flax_snn.nir.file.files import as_graph
from flax_snn.nir.file.nir_read import refusals
from flax_snn.nir.wiring import wire

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "nir").glob("*.nir"))


def reads(path: Path) -> bool:
    """Whether `nir.read` reads a file with its type check."""
    try:
        nir.read(str(path))
    except ValueError:
        return False
    return True


def saved(graph: nir.NIRGraph, path: Path) -> list[str]:
    """The warnings with which a graph is written."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        snn.nir.save(path, graph)
    assert {w.category for w in caught} <= {snn.nir.NIRReadWarning}
    return [str(w.message) for w in caught]


def reasons(graph: nir.NIRGraph) -> list[str]:
    """The reasons that flax_snn knows, found without `nir.read`."""
    checked = as_graph(graph)
    return refusals(checked, wire(checked))


def assert_predicted(graph: nir.NIRGraph, path: Path) -> bool:
    """`nir.read` refuses a graph if and only if a reason is known, and then there is a warning."""
    said, known = saved(graph, path), reasons(graph)
    readable = reads(path)
    assert readable == (not known), known
    assert len(said) == (not readable)
    assert all(reason in said[0] for reason in known)
    snn.nir.load(path)
    return readable


def conv_graph(module: nn.Module, shape: tuple[int, ...], **given: Any) -> nir.NIRGraph:
    """A convolution with random weights, and a population behind it, as a graph."""
    network = nn.Sequential([module, snn.LIF()])
    variables = random_variables(network, shape)
    return snn.nir.to_nir(network, variables, shape, dt=1e-3, method="exp", **given)


def random_variables(network: nn.Module, shape: tuple[int, ...]) -> Any:
    """Variables of the shapes that `init` returns, without compiling it."""
    abstract = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 1, *shape)))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), abstract)


# A layer, the shape of its input, and whether `nir.read` reads it (from running nir 1.0.8).
LAYERS: dict[str, tuple[nn.Module, tuple[int, ...], bool]] = {
    "square, VALID": (nn.Conv(4, (3, 3), padding="VALID"), (9, 7, 2), True),
    "square, SAME": (nn.Conv(4, (3, 3)), (9, 7, 2), True),
    "square, numbers": (nn.Conv(4, (3, 3), padding=[(1, 1), (2, 2)]), (9, 7, 2), True),
    "square, strides": (nn.Conv(4, (3, 3), (2, 1), padding=1), (9, 7, 2), True),
    "square, dilation": (
        nn.Conv(4, (3, 3), padding="VALID", kernel_dilation=(2, 1)),
        (9, 7, 2),
        True,
    ),
    "square, SAME with strides": (nn.Conv(4, (3, 3), (2, 2)), (9, 7, 2), True),
    "3 x 5, VALID": (nn.Conv(4, (3, 5), padding="VALID"), (9, 7, 2), False),
    "5 x 3, VALID": (nn.Conv(4, (5, 3), padding="VALID"), (9, 7, 2), False),
    "2 x 3, VALID": (nn.Conv(4, (2, 3), padding="VALID"), (9, 7, 2), False),
    "1 x 3, numbers": (nn.Conv(4, (1, 3), padding=[(0, 0), (3, 3)]), (9, 7, 2), False),
    "3 x 5, SAME": (nn.Conv(4, (3, 5)), (9, 7, 2), True),
    "3 x 5, the numbers of SAME": (
        nn.Conv(4, (3, 5), padding=[(1, 1), (2, 2)]),
        (9, 7, 2),
        True,
    ),
    "3 x 5, the numbers of SAME with dilation": (
        nn.Conv(4, (3, 5), padding=[(2, 2), (4, 4)], kernel_dilation=2),
        (9, 11, 2),
        True,
    ),
    "3 x 5, strides": (nn.Conv(4, (3, 5), (2, 1), padding=[(1, 1), (2, 2)]), (8, 10, 2), False),
    "3 x 4, a stride that hides it": (nn.Conv(4, (3, 4), (1, 2), padding=0), (9, 8, 2), True),
    "3 x 4, strides": (nn.Conv(4, (3, 4), (2, 2), padding=0), (9, 9, 2), False),
    "groups": (nn.Conv(4, (3, 3), feature_group_count=2), (9, 7, 2), False),
    "one channel a group": (nn.Conv(4, (3, 3), feature_group_count=4), (9, 7, 4), False),
    "groups, 3 x 5": (
        nn.Conv(4, (3, 5), padding="VALID", feature_group_count=2),
        (9, 7, 2),
        False,
    ),
    "one axis": (nn.Conv(4, (5,), (2,), padding=2, kernel_dilation=2), (16, 2), True),
    "one axis, SAME": (nn.Conv(4, (4,)), (16, 2), True),
    "one axis, groups": (nn.Conv(4, (5,), padding=2, feature_group_count=2), (16, 2), False),
    "sums": (snn.nir.SumPool((2, 3), (1, 2), (1, 0)), (9, 7, 2), True),
    "means": (snn.nir.AvgPool((3, 2), (2, 2), (0, 1)), (9, 7, 2), True),
    "flat": (snn.nir.Flatten(), (9, 7, 2), True),
    "flat, channels first": (snn.nir.Flatten(channels_first=True), (9, 7, 2), True),
    "first two of three": (snn.nir.Flatten(channels_first=True, end=1), (9, 7, 2), True),
    "last two of three": (snn.nir.Flatten(channels_first=True, start=1), (9, 7, 2), True),
    "scale": (snn.nir.Scale((9, 7, 2)), (9, 7, 2), True),
    "delay": (snn.nir.Delay(2, 1e-3), (9, 7, 2), True),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str, tmp_path: Path) -> None:
    module, shape, readable = LAYERS[name]
    assert assert_predicted(conv_graph(module, shape), tmp_path / "a.nir") == readable


REFUSED = [name for name, (*_, readable) in LAYERS.items() if not readable]
NO_SQUARE_KERNEL = {"2 x 3, VALID"}
"""Layers for which no kernel with zeros on both sides keeps the size of the output."""


@pytest.mark.parametrize("name", REFUSED)
def test_written_for_nir_read(name: str, tmp_path: Path) -> None:
    """The same function of its input, in float64 bit for bit, in a file that `nir.read` reads."""
    module, shape, _ = LAYERS[name]
    plain = conv_graph(module, shape)
    graph = conv_graph(module, shape, for_nir_read=True)
    readable = assert_predicted(graph, tmp_path / "a.nir")
    assert readable == (name not in NO_SQUARE_KERNEL)
    x = np.random.default_rng(1).normal(size=(4, 1, shape[-1], *shape[:-1]))
    expected = nir_reference.run(plain, x, 1e-3, "exp")
    found = nir_reference.run(graph, x, 1e-3, "exp")
    # Zeros are added to the sums, in another order of summation at most.
    np.testing.assert_allclose(found["conv"], expected["conv"], rtol=0, atol=1e-13)
    assert expected["margin"] > 1e-9
    np.testing.assert_array_equal(found["lif"], expected["lif"])
    network, variables = snn.nir.from_nir(tmp_path / "a.nir", 1e-3, "exp")
    batch = jnp.asarray(np.moveaxis(np.moveaxis(x, 0, 1), 2, -1), jnp.float32)
    spikes = np.moveaxis(np.asarray(network.apply(variables, batch)), -1, 2)
    np.testing.assert_array_equal(np.moveaxis(spikes, 1, 0), expected["lif"])


def test_what_nir_read_takes_is_written_alike_with_the_option() -> None:
    for name in ("square, strides", "3 x 5, SAME", "one axis"):
        module, shape, _ = LAYERS[name]
        with_option = conv_graph(module, shape, for_nir_read=True).nodes["conv"]
        without = conv_graph(module, shape).nodes["conv"]
        np.testing.assert_array_equal(with_option.weight, without.weight)
        np.testing.assert_array_equal(with_option.padding, without.padding)


@pytest.mark.parametrize("seed", covered_by(range(30), range(8)))
def test_random_convolutions(seed: int, tmp_path: Path) -> None:
    """Kernels, strides, paddings, dilations and groups at random."""
    rng = np.random.default_rng(seed)
    axes = int(rng.integers(1, 3))

    def draw(low: int, high: int) -> tuple[int, ...]:
        return tuple(int(n) for n in rng.integers(low, high, axes))

    groups, kernel, padding = int(rng.integers(1, 3)), draw(1, 5), draw(0, 3)
    module = nn.Conv(
        4,
        kernel,
        draw(1, 4),
        padding=rng.choice(["VALID", "numbers"]).item(),
        kernel_dilation=draw(1, 3),
        feature_group_count=groups,
    )
    if module.padding == "numbers":
        module = module.clone(padding=[(p, p) for p in padding])
    shape = (*draw(9, 14), 2 * groups)
    assert_predicted(conv_graph(module, shape), tmp_path / "a.nir")
    assert_predicted(conv_graph(module, shape, for_nir_read=True), tmp_path / "b.nir")


@pytest.mark.parametrize(
    "path",
    covered_by(GOLDEN, first_of_each(GOLDEN, lambda path: tuple(path.stem.split("_")[:2]))),
    ids=lambda path: path.stem,
)
def test_files_of_other_frameworks(path: Path, tmp_path: Path) -> None:
    assert_predicted(snn.nir.load(path), tmp_path / "again.nir")


RECURRENT = snn.RNN(
    snn.Chain(
        [
            snn.RecurrentLIFCell(6, dynamics=snn.LIFDynamics(tau_syn=5e-3)),
            snn.RecurrentLIFCell(5, dynamics=snn.LIFDynamics(emit="old", reset_time="next")),
            snn.LIFCell(4, dynamics=snn.LIFDynamics(tau_syn=(3e-3, 8e-3))),
            snn.LIFCell(4, dynamics=snn.LIFDynamics(reset="none")),
            snn.LeakyIntegratorReadout(3),
        ]
    )
)


@pytest.mark.parametrize("recurrence", ["flat", "nested"])
@pytest.mark.parametrize("target", [None, "norse-1.1.0", "snntorch-1.0.0"])
def test_recurrent_networks(recurrence: Any, target: str | None, tmp_path: Path) -> None:
    euler = snn.LIFDynamics(discretization="euler")
    cells = [snn.RecurrentLIFCell(5, dynamics=euler), snn.LIFCell(3, dynamics=euler)]
    network = RECURRENT if target is None else snn.RNN(snn.Chain(cells))
    variables = random_variables(network, (7,))
    graph = snn.nir.to_nir(network, variables, 7, recurrence=recurrence, target=target)
    assert assert_predicted(graph, tmp_path / "a.nir")


def lif(*shape: int) -> nir.LIF:
    ones = np.ones(shape)
    return nir.LIF(tau=0.01 * ones, r=ones, v_leak=0 * ones, v_threshold=ones, v_reset=0 * ones)


def joined(nodes: dict[str, Any], paths: str) -> nir.NIRGraph:
    """Nodes connected along paths: names with spaces between them, commas between paths."""
    edges = []
    for path in paths.split(","):
        names = path.split()
        edges += list(zip(names[:-1], names[1:], strict=True))
    return nir.NIRGraph(nodes, edges, type_check=False)


def ends(first: tuple[int, ...], last: tuple[int, ...]) -> dict[str, Any]:
    return {
        "input": nir.Input({"input": np.array(first)}),
        "output": nir.Output({"output": np.array(last)}),
    }


def convolution(*kernel: int) -> nir.Conv2d:
    weight = np.ones((2, 2, *kernel), np.float32)
    return nir.Conv2d((6, 5), weight, (1, 1), (0, 0), (1, 1), 1, np.zeros(2, np.float32))


def nested(kernel: tuple[int, int]) -> nir.NIRGraph:
    """A convolution in a nested graph, which nir checks without being asked to."""
    sent = (2, 7 - kernel[0], 6 - kernel[1])
    inner = joined({"conv": convolution(*kernel), **ends((2, 6, 5), sent)}, "input conv output")
    nodes = {"front": inner, "lif": lif(*sent), **ends((2, 6, 5), sent)}
    return joined(nodes, "input front lif output")


def inner_output_feeds_back() -> nir.NIRGraph:
    matrix = nir.Linear(np.ones((3, 3), np.float32))
    inner = joined(
        {"lif": lif(3), "back": matrix, **ends((3,), (3,))},
        "input lif output back lif",
    )
    return joined({"layer": inner, **ends((3,), (3,))}, "input layer output")


NESTED = {
    "3 x 3": (nested((3, 3)), True, ""),
    "3 x 2": (nested((3, 2)), False, r"node 'front.conv' \(Conv2d\) has a kernel of 3 x 2"),
    "an Output that feeds back": (
        inner_output_feeds_back(),
        False,
        "the Output of the nested graph 'layer' feeds further nodes",
    ),
}


@pytest.mark.parametrize("name", NESTED)
def test_nested_graphs(name: str, tmp_path: Path) -> None:
    graph, readable, text = NESTED[name]
    path = tmp_path / "a.nir"
    assert assert_predicted(graph, path) == readable
    if readable:
        return
    (said,) = saved(graph, path)
    assert re.search(text, said) and "put the nodes of the nested graph" in said
    with pytest.raises(ValueError):  # The remedy for other graphs is none for these.
        nir.read(str(path), type_check=False)


def test_the_warning_names_node_reason_and_remedies(tmp_path: Path) -> None:
    module, shape, _ = LAYERS["groups, 3 x 5"]
    path = tmp_path / "a.nir"
    (said,) = saved(conv_graph(module, shape), path)
    assert said.startswith("a.nir: the file is right, and nir.read refuses it")
    assert "ValueError: Type inference error: type mismatch: input.output" in said
    assert "node 'conv' (Conv2d) has 2 groups, and nir takes the 1 input channels" in said
    assert "kernel of 3 x 5" in said and "(4, 7, 5) instead of (4, 7, 3)" in said
    assert "nir.read(path, type_check=False)" in said and "for_nir_read=True" in said
    assert set(nir.read(str(path), type_check=False).nodes) == {"conv", "input", "lif", "output"}


def test_input_shapes_that_nir_leaves_open_are_written(tmp_path: Path) -> None:
    """nir has None for them in memory, and cannot write it."""
    graph = nested((3, 3))
    graph.nodes["front"].nodes["conv"].input_shape = None
    flat = nir.Flatten({"input": None}, 0, -1)
    one = nir.Conv1d(None, np.ones((2, 2, 3), np.float32), 1, 0, 1, 1, np.zeros(2, np.float32))
    line = joined({"conv": one, "flat": flat, **ends((2, 8), (12,))}, "input conv flat output")
    for each in (graph, line):
        assert assert_predicted(each, tmp_path / "a.nir")
    read = nir.read(str(tmp_path / "a.nir"))
    assert read.nodes["conv"].input_shape == 8
    np.testing.assert_array_equal(read.nodes["flat"].input_type["input"], [2, 6])
    assert one.input_shape is None and flat.input_type == {"input": None}


def without_value(graph: nir.NIRGraph) -> None:
    graph.metadata["author"] = None


def name_with_slash(graph: nir.NIRGraph) -> None:
    graph.nodes["a/b"] = graph.nodes.pop("lif")
    graph.edges = [("input", "a/b"), ("a/b", "output")]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (without_value, "values that a NIR file can store, got TypeError"),
        (name_with_slash, "'a/b': expected a name without"),
    ],
)
def test_graphs_that_a_file_cannot_store(spoil: Any, reason: str, tmp_path: Path) -> None:
    graph = nir.NIRGraph.from_list(lif(3))
    spoil(graph)
    with pytest.raises(snn.nir.NIRError, match=reason):
        snn.nir.save(tmp_path / "a.nir", graph)
    assert list(tmp_path.iterdir()) == []
