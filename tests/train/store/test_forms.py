"""The form of each JSON file of a run: damage of any kind is one message, and never a traceback."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from train import compare
from train.errors import BAD_INPUT, CheckpointError, InputError, RunDirectoryError
from train.store import forms
from train.store.layout import CONFIG, METRICS, RESULT

ROOT = Path(__file__).resolve().parents[3]
RUN = ROOT / "checkpoints" / "randman_reference"
GOLDEN = ROOT / "tests" / "golden" / "runs"
META, POSITION = "checkpoints/30/meta/metadata", "checkpoints/30/data/metadata"

FILES: dict[str, forms.JsonFile] = {
    CONFIG: forms.CONFIG,
    RESULT: forms.RESULT,
    METRICS: forms.METRICS,
    META: forms.META,
    POSITION: forms.POSITION,
}
every_file = pytest.mark.parametrize("name", FILES)


def read(name: str, path: Path) -> Any:
    return FILES[name].read_lines(path) if name == METRICS else FILES[name].read(path)


def changed(value: Any, *keys: str, to: Any) -> Any:
    """A copy of a value with the place that the keys name replaced."""
    copy = json.loads(json.dumps(value))
    place = copy
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    return copy


@every_file
def test_what_releases_have_written_is_read(name: str) -> None:
    assert read(name, RUN / name)
    for run in (each for each in GOLDEN.iterdir() if each.is_dir()):
        assert forms.METRICS.read_lines(run / METRICS) and forms.CONFIG.read(run / CONFIG)
        for checkpoint in (run / "checkpoints").iterdir():
            assert forms.META.read(checkpoint / "meta" / "metadata")
            assert forms.POSITION.read(checkpoint / "data" / "metadata")


@every_file
def test_a_file_that_is_not_there_is_none(name: str, tmp_path: Path) -> None:
    assert not read(name, tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"cannot be read \(Not a directory\)"):
        (tmp_path / "file").touch()
        read(name, tmp_path / "file" / "inside")


def break_it(path: Path, how: str) -> None:
    """Damage a file as a disk, an editor or a stranger may do it."""
    content = path.read_bytes()
    if how in ("a directory", "a pipe", "no permission"):
        if how == "no permission":
            path.chmod(0)
            return
        path.unlink()
        path.mkdir() if how == "a directory" else os.mkfifo(path)
        return
    end = b"\n"
    path.write_bytes(
        {
            "not UTF-8": content.replace(b"e", b"\xe9") + end,
            "null": b"null\n",
            "a list": b"[1, 2]\n",
            "text": b"hello\n",
            "zeros": bytes(len(content)) + end,
            "deep": b"[" * 200_000 + b"]" * 200_000 + end,
            "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + end,
            "NaN": content.replace(b": ", b": NaN, ", 1) + end,
            "no keys": b"{}\n",
            "a large number": b'{"epoch": ' + b"9" * 100_000 + b"}\n",
            "twice": content.replace(b"{", b'{"epoch": 1, "epoch": 1, ', 1) + end,
        }[how]
    )


DAMAGE = {
    "not UTF-8": "text in UTF-8, got the byte 0xe9",
    "null": "an object, got null",
    "a list": "an object, got a list of 2",
    "text": "expected JSON",
    "zeros": "expected JSON",
    "deep": "nested at most 32 deep",
    "deep objects": "nested at most 32 deep",
    "NaN": "finite numbers, got NaN",
    "no keys": "expected the keys",
    "a large number": "integers of at most 64 bits",
    "twice": "'epoch': expected each key once",
    "a directory": "a regular file, got a directory",
    "a pipe": "a regular file, got a pipe",
    "no permission": "cannot be read",
}


@pytest.mark.parametrize("how", DAMAGE)
@every_file
def test_damage_is_said_with_file_place_and_remedy(name: str, how: str, tmp_path: Path) -> None:
    if how == "no permission" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / Path(name).name
    shutil.copy(RUN / name, path)
    break_it(path, how)
    with pytest.raises(InputError, match=DAMAGE[how]) as caught:
        read(name, path)
    said = str(caught.value)
    assert said.startswith(f"{path} ") and FILES[name].remedy in said and len(said) < 500
    assert isinstance(caught.value, FILES[name].error)


LEAVES: list[tuple[str, tuple[str, ...], Any, str]] = [
    (CONFIG, ("task",), 3, "task: expected a string, got 3"),
    (CONFIG, ("config",), None, "config: expected an object, got null"),
    (CONFIG, ("version",), "2", "version: expected a whole number >= 0, got '2'"),
    (CONFIG, ("colour",), 1, "the file: expected keys among 'version', .*, got 'colour'"),
    (CONFIG, ("run",), 1, "run: expected an object, got 1"),
    (RESULT, ("test_accuracy",), None, "test_accuracy: expected a finite number, got None"),
    (RESULT, ("score",), "r2", "the file: expected the key 'test_r2', got none"),
    (RESULT, ("epochs",), -1, "epochs: expected a whole number >= 1, got -1"),
    (RESULT, ("seconds",), "12", "seconds: expected a finite number >= 0, got '12'"),
    (RESULT, ("test_rates_hz", "output"), {}, "test_rates_hz.output: expected a finite number"),
    (META, ("epoch",), 1.0, "epoch: expected a whole number >= 1, got 1.0"),
    (META, ("settings",), [], "settings: expected an object, got a list of 0"),
    (META, ("settings", "task"), None, "settings.task: expected a string, got null"),
    (META, ("metrics",), 0, "metrics: expected an object, got 0"),
    (META, ("versions",), {"jax": 1}, "versions.jax: expected a string, got 1"),
    (POSITION, ("epochs_done",), "30", "epochs_done: expected a whole number >= 0, got '30'"),
    (POSITION, ("sums",), {"loss": 1}, "sums: expected the keys 'samples', 'activity'"),
    (POSITION, ("stream",), 3, "stream: expected an object, got 3"),
]


@pytest.mark.parametrize(("name", "keys", "value", "words"), LEAVES)
def test_a_wrong_value_is_named_by_its_key(
    name: str, keys: tuple[str, ...], value: Any, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    wrong = changed(json.loads((RUN / name).read_text()), *keys, to=value)
    path.write_text(json.dumps(wrong))
    with pytest.raises(InputError, match=f"^{path} is damaged: {words}"):
        read(name, path)
    # The same of a value that a library has parsed already.
    with pytest.raises(InputError, match=words):
        FILES[name].check(path, wrong)


RECORD = json.loads((RUN / METRICS).read_text().splitlines()[0])
RECORDS = [
    (RECORD | {"epoch": 0}, "line 2: epoch: expected a whole number >= 1, got 0"),
    (RECORD | {"validation_accuracy": "1"}, "line 2: validation_accuracy: expected a finite"),
    (RECORD | {"silent": {"output": None}}, "line 2: silent.output: expected a finite number"),
    (RECORD | {"validation_r2": 1.0}, "line 2: the record: expected one score"),
    ({k: v for k, v in RECORD.items() if "accuracy" not in k}, "expected one score, .* got none"),
]


@pytest.mark.parametrize(("record", "words"), RECORDS)
def test_a_wrong_record_is_named_by_its_line(
    record: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / METRICS
    path.write_text("".join(json.dumps(each) + "\n" for each in (RECORD, record)))
    with pytest.raises(RunDirectoryError, match=words):
        forms.METRICS.read_lines(path)


def test_a_last_line_that_was_not_written_to_its_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / METRICS
    path.write_text(json.dumps(RECORD) + "\n" + json.dumps(RECORD)[:50])
    assert forms.METRICS.read_lines(path) == [RECORD]


# The commands.


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The files of a run that `train.compare` reads."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (CONFIG, RESULT, METRICS):
        shutil.copy(RUN / name, folder / name)
    return folder


def refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `train.compare` says, in one line, of a run that it refuses."""
    assert compare.main([str(run), "--plot", str(tmp_path / "curves.png")]) == BAD_INPUT
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert shown.err.startswith("python -m train.compare: error: ")
    return shown.err


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", [CONFIG, RESULT, METRICS])
def test_compare_refuses_damage(
    name: str, how: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if how == "no permission" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    break_it(run / name, how)
    assert str(run / name) in refused(run, tmp_path, capsys)


def of_two_runs(run: Path) -> None:
    result = json.loads((run / RESULT).read_text())
    result |= {"score": "r2", "test_r2": 0.5, "validation_r2": 0.5}
    (run / RESULT).write_text(json.dumps(result))


def epochs_out_of_order(run: Path) -> None:
    lines = (run / METRICS).read_text().splitlines(keepends=True)
    (run / METRICS).write_text("".join([lines[0], *lines[2:]]))


def an_epoch_of_another_score(run: Path) -> None:
    text = (run / METRICS).read_text()
    first, rest = text.split("\n", 1)
    (run / METRICS).write_text(first.replace("accuracy", "r2") + "\n" + rest)


def no_epoch(run: Path) -> None:
    (run / METRICS).write_text("")


MIXED: dict[Callable[[Path], None], str] = {
    of_two_runs: "is of the score 'r2' and metrics.jsonl of 'accuracy'",
    epochs_out_of_order: "line 2: expected epoch 2 with validation_accuracy, got epoch 3",
    an_epoch_of_another_score: "line 2: expected epoch 2 with validation_r2, got epoch 2",
    no_epoch: "is not the directory of a run with at least one finished epoch",
}


@pytest.mark.parametrize("change", MIXED)
def test_compare_refuses_files_that_do_not_belong_together(
    change: Callable[[Path], None], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(run)
    assert MIXED[change] in refused(run, tmp_path, capsys)


def test_compare_shows_what_a_file_says_and_never_sends_it_to_the_terminal(run: Path) -> None:
    config = json.loads((run / CONFIG).read_text())
    config["task"] = "nobody's"
    config["config"]["network"]["note"] = "\x1b[2Jgone"
    config["config"]["data"]["digest"] = 7
    (run / CONFIG).write_text(json.dumps(config))
    rows = compare.compare([run, RUN])
    assert "\x1b" not in compare.describe(rows) and "gone" in compare.describe(rows)


def test_errors_are_of_the_class_that_commands_show() -> None:
    assert issubclass(CheckpointError, InputError) and issubclass(RunDirectoryError, InputError)
