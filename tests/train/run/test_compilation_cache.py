"""Where compiled functions are kept."""

from pathlib import Path

import pytest

from train.errors import RunWarning
from train.run.compilation_cache import cache_directory, enable


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ("/mine", {"JAX_COMPILATION_CACHE_DIR": "/jax"}, "/mine"),
        (None, {"JAX_COMPILATION_CACHE_DIR": "/jax", "XDG_CACHE_HOME": "/xdg"}, "/jax"),
        (None, {"XDG_CACHE_HOME": "/xdg"}, "/xdg/flax_snn/xla"),
        (None, {"HOME": "/me"}, "/me/.cache/flax_snn/xla"),
    ],
)
def test_directory(monkeypatch, given, environment, expected):
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache_directory(given and Path(given)) == Path(expected)


def test_a_named_directory_that_cannot_be_used_is_a_warning(monkeypatch, tmp_path, recwarn):
    set_by_jax = {}
    monkeypatch.setattr("jax.config.update", set_by_jax.__setitem__)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/proc/nowhere")
    enable(None)
    enable(tmp_path / "new")
    assert (tmp_path / "new").is_dir() and not recwarn.list
    (tmp_path / "file").touch()
    with pytest.warns(RunWarning, match="--cache-dir .*file: File exists, .*--no-cache"):
        enable(tmp_path / "file")
    assert set_by_jax["jax_compilation_cache_dir"] == str(tmp_path / "file")
