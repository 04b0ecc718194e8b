"""Tasks by their names: those of the table, those of a user's file, and what is none."""

import sys
import textwrap

import pytest

from train.errors import CheckpointError, ConfigError
from train.run.__main__ import main
from train.tasks import TASKS, Task, find_task, import_task

GOOD = """
    import dataclasses
    from train.tasks import Task, TrainingConfig

    @dataclasses.dataclass(frozen=True)
    class Settings:
        training: TrainingConfig = TrainingConfig()

    class Good(Task):
        settings = Settings

        def load(self, settings, options):
            raise NotImplementedError

        def build(self, settings):
            raise NotImplementedError
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current directory, of which nothing stays imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0].startswith("mine"):
            del sys.modules[name]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip())


@pytest.mark.parametrize("name", TASKS)
def test_tasks_of_the_table_know_their_name(name):
    task = find_task(name)
    assert isinstance(task, Task)
    assert (task.name, task.command) == (name, f"python -m train.{name}")
    assert task.description.startswith("Train a spiking network ")


@pytest.mark.parametrize("find", [import_task, find_task])
@pytest.mark.parametrize(
    ("file", "name"), [("mine.py", "mine:Good"), ("mine/sub/task.py", "mine.sub.task:Good")]
)
def test_a_task_of_a_file_in_the_current_directory(folder, find, file, name):
    write(folder / file, GOOD)
    task = find(name)
    assert isinstance(task, Task) and type(task).__name__ == "Good"
    assert (task.name, task.command) == (name, f"python -m train.run {name}")


NAMELESS = "class Good2: pass\nnumber = 3\n"

BAD = {
    "no colon": ("mine", None, "expected module:Class, such as my_task:MyTask .* got 'mine'"),
    "no class": ("mine:", None, "expected module:Class"),
    "no module": (":Good", None, "expected module:Class"),
    "a path": ("mine/task.py:Good", None, "expected module:Class"),
    "missing module": ("mine:Good", None, r"there is no module mine in .* or on PYTHONPATH"),
    "missing module of a folder": ("mine.sub:Good", None, "there is no module mine.sub in"),
    "its import is missing": (
        "mine:Good",
        "import mine_that_is_not_there\n",
        r"mine cannot be imported: No module named 'mine_that_is_not_there'",
    ),
    "it fails on import": (
        "mine:Good",
        "import math\n\nx = math.sqrt(-1)\n",
        r"mine cannot be imported: ValueError: .*\(.*mine\.py, line 3\)",
    ),
    "it fails in a function on import": (
        "mine:Good",
        "def f():\n    return {}['key']\n\n\nf()\n",
        r"mine cannot be imported: KeyError: 'key' \(.*mine\.py, line 2\)",
    ),
    "it is no Python": (
        "mine:Good",
        "class Good(\n",
        r"mine cannot be imported: SyntaxError: .*mine\.py, line 1",
    ),
    "missing class, and there are others": (
        "mine:Nice",
        GOOD,
        "mine:Nice: the module has no Nice; it has the tasks Good$",
    ),
    "missing class, and there are none": (
        "mine:Nice",
        NAMELESS,
        "mine:Nice: the module has no Nice; it has no task",
    ),
    "no task": (
        "mine:Good2",
        NAMELESS,
        "mine:Good2: expected a subclass of train.tasks.Task or RasterTask, got <class",
    ),
    "no class at all": ("mine:number", NAMELESS, "expected a subclass .* got 3"),
    "a task without its parts": (
        "mine:Bare",
        "from train.tasks import Task\n\n\nclass Bare(Task):\n    pass\n",
        r"mine:Bare lacks settings, build, load; see the page 'write a task'",
    ),
    "a task on rasters without its parts": (
        "mine:Bare",
        "from train.tasks import RasterTask\n\n\nclass Bare(RasterTask):\n    pass\n",
        r"mine:Bare lacks load, shape; see",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_task_is_said(case, folder, capsys):
    name, text, words = BAD[case]
    if text is not None:
        write(folder / "mine.py", text)
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        import_task(name)
    sys.modules.pop("mine", None)
    assert main([name, "--workdir", "run"]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("python -m train.run: error: ") and "Traceback" not in shown.err
    assert shown.out == "" and not (folder / "run").exists()


def test_a_flag_in_the_place_of_the_task(folder, capsys):
    assert main(["--epochs", "3"]) == 2
    assert "expected module:Class first, then flags, got --epochs" in capsys.readouterr().err
    assert main([]) == 2 and main(["--help"]) == 0
    assert "my_task:MyTask" in capsys.readouterr().out


# A checkpoint names its task; it must not choose code from anywhere but the current directory.


def test_a_checkpoint_of_an_unknown_task_is_refused():
    with pytest.raises(CheckpointError, match="task 'chess', this release knows randman, "):
        find_task("chess")


def test_a_module_of_another_directory_is_not_imported(folder, tmp_path_factory, monkeypatch):
    other = tmp_path_factory.mktemp("other")
    mark = other / "imported"
    write(other / "mine_elsewhere.py", f"open({str(mark)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(other))
    words = (
        r"task 'mine_elsewhere:Good', and the current directory has no mine_elsewhere\.py; go to"
    )
    with pytest.raises(CheckpointError, match=words):
        find_task("mine_elsewhere:Good")
    assert not mark.exists() and "mine_elsewhere" not in sys.modules


def test_a_script_that_has_no_such_class_is_not_run(folder):
    mark = folder / "run"
    write(folder / "mine_script.py", f"open({str(mark)!r}, 'w').close()\n")
    with pytest.raises(CheckpointError, match=r"no mine_script\.py; .* with a class Good"):
        find_task("mine_script:Good")
    write(folder / "mine_script.py", "def Good(:\n")  # no Python
    with pytest.raises(CheckpointError, match=r"no mine_script\.py"):
        find_task("mine_script:Good")
    assert not mark.exists() and "mine_script" not in sys.modules


@pytest.mark.parametrize("name", ["os:system", "mine_none.sub:Good", "..mine:Good", "/mine:Good"])
def test_other_modules_are_refused(folder, name):
    write(folder / "mine.py", GOOD)
    with pytest.raises(CheckpointError):
        find_task(name)


def test_a_file_of_the_right_name_that_is_another_module_is_not_meant(
    folder, tmp_path_factory, monkeypatch
):
    """The file in the current directory is taken, not one of the same name in front of it."""
    other = tmp_path_factory.mktemp("front")
    mark = other / "imported"
    write(other / "mine_twice.py", f"open({str(mark)!r}, 'w').close()\n")
    write(folder / "mine_twice.py", GOOD)
    monkeypatch.syspath_prepend(str(other))
    assert type(find_task("mine_twice:Good")).__name__ == "Good"
    assert not mark.exists()


def test_what_is_wrong_with_the_task_of_a_checkpoint_is_a_fault_of_the_checkpoint(folder):
    write(folder / "mine.py", "raise RuntimeError('not today')\nclass Good: ...\n")
    words = (
        r"checkpoint is of the task 'mine:Good': .*RuntimeError: not today \(.*mine\.py, line 1\)"
    )
    with pytest.raises(CheckpointError, match=words):
        find_task("mine:Good")
