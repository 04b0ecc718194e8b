"""The code of the README runs as it stands there, and gives what the README says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


X = (jax.random.uniform(jax.random.key(0), (4, 6, 8)) < 0.3).astype(jnp.float32)


def check_network(names: dict[str, Any], shown: str, block: str) -> None:
    v, _ = names["net"].init_with_output(jax.random.key(2), X)
    assert v.shape == (4, 6, 10)


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
    expected = names["network"].apply(names["variables"], jnp.ones((8, 100, 20)))
    np.testing.assert_array_equal(names["v"], expected)


def check_crossbar(names: dict[str, Any], shown: str, block: str) -> None:
    assert names["spikes"].shape == (8, 100, 64) and float(names["spikes"].max()) == 1.0
    chip = names["day"]["crossbar"]["cell"]["input_dot_general"]["chip"]
    assert float(chip.time) == 86400.0


# What a block of code holds, and what is true after it has run.
CHECKS = {
    "nn.Sequential(": check_network,
    "describe()": check_printed,
    "snn.Stateful(": check_stream,
    "snn.event.RNN(": check_events,
    "snn.nir.save(": check_interchange,
    "snn.crossbar.program(": check_crossbar,
}


@pytest.mark.slow
def test_the_python_of_the_readme_runs(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All blocks, one after the other: a block may use names of those before it."""
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
