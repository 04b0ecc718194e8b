"""Randman on disk: a TFDS data set in ArrayRecord files, prepared once, read at random.

    <data_dir>/randman/<configuration>/<version>/     one folder per `RandmanSettings`

What is stored is what `flax_snn.datasets.randman` draws: spike times in float64, not rounded to
steps, in the parts of `Randman.split`. Draws are the same bits on every machine; where another
sine is in use, times may differ from those stored by rounding (1e-12).

Neither TensorFlow nor a network is needed, only tensorflow-datasets and array_record:
``pip install 'flax-snn[data]'``.

Letters: D dimensions of the manifold, E events of a sample.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flax_snn.datasets.generated.randman import Randman, RandmanSettings, randman
from flax_snn.datasets.prepared_folder import damage_explained
from flax_snn.datasets.randman_source import RandmanSource, stored_settings
from flax_snn.datasets.tfds_prepare import ArrayRecordBuilder, data_folder, tfds, write_once

__all__ = ["RandmanBuilder", "RandmanConfig", "RandmanSource", "prepare_randman", "stored_settings"]

_READABLE = 150  # characters of a folder's name, for file systems that allow 255

_DESCRIPTION = """\
Spike patterns drawn from smooth random manifolds, one manifold per class. Every unit spikes equally
often, so only the timing of the spikes tells the classes apart."""

_CITATION = """\
@article{zenke2021remarkable,
  title   = {The remarkable robustness of surrogate gradient learning for instilling complex
             function in spiking neural networks},
  author  = {Zenke, Friedemann and Vogels, Tim P.},
  journal = {Neural Computation},
  volume  = {33},
  number  = {4},
  pages   = {899--925},
  year    = {2021}
}"""


def prepare_randman(
    settings: RandmanSettings, data_dir: str | os.PathLike[str] | None = None
) -> RandmanBuilder:
    """Writes the data set unless it is there already, and opens it.

    The folder appears under its name when it is whole: a preparation that was interrupted leaves
    nothing that counts, and of several processes that prepare at once the first to finish wins.

    Args:
      settings: what the data set is made with, as `Randman.settings` has it.
      data_dir: folder of all TFDS data sets; by default TFDS' own, $TFDS_DATA_DIR or
        ~/tensorflow_datasets.

    Returns:
      The builder of a data set that is there; `RandmanSource` reads it.

    Raises:
      ValueError: settings that the generator refuses or that cannot be split into 80/10/10 %, or
        a folder that is damaged or holds other settings.

    Example:
      >>> import tempfile
      >>> from flax_snn.datasets import randman
      >>> from flax_snn.datasets.tfds_randman import RandmanSource, prepare_randman
      >>> data = randman(classes=2, samples_per_class=10, units=3, alpha=2.0, steps=20)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     builder = prepare_randman(data.settings, folder)
      ...     source = RandmanSource(builder, "train")
      ...     item = source[5]
      >>> len(source), item["inputs"].shape, bool((item["x"] == data.split().train.x[5]).all())
      (16, (20, 3), True)
    """
    config = RandmanConfig(settings)
    builder = write_once(functools.partial(_builder, config, data_dir))
    stored = stored_settings(builder)
    if stored != settings:
        raise ValueError(
            f"expected {settings} in {builder.data_dir}, got {stored}; delete that folder, or "
            "choose another data_dir"
        )
    return builder


class RandmanConfig(tfds.core.BuilderConfig):  # type: ignore[misc]  # has no types
    """Configuration of `RandmanBuilder`: settings, and the name that follows from them.

    The name says what tells data sets apart most often, and ends in a digest of all settings, so
    that two settings never share a folder.

    Args:
      settings: what the data set is made with.

    Raises:
      ValueError: the samples of a class cannot be split into 80/10/10 %.
    """

    def __init__(self, settings: RandmanSettings):
        if settings.samples_per_class % 10:
            raise ValueError(
                "samples_per_class: expected a multiple of 10, so that 80/10/10 % are whole "
                f"numbers of samples, got {settings.samples_per_class}; round it"
            )
        self.settings = settings
        super().__init__(name=_name(settings), description=f"Made with {settings}.")


class RandmanBuilder(ArrayRecordBuilder):
    """The TFDS builder of Randman: `tfds.builder("randman")` is that of the default settings.

    Features of a sample: `times` in steps, not rounded, (E,) float64; `units` of the events (E,)
    int32; `label` (), `x` coordinates on the manifold (D,) float64; `order` () int64, which names
    the sample within the whole data set. Splits are train, validation and test.

    Args:
      config: a `RandmanConfig`.
      data_dir: folder of all TFDS data sets, TFDS' own by default.
      version: what TFDS takes, the newest by default.
      file_format: what TFDS takes; ArrayRecord, the default, is what can be read at random.
    """

    name = "randman"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Spike times in float64, three parts of 80/10/10 % of each class."}

    def _info(self) -> tfds.core.DatasetInfo:
        settings = self.builder_config.settings
        events = (settings.spikes_per_unit * settings.units,)
        # Without an encoding TFDS would keep 24 of the 53 bits of a float64.
        exact = {"encoding": tfds.features.Encoding.BYTES}
        features = {
            "times": tfds.features.Tensor(shape=events, dtype=np.float64, **exact),
            "units": tfds.features.Tensor(shape=events, dtype=np.int32, **exact),
            "label": tfds.features.ClassLabel(num_classes=settings.classes),
            "x": tfds.features.Tensor(shape=(settings.dim,), dtype=np.float64, **exact),
            "order": tfds.features.Scalar(dtype=np.int64),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=_DESCRIPTION,
            citation=_CITATION,
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(),
            disable_shuffling=True,  # The order of rows is part of the data set.
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # There is nothing to download.
        settings = self.builder_config.settings
        data = randman(**dataclasses.asdict(settings))
        self.info.metadata["settings"] = _plain(settings)
        self.info.metadata["manifold_seeds"] = data.manifold_seeds.tolist()
        return {
            name: self._generate_examples(part) for name, part in data.split()._asdict().items()
        }

    def _generate_examples(self, part: Randman) -> Iterator[tuple[int, dict[str, Any]]]:
        columns = {
            "times": part.times,
            "units": part.units,
            "label": part.labels,
            "x": part.x,
            "order": part.order,
        }
        for row in range(len(part)):
            yield row, {name: column[row] for name, column in columns.items()}


def _plain(settings: RandmanSettings) -> dict[str, Any]:
    """Returns the settings for JSON, equal for equal settings: alpha 1 and 1.0 are one data set."""
    kinds: dict[str, Callable[[Any], Any]] = {"int": int, "float": float}
    return {
        field.name: kinds.get(str(field.type), lambda value: value)(getattr(settings, field.name))
        for field in dataclasses.fields(settings)
    }


def _name(settings: RandmanSettings) -> str:
    """Returns a name such as numpy-classes10-units20-dim1-alpha1-steps100-seed0-0123456789ab."""
    plain = _plain(settings)
    shown = {name: plain[name] for name in ("classes", "units", "dim", "alpha", "steps", "seed")}
    shown["alpha"] = format(plain["alpha"], "g")
    fragments = [plain["variant"], *(f"{name}{value}" for name, value in shown.items())]
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return f"{'-'.join(fragments).replace('+', '')[:_READABLE]}-{digest[:12]}"


def _default_settings() -> RandmanSettings:
    parameters = inspect.signature(randman).parameters.values()
    return RandmanSettings(**{argument.name: argument.default for argument in parameters})


# TFDS makes this one where no configuration is asked for.
RandmanBuilder.BUILDER_CONFIGS = [RandmanConfig(_default_settings())]


def _builder(config: RandmanConfig, data_dir: str | os.PathLike[str] | None) -> RandmanBuilder:
    """Returns the builder, which reads the metadata of its folder.

    Raises:
      ValueError: the folder is damaged.
    """
    folder = data_folder(data_dir, RandmanBuilder.name, config.name, str(RandmanBuilder.VERSION))
    with damage_explained(folder, "Randman"):
        return RandmanBuilder(config=config, data_dir=data_dir)
