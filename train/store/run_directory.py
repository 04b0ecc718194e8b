"""The directory of a run: what it holds, and when it may be written to.

``config.json`` names the run: it has an id, made when the run began, that all its checkpoints and
its result have too. What is JSON has a sum of itself; see `train.store.checksum`.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from train.errors import RunDirectoryError
from train.store import forms
from train.store.checksum import CHECKSUM, is_broken, sealed
from train.store.layout import CHECKPOINTS, CONFIG, CONTENTS, METRICS, PLOTS, RESULT
from train.store.lines import check_lines, lines_sum, metrics_line
from train.store.places import check_new_place


def choose(workdir: Path | None, task: str, *, overwrite: bool, resume: bool) -> Path:
    """Returns the directory of a run; nothing is written yet.

    Args:
      workdir: what the user asked for; ``None`` for ``checkpoints/<task>/<time>``, or, to resume,
        for the newest of these.
      task: name of the task.
      overwrite: whether a run that is there may be replaced.
      resume: whether a run that is there is to go on.

    Returns:
      The directory.

    Raises:
      RunDirectoryError: not a directory, not writable, it holds a run and may not be replaced, or
        there is none to resume.
    """
    path = place(workdir, task, resume=resume)
    check_free(path, overwrite=overwrite, resume=resume)
    return path


def place(workdir: Path | None, task: str, *, resume: bool) -> Path:
    """Returns the directory of a run, whatever it holds: before it is locked.

    Args:
      workdir: as in `choose`.
      task: name of the task.
      resume: whether a run that is there is to go on.

    Raises:
      RunDirectoryError: no run can be written there, or there is none to resume.
    """
    folder = task.replace(":", ".")
    if workdir is not None:
        path = workdir
    elif resume:
        path = _newest(Path(CHECKPOINTS, folder))
    else:
        path = Path(CHECKPOINTS, folder, timestamp())
    check_new_place(path)
    existing = next((p for p in (path, *path.parents) if p.exists()), Path())
    if not existing.is_dir():
        raise RunDirectoryError(f"{existing} is not a directory; choose another --workdir")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise RunDirectoryError(f"{existing} cannot be written to; choose another --workdir")
    return path


def check_free(path: Path, *, overwrite: bool, resume: bool) -> None:
    """Refuses a directory whose run may not be replaced, or cannot be resumed.

    Args:
      path: what `place` returned.
      overwrite: whether a run that is there may be replaced.
      resume: whether a run that is there is to go on.

    Raises:
      RunDirectoryError: the message says what is there.
    """
    held = [name for name in CONTENTS if os.path.lexists(path / name)]
    if held and not (overwrite or resume):
        raise RunDirectoryError(
            f"{path} already holds a run ({', '.join(held)}); go on with it with --resume, replace"
            " it with --overwrite, or choose another --workdir"
        )
    if resume and held and CONFIG not in held:
        raise RunDirectoryError(
            f"{path} holds {', '.join(held)} but no {CONFIG}, so its settings are not known;"
            f" restore {CONFIG}, or train again with --overwrite"
        )


def timestamp() -> str:
    """Returns the time of day as a folder is named by it."""
    return datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")


def _newest(folder: Path) -> Path:
    """Returns the run in a folder that began last."""
    runs = [p for p in folder.iterdir() if (p / CONFIG).exists()] if folder.is_dir() else []
    if not runs:
        raise RunDirectoryError(f"{folder} holds no run to resume; name one with --workdir")
    return max(runs, key=lambda p: p.name)


def stored_settings(path: Path) -> dict[str, Any] | None:
    """Returns the settings of the run in a directory, ``None`` where there is none.

    Those of an older release come in its form; see `settings_json.upgraded`.

    Raises:
      RunDirectoryError: they are damaged.
    """
    config = _config(path)
    if config is None:
        return None
    return {name: value for name, value in config.items() if name not in ("run", CHECKSUM)}


def run_id(path: Path) -> str | None:
    """Returns the id of the run in a directory; ``None`` for no run, or one of an older release."""
    found: str | None = _about_run(path).get("id")
    return found


def time_loop(path: Path) -> str | None:
    """Returns the time loop that the run in a directory takes, ``None`` where it is not known."""
    found: str | None = _about_run(path).get("time_loop")
    return found


def remember_time_loop(path: Path, name: str) -> None:
    """Writes down which time loop the run takes, once and for all."""
    config = _config(path)
    if config is not None and config.get("run") and not config["run"].get("time_loop"):
        _write_config(path, config, {**config["run"], "time_loop": name})


def give_id(path: Path) -> None:
    """Gives an id to a run that an older release began, which goes on now."""
    config = _config(path)
    if config is not None and not config.get("run"):
        _write_config(path, config, _new_run())


def read_result(path: Path) -> dict[str, Any] | None:
    """Returns the result of a run, ``None`` where it is not finished.

    Raises:
      RunDirectoryError: it is damaged, or that of another run.
    """
    result: dict[str, Any] | None = forms.RESULT.read(path / RESULT)
    if result is None:
        return None
    run = run_id(path)
    if is_broken(result) or (run is not None and CHECKSUM not in result):
        raise _damaged(path / RESULT, "its checksum is not that of what it holds", forms.RESULT)
    if run is not None and result.get("run") != run:
        wrong = f"it is of the run {result.get('run')!r}, {CONFIG} of {run!r}"
        raise _damaged(path / RESULT, wrong, forms.RESULT)
    return result


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Writes the result of a run, which is finished with it.

    Args:
      path: the run directory.
      result: what it came to.
    """
    records = read_metrics(path)
    tied = {"run": run_id(path), "lines": lines_sum(records)}
    write_json(path / RESULT, sealed({**result, **tied}))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Returns the metrics of a run, one record per epoch; a line cut short by a kill is left out.

    Raises:
      RunDirectoryError: they are damaged, or not those that the run wrote.
    """
    records: list[dict[str, Any]] = forms.METRICS.read_lines(path / METRICS)
    if (wrong := check_lines(path, records)) is not None:
        raise _damaged(path / METRICS, wrong, forms.METRICS)
    return records


def write_metrics(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Replaces the metrics of a run, whole or not at all."""
    _write(path / METRICS, "".join(metrics_line(record) for record in records))


