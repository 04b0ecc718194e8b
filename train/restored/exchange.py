"""Networks of the app as NIR files, and NIR files as networks of the app.

A file that is exported here holds the settings of its run in its metadata, and so is evaluated
on the data that the network was trained for; of any other file a checkpoint says which data.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

from flax_snn import checks, nir
from flax_snn.json_form import Object, parse_json
from train.errors import CheckpointError, ConfigError, InputError
from train.restored.run import Restored
from train.settings.numbers import check_numbers
from train.settings.size import check_size
from train.store import forms
from train.store.settings_json import from_json, task_of, to_json
from train.tasks import find_task

_KEY = "flax_snn_train"

_ABOUT = Object({"settings": forms.STORED_SETTINGS, "epoch": checks.whole_number})


def export_network(trained: Restored, path: Path, target: str | None = None) -> None:
    """Writes a trained network to a NIR file.

    Args:
      trained: the network.
      path: the file; replaced if it exists.
      target: framework that is to read it, as in `flax_snn.nir.to_nir`.

    Raises:
      ConfigError: a network that runs in continuous time.
      InputError: a network that NIR cannot say.
    """
    model = trained.model
    settings = to_json(trained.task.name, trained.settings)
    about = {_KEY: json.dumps({"settings": settings, "epoch": trained.epoch})}
    variables = {"params": trained.params, **model.grid.constants}
    try:
        graph = nir.to_nir(
            model.grid.plain, variables, model.encode.features, target=target, metadata=about
        )
        nir.save(path, graph)
    except (nir.NIRError, OSError, ModuleNotFoundError) as error:
        raise InputError(f"--export {path}: {error}") from error


def import_network(
    path: Path,
    trained: Restored | None,
    method: Literal["euler", "exp"] | None = None,
    producer: str | None = None,
    size_limit: bool = True,
) -> Restored:
    """Reads a network from a NIR file, with the task that it is for.

    Args:
      path: the file.
      trained: a network of the task, for files of others; ``None``: as the file says.
      method: how it is stepped; ``None``: as the file says.
      producer: preset for files of other frameworks, as in `flax_snn.nir.from_nir`.
      size_limit: whether a network that needs more memory than this machine has left is refused.

    Returns:
      The network of the file in the place of the trained one.

    Raises:
      InputError: a file that cannot be read, or is of a network for other data.
      CheckpointError: neither file nor checkpoint say what it is for.
    """
    try:
        graph = nir.load(path)
    except (nir.NIRError, OSError, ModuleNotFoundError) as error:
        raise InputError(f"--nir {path}: {error}") from error
    if trained is None:
        trained = _described(path, graph.metadata, size_limit)
    model = trained.model
    written = graph.metadata.get("method")
    if method is None and written not in ("euler", "exp"):
        raise ConfigError(
            f"--nir {path}: the file does not say how it is stepped; add --nir-method euler or exp"
        )
    try:
        # A file for a framework may have steps of another length; their number is the same.
        dt = graph.metadata["dt"] if "target" in graph.metadata else model.grid.dt
        network, variables = nir.from_nir(graph, dt, method or written, producer)
        model = model.with_network(network, variables)
    except (nir.NIRError, ConfigError) as error:
        raise InputError(f"--nir {path}: {error}") from error
    return dataclasses.replace(trained, model=model, params=variables.get("params", {}), path=path)


def _described(path: Path, metadata: dict[str, Any], size_limit: bool) -> Restored:
    try:
        about = parse_json(metadata[_KEY], _ABOUT)
        task = find_task(task_of(about["settings"]))
        settings = from_json(task.settings, about["settings"])
        check_numbers(settings)
        task.check(settings)
        epoch = about["epoch"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"--nir {path}: the file does not say what it was trained for; add --checkpoint RUN, a"
            " run on the data that it is to be evaluated on"
        ) from error
    except ConfigError as error:
        raise CheckpointError(f"--nir {path}: {error}") from error
    check_size(task.size(settings), limit=size_limit, training=False)
    return Restored(task, settings, task.build(settings), None, epoch, path)
