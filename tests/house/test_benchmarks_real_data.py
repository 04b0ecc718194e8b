"""The benchmark on recorded data goes on where it was stopped, and its rivals are what they say."""

import json
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest

from benchmarks.accuracy import conventional, real_data
from benchmarks.rows import Row
from train.tasks.find import find_task
from train.tasks.spoken_digits.settings import SpokenDigitsConfig


@pytest.mark.parametrize("dilation", [1, 4])
def test_taps_are_a_causal_dilated_convolution(dilation: int) -> None:
    x = jax.random.normal(jax.random.key(0), (2, 11, 3))
    layer = nn.Conv(5, (3,), kernel_dilation=(dilation,), padding="CAUSAL", use_bias=False)
    variables = layer.init(jax.random.key(1), x)
    kernel = variables["params"]["kernel"]
    found = conventional._taps(x, dilation) @ kernel[::-1].reshape(9, 5)
    np.testing.assert_allclose(found, layer.apply(variables, x), atol=1e-5)  # sums of 9 in float32


@pytest.mark.parametrize("task", [conventional.GRU(), conventional.TCN()])
def test_rivals_have_the_size_of_the_default_network(task: Any) -> None:
    def size(task: Any, settings: Any) -> int:
        params = jax.eval_shape(task.build(settings).init, jax.random.key(0))
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    own = size(find_task("spoken_digits"), SpokenDigitsConfig())
    assert abs(size(task, task.settings()) / own - 1) < 0.01


def test_a_run_that_is_stored_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, done = tmp_path / "real_data.json", []

    def once(task: str, name: str, row: Row, flags: str, more: Any, common: str) -> Any:
        done.append(flags)
        if len(done) == 2:
            raise KeyboardInterrupt
        return f"--seed {flags[-1]}", {"test": 0.5 + 0.1 * int(flags[-1])}

    monkeypatch.setattr(real_data, "RESULTS", results)
    monkeypatch.setattr(real_data, "once", once)
    name, case = "digits", real_data.Case("spoken_digits", "spoken_digits", Row("--epochs 2"))
    with pytest.raises(KeyboardInterrupt):
        real_data.measure(name, case, tmp_path)
    real_data.measure(name, case, tmp_path)
    assert [flags[-1] for flags in done] == ["0", "1", "1", "2"]
    row = json.loads(results.read_text())["rows"][name]
    assert list(row["runs"]) == ["--seed 0", "--seed 1", "--seed 2"] and row["mean"] == 0.6
    # Other flags are another row: nothing of it is there.
    other = real_data.Case("spoken_digits", "spoken_digits", Row("--epochs 3", (0,)))
    real_data.measure(name, other, tmp_path)
    assert len(done) == 5
    assert list(json.loads(results.read_text())["rows"][name]["runs"]) == ["--seed 0"]


def test_the_mean_over_speakers_needs_all_of_them() -> None:
    rows = {
        f"speakers: GRU without {s}": {"mean": k / 10} for k, s in enumerate(real_data.SPEAKERS)
    }
    assert real_data.over_speakers(rows) == {"GRU": {"mean": 0.25, "worst": 0.0}}
    del rows["speakers: GRU without theo"]
    assert real_data.over_speakers(rows) == {}


def test_each_network_had_as_many_runs_to_choose_from() -> None:
    assert len({len(rates) for _, rates in real_data.RATES.values()}) == 1
    assert all(real_data.CHOSEN_RATE[name] in rates for name, (_, rates) in real_data.RATES.items())
    assert not set(real_data.CHOSEN) & set(real_data.REPORTED)
