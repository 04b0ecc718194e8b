"""The wheel holds what users import, and works alone; the source archive holds what tests read."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

import flax_snn as snn

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Imported by an extra alone. A fresh environment with nothing but jax, flax and numpy lacks them.
OPTIONAL = ("h5py", "nir", "matplotlib", "llvmlite", "faery", "grain", "tqdm", "tyro")
OPTIONAL += ("tensorboardX", "tensorflow_datasets", "array_record", "jaxtyping", "beartype")

# What a user may write; each marked line is an error that only the shipped types can find.
USER_FILE = """
import flax.linen as nn
import jax
import flax_snn as snn

cell: nn.RNNCellBase = snn.LIFCell(4, dynamics=snn.LIFDynamics(tau_mem=10e-3))
layer = snn.RNN(cell)
loss: jax.Array = snn.losses.rate_coded_cross_entropy(jax.numpy.ones((2, 5, 3)), jax.numpy.ones(2))
reveal_type(snn.LIFDynamics().describe())
reveal_type(snn.event.RNN)
reveal_type(snn.nir.to_nir)
snn.LIFDynamics(tau_membrane=10e-3)  # error
wrong: str = snn.LIFCell(4)  # error
"""


def run(*command: Any, **options: Any) -> str:
    # A clone on the search path would stand before what is installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        **options,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_one_version_is_said_everywhere() -> None:
    assert snn.__version__ == PROJECT["version"]
    citation = (ROOT / "CITATION.cff").read_text()
    (version,) = re.findall(r"^version: (.+)$", citation, re.MULTILINE)
    (date,) = re.findall(r"^date-released: (.+)$", citation, re.MULTILINE)
    assert version == PROJECT["version"]
    released = re.findall(r"^## \[(.+?)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released[0] == (version, date)
    assert f"flax_snn | {version}, {date}" in (ROOT / "docs" / "rivals.md").read_text()


def test_extras_are_complete() -> None:
    """Every package that a module of `flax_snn` imports belongs to the core or to an extra."""
    imported: set[str] = set()
    for path in (ROOT / "flax_snn").rglob("*.py"):
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in item.names}
            elif isinstance(item, ast.ImportFrom) and item.level == 0 and item.module:
                imported.add(item.module.split(".")[0])
    third = imported - set(sys.stdlib_module_names) - {"flax_snn"}
    named = list(PROJECT["dependencies"])
    for extra in ("plot", "nir", "data", "events", "cpu", "types"):
        named += PROJECT["optional-dependencies"][extra]
    offered = {re.match(r"[\w-]+", name)[0].replace("-", "_") for name in named}  # type: ignore
    # Come with jax; with tensorflow-datasets; tqdm is used where it is found.
    assert third - {"jaxlib", "scipy"} - {"absl"} - {"tqdm"} <= offered


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the archive of sources of this tree."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel, and not the sources, beside what is here."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (python,) = folder.glob("bin/python")
    (site,) = folder.glob("lib/python*/site-packages")
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    # Packages of this environment; its own .pth files, and so the sources, are not read.
    (site / "here.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python


@pytest.mark.slow
def test_the_wheel_holds_the_library_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "flax_snn").rglob("*.py")}
    information = f"flax_snn-{PROJECT['version']}.dist-info/"
    extra = names - sources
    assert sources <= names
    assert "flax_snn/py.typed" in extra
    assert all(name.startswith(("flax_snn/", information)) for name in names)
    assert not [name for name in extra if name.startswith("flax_snn/") and "py.typed" not in name]
    metadata = zipfile.ZipFile(wheel).read(information + "METADATA").decode()
    core = [line for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    core = [line.split(": ")[1] for line in core if "extra ==" not in line]
    assert sorted(re.match(r"\w+", line)[0] for line in core) == ["flax", "jax", "numpy"]  # type: ignore
    assert information + "licenses/LICENSE" in names


@pytest.mark.slow
def test_the_wheel_runs_with_the_core_alone(installed: Path, tmp_path: Path) -> None:
    program = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OPTIONAL}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import jax, jax.numpy as jnp, flax_snn as snn
assert "site-packages" in snn.__file__, snn.__file__
x = jnp.ones((2, 6, 3))
net = snn.RNN(snn.Chain([snn.RecurrentLIFCell(4), snn.LeakyIntegratorReadout(2)]))
variables = net.init(jax.random.key(0), x)
gradient = jax.grad(lambda v: net.apply(v, x).sum())(variables)
assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))
for use, extra in (
    (lambda: snn.plot.raster(jnp.ones((4, 3)), dt=1e-3), "plot"),
    (lambda: snn.nir.to_nir(net, variables, input_shape=(3,), dt=1e-3, method="exp"), "nir"),
):
    try:
        use()
    except ImportError as error:
        assert f"flax-snn[{{extra}}]" in str(error), error
    else:
        raise AssertionError(f"{{extra}} works without its packages")
print(snn.__version__)
"""
    printed = run(installed, "-c", program, cwd=tmp_path)
    assert printed.split() == [PROJECT["version"]]


@pytest.mark.slow
def test_a_type_checker_sees_the_types_of_the_wheel(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(USER_FILE)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--python-executable", installed, "user.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    wrong = [n for n, line in enumerate(USER_FILE.splitlines(), 1) if "# error" in line]
    found = sorted({int(n) for n in re.findall(r"user\.py:(\d+): error", checked)})
    assert found == wrong, checked
    assert 'Revealed type is "str"' in checked
    assert '"Any"' not in checked, checked


@pytest.mark.slow
def test_the_archive_of_sources_holds_what_the_tests_read(built: Path, tmp_path: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    collected = run(
        sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-m", "", cwd=folder
    )
    (count,) = re.findall(r"^(\d+) tests collected", collected, re.MULTILINE)
    here = {path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")}
    there = {path.relative_to(folder) for path in (folder / "tests").rglob("test_*.py")}
    assert here == there and int(count) > 10 * len(here)
    # Tests that read documents, benchmarks and the stored run.
    run(sys.executable, "-m", "pytest", "-q", "-n", "0", "tests/house/test_readme.py", cwd=folder)
