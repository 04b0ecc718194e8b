"""What a user sees of a module: its own names, and nothing that it imports for itself."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

import flax_snn as snn

PACKAGE = Path(snn.__file__).parent

MODULES = sorted(
    {"flax_snn"}
    | {f"flax_snn.{path.stem}" for path in PACKAGE.glob("[!_]*.py")}
    | {f"flax_snn.{path.parent.name}" for path in PACKAGE.glob("[!_]*/__init__.py")}
)


def test_all_public_modules_are_looked_at():
    public = {name for name in snn.__all__ if isinstance(getattr(snn, name), ModuleType)}
    assert {f"flax_snn.{name}" for name in public} <= set(MODULES)
    assert len(MODULES) > 20


@pytest.mark.parametrize("name", MODULES)
def test_a_module_shows_its_own_names_only(name: str):
    module = importlib.import_module(name)
    listed = set(module.__all__)
    assert len(listed) == len(module.__all__)
    assert set(dir(module)) - {"__version__"} == listed
    for each in listed:
        thing = getattr(module, each)
        assert isinstance(thing, ModuleType) == (name == "flax_snn" and each.islower())
        home = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", "")
        if home:
            third = home.split(".")[0] in ("jax", "numpy", "flax", "math", "dataclasses")
            assert not third or name == "flax_snn.typing", f"{name}.{each} comes from {home}"
