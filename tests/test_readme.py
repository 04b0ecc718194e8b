"""The code of the README runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_python_of_the_readme_runs(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) == 6
    x = (jax.random.uniform(jax.random.key(0), (4, 6, 8)) < 0.3).astype(jnp.float32)
    names: dict[str, Any] = {"key": jax.random.key(1), "x_first": x[:, 0], "jnp": jnp}
    names["stream"] = [x[:, t] for t in range(6)]

    exec(blocks[0], names)
    v, _ = names["net"].init_with_output(jax.random.key(2), x)
    assert v.shape == (4, 6, 10)

    exec(blocks[1], names)
    promised = [line[2:] for line in blocks[1].splitlines() if line.startswith("# ")]
    assert capsys.readouterr().out.splitlines() == promised

    exec(blocks[2], names)
    snn = names["snn"]
    whole = snn.RNN(snn.LIFCell(16)).apply({"params": names["params"]}, x)
    np.testing.assert_array_equal(names["spikes"], whole[:, -1])

    exec(blocks[3], names)
    assert names["spikes"].time.shape == names["spikes"].index.shape
    assert names["grid"].shape == (1, 400, 3)

    monkeypatch.chdir(tmp_path)
    exec(blocks[4], names)
    expected = names["network"].apply(names["variables"], jnp.ones((8, 100, 20)))
    np.testing.assert_array_equal(names["v"], expected)
    assert len(blocks[4].splitlines()) == 6

    exec(blocks[5], names)
    assert names["spikes"].shape == (8, 100, 64)
    held = names["day"]["crossbar"]["cell"]["input_dot_general"]["chip"]
    assert float(held.time) == 86400.0
