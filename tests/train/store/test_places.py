"""Paths that a run directory cannot have are refused before anything is written."""

import os

import pytest

from train.errors import CheckpointError, RunDirectoryError
from train.evaluate import main
from train.store.places import check_new_place
from train.store.read import best_checkpoint


@pytest.mark.parametrize("name", ["a[1]", "a[", "b]", "a*", "a?", "a\\b", "**"])
def test_patterns(tmp_path, name):
    for path in (tmp_path / name, tmp_path / name / "run"):
        with pytest.raises(RunDirectoryError, match=r"without any of \* \? \[ \] .*--workdir"):
            check_new_place(path)


def test_a_pattern_is_refused_before_anything_is_written(train, tmp_path, capsys):
    assert train(tmp_path / "a[1]") == 2
    assert "got [ ]; choose another --workdir" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "sub/" + "y" * 300])
def test_names_that_are_too_long(train, tmp_path, capsys, name):
    assert train(tmp_path / name) == 2
    message = capsys.readouterr().err
    assert "expected names of at most 255 bytes" in message and len(message.splitlines()) == 1
    assert main(["--checkpoint", str(tmp_path / name)]) == 2
    assert "expected names of at most 255 bytes" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_too_long(train, tmp_path, capsys):
    deep = tmp_path.joinpath(*["d" * 200] * 19)
    assert len(os.fsencode(deep)) < 4096
    assert train(deep) == 2
    assert "expected a path of at most" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nul(train, tmp_path, capsys):
    assert train(tmp_path / "a\0b") == 2
    assert "without NUL" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="without NUL"):
        best_checkpoint(tmp_path / "a\0b")


@pytest.mark.parametrize("name", ["a b", "a%20", "#", "{x}", "~", "é", "$HOME", "a:b", "x" * 255])
def test_other_names_are_taken(tmp_path, name):
    check_new_place(tmp_path / name)


def test_a_run_that_was_moved_to_a_pattern_is_read(copy_of_run, tiny_run):
    moved = copy_of_run.rename(copy_of_run.with_name("a[1]*"))
    assert best_checkpoint(moved).meta == best_checkpoint(tiny_run).meta
