"""The code of the README runs as it stands there, and gives what the README says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
REFERENCE = ROOT / "checkpoints" / "randman_reference"


X = (jax.random.uniform(jax.random.key(0), (4, 6, 8)) < 0.3).astype(jnp.float32)


def check_trained(names: dict[str, Any], shown: str, block: str) -> None:
    assert float(shown.split()[-1]) > 0.95


def check_restored(names: dict[str, Any], shown: str, block: str) -> None:
    stored = json.loads((REFERENCE / "result.json").read_text())
    assert names["accuracy"] == stored["test_accuracy"]
    counts = (
        names["net"].apply(names["variables"], names["run"].data("test").inputs[:8]).sum(axis=1)
    )
    np.testing.assert_allclose(names["logits"], 0.5 * counts, rtol=1e-6)


def check_printed(names: dict[str, Any], shown: str, block: str) -> None:
    assert shown.splitlines() == [line[2:] for line in block.splitlines() if line[:2] == "# "]


def check_stream(names: dict[str, Any], shown: str, block: str) -> None:
    snn = names["snn"]
    whole = snn.RNN(snn.LIFCell(16)).apply({"params": names["params"]}, X)
    np.testing.assert_array_equal(names["spikes"], whole[:, -1])


def check_events(names: dict[str, Any], shown: str, block: str) -> None:
    events, grid = names["spikes"], names["grid"]
    counts = np.asarray(grid)[0].sum(axis=0)
    np.testing.assert_array_equal(np.asarray(events.counts())[0], counts)
    first = np.where(counts > 0, np.argmax(np.asarray(grid)[0] > 0, axis=0) * 1e-4, np.inf)
    # A grid sees a spike up to a step late, and counts it at the beginning of its step.
    np.testing.assert_allclose(events.first_times()[0], first, rtol=0, atol=2e-4)


def check_interchange(names: dict[str, Any], shown: str, block: str) -> None:
    run = names["run"]
    expected = run.network.apply(run.variables, jnp.ones((8, 100, 20)))
    np.testing.assert_array_equal(names["outputs"], expected)


# What a block of code holds, and what is true after it has run.
CHECKS = {
    "optax.adam(": check_trained,
    "train.restore(": check_restored,
    "describe()": check_printed,
    "snn.Stateful(": check_stream,
    "snn.event.RNN(": check_events,
    "snn.nir.save(": check_interchange,
}


@pytest.mark.slow
@pytest.mark.optimizer
def test_the_python_of_the_readme_runs(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All blocks, one after the other: a block may use names of those before it."""
    # Where the user is: in a clone, or somewhere beside it.
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {"key": jax.random.key(1), "x_first": X[:, 0], "jnp": jnp}
    names["stream"] = [X[:, t] for t in range(6)]
    checked = []
    for block in blocks:
        exec(block, names)
        shown = capsys.readouterr().out
        for text in [text for text in CHECKS if text in block]:
            CHECKS[text](names, shown, block)
            checked.append(text)
    assert sorted(checked) == sorted(CHECKS)
