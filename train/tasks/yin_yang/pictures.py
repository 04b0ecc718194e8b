"""The pictures of a network trained on Yin-Yang: what `train.pictures` draws, from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from flax_snn.datasets.generated.labelled_points import mirrored
from flax_snn.datasets.generated.yin_yang import yin_yang_class
from flax_snn.event import Spikes
from flax_snn.typing import Array, Float, Int
from train.model import Model
from train.pictures import HiddenActivity, LayerSpikes, Plane, SampleSpikes, draw_point_run
from train.pictures.figure import spread
from train.tasks.task import Results

_CELLS = 120
"""Cells of the plane each way at which the network is asked."""

_FINE = 600
"""Cells each way of the grid that the true boundaries are drawn from."""

_CHUNK = 500
"""Points that the network is given at a time."""

_NEURONS = 5
"""Most hidden neurons of which first spikes are drawn over the plane."""


class Answers(NamedTuple):
    """What a network makes of S points.

    Attributes:
      predictions: class of each point ``(S,)``.
      counts: number of spikes of each neuron, ``(S, N)`` for each layer that spikes.
      first: time of its first spike in seconds, +inf where it is silent, ``(S, N)``.
    """

    predictions: Int[np.ndarray, "S"]
    counts: tuple[Float[np.ndarray, "S _"], ...]
    first: tuple[Float[np.ndarray, "S _"], ...]


def draw_point_gallery(results: Results) -> list[Path]:
    """Draws the pictures of a run into its folder ``plots``.

    Args:
      results: what the network does on the test part.

    Returns:
      The files that were written.
    """
    model, part = results.model, results.part
    run = Runner(model, results.params)
    points, labels = np.asarray(part.inputs), np.asarray(part.labels)
    on_part = run.answers(points)
    truth = yin_yang_class(_centres(_CELLS))
    asked = truth >= 0
    xy = _centres(_CELLS)[asked]
    on_plane = run.answers(mirrored(xy).astype(points.dtype))
    regions = np.full(truth.shape, -1)
    regions[asked] = on_plane.predictions
    depth = model.depth
    return draw_point_run(
        results.path,
        records=results.records,
        plane=Plane(
            regions=regions,
            outline=yin_yang_class(_centres(_FINE)),
            points=points[:, :2],
            targets=labels,
            predictions=on_part.predictions,
            classes=model.outputs,
        ),
        samples=_samples(run, points, labels, on_part),
        hidden=HiddenActivity(
            counts=dict(zip(model.layers[:depth], on_part.counts, strict=False)),
            first=_first_spikes(model, on_plane, asked),
        ),
        score=model.objective.score,
        loss=model.objective.unit,
    )


class Runner:
    """Runs a network on points, a chunk at a time, so that it is compiled once.

    Args:
      model: the network.
      params: its parameters.
    """

    def __init__(self, model: Model, params: Any):
        self.model, self._params = model, params
        self._apply = jax.jit(model.apply)

    def answers(self, points: Float[np.ndarray, "S F"]) -> Answers:
        """Returns what the network makes of the points."""
        chunks = [
            self._answer(points[start : start + _CHUNK]) for start in range(0, len(points), _CHUNK)
        ]
        predictions, counts, first = zip(*chunks, strict=True)
        return Answers(
            np.concatenate(predictions),
            tuple(np.concatenate(layer) for layer in zip(*counts, strict=True)),
            tuple(np.concatenate(layer) for layer in zip(*first, strict=True)),
        )

    def spikes(self, points: Float[np.ndarray, "B F"]) -> tuple[Spikes, ...]:
        """Returns the spikes of each layer that spikes, of at most one chunk of points."""
        output = self._apply(self._params, _padded(points), jax.random.key(0))
        return tuple(self.model.runner.events(layer) for layer in output.spikes)

    def _answer(self, points: Float[np.ndarray, "B F"]) -> Answers:
        output = self._apply(self._params, _padded(points), jax.random.key(0))
        # Spikes on a grid become events only outside of compiled code.
        events = [self.model.runner.events(layer) for layer in output.spikes]

        def cut(values: Array) -> np.ndarray:
            return np.asarray(values)[: len(points)]

        return Answers(
            cut(self.model.objective.predict(output.z)),
            tuple(cut(counts) for counts in output.activity),
            tuple(cut(layer.first_times()) for layer in events),
        )


def _samples(
    run: Runner, points: np.ndarray, labels: np.ndarray, answers: Answers
) -> list[SampleSpikes]:
    """Returns the spikes of the first sample of each class."""
    rows = np.unique(labels, return_index=True)[1]
    model = run.model
    times = np.asarray(model.encode.spikes(points[rows]).first_times())
    spikes = run.spikes(points[rows])
    sizes = [counts.shape[1] for counts in answers.counts]
    found = []
    for k, row in enumerate(rows):
        layers = {
            name: LayerSpikes(np.asarray(layer.time[k]), np.asarray(layer.index[k]), size)
            for name, layer, size in zip(model.layers, spikes, sizes, strict=True)
        }
        found.append(
            SampleSpikes(
                inputs=_inputs(times[k]),
                output=layers.pop("output", None),
                hidden=layers,
                target=int(labels[row]),
                prediction=int(answers.predictions[row]),
            )
        )
    return found


def _inputs(times_F: np.ndarray) -> LayerSpikes:
    order = np.argsort(times_F, kind="stable")
    return LayerSpikes(times_F[order], order, len(times_F))


def _first_spikes(
    model: Model, on_plane: Answers, asked: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """Returns first spike times over the plane, of the output neurons and some hidden ones.

    The hidden ones are of the last hidden layer, from the one that spikes at most points to the one
    that spikes at fewest.
    """

    def over_plane(times_S: np.ndarray) -> np.ndarray:
        times = np.full(asked.shape, np.nan)
        times[asked] = times_S
        return times

    maps: dict[str, dict[str, np.ndarray]] = {}
    layers = dict(zip(model.layers, on_plane.first, strict=True))
    if "output" in layers:
        maps["first spikes of the output neurons"] = {
            f"class {c}": over_plane(times) for c, times in enumerate(layers.pop("output").T)
        }
    if layers:
        name, times_SxN = layers.popitem()
        share = np.isfinite(times_SxN).mean(axis=0)
        active = [int(n) for n in np.argsort(-share, kind="stable") if share[n] > 0.0]
        chosen = spread(active, _NEURONS)
        if chosen:
            maps[f"first spikes in {name}: from the most to the least active neuron"] = {
                f"neuron {n}": over_plane(times_SxN[:, n]) for n in chosen
            }
    return maps


def _centres(cells: int) -> Float[np.ndarray, "H H 2"]:
    """Returns the centres of cells of the unit square, rows from low to high y."""
    centres = (np.arange(cells) + 0.5) / cells
    return np.stack(np.meshgrid(centres, centres), axis=-1)


def _padded(points: Float[np.ndarray, "B F"]) -> Float[np.ndarray, "K F"]:
    """Returns a whole chunk: one shape is compiled once."""
    return np.concatenate(
        [points, np.broadcast_to(points[:1], (_CHUNK - len(points), *points.shape[1:]))]
    )
