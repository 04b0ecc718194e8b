"""Files of other frameworks compute here what they computed there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import nir_reference
import numpy as np
import pytest
from covering_rows import covered_by, first_of_each

import flax_snn as snn

GOLDEN = Path(__file__).parents[1] / "golden" / "nir"

# Keys of the golden files that a reading must equal, with the step and method of its framework.
# Without a preset: what the files say.
STRICT: dict[str, tuple[float, str, tuple[str, ...]]] = {
    **dict.fromkeys(
        ("jaxpike_conv", "jaxpike_conv_valid_stride", "jaxpike_lif", "jaxpike_lif_lif"),
        (1e-3, "exp", ("y", "y_original")),
    ),
    "jaxpike_linearlif": (1e-3, "exp", ("y", "y_original")),
    "norse_cubalif": (1e-6, "euler", ("y",)),
    "norse_lif": (1e-6, "euler", ("y", "y_original")),
    "norse_lif_li": (1e-6, "euler", ("y_original",)),
    "norse_lif_soft": (1e-6, "euler", ("y",)),
    "snntorch_conv": (1e-4, "euler", ("y_original",)),
    "snntorch_conv_only": (1e-4, "euler", ("y", "y_original")),
    "snntorch_conv_stride": (1e-4, "euler", ("y_original",)),
    "snntorch_cubalif": (1e-4, "euler", ("y", "y_original")),
    "snntorch_default_soft_delayed": (1e-4, "euler", ("y",)),
    "snntorch_lif": (1e-4, "euler", ("y", "y_original")),
    "snntorch_lif_nobias": (1e-4, "euler", ("y", "y_original")),
    "snntorch_rec": (1e-4, "euler", ("y_original",)),
    "snntorch_rec_diag": (1e-4, "euler", ("y_original",)),
    **dict.fromkeys(
        (
            "spikingjelly_conv",
            "spikingjelly_conv1d",
            "spikingjelly_cubalif",
            "spikingjelly_lif",
            "spikingjelly_lif_decay_input",
            "spikingjelly_plif",
            "spikingjelly_rec",
            "spikingjelly_rec_cubalif",
        ),
        (1e-3, "euler", ("y", "y_original")),
    ),
}

# With a preset: what the framework computed before it wrote the file.
PRESET: dict[str, tuple[str, float, str]] = {
    **{f"norse_{n}": ("norse-1.1.0", 1e-3, "euler") for n in ("cubalif", "iaf", "lif", "lif_li")},
    "norse_lif_soft": ("norse-1.1.0-soft", 1e-3, "euler"),
    **{
        f"rockpool_{name}": ("rockpool-3.1.0", 1e-3, "exp")
        for name in ("cubalif", "cubalif_linear", "expsyn", "lif")
    },
    "sinabs_iaf_conv": ("sinabs-3.1.3", 1.0, "exp"),
    "sinabs_lif": ("sinabs-3.1.3", 1e-3, "exp"),
    "sinabs_lif_norm_input": ("sinabs-3.1.3-norm_input", 1e-3, "exp"),
    "snntorch_default_soft_delayed": ("snntorch-1.0.0-subtract", 1e-4, "euler"),
    **{
        f"spyx_{name}": ("spyx-1.0.0", 1e-3, "euler")
        for name in ("conv", "cubalif", "lif", "lif_nobias", "psu_lif", "rec")
    },
    **{
        name: ("spikingjelly-2.0.0", dt, method)
        for name, (dt, method, _) in STRICT.items()
        if name.startswith("spikingjelly")
    },
    **{
        name: ("jaxpike-0.1.4", dt, method)
        for name, (dt, method, _) in STRICT.items()
        if name.startswith("jaxpike")
    },
    **{
        name: ("snntorch-1.0.0", dt, method)
        for name, (dt, method, keys) in STRICT.items()
        if name.startswith("snntorch") and "y_original" in keys
    },
}

# Files that no preset can read: the recurrent weights, or the rule of the reset, are not in them.
WRONG_IN_THE_FILE = {"rockpool_cubalif_rec", "snntorch_rec_synaptic"}

HANDS = sorted(path.stem for path in GOLDEN.glob("hand_*.nir"))
PEERS = sorted(path.stem for path in GOLDEN.glob("*.nir") if not path.stem.startswith("hand_"))


def inputs(name: str) -> tuple[np.ndarray, Any]:
    """Input of a golden file, batch-major with channels last, and the file."""
    data = np.load(GOLDEN / f"{name}.npz")
    x = np.moveaxis(data["x"].astype(np.float32), 0, 1)
    return (x if x.ndim == 3 else np.moveaxis(x, 2, -1)), data


def time_major(y: Any) -> np.ndarray:
    y = np.moveaxis(np.asarray(y), 1, 0)
    return y if y.ndim == 3 else np.moveaxis(y, -1, 2)


def outputs(name: str, dt: float, method: Any, producer: str | None = None, **given: Any) -> Any:
    network, variables = snn.nir.from_nir(GOLDEN / f"{name}.nir", dt, method, producer, **given)
    x, data = inputs(name)
    return time_major(jax.jit(network.apply)(variables, jnp.asarray(x))), data


def assert_equal_output(found: np.ndarray, expected: np.ndarray) -> None:
    if set(np.unique(expected)) <= {0.0, 1.0}:
        np.testing.assert_array_equal(found, expected)
    else:
        # Sums of some 40 float32 products, over 40 steps; ExpSyn reaches 40.
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-5)


def test_all_files_are_in_the_tables() -> None:
    assert len(HANDS) >= 19 and len(PEERS) >= 42 and len(STRICT) >= 26
    assert set(PRESET) | set(STRICT) | WRONG_IN_THE_FILE == set(PEERS)
    assert set(PRESET) == set(PEERS) - WRONG_IN_THE_FILE


@pytest.mark.parametrize("method", ["euler", pytest.param("exp", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", HANDS)
def test_hand_written_files(name: str, method: str) -> None:
    # One of the files says that it is meant for Euler.
    given = {"override": True} if name == "hand_names_and_metadata" else {}
    found, data = outputs(name, 1e-3, method, **given)
    assert_equal_output(found, data[f"y_{method}"])


def kind_of(name: str) -> Any:
    """The framework that wrote a file, and whether it has recurrent weights or convolutions."""
    return name.split("_")[0], "rec" in name, "conv" in name


def one_of_each_kind(names: Any) -> Any:
    """One file of each kind by default, all of them in the slow suite."""
    return covered_by(sorted(names), first_of_each(sorted(names), kind_of))


@pytest.mark.parametrize("name", one_of_each_kind(STRICT))
def test_files_that_mean_what_they_say(name: str) -> None:
    dt, method, keys = STRICT[name]
    found, data = outputs(name, dt, method)
    for key in keys:
        assert_equal_output(found, data[key])


@pytest.mark.parametrize("name", one_of_each_kind(PRESET))
def test_files_with_a_preset(name: str) -> None:
    producer, dt, method = PRESET[name]
    found, data = outputs(name, dt, method, producer)
    assert_equal_output(found, data["y_original"])


@pytest.mark.parametrize("name", one_of_each_kind(set(PRESET) - set(STRICT)))
def test_files_that_need_a_preset_need_it(name: str) -> None:
    producer, dt, method = PRESET[name]
    found, data = outputs(name, dt, method)
    assert np.abs(found - data["y_original"]).max() > 1e-3


QUICK = (
    "hand_delay",
    "hand_nested_depth2",
    "hand_rec_two_layer",
    "rockpool_cubalif",
    "sinabs_iaf_conv",
    "spyx_rec",
)
"""Files with all that can happen on a round trip; the others run with the slow tests."""


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted({*PEERS, *HANDS})
    ],
)
def test_round_trip_is_bit_exact(name: str, tmp_path: Path) -> None:
    """A file that is read and written comes back with the same variables and the same output."""
    producer, dt, method = PRESET.get(name, (None, 1e-3 if name in HANDS else 1e-4, "euler"))
    network, variables = snn.nir.from_nir(GOLDEN / f"{name}.nir", dt, method, producer)
    x, _ = inputs(name)
    graph = snn.nir.to_nir(network, variables, x.shape[2:], dt, method, allow=tuple(snn.nir.LEAVES))
    snn.nir.save(tmp_path / "again.nir", graph)
    again, same = snn.nir.from_nir(tmp_path / "again.nir", dt, method)
    expected = jax.tree_util.tree_leaves_with_path(variables)
    found = jax.tree_util.tree_leaves_with_path(same)
    assert [path for path, _ in found] == [path for path, _ in expected]
    for (_, a), (_, b) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(again.apply(same, x), network.apply(variables, x))


@pytest.mark.parametrize("method", ["euler", pytest.param("exp", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [n for n in HANDS if n != "hand_names_and_metadata"])
def test_what_is_written_means_the_same(name: str, method: str) -> None:
    """The plain loop of the tests computes the same from a file and from what is written."""
    x, data = inputs(name)
    graph = snn.nir.load(GOLDEN / f"{name}.nir")
    loop = nir_reference.run(graph, data["x"], 1e-3, method)
    np.testing.assert_allclose(loop["output"], data[f"y_{method}"], rtol=1e-5, atol=1e-6)
    network, variables = snn.nir.from_nir(graph, 1e-3, method)
    written = snn.nir.to_nir(network, variables, x.shape[2:], 1e-3, method)
    again = nir_reference.run(written, data["x"], 1e-3, method)
    np.testing.assert_allclose(again["output"], loop["output"], rtol=1e-5, atol=1e-5)
