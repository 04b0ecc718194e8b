"""The pictures of a trained network: what `train.pictures` draws, filled from a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import losses
from train.data import Part
from train.model import Model
from train.objective import CLASSIFICATION
from train.pictures import LayerActivity, PartScores, SampleActivity, draw_run
from train.point_gallery import draw_point_gallery
from train.point_model import PointModel
from train.raster_model import RasterModel
from train.record import activity_of
from train.state import Evaluation


def draw_gallery(
    path: Path,
    model: Model,
    params: Any,
    part: Part,
    scored: Evaluation,
    records: Sequence[dict[str, Any]],
) -> list[Path]:
    """Draw the pictures of a run into its folder ``plots``.

    Args:
      path: the run directory.
      model: the network.
      params: its parameters.
      part: the test part.
      scored: evaluation of the parameters on it; predictions may have padding.
      records: metrics of the epochs.

    Returns:
      The files that were written.
    """
    if isinstance(model, PointModel):
        return draw_point_gallery(path, model, params, part, records)
    if isinstance(model, RasterModel):
        return _draw_raster_gallery(path, model, params, part, scored, records)
    raise TypeError(
        f"model: expected a RasterModel or a PointModel, got {type(model).__name__}; draw its"
        " pictures in train.gallery"
    )


def _draw_raster_gallery(
    path: Path,
    model: RasterModel,
    params: Any,
    part: Part,
    scored: Evaluation,
    records: Sequence[dict[str, Any]],
) -> list[Path]:
    objective = model.objective
    classes = objective is CLASSIFICATION
    labels, inputs = np.asarray(part.labels), np.asarray(part.inputs)
    shape = objective.label_shape
    predictions = np.asarray(scored.predictions).reshape(-1, *shape)[: len(labels)]
    rates = {name: v / model.dt for name, v in activity_of(model, scored.sums).items()}
    return draw_run(
        path,
        records=records,
        sample=_sample(model, params, inputs[0], labels[0]),
        scores=PartScores(
            rates_hz=rates,
            targets=labels,
            predictions=predictions,
            classes=int(labels.max()) + 1 if classes else None,
            times=_spike_times(inputs),
        ),
        dt=model.dt,
        score=objective.score,
        loss="cross-entropy (nats)" if classes else "mean squared error",
        quantity="class" if classes else "coordinate on the manifold",
    )


def _sample(model: RasterModel, params: Any, inputs: Any, label: Any) -> SampleActivity:
    """Run one sample, and keep what every layer did."""
    x = jnp.asarray(inputs)[None]
    output, cells = jax.jit(model.trace)(params, x, jax.random.key(0))
    hidden = [name for name in model.layers if name != "output"]
    layers = {
        name: LayerActivity(np.asarray(cell["spikes"][0])[0], np.asarray(cell["v"][0])[0])
        for name, cell in zip(hidden, cells, strict=False)
    }
    prediction = model.objective.predict(model.readout(output))[0]
    return SampleActivity(
        inputs=inputs,
        hidden=layers,
        output=np.asarray(_pooled(model, output))[0],
        spiking=model.spiking_output,
        target=label,
        prediction=np.asarray(prediction),
        threshold=model.threshold,
    )


def _pooled(model: RasterModel, output: jax.Array) -> jax.Array:
    """Return one output per class: all spikes of its neurons, or the mean of their membranes."""
    pool: Literal["sum", "mean"] = "sum" if model.spiking_output else "mean"
    return losses.pool_population(output, model.population, pool=pool)


def _spike_times(inputs: np.ndarray) -> np.ndarray | None:
    """Return the spike time of each unit in steps, where each of three or more spikes once."""
    once = (inputs.sum(axis=1) == 1).all()
    return inputs.argmax(axis=1).astype(np.float64) if once and inputs.shape[2] >= 3 else None