def start(path: Path, settings: Mapping[str, Any]) -> None:
    """Makes the directory ready for a new run, which replaces one that is there.

    Only what a run writes is replaced; other files stay. Called when training is about to begin,
    so that a run that cannot begin destroys nothing.

    Args:
      path: what `choose` returned.
      settings: settings of the run, for JSON.

    Raises:
      RunDirectoryError: it cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name in CONTENTS:
            old = path / name
            if old.is_dir() and not old.is_symlink():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
    except OSError as error:
        raise RunDirectoryError(
            f"{path} cannot be written to ({error.strerror}); choose another --workdir"
        ) from error
    remove_halves(path)
    _write_config(path, settings, _new_run())


def reopen(path: Path, settings: Mapping[str, Any]) -> None:
    """Makes a run that may be finished one that goes on, with settings that replace its own."""
    about = _about_run(path)
    # In this order a kill in between leaves a run that was not quite finished.
    (path / RESULT).unlink(missing_ok=True)
    _write_config(path, settings, about or _new_run())


def remove_halves(path: Path) -> None:
    """Removes files that a killed process had not written to their end."""
    for half in (*path.glob(f"*{_HALF}"), *(path / PLOTS).glob(f"*{_HALF}")):
        with contextlib.suppress(OSError):
            half.unlink()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes JSON whole or not at all.

    Raises:
      RunDirectoryError: it cannot be written, for the disk is full or read-only.
    """
    _write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


_HALF = ".tmp"


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}{_HALF}")
    try:
        try:
            with beside.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> RunDirectoryError:
    """Returns the error for a file of a run that cannot be written."""
    return RunDirectoryError(
        f"{path} cannot be written ({error.strerror}); what was saved before is kept: make room, or"
        " make it writable, then go on with --resume"
    )


def _new_run() -> dict[str, Any]:
    return {"id": secrets.token_hex(8), "time_loop": None}


def _about_run(path: Path) -> dict[str, Any]:
    config = _config(path)
    found: dict[str, Any] = {} if config is None else config.get("run", {})
    return found


def _config(path: Path) -> dict[str, Any] | None:
    """Returns all of ``config.json``, ``None`` where there is none."""
    config: dict[str, Any] | None = forms.CONFIG.read(path / CONFIG)
    if config is not None and (is_broken(config) or ("run" in config) != (CHECKSUM in config)):
        raise _damaged(path / CONFIG, "its checksum is not that of what it holds", forms.CONFIG)
    return config


def _write_config(path: Path, settings: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    plain = {name: value for name, value in settings.items() if name not in ("run", CHECKSUM)}
    write_json(path / CONFIG, sealed({**plain, "run": dict(run)}))


def _damaged(path: Path, wrong: str, kind: forms.JsonFile) -> RunDirectoryError:
    return RunDirectoryError(f"{path} is damaged: {wrong}; {kind.remedy}")
