"""Networks of the app as NIR files, and NIR files as networks of the app.

A file that is exported here holds the settings of its run in its metadata, and so is evaluated
on the data that the network was trained for; of any other file a checkpoint says which data.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

from flax_snn import nir
from train.config_json import from_json, task_of, to_json
from train.errors import CheckpointError, ConfigError, InputError
from train.raster_model import RasterModel
from train.task import find_task
from train.trained import Trained

_KEY = "flax_snn_train"


def export_network(trained: Trained, path: Path, target: str | None = None) -> None:
    """Write a trained network to a NIR file.

    Args:
      trained: the network.
      path: the file; replaced if it exists.
      target: framework that is to read it, as in `flax_snn.nir.to_nir`.

    Raises:
      ConfigError: a network that runs in continuous time.
      InputError: a network that NIR cannot say.
    """
    model = _on_rasters(trained)
    settings = to_json(trained.task.name, trained.config)
    about = {_KEY: json.dumps({"settings": settings, "epoch": trained.epoch})}
    variables = {"params": trained.params, **model.constants}
    try:
        graph = nir.to_nir(
            model.plain, variables, model.input_shape[-1], target=target, metadata=about
        )
        nir.save(path, graph)
    except (nir.NIRError, OSError, ModuleNotFoundError) as error:
        raise InputError(f"--export {path}: {error}") from error


def import_network(
    path: Path,
    trained: Trained | None,
    method: Literal["euler", "exp"] | None = None,
    producer: str | None = None,
) -> Trained:
    """Read a network from a NIR file, with the task that it is for.

    Args:
      path: the file.
      trained: a network of the task, for files of others; ``None``: as the file says.
      method: how it is stepped; ``None``: as the file says.
      producer: preset for files of other frameworks, as in `flax_snn.nir.from_nir`.

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
        trained = _described(path, graph.metadata)
    model = _on_rasters(trained)
    written = graph.metadata.get("method")
    if method is None and written not in ("euler", "exp"):
        raise ConfigError(
            f"--nir {path}: the file does not say how it is stepped; add --nir-method euler or exp"
        )
    try:
        # A file for a framework may have steps of another length; their number is the same.
        dt = graph.metadata["dt"] if "target" in graph.metadata else model.dt
        network, variables = nir.from_nir(graph, dt, method or written, producer)
        params = variables.pop("params", {})
        model = model.with_network(network, variables)
        model.check(params)
    except (nir.NIRError, ConfigError) as error:
        raise InputError(f"--nir {path}: {error}") from error
    return dataclasses.replace(trained, model=model, params=params, path=path)


def _on_rasters(trained: Trained) -> RasterModel:
    if not isinstance(trained.model, RasterModel):
        raise ConfigError(
            f"networks of the task {trained.task.name} see points, not rasters, and NIR has no"
            " word for the way from one to the other; use a network of train.randman"
        )
    return trained.model


def _described(path: Path, metadata: dict[str, Any]) -> Trained:
    try:
        about = json.loads(metadata[_KEY])
        task = find_task(task_of(about["settings"]))
        config = from_json(task.config, about["settings"])
        task.check(config)
        epoch = int(about["epoch"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"--nir {path}: the file does not say what it was trained for; add --checkpoint RUN, a"
            " run on the data that it is to be evaluated on"
        ) from error
    except ConfigError as error:
        raise CheckpointError(f"--nir {path}: {error}") from error
    return Trained(task, config, task.build(config), None, epoch, path)
