"""What a network does in a few samples: spikes, membranes, predictions, decision time."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from train.data.parts import Part
from train.model.grid import GridRunner
from train.reporting.pack import packed, quantised
from train.restored.run import Restored

NEURONS = 6
"""Most neurons of a layer of which the membrane is shown."""

SPIKES = 20_000
"""Most spikes of a layer in one sample that are embedded."""


def chosen(labels: np.ndarray, count: int, lengths: Any = None) -> list[int]:
    """Returns samples to look at: of classes one after another; else the first ones.

    Args:
      labels: labels of the part, ``(S,)`` or ``(S, D)``.
      count: how many at most.
      lengths: steps of each sample; those without any are left out.
    """
    rows = np.arange(len(labels))
    if lengths is not None:
        rows = rows[np.asarray(lengths) > 0]
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
        seen: dict[int, int] = {}
        turns = []
        for row in rows.tolist():
            label = int(labels[row])
            turns.append((seen.get(label, 0), label, row))
            seen[label] = seen.get(label, 0) + 1
        return [row for _, _, row in sorted(turns)[:count]]
    return [int(row) for row in rows[:count]]


def samples_of(trained: Restored, part: Part, count: int) -> list[dict[str, Any]]:
    """Returns what the network does in chosen samples, ready for JSON.

    Args:
      trained: the network.
      part: a part of its data.
      count: how many samples.

    Returns:
      For each: ``row``, ``target``, ``prediction``, ``seconds`` (its length), ``decision`` (see
      `decision_time`; ``None`` for no time, and left out where it is not defined), ``layers`` with
      the times and the neurons of their spikes, and membranes of some neurons.
    """
    rows = chosen(np.asarray(part.labels), count, part.lengths)
    if not rows:
        return []
    some = jax.tree.map(jnp.asarray, part.take(np.asarray(rows)))
    on_grid = isinstance(trained.model.runner, GridRunner)
    found = _in_steps(trained, some) if on_grid else _in_time(trained, some)
    for row, target, one in zip(rows, np.asarray(some.labels), found, strict=True):
        one |= {"row": row, "target": target.tolist()}
    return found


def _in_steps(trained: Restored, some: Part) -> list[dict[str, Any]]:
    model = trained.model

    def run(params: Any, inputs: Any, lengths: Any) -> Any:
        x = model.encode(inputs)
        found = model.grid.run(params, x, jax.random.key(0), lengths)
        prediction = model.objective.predict(model.readout(found))
        return model.grid.raster(x), found.cells, found.output, prediction

    raster, cells, output, predictions = jax.tree.map(
        np.asarray, jax.jit(run)(trained.params, some.inputs, some.lengths)
    )
    dt, hidden = model.slot, [name for name in model.layers if name != "output"]
    found = []
    for k in range(len(raster)):
        end = raster.shape[1] if some.lengths is None else int(some.lengths[k])
        layers = [_spikes("input", *_events(raster[k, :end], dt), raster.shape[2])]
        for name, cell in zip(hidden, cells, strict=False):
            spikes, v = np.asarray(cell["spikes"][0])[k, :end], np.asarray(cell["v"][0])[k, :end]
            layer = _spikes(name, *_events(spikes, dt), spikes.shape[1])
            layers.append(layer | _membranes(v, spikes, model.threshold))
        out = output[k, :end]
        if model.runner.spiking_output:
            layers.append(_spikes("output", *_events(out, dt), out.shape[1]))
        else:
            layers.append(_spikes("output", np.zeros(0), np.zeros(0), out.shape[1]))
            layers[-1] |= {"spiking": False, **_membranes(out, None, None)}
        one = {"seconds": end * dt, "dt": dt, "prediction": predictions[k].tolist()}
        if model.objective.score == "accuracy":
            one["decision"] = decision_time(out, model.population, int(predictions[k]), dt)
        found.append({**one, "layers": layers})
    return found


def _in_time(trained: Restored, some: Part) -> list[dict[str, Any]]:
    model = trained.model
    # One pass for predictions and spikes: compiling it is most of the work.
    passed = jax.jit(model.apply)(trained.params, some.inputs, jax.random.key(0), some.lengths)
    predictions = np.asarray(model.objective.predict(passed.z))
    names = ["input", *model.layers]
    trains = [model.encode.spikes(some.inputs), *map(model.runner.events, passed.spikes)]
    found = []
    for k in range(len(predictions)):
        layers, last = [], 0.0
        for name, train in zip(names, trains, strict=True):
            time, index = np.asarray(train.time[k]), np.asarray(train.index[k])
            real = np.isfinite(time) & (index >= 0)
            size = train.size if train.size is not None else int(index.max(initial=0)) + 1
            layers.append(_spikes(name, time[real], index[real], size))
            last = max(last, float(time[real].max(initial=0.0)))
        one = {"prediction": predictions[k].tolist(), "layers": layers, "dt": None}
        outs = layers[-1]
        one["decision"] = outs["first"] if model.layers[-1] == "output" else None
        found.append({**one, "seconds": last})
    return found


def decision_time(output: np.ndarray, population: int, final: int, dt: float) -> float | None:
    """Returns the time from which the sums of outputs so far name the final class and no other.

    Args:
      output: spikes or membranes of the output neurons, ``(T, C P)``.
      population: neurons P per class.
      final: class that the network decides for at the end.
      dt: length of a step in seconds.

    Returns:
      Seconds, or ``None`` where the sums of outputs do not end at that class.
    """
    sums = np.cumsum(np.asarray(output, np.float64), axis=0)
    sums = sums.reshape(len(sums), -1, population).sum(axis=2)
    others = np.delete(sums, final, axis=1)
    ahead = sums[:, final] > others.max(axis=1, initial=-np.inf)
    if not len(ahead) or not ahead[-1]:
        return None
    wrong = np.flatnonzero(~ahead)
    return float((wrong[-1] + 2 if len(wrong) else 1) * dt)


def _events(raster: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns when, at the beginning of the step, and where there is any input or spike."""
    steps, units = np.nonzero(raster)
    return steps * dt, units


def _spikes(name: str, times: np.ndarray, neurons: np.ndarray, size: int) -> dict[str, Any]:
    kept = slice(0, SPIKES)
    return {
        "name": name,
        "size": int(size),
        "spiking": True,
        "spikes": len(times),
        "first": float(times.min()) if len(times) else None,
        "left_out": max(0, len(times) - SPIKES),
        "t": packed(times[kept], "float32"),
        "n": packed(neurons[kept], "float32" if size > 65535 else "uint16"),
    }


def _membranes(v: np.ndarray, spikes: Any, threshold: float | None) -> dict[str, Any]:
    """Returns membranes of neurons from the one with most spikes to the one with fewest."""
    size = v.shape[1]
    ranked = np.arange(size) if spikes is None else np.argsort(-spikes.sum(axis=0), kind="stable")
    shown = ranked[np.unique(np.linspace(0, size - 1, min(NEURONS, size)).astype(int))]
    return {"v": quantised(v[:, shown]), "neurons": shown.tolist(), "threshold": threshold}
