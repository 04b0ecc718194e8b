"""The page on data: its code runs on small files of every format, and prints what it promises."""

import json
import re
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flax_snn import datasets

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "datasets"
PAGE = (ROOT / "docs" / "data.md").read_text()


def small_files(folder: Path) -> None:
    """Put the files of the page into a folder."""
    (folder / "downloads").mkdir()
    for part in ("train", "test"):
        shutil.copy(GOLDEN / "shd_tiny.h5", folder / "downloads" / f"shd_{part}.h5")
    shutil.copytree(GOLDEN / "nmnist", folder / "nmnist")
    shutil.copytree(GOLDEN / "fashion-mnist", folder / "fashion-mnist")
    (folder / "gestures").mkdir()
    for path in GOLDEN.glob("dvsgesture_tiny*"):
        shutil.copy(path, folder / "gestures")
    (folder / "gestures" / "trials_to_test.txt").write_text("dvsgesture_tiny.aedat\n")
    shutil.copy(GOLDEN / "dvsgesture_tiny.aedat", folder / "recording.aedat")
    words = [8 << 28 | 5, *(p << 28 | k << 22 | k << 11 | 7 for k, p in enumerate((1, 0, 1)))]
    header = b"% evt 2.0\n% geometry 640x480\n"
    (folder / "recording.raw").write_bytes(header + np.array(words, "<u4").tobytes())
    header = b"% Data file containing CD events\n% Version 2\n% Width 304\n% Height 240\n\x0c\x08"
    pairs = np.array([(5, 1 << 28 | 3 << 14 | 2), (9, 1)], "<u4")
    (folder / "recording.dat").write_bytes(header + pairs.tobytes())
    (folder / "recordings").mkdir()
    for name in ("0_lucas_5", "7_lucas_9", "7_george_9", "7_lucas_0"):
        with wave.open(str(folder / "recordings" / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(np.arange(50, dtype="<i2").tobytes())


def test_the_python_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    small_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) >= 12
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
        promised = [line[2:] for line in block.splitlines() if line.startswith("# ")]
        assert capsys.readouterr().out.splitlines() == promised


def test_figures_of_the_page_are_those_measured() -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "readers.json").read_text())
    for name, row in results["rows"].items():
        speed, ratio = row["events_per_second"] / 1e6, row["times_as_fast"]["median"]
        assert f"| {name} | {speed:.0f} M | {ratio:.2f} x {row['peer']} |" in PAGE
        assert row["same_events"]


def test_every_reader_is_on_the_page() -> None:
    for name in (*datasets.EVENT_FORMATS, *datasets.RECORDED):
        assert name in PAGE, name
    entries = re.findall(r"\[`([\w.]+)`\]\(([^)\s]+\.py)\)", PAGE)
    assert len(entries) > 12
    for name, path in entries:
        text = (ROOT / "docs" / path).read_text()
        assert re.search(rf"^(?:def|class) {name}\b|^{name}: ", text, re.MULTILINE), name
