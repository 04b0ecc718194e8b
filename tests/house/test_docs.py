"""The pages under docs: their code runs, and the names that they point to are where they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EVENTS = (DOCS / "events.md").read_text()


@pytest.mark.slow
def test_the_python_of_the_page_on_events_runs(capsys: Any) -> None:
    blocks = re.findall(r"```python\n(.*?)```", EVENTS, flags=re.DOTALL)
    assert len(blocks) > 4
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
        promised = [line[2:] for line in block.splitlines() if line.startswith("# ")]
        assert capsys.readouterr().out.splitlines() == promised

    exact, stepped = names["spikes"].first_times(), names["on_grid"].first_times()
    fired = jnp.isfinite(exact)
    assert 3 <= int(fired.sum()) < exact.size
    # A grid sees a spike up to a step late, and counts it at the beginning of its step.
    np.testing.assert_allclose(exact[fired], stepped[fired], rtol=0, atol=2e-4)
    gradient = names["gradient"]["cell"]["cells_0"]["kernel"]
    assert bool(jnp.isfinite(gradient).all()) and float(jnp.abs(gradient).max()) > 0


PAGES = sorted(DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_pages_link_to_files_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    local = {link.split("#")[0] for link in links if "://" not in link} - {""}
    missing = sorted(link for link in local if not (page.parent / link).exists())
    assert not missing, f"{page.relative_to(ROOT)} links to {missing}"


def test_contributing_is_short_and_names_what_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    lines = text.splitlines()
    assert len(lines) <= 60 and max(map(len, lines)) <= 120
    paths = re.findall(r"`((?:flax_snn|tests|examples|docs)/[\w./]+)`", text)
    assert len(paths) > 10
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert not missing, f"CONTRIBUTING.md names {missing}"


def test_names_on_the_page_on_events_are_defined_in_the_files_beside_them() -> None:
    entries = re.findall(r"\[`([\w.]+)`\]\(([^)\s]+\.py)\)", EVENTS)
    assert len(entries) > 30
    missing = [
        f"{name} in {path}"
        for name, path in entries
        if not re.search(
            rf"^\s*(?:def|class) {name.split('.')[-1]}\b", (DOCS / path).read_text(), re.MULTILINE
        )
    ]
    assert not missing, f"docs/events.md looks for {missing}"


@pytest.mark.optimizer
@pytest.mark.slow
def test_the_python_of_the_page_on_speed_runs(capsys: Any) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "speed.md").read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    promised = [line[2:] for line in block.splitlines() if line.startswith("# ")]
    assert capsys.readouterr().out.splitlines() == promised
    # The same samples in each piece: what is carried on changes the loss, and it falls.
    losses = np.asarray(names["losses"])
    assert np.isfinite(losses).all() and losses[-5:].mean() < losses[:5].mean()


@pytest.mark.slow
def test_the_python_of_the_page_on_interchange_runs(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "nir.md").read_text(), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    assert capsys.readouterr().out == "True\n"
    x = jnp.ones((1, 6, 8, 6, 2))
    found = names["again"].apply(names["same"], x)
    np.testing.assert_array_equal(found, names["network"].apply(names["variables"], x))


def test_the_page_on_interchange_names_every_preset_and_target() -> None:
    page = (DOCS / "nir.md").read_text()
    rows = set(re.findall(r"^\| ([\w.-]+) \|", page, flags=re.MULTILINE))
    assert {*snn.nir.PRODUCERS, *snn.nir.TARGETS} <= rows


@pytest.mark.optimizer
@pytest.mark.slow
def test_the_python_on_sequences_of_different_lengths_runs() -> None:
    page = (DOCS / "learning.md").read_text().split("## 6.")[1].split("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    per_sample = names["snn"].losses.rate_coded_cross_entropy(
        names["outputs"], names["labels"], seq_lengths=names["lengths"], per_sample=True
    )
    np.testing.assert_allclose(per_sample[1], names["alone"], rtol=1e-5)
    np.testing.assert_allclose(per_sample.mean(), names["loss"], rtol=1e-6)


@pytest.mark.slow
def test_the_python_of_the_page_on_crossbars_runs(capsys: Any) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "crossbar.md").read_text(), flags=re.DOTALL)
    assert len(blocks) > 1
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
        promised = [line[2:] for line in block.splitlines() if line.startswith("# ")]
        assert capsys.readouterr().out.splitlines() == promised
