"""The code of the README runs as it stands there, and gives what the README says."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
REFERENCE = ROOT / "checkpoints" / "randman_reference"
RESULTS = ROOT / "benchmarks" / "results"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def check_trained(names: dict[str, Any], shown: str, block: str) -> None:
    assert float(shown.split()[-1]) > 0.98


def check_restored(names: dict[str, Any], shown: str, block: str) -> None:
    stored = json.loads((REFERENCE / "result.json").read_text())
    assert names["accuracy"] == stored["test_accuracy"]
    counts = (
        names["net"].apply(names["variables"], names["run"].data("test").inputs[:8]).sum(axis=1)
    )
    np.testing.assert_allclose(names["logits"], 0.5 * counts, rtol=1e-6)


def check_printed(names: dict[str, Any], shown: str, block: str) -> None:
    assert shown.splitlines() == [line[2:] for line in block.splitlines() if line[:2] == "# "]


# What a block of code holds, and what is true after it has run.
CHECKS = {
    "optax.adam(": check_trained,
    "train.restore(": check_restored,
    "describe()": check_printed,
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
    names: dict[str, Any] = {}
    checked = []
    for block in blocks:
        exec(block, names)
        shown = capsys.readouterr().out
        for text in [text for text in CHECKS if text in block]:
            CHECKS[text](names, shown, block)
            checked.append(text)
    assert sorted(checked) == sorted(CHECKS)


def section(title: str) -> str:
    return README.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_flax_feature_names_tests_that_exist() -> None:
    rows = re.findall(r"^\| (.*?) \| (.*) \|$", section("Flax features that work"), re.MULTILINE)
    assert len(rows) > 15
    for feature, tests in rows[1:]:
        if set(feature) <= {"-", "|"}:
            continue
        named = NAMED.findall(tests)
        assert named and not NAMED.sub("", tests).strip(", "), f"{feature}: name tests only"
        for file, name in named:
            body = ast.parse((ROOT / file).read_text()).body
            functions = {item.name for item in body if isinstance(item, ast.FunctionDef)}
            assert name.startswith("test_") and name in functions, f"no test {file}::{name}"


def test_tests_that_documents_name_exist() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for file, name in NAMED.findall(document.read_text()):
            found = re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
            assert found, f"{document.name} names {file}::{name}"


def stored(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def percent(row: Any) -> str:
    return f"{100 * row['mean']:.2f} ± {100 * row['deviation']:.2f} %"


def figures() -> dict[str, list[str]]:
    """What a row of the table of results begins with, and what it has to say."""
    randman, yin_yang = stored("randman")["rows"], stored("yin_yang")["rows"]
    online = stored("learning_rules")["comparisons"]["randman"]
    chips = stored("crossbar_randman")["summary"]
    aware, naive = (chips[kind]["1y, compensated"] for kind in ("hardware-aware", "naive"))
    step = stored("time_loop_own")["work"]["feed-forward"]["rows"]
    ours, stock = (step[row]["temporary_bytes"] / 1e6 for row in ("flax_snn", "nn.RNN"))
    delays = stored("delayed_layer")
    network = stored("lif_network")["networks"]["4000"]["us_per_step"]
    return {
        "Randman, 10 classes": [f"| 5 | **{100 * randman['default, 30 epochs']['mean']:.0f} %**"],
        "feed-forward": [f"| 3 | **{100 * randman['feed-forward, torch variant']['mean']:.2f} %**"],
        "Randman, e-prop": [f"**{100 * online['mean']:.2f} %**", f"{100 * online['bptt']:.2f} %"],
        "Yin-Yang, first": [f"| 10 | **{percent(yin_yang['first_spike, 120 hidden'])}**"],
        "Yin-Yang, EventProp": [f"| 10 | **{percent(yin_yang['eventprop, 120 hidden'])}**"],
        "Randman on phase-change": [
            f"**{percent(aware)}**",
            f"{100 * naive['mean']:.1f} ± {100 * naive['deviation']:.1f} %",
        ],
        "training step": [
            f"**{step['nn.RNN']['ours / this']:.2f}** of the time",
            f"{ours:.1f} MB instead of {stock:.1f} MB",
        ],
        "4000 neurons": [f"**{network['nn.RNN'] / network['snn.RNN']:.0f}** times as fast as"],
        "layer with learned delays": [f"**{delays['ours_over_sparx']:.2f}** of the time of sparx"],
    }


def test_the_figures_are_those_of_the_benchmarks() -> None:
    rows = [line[2:] for line in section("Results").splitlines() if line.startswith("| ")][1:]
    expected = figures()
    assert len(rows) == len(expected)
    for row, (start, texts) in zip(rows, expected.items(), strict=True):
        assert row.startswith(start)
        assert all(text in row for text in texts), f"{row}: expected {texts}"


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 228
