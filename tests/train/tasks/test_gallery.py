"""The gallery of a network on points: what it asks the network and makes of the answers."""

import matplotlib

matplotlib.use("Agg")

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flax_snn.datasets import yin_yang, yin_yang_class
from train.data.parts import Part
from train.tasks import Results
from train.tasks.yin_yang import pictures
from train.tasks.yin_yang.settings import YinYangConfig
from train.tasks.yin_yang.task import YinYang

CELLS = 10

DATA = yin_yang(50, 7)
PART = Part(DATA.x.astype(np.float32), DATA.labels)


ROWS, COLUMNS = np.divmod(np.arange(CELLS**2), CELLS)
XY = (np.stack([COLUMNS, ROWS], axis=-1) + 0.5) / CELLS
ASKED = yin_yang_class(XY) >= 0


class Drawn(NamedTuple):
    """What the gallery would draw, and what the network says of all points in one batch."""

    arrays: dict[str, Any]
    predictions: np.ndarray
    spikes: tuple[Any, ...]


def collect(method: str, **loss: Any) -> tuple[dict[str, Any], Any, Any]:
    """Fill the pictures of a small network, and draw none; returns model and parameters too."""
    config = YinYangConfig()
    config = dataclasses.replace(
        config,
        network=dataclasses.replace(config.network, method=method, hidden=(12,), dt=1e-3),
        loss=dataclasses.replace(config.loss, **loss),
    )
    task = YinYang()
    model = task.build(config)
    params = jax.jit(model.init)(jax.random.key(0))
    arrays: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, cells in (("_CELLS", CELLS), ("_FINE", 20), ("_CHUNK", 32)):
            patch.setattr(pictures, name, cells)
        patch.setattr(pictures, "draw_point_run", lambda path, **what: arrays.update(what))
        predictions = np.asarray(model.predict(params, jnp.asarray(PART.inputs)))
        task.draw(Results(Path(), model, params, PART, predictions, {}, 0.5, []))
    return arrays, model, params


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("surrogate", marks=pytest.mark.slow),
        pytest.param("first_spike", marks=pytest.mark.slow),
        pytest.param("eventprop", marks=pytest.mark.slow),
    ],
)
def drawn(request) -> Drawn:
    arrays, model, params = collect(request.param)
    plane = np.concatenate([XY, 1.0 - XY], axis=-1)[ASKED]
    points = jnp.asarray(np.concatenate([PART.inputs, plane]), jnp.float32)
    predictions = jax.jit(model.predict)(params, points)
    return Drawn(arrays, np.asarray(predictions), model.spikes(params, points))


def test_pictures_show_what_the_network_says(drawn):
    arrays, predictions, (inputs, first, output) = drawn
    plane, samples = arrays["plane"], len(PART.labels)
    np.testing.assert_array_equal(plane.predictions, predictions[:samples])
    np.testing.assert_array_equal(plane.points, PART.inputs[:, :2])
    np.testing.assert_array_equal(arrays["hidden"].counts["hidden_1"], first.counts()[:samples])

    # One sample of each class, with the spikes that it has.
    rows = [np.flatnonzero(PART.labels == c)[0] for c in range(3)]
    for row, sample in zip(rows, arrays["samples"], strict=True):
        assert (sample.target, sample.prediction) == (PART.labels[row], predictions[row])
        pairs = [(sample.inputs, inputs), (sample.output, output)]
        for mine, theirs in (*pairs, (sample.hidden["hidden_1"], first)):
            time, index = np.asarray(theirs.time[row]), np.asarray(theirs.index[row])
            used = np.isfinite(mine.time)
            np.testing.assert_allclose(mine.time[used], time[np.isfinite(time)], rtol=1e-5)
            np.testing.assert_array_equal(mine.index[used], index[np.isfinite(time)])
            assert mine.size == theirs.size


def test_the_plane_is_asked_cell_by_cell_within_the_disc(drawn):
    arrays, predictions, (_, *layers) = drawn
    regions, maps = arrays["plane"].regions.ravel(), arrays["hidden"].first
    np.testing.assert_array_equal(regions[ASKED], predictions[len(PART.labels) :])
    assert (regions[~ASKED] == -1).all()

    first, output = (np.asarray(s.first_times())[len(PART.labels) :] for s in layers)
    outputs, neurons = maps.values()
    names = [int(name.removeprefix("neuron ")) for name in neurons]
    for chosen, times in ((outputs, output), (neurons, first[:, names])):
        found = np.stack([times.ravel() for times in chosen.values()], axis=-1)
        np.testing.assert_allclose(found[ASKED], times, rtol=1e-5)
        assert np.isnan(found[~ASKED]).all()
    shares = np.isfinite(first[:, names]).sum(axis=0)
    assert len(names) == 5 and (np.diff(shares) <= 0).all() and shares[-1] > 0


@pytest.mark.slow
def test_output_neurons_that_do_not_spike_are_left_out():
    arrays = collect("surrogate", loss="max")[0]
    assert all(sample.output is None for sample in arrays["samples"])
    assert list(arrays["hidden"].counts) == ["hidden_1"]
    assert [name.split(":")[0] for name in arrays["hidden"].first] == ["first spikes in hidden_1"]
    assert arrays["loss"] == "cross-entropy (nats)"
