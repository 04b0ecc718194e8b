"""The rules of the house: who leans on whom, what an import costs, one step, tidy files."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import flax_snn as snn

ROOT = Path(__file__).resolve().parents[2]

# The ground floor, which every part may import.
GROUND = {
    "typing",
    "checks",
    "json_form",
    "regular_file",
    "untrusted_hdf5",
    "representation",
    "sequence_mask",
    "time_grid",
}

# What each part of the house leans on directly; it may also import what stands below those, and
# the ground floor. A part is a file or a folder of flax_snn, or `train` as a whole.
LEANS_ON: dict[str, set[str]] = {
    "typing": set(),
    "checks": set(),
    "json_form": {"checks", "regular_file"},
    "regular_file": {"checks"},
    "untrusted_hdf5": set(),
    "representation": set(),
    "sequence_mask": {"checks"},
    "time_grid": set(),
    "surrogate": set(),
    "dynamics": {"surrogate"},
    "conventions": {"dynamics"},
    "products": set(),
    "time_loop": {"dynamics", "products"},
    "cells": {"dynamics", "products", "time_loop"},
    "layers": {"cells"},
    "runners": {"cells"},
    "initializers": {"cells"},
    "diagnosis": {"cells", "initializers", "products"},
    "event": {"dynamics", "cells"},
    "learn": {"dynamics", "cells", "products", "time_loop"},
    "losses": set(),
    "encode": set(),
    "metrics": {"initializers", "layers"},
    "plot": {"metrics"},
    "crossbar": set(),
    "nir": {"cells", "layers", "runners"},
    "datasets": {"encode"},
}

# The rooms of `nir`, with the other rooms that each may import. What stands in the folder itself is
# below them, and may import none of them.
NIR_ROOMS: dict[str, set[str]] = {
    "file": set(),
    "reading": {"file"},
    "writing": {"file"},
}

# The rooms of `train`, each with those that it leans on directly; it may also import what stands
# below those. Files in the folder itself are commands, above all rooms, but for `errors`, below.
TRAIN_ROOMS: dict[str, set[str]] = {
    "processes": set(),
    "settings": set(),
    "store": {"processes", "settings"},
    "data": set(),
    "model": {"data", "settings"},
    "pictures": set(),
    "progress": {"model", "store"},
    "tasks": {"model", "pictures"},
    "run": {"progress", "tasks"},
    "fleet": {"run"},
    "restored": {"run"},
    "chips": {"restored"},
    "reporting": {"restored"},
}

# Files that are commands though they stand in a room.
TRAIN_COMMANDS = {"train.run.__main__"}

# Optional or heavy: `import flax_snn` may load them only where `import flax.linen` already does.
HEAVY = {
    "array_record",
    "faery",
    "grain",
    "h5py",
    "matplotlib",
    "nir",
    "optax",
    "orbax",
    "tensorflow",
    "tensorflow_datasets",
    "torch",
    "tyro",
}

# Fields of `dynamics.Coefficients` that only a membrane recurrence needs.
RECURRENCE = {"alpha", "c_old", "c_new", "c_x", "c_r"}

TEST_COMMAND = "pip install -e '.[test]' && pytest"

MAX_LINES = 400


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part_of(module: str) -> str:
    """`flax_snn.event.flow` belongs to `event`, `train.run` to `train`, `flax_snn` to itself."""
    first, *rest = module.split(".")
    return rest[0] if first == "flax_snn" and rest else first


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of each module that is imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if is_module(full) else base


def below(part: str) -> set[str]:
    """All that `part` may import: what it leans on, what those lean on, and the ground floor."""
    found = {part} | GROUND if part not in GROUND else {part, "typing"}
    for lower in LEANS_ON[part]:
        found |= below(lower)
    return found


def misplaced_imports(source: str, module: str, is_package: bool) -> list[str]:
    """Imports of `module` that do not point down."""
    part = part_of(module)
    allowed = below(part)
    return [
        f"line {line}: `{module}` imports `{target}`"
        for line, target in imports(ast.parse(source), module, is_package)
        if target.split(".")[0] in ("flax_snn", "train") and part_of(target) not in allowed
    ]


def test_every_part_of_the_package_is_in_the_table():
    parts = {part_of(module_of(path)) for path in python_files("flax_snn")} - {"flax_snn"}
    missing = parts - set(LEANS_ON)
    assert not missing, (
        f"no row for {sorted(missing)} in LEANS_ON of {name_of(Path(__file__))}: add one that "
        "names the parts it leans on, all of them below it (DESIGN: layout), or move the code into "
        "a part that is there"
    )


def test_table_has_a_ground_floor():
    for part in LEANS_ON:
        below(part)  # Recursion without end if the arrows form a circle.
        assert LEANS_ON[part] <= set(LEANS_ON)
        # Only users and `train` reach for these two.
        assert not LEANS_ON[part] & {"plot", "nir"}


# The list of public names sees the whole package.
INSIDE = [path for path in python_files("flax_snn") if module_of(path) != "flax_snn"]


@pytest.mark.parametrize("path", INSIDE, ids=name_of)
def test_imports_point_down(path: Path):
    module = module_of(path)
    if part_of(module) not in LEANS_ON:
        pytest.fail(f"{name_of(path)} has no row in LEANS_ON, see the test of the table")
    found = misplaced_imports(path.read_text(), module, path.name == "__init__.py")
    assert not found, (
        f"{found}: imports point down only. `{part_of(module)}` may import "
        f"{sorted(below(part_of(module)))}; inside the package import the module that defines a "
        "name, not `flax_snn`"
    )


def nir_room(module: str) -> str:
    """`flax_snn.nir.file.hdf5` belongs to `file`, `flax_snn.nir.graph` to no room."""
    room = module.removeprefix("flax_snn.nir").lstrip(".").split(".")[0]
    return room if module.startswith("flax_snn.nir.") and room in NIR_ROOMS else ""


def test_rooms_of_nir_import_only_what_they_may():
    rooms = {path.name for path in (ROOT / "flax_snn" / "nir").iterdir() if path.is_dir()}
    assert rooms - {"__pycache__"} == set(NIR_ROOMS)
    wrong = [
        f"{name_of(path)}, line {line}: imports `{target}`"
        for path in python_files("flax_snn/nir")
        if (module := module_of(path)) != "flax_snn.nir"  # the list of public names
        for line, target in imports(ast.parse(path.read_text()), module, path.stem == "__init__")
        if (room := nir_room(target))
        and room not in {nir_room(module)} | NIR_ROOMS.get(nir_room(module), set())
    ]
    assert not wrong, f"{wrong}: `reading` and `writing` use `file`, and not each other"


def train_room(module: str) -> str:
    """`train.model.grid` belongs to `model`; `train.compare`, a command, to no room."""
    parts = module.split(".")
    room = parts[1] if len(parts) > 1 else ""
    return room if room in TRAIN_ROOMS else ""


def train_rooms_below(room: str) -> set[str]:
    """All that a room of `train` may import: itself, and what stands below it."""
    return {room}.union(*map(train_rooms_below, TRAIN_ROOMS[room]))


def misplaced_in_train(source: str, module: str, is_package: bool) -> list[str]:
    """Imports of a room of `train` that point up or aside, and imports of commands."""
    room = train_room(module)
    if not room or module in TRAIN_COMMANDS:
        return []
    return [
        f"line {line}: `{module}` imports `{target}`"
        for line, target in imports(ast.parse(source), module, is_package)
        if target.split(".")[0] == "train" and target != "train.errors"
        if target in TRAIN_COMMANDS or train_room(target) not in train_rooms_below(room)
    ]


def test_every_room_of_train_is_in_the_table():
    folders = {path.parent.name for path in (ROOT / "train").glob("*/*.py")}
    assert folders == set(TRAIN_ROOMS), (
        f"rooms of train {sorted(folders)}, rows {sorted(TRAIN_ROOMS)}: a row of TRAIN_ROOMS names"
        " the rooms below it that it leans on"
    )


@pytest.mark.parametrize("path", python_files("train"), ids=name_of)
def test_imports_of_train_point_down(path: Path):
    module, is_package = module_of(path), path.name == "__init__.py"
    found = misplaced_in_train(path.read_text(), module, is_package)
    assert not found, (
        f"{found}: imports point down only. `{train_room(module)}` may import `train.errors` and"
        f" {sorted(train_rooms_below(train_room(module)))}, and no command"
    )
    if module == "train.errors":
        tree = ast.parse(path.read_text())
        assert not [t for _, t in imports(tree, module, is_package) if t.startswith("train")]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("train.model.grid", "from train.tasks import Task"),
        ("train.model.grid", "from train.store.read import open_checkpoint"),
        ("train.settings.checks", "from train.model import Model"),
        ("train.store.read", "from train.tasks.task import Renaming"),
        ("train.tasks.task", "import train.run.step"),
        ("train.tasks.task", "def f():\n    from train.restored.run import restore"),
        ("train.pictures.figure", "from train.model import Model"),
        ("train.data.feed", "from train.compare import compare"),
        ("train.run.loop", "from train.command_line import parse"),
        ("train.run.loop", "from train.run.__main__ import main"),
        ("train.chips.deploy", "from train import restore"),
    ],
)
def test_an_import_of_train_that_points_up_is_found(module: str, source: str):
    assert misplaced_in_train(source, module, is_package=False)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("train.model.grid", "from train.data.parts import Part\nimport jax"),
        ("train.chips.deploy", "from train.settings import CrossbarConfig"),
        ("train.run.loop", "from train.errors import InputError"),
        ("train.data.feed", "from .order import epoch_order"),
        ("train.compare", "from train.chips.report import table"),
        ("train.run.__main__", "from train.command_line import run_command"),
    ],
)
def test_an_import_of_train_that_points_down_passes(module: str, source: str):
    assert not misplaced_in_train(source, module, is_package=False)


@pytest.mark.parametrize(
    "source",
    [
        "import train.run.loop",
        "import flax_snn as snn",
        "from flax_snn import LIFCell",
        "from flax_snn import plot",
        "import flax_snn.runners.rnn",
        "from flax_snn.nir.reading.read_graph import from_nir",
        "from . import rnn",
        "from .rnn import RNN",
        "def f():\n    from flax_snn.event import flow",
        "if TYPE_CHECKING:\n    from flax_snn.runners.rnn import RNN",
    ],
)
def test_an_import_that_points_up_is_found(source: str):
    assert misplaced_imports(source, "flax_snn.cells", is_package=False)


@pytest.mark.parametrize(
    "source",
    [
        "import jax",
        "from flax_snn.dynamics import step",
        "from flax_snn import surrogate",
        "from .dynamics.lif import LIFDynamics",
        "from flax_snn.typing import Array",
    ],
)
def test_an_import_that_points_down_passes(source: str):
    assert not misplaced_imports(source, "flax_snn.cells", is_package=False)


def modules_added_by(statement: str, before: str = "") -> set[str]:
    """Top-level modules that the statement loads in a process that has run the one before."""
    code = (
        f"{before}\nimport json, sys\nbefore = set(sys.modules)\n{statement}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return {module.split(".")[0] for module in json.loads(run.stdout.splitlines()[-1])}


def test_import_stays_light():
    heavy = modules_added_by("import flax_snn", before="import flax.linen") & HEAVY
    assert not heavy, (
        f"`import flax_snn` loads {sorted(heavy)}: import them where they are used, and load the "
        "submodule lazily in flax_snn/__init__.py"
    )


def test_core_install_suffices():
    """Nothing but jax, flax and numpy is needed; jaxtyping and scipy serve the tests only."""
    absent = sorted(HEAVY | {"beartype", "jaxtyping", "scipy"})
    modules_added_by(
        "import flax_snn", before=f"import sys; sys.modules.update(dict.fromkeys({absent}))"
    )


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def identifiers(function: ast.FunctionDef) -> set[str]:
    """Names that the body of a function reads, calls or sets."""
    nodes = [node for statement in function.body for node in ast.walk(statement)]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_there_is_one_step_function_for_each_kind_of_neuron():
    steps = [
        name_of(path)
        for path in python_files("flax_snn")
        for function in functions(ast.parse(path.read_text()))
        if function.name == "step" or function.name.endswith("_step")
        if any("reset" in name for name in identifiers(function))
    ]
    assert all(name.startswith("flax_snn/dynamics/") for name in steps), (
        f"functions that step a neuron: {steps}; they belong to `flax_snn.dynamics`: call them"
    )
    assert len(set(steps)) == len(steps), f"two steps in one file: {sorted(steps)}"


def test_the_recurrence_is_written_once():
    """Only `dynamics` reads the coefficients of the membrane; `conventions` only passes them on.

    Parts that may not import `dynamics` cannot hold coefficients: an `alpha` of theirs is
    something else.
    """
    readers = [
        f"{name_of(path)}, line {node.lineno}: .{node.attr}"
        for path in python_files("flax_snn")
        if (part := part_of(module_of(path))) in LEANS_ON
        if part != "dynamics" and "dynamics" in below(part)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in RECURRENCE
    ]
    assert not readers, f"{readers}: call `dynamics.step` instead of writing the equation again"


@pytest.mark.parametrize("path", python_files("flax_snn", "train"), ids=name_of)
def test_a_file_is_one_finished_idea(path: Path):
    text = path.read_text()
    lines = text.count("\n")
    assert lines <= MAX_LINES, f"{lines} lines, at most {MAX_LINES}: look whether this is two ideas"
    left = re.findall(r"\b(?:TODO|FIXME|XXX)\b.*", text)
    assert not left, f"{left}: do it, or write an issue"


@pytest.mark.parametrize("name", snn.__all__)
def test_public_names_have_a_docstring(name: str):
    thing = getattr(snn, name)
    doc = thing.__dict__.get("__doc__") if inspect.isclass(thing) else thing.__doc__
    assert doc and doc.strip(), f"snn.{name} has no docstring"
    # A dataclass without a docstring gets its signature for one.
    assert not doc.startswith(f"{name}("), f"snn.{name} has no docstring of its own"


def test_documents_link_to_files_that_exist():
    for document in sorted(ROOT.glob("*.md")):
        links = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", document.read_text())
        targets = {(a or b).split("#")[0] for a, b in links}
        local = {target for target in targets if target and "://" not in target}
        missing = sorted(target for target in local if not (ROOT / target).exists())
        assert not missing, f"{document.name} links to {missing}"


def test_readme_gives_the_command_that_ci_runs():
    assert TEST_COMMAND in (ROOT / "README.md").read_text()
    assert TEST_COMMAND in (ROOT / ".ci" / "run").read_text()
