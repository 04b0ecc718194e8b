"""The pictures of a network on rasters: what `train.pictures` draws, filled from its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from flax_snn import losses
from train.model import Model
from train.pictures import LayerActivity, PartScores, SampleActivity, draw_run
from train.tasks.task import Results


def draw_raster_pictures(results: Results, quantity: str) -> list[Path]:
    """Draws the pictures of a run into its folder ``plots``.

    Args:
      results: what the network does on a part of the data.
      quantity: what is predicted where it is no class.

    Returns:
      The files that were written.
    """
    model, objective = results.model, results.model.objective
    classes = objective.score == "accuracy"
    labels = np.asarray(results.part.labels)
    # One with any steps at all: a recording may be empty.
    lengths = results.part.lengths
    first = 0 if lengths is None else int(np.argmax(np.asarray(lengths) > 0))
    one = results.part.take(slice(first, first + 1))
    times = _spike_times(results.part.inputs)
    return draw_run(
        results.path,
        records=results.records,
        sample=_sample(model, results.params, one),
        scores=PartScores(
            rates_hz={name: v / model.slot for name, v in results.activity.items()},
            targets=labels,
            predictions=results.predictions,
            classes=model.outputs // model.population if classes else None,
            times=times,
            score=results.score,
        ),
        dt=model.slot,
        score=objective.score,
        loss=objective.unit,
        quantity="class" if classes else quantity,
    )


def _sample(model: Model, params: Any, one: Any) -> SampleActivity:
    """Runs one sample, and returns what every layer did, padding left out."""

    def run(params: Any, inputs: Any, lengths: Any) -> Any:
        found = model.grid.run(params, model.encode(inputs), jax.random.key(0), lengths)
        prediction = model.objective.predict(model.readout(found))
        return model.encode(inputs), found.cells, _pooled(model, found.output), prediction

    inputs, lengths = jax.tree.map(jnp.asarray, (one.inputs, one.lengths))
    raster, cells, output, prediction = jax.jit(run)(params, inputs, lengths)
    end = None if lengths is None else int(lengths[0])
    hidden = [name for name in model.layers if name != "output"]
    layers = {
        name: LayerActivity(
            np.asarray(cell["spikes"][0])[0, :end], np.asarray(cell["v"][0])[0, :end]
        )
        for name, cell in zip(hidden, cells, strict=False)
    }
    return SampleActivity(
        inputs=np.asarray(raster)[0, :end],
        hidden=layers,
        output=np.asarray(output)[0, :end],
        spiking=model.runner.spiking_output,
        target=np.asarray(one.labels)[0],
        prediction=np.asarray(prediction)[0],
        threshold=model.threshold,
        reading=model.reading,
    )


def _pooled(model: Model, output: jax.Array) -> jax.Array:
    """Returns one output per class: all spikes of its neurons, or the mean of their membranes."""
    pool: Literal["sum", "mean"] = "sum" if model.runner.spiking_output else "mean"
    return losses.pool_population(output, model.population, pool=pool)


def _spike_times(inputs: Any) -> np.ndarray | None:
    """Returns the spike time of each unit in steps, where each of three or more spikes once."""
    if not isinstance(inputs, np.ndarray | jax.Array) or inputs.ndim != 3 or inputs.shape[2] < 3:
        return None
    rasters = np.asarray(inputs)
    once = (rasters.sum(axis=1) == 1).all()
    return rasters.argmax(axis=1).astype(np.float64) if once else None
