"""Where compiled functions are kept."""

from pathlib import Path

import pytest

from train.run.compilation_cache import cache_directory


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
