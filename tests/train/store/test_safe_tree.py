"""Folders of strangers: links, pipes and devices are refused, and not followed or waited for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from train.errors import CheckpointError
from train.store.safe_tree import check_tree

RUN = Path(__file__).resolve().parents[3] / "checkpoints" / "randman_reference"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "checkpoint" / "state" / "d").mkdir(parents=True)
    (tmp_path / "checkpoint" / "state" / "d" / "array").write_bytes(b"12345")
    (tmp_path / "checkpoint" / "meta").write_bytes(b"123")
    return tmp_path / "checkpoint"


def test_files_and_folders_are_counted(folder: Path, tmp_path: Path) -> None:
    assert check_tree(folder) == 8
    (tmp_path / "named by its user").symlink_to(folder)
    assert check_tree(tmp_path / "named by its user") == 8
    sizes = [path.stat().st_size for path in RUN.rglob("*") if path.is_file()]
    assert check_tree(RUN) == sum(sizes) > 10_000


def test_what_is_no_file_is_refused(folder: Path) -> None:
    strange = folder / "state" / "d" / "strange"
    began = time.monotonic()
    for make, words in (
        (lambda: os.mkfifo(strange), "got a pipe"),
        (lambda: strange.symlink_to("/etc/passwd"), "got a symbolic link"),
        (lambda: strange.symlink_to(folder), "got a symbolic link"),
        (lambda: strange.symlink_to("nowhere"), "got a symbolic link"),
    ):
        make()
        with pytest.raises(CheckpointError, match=f"{strange}: expected a regular file, {words}"):
            check_tree(folder)
        strange.unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        check_tree(folder / "nowhere")
    assert time.monotonic() - began < 5.0
