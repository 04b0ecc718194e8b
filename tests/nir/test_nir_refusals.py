"""Files that are not valid are refused; the error names node, field and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import nir
import numpy as np
import pytest

import flax_snn as snn

BAD = Path(__file__).parents[1] / "golden" / "nir" / "bad"

REASONS = {
    "bad_groups": "'conv' (Conv2d): groups: expected a number that divides the 3 output channels",
    "bad_padding": "'conv' (Conv2d): padding: expected whole numbers >= 0, 'same' or 'valid'",
    "batch_in_shapes": "'0_LinearTorch' .* neither batch nor time.*rockpool-3.1.0",
    "complex_weight": "'aff' (Affine): weight: expected real numbers, got complex",
    "cycle_two_linear": "'a', 'b': expected a neuron or a Delay",
    "cycle_without_state": "'rec': expected a neuron or a Delay",
    "cycle_zero_delay": "'a', 'd': expected a neuron or a Delay of at least one step",
    "dead_end": "'li': expected a path to the Output",
    "delay_negative": "'delay' (Delay): delay: expected seconds >= 0",
    "duplicate_edge": "edge 'aff' -> 'lif': expected each edge once",
    "empty": "expected a readable HDF5 file",
    "extra_field": "'lif' (LIF): .* unknown refractory",
    "flatten_mismatch": "'flat' (Flatten): expected its input_type (3, 4, 5)",
    "inf_weight": "'aff' (Affine): weight: expected finite numbers, got inf",
    "missing_edge_source": "edge 'nowhere' -> 'lif'.*an edge from 'nowhere', which does not exist",
    "missing_edge_target": "edge 'li' -> 'nowhere'.*an edge to 'nowhere', which does not exist",
    "missing_field": "'lif' (LIF): expected a field 'v_threshold', got none",
    "missing_type": "'lif': expected a group with a field 'type'",
    "nan_tau": "'lif' (LIF): tau: expected finite numbers, got nan",
    "negative_tau": "'lif' (LIF): tau: expected numbers > 0, got -0.01",
    "no_input": "expected one Input node, got 0",
    "no_node_group": "expected a group '/node'",
    "no_output": "expected one Output node, got 0",
    "not_hdf5": "expected a readable HDF5 file",
    "string_weight": "'aff' (Affine): weight: expected numbers, got '1,2,3'",
    "threshold_below_reset": "'lif' (LIF): v_reset: .*it: the neuron would fire in every step",
    "truncated": "expected a readable HDF5 file.*truncated",
    "unequal_parameter_shapes": "'lif' (LIF): expected parameters of one shape.*r (5,)",
    "unknown_node_type": "'lif': expected a type among .*, got 'AdEx'",
    "wrong_shapes": "'out' (Affine): expected 7 inputs.*shape (6,) from 'lif'",
    "zero_tau": "'li' (LI): tau: expected numbers > 0, got 0",
}


def pattern(text: str) -> str:
    return ".*".join(re.escape(part) for part in text.split(".*"))


def test_there_is_a_reason_for_every_file() -> None:
    assert set(REASONS) == {path.stem for path in BAD.glob("*.nir")}


@pytest.mark.parametrize("method", ["euler", "exp"])
@pytest.mark.parametrize("name", sorted(REASONS))
def test_malformed_files(name: str, method: Any) -> None:
    with pytest.raises(snn.nir.NIRError, match=f"(?s){pattern(REASONS[name])}"):
        snn.nir.from_nir(BAD / f"{name}.nir", 1e-3, method)
    with pytest.raises(snn.nir.NIRError, match=f"(?s){pattern(REASONS[name])}"):
        snn.nir.load(BAD / f"{name}.nir")


def small() -> nir.NIRGraph:
    ones = np.ones(3)
    return nir.NIRGraph.from_list(
        nir.Affine(weight=np.ones((3, 2)), bias=np.zeros(3)),
        nir.LIF(tau=0.01 * ones, r=ones, v_leak=0 * ones, v_threshold=ones, v_reset=0 * ones),
    )


def huge(file: h5py.File) -> None:
    del file["node/nodes/affine/weight"]
    # A terabyte is declared, nothing is stored.
    file.create_dataset("node/nodes/affine/weight", (2**20, 2**18), "f4", chunks=(1024, 1024))


def bomb(file: h5py.File) -> None:
    del file["node/nodes/affine/weight"]
    zeros = np.zeros((64, 2**20), np.float32)
    file.create_dataset("node/nodes/affine/weight", data=zeros, compression="gzip")


def outside(file: h5py.File) -> None:
    del file["node/nodes/affine/weight"]
    file["node/nodes/affine/weight"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(file: h5py.File) -> None:
    del file["node/nodes/affine"]
    file["node/nodes/affine"] = h5py.SoftLink("/node")


def external_data(file: h5py.File) -> None:
    del file["node/nodes/affine/weight"]
    file.create_dataset("node/nodes/affine/weight", (3, 2), "f4", external=[("/etc/passwd", 0, 24)])


def virtual(file: h5py.File) -> None:
    del file["node/nodes/affine/weight"]
    layout = h5py.VirtualLayout((3, 2), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3, 2))
    file.create_virtual_dataset("node/nodes/affine/weight", layout)


def itself(file: h5py.File) -> None:
    file["node/nodes/again"] = file["node"]


def reference(file: h5py.File) -> None:
    del file["node/nodes/affine/weight"]
    file.create_dataset("node/nodes/affine/weight", data=file["node"].ref, dtype=h5py.ref_dtype)


def compound(file: h5py.File) -> None:
    del file["node/nodes/affine/weight"]
    pairs = np.zeros((3, 2), [("a", "f4"), ("b", "f4")])
    file.create_dataset("node/nodes/affine/weight", data=pairs)


def ragged(file: h5py.File) -> None:
    del file["node/nodes/affine/weight"]
    rows = file.create_dataset("node/nodes/affine/weight", (3,), h5py.vlen_dtype(np.float32))
    for k in range(3):
        rows[k] = np.ones(k + 1, np.float32)


def long_name(file: h5py.File) -> None:
    del file["node/edges"]
    text = h5py.string_dtype()
    file.create_dataset("node/edges", data=[["a" * 2**21, "b"]], dtype=text)


def number_as_type(file: h5py.File) -> None:
    del file["node/nodes/affine/type"]
    file["node/nodes/affine/type"] = 3


def type_as_group(file: h5py.File) -> None:
    del file["node/nodes/affine/weight"]
    file["node/nodes/affine/weight/deeper"] = 3


def empty_weight(file: h5py.File) -> None:
    del file["node/nodes/affine/weight"]
    file["node/nodes/affine/weight"] = h5py.Empty("f4")


def edge_numbers(file: h5py.File) -> None:
    del file["node/edges"]
    file["node/edges"] = np.ones((3, 2))


def edge_triples(file: h5py.File) -> None:
    del file["node/edges"]
    file["node/edges"] = np.array([["a", "b", "c"]], "S4")


HOSTILE: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "huge declared shape": (huge, "bytes declared and 0 stored"),
    "more than may be read": (bomb, "at most 1000000 bytes"),
    "link to another file": (outside, "ExternalLink"),
    "link within the file": (soft_link, "SoftLink"),
    "data in another file": (external_data, "in another one"),
    "virtual data": (virtual, "in another one"),
    "a group in itself": (itself, "deep"),
    "reference": (reference, "numbers or strings"),
    "compound": (compound, "numbers or strings"),
    "ragged rows": (ragged, "numbers or strings"),
    "very long name": (long_name, "characters"),
    "type as a number": (number_as_type, "a field 'type'"),
    "group for an array": (type_as_group, "real numbers"),
    "empty data set": (empty_weight, "an empty data set"),
    "edges as numbers": (edge_numbers, "an edge from '1.0', which does not exist"),
    "edges of three": (edge_triples, "a list of them, or pairs"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name: str, tmp_path: Path) -> None:
    spoil, reason = HOSTILE[name]
    path = tmp_path / "hostile.nir"
    nir.write(str(path), small())
    assert snn.nir.load(path).nodes  # as it is written, it reads
    with h5py.File(path, "a") as file:
        spoil(file)
    with pytest.raises(snn.nir.NIRError, match=reason):
        snn.nir.from_nir(path, 1e-3, "exp", max_bytes=10**6)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        snn.nir.from_nir(tmp_path / "none.nir", 1e-3, "exp")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((0.0, "exp"), "dt: expected a finite number of seconds > 0"),
        ((float("nan"), "exp"), "dt: expected a finite"),
        (("1ms", "exp"), "dt: expected the length of a step"),
        ((1e-3, "exact"), "method: expected 'euler' or 'exp', got 'exact'"),
        ((0.02, "euler"), "tau: expected Euler steps of dt=0.02 s at most"),
        ((1e-3, "exp", "norse"), "producer: expected None or one of norse-1.1.0"),
        ((1e-3, "exp", "norse-1.1.0"), "method: expected 'euler', with which norse-1.1.0"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_arguments(arguments: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(snn.nir.NIRError, match=reason):
        snn.nir.from_nir(small(), *arguments)


def test_what_is_no_graph() -> None:
    with pytest.raises(snn.nir.NIRError, match="expected a nir.NIRGraph or the path of a file"):
        snn.nir.from_nir(3, 1e-3, "exp")


def delayed(seconds: list[float]) -> nir.NIRGraph:
    return nir.NIRGraph.from_list(nir.Delay(np.array(seconds)))


def test_delays_between_two_steps() -> None:
    with pytest.raises(snn.nir.NIRError, match="whole steps of dt=0.001 s, got 1.4 steps"):
        snn.nir.from_nir(delayed([1e-3, 1.4e-3]), 1e-3, "exp")
    network, variables = snn.nir.from_nir(delayed([1e-3, 1.4e-3]), 1e-3, "exp", round_delays=True)
    steps = jnp.arange(1.0, 4.0)[None, :, None] * jnp.ones((1, 1, 2))
    np.testing.assert_array_equal(network.apply(variables, steps)[0, :, 0], [0.0, 1.0, 2.0])


def test_dt_and_method_of_the_file_are_not_changed_silently(tmp_path: Path) -> None:
    network, variables = snn.nir.from_nir(small(), 1e-3, "exp")
    graph = snn.nir.to_nir(network, variables, (2,))
    assert (graph.metadata["dt"], graph.metadata["method"]) == (1e-3, "exp")
    with pytest.raises(snn.nir.NIRError, match="dt: expected 0.001 s, for which the file"):
        snn.nir.from_nir(graph, 2e-3, "exp")
    with pytest.raises(snn.nir.NIRError, match="method: expected 'exp', for which the file"):
        snn.nir.from_nir(graph, 1e-3, "euler")
    again, _ = snn.nir.from_nir(graph, 2e-3, "euler", override=True)
    assert again.cell.dynamics.dt == 2e-3


def test_weights_out_of_range_of_their_dtype() -> None:
    graph = nir.NIRGraph.from_list(nir.Linear(np.full((2, 2), 1e39)))
    with pytest.raises(snn.nir.NIRError, match="'linear' .*weight: .* range of float32, got 1e"):
        snn.nir.from_nir(graph, 1e-3, "exp")


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"reset": "sometimes"}, "reset: expected one of 'hard', 'soft', 'none'"),
        ({"refractory": 1.5e-3}, "refractory: expected a whole number of steps"),
        ({"refractory": -1e-3}, "refractory: expected a whole number"),
        ({"fire": "maybe"}, "fire: expected one of"),
        ({"start": float("nan")}, "metadata start: expected a finite number"),
        ({"start": "high"}, "metadata start: expected a finite number"),
        ({"surrogate": "exp(-x)"}, "surrogate: expected one of"),
    ],
)
def test_metadata_without_a_meaning(metadata: dict[str, Any], reason: str) -> None:
    graph = small()
    graph.nodes["lif"].metadata = metadata
    with pytest.raises(snn.nir.NIRError, match=reason):
        snn.nir.from_nir(graph, 1e-3, "exp")


def test_unknown_metadata_are_ignored() -> None:
    graph = small()
    graph.metadata = {"author": "x", "dt": "unknown"}
    graph.nodes["lif"].metadata = {"note": np.arange(3), "refractory_steps": 0}
    network, variables = snn.nir.from_nir(graph, 1e-3, "exp")
    plain, expected = snn.nir.from_nir(small(), 1e-3, "exp")
    assert network == plain
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
