"""Data that do not fit the network are refused before it sees them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.data.check import check_dataset
from train.data.parts import Dataset, Part
from train.errors import ConfigError
from train.model.encoders import Latencies, Rasters, SpikeLists

STEPS, UNITS, CLASSES = 6, 4, 3
RASTER = Rasters(STEPS, UNITS, 1e-3).sample
PLAIN = Part(np.ones((5, STEPS, UNITS), np.uint8), np.array([0, 1, 2, 0, 1], np.int32))
PADDED = PLAIN._replace(lengths=np.array([0, 1, 6, 3, 2], np.int32))


def check(
    part: Any,
    *,
    where: str = "train",
    sample: Any = RASTER,
    label_shape: tuple[int, ...] = (),
    classes: int | None = CLASSES,
    steps: int | None = STEPS,
    good: Part = PLAIN,
) -> None:
    data = Dataset(good, good, good)._replace(**{where: part})
    check_dataset(data, sample, label_shape, classes, steps)


@dataclasses.dataclass
class Source:
    """Samples that are read one by one."""

    part: Part

    def __len__(self) -> int:
        return len(self.part.labels)

    def __getitem__(self, row: int) -> dict[str, Any]:
        names = ("inputs", "label", "length")
        found = zip(names, self.part.take(row), strict=True)
        return {name: value for name, value in found if value is not None}


LISTS = Part(
    {"step": np.full((5, 2), 6, np.uint16), "unit": np.zeros((5, 2), np.uint16)}, PLAIN.labels
)
VALUES = Part(PLAIN.inputs, np.linspace(0, 1, 10, dtype=np.float32).reshape(5, 2))
POINTS = Part(np.linspace(0, 1, 20, dtype=np.float32).reshape(5, 4), PLAIN.labels)


@pytest.mark.parametrize(
    ("part", "more"),
    [
        (PLAIN, {}),
        (PADDED, {}),
        (Source(PLAIN), {}),
        (Source(PADDED), {}),
        (jax.tree.map(jnp.asarray, PADDED), {}),
        (LISTS, {"sample": SpikeLists(STEPS, UNITS, 1e-3, 2).sample, "good": LISTS}),
        (VALUES, {"classes": None, "label_shape": (2,), "good": VALUES}),
        (POINTS, {"sample": Latencies(4, 0.03, True).sample, "steps": None, "good": POINTS}),
    ],
)
def test_data_that_fit_pass(part, more):
    check(part, **more)


def changed(array, row, value):
    array = array.copy()
    array[row] = value
    return array


LISTED = {"sample": SpikeLists(STEPS, UNITS, 1e-3, 2).sample, "good": LISTS}
VALUED = {"classes": None, "label_shape": (2,), "good": VALUES}
ANALOG = {"sample": Rasters(STEPS, UNITS, 1e-3, np.float32).sample}
FLOATS = PLAIN._replace(inputs=PLAIN.inputs.astype(np.float32))

REFUSED = {
    "too few steps": (PLAIN._replace(inputs=PLAIN.inputs[:, 1:]), {}, r"\(5, 5, 4\) of uint8"),
    "too many units": (
        PLAIN._replace(inputs=np.ones((5, 6, 5), np.uint8)),
        {},
        r"expected inputs \(samples, 6, 4\) of dtype uint8, as the task says, got \(5, 6, 5\)",
    ),
    "another dtype": (FLOATS, {}, r"of dtype uint8, .* of float32"),
    "a tree for an array": (PLAIN._replace(inputs={"x": PLAIN.inputs}), {}, "inputs of the form"),
    "an array for a tree": (PLAIN, LISTED, r"inputs of the form .*'step': \*, 'unit': \*"),
    "a list without units": (
        LISTS._replace(inputs={"step": LISTS.inputs["step"]}),
        LISTED,
        "inputs of the form",
    ),
    "lists of other lengths": (
        LISTS._replace(inputs=LISTS.inputs | {"unit": np.zeros((5, 3), np.uint16)}),
        LISTED,
        r"expected inputs \(samples, 2\) of dtype uint16, .* got \(5, 3\)",
    ),
    "steps and units of other numbers of samples": (
        LISTS._replace(inputs=LISTS.inputs | {"unit": np.zeros((4, 2), np.uint16)}),
        LISTED,
        r"expected 5 samples in all inputs, got \[5, 4\]",
    ),
    "not a number": (
        FLOATS._replace(inputs=changed(FLOATS.inputs, (2, 3, 1), np.nan)),
        ANALOG | {"good": FLOATS},
        r"expected finite inputs, got nan at \(2, 3, 1\)",
    ),
    "infinity": (
        FLOATS._replace(inputs=changed(FLOATS.inputs, (4, 0, 0), -np.inf)),
        ANALOG | {"good": FLOATS},
        r"expected finite inputs, got -inf at \(4, 0, 0\)",
    ),
    "no samples": (PLAIN.take(slice(0, 0)), {}, "expected at least one sample, got none"),
    "too few labels": (
        PLAIN._replace(labels=PLAIN.labels[1:]),
        {},
        r"expected labels of shape \(5,\), got \(4,\)",
    ),
    "labels in a column": (
        PLAIN._replace(labels=PLAIN.labels[:, None]),
        {},
        r"expected labels of shape \(5,\), got \(5, 1\)",
    ),
    "one value for two": (
        VALUES._replace(labels=VALUES.labels[:, :1]),
        VALUED,
        r"expected labels of shape \(5, 2\), got \(5, 1\)",
    ),
    "whole numbers for values": (
        VALUES._replace(labels=np.ones((5, 2), np.int32)),
        VALUED,
        "expected finite floating values as labels",
    ),
    "a value that is no number": (
        VALUES._replace(labels=changed(VALUES.labels, (1, 1), np.nan)),
        VALUED,
        "expected finite floating values as labels",
    ),
    "floats for classes": (
        PLAIN._replace(labels=PLAIN.labels.astype(np.float32)),
        {},
        "expected integers as labels, got float32",
    ),
    "a class too many": (
        PLAIN._replace(labels=changed(PLAIN.labels, 3, 3)),
        {},
        "expected labels from 0 to 2, got 0 to 3",
    ),
    "a class below zero": (
        PLAIN._replace(labels=changed(PLAIN.labels, 3, -1)),
        {},
        "expected labels from 0 to 2, got -1 to 2",
    ),
    "lengths in continuous time": (
        POINTS._replace(lengths=PADDED.lengths),
        {"sample": Latencies(4, 0.03, True).sample, "steps": None, "good": POINTS},
        "lengths are counted in time steps, this network has none",
    ),
    "too few lengths": (
        PADDED._replace(lengths=PADDED.lengths[:4]),
        {},
        r"lengths: expected 5 integers, got int32 \(4,\)",
    ),
    "lengths in seconds": (
        PADDED._replace(lengths=PADDED.lengths * 1e-3),
        {},
        r"lengths: expected 5 integers, got float64 \(5,\)",
    ),
    "a length beyond the last step": (
        PADDED._replace(lengths=changed(PADDED.lengths, 1, 7)),
        {},
        "expected lengths from 0 to 6 steps, got 0 to 7",
    ),
    "a negative length": (
        PADDED._replace(lengths=changed(PADDED.lengths, 1, -1)),
        {},
        "expected lengths from 0 to 6 steps, got -1 to 6",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("where", ["train", "validation", "test"])
def test_data_that_do_not_fit_are_refused_with_the_name_of_the_part(name, where):
    part, more, words = REFUSED[name]
    with pytest.raises(ConfigError, match=rf"^data set, {where} part.*: .*{words}"):
        check(part, where=where, **more)


def test_a_source_is_checked_by_its_first_sample():
    source = Source(PLAIN._replace(inputs=PLAIN.inputs[:, :5]))
    with pytest.raises(ConfigError, match=r"^data set, train part: .* got \(1, 5, 4\) of uint8"):
        check(source)
    with pytest.raises(ConfigError, match="from 0 to 2, got 7 to 7"):
        check(Source(PLAIN._replace(labels=changed(PLAIN.labels, 0, 7))))


@dataclasses.dataclass
class ManyAtOnce(Source):
    """Samples that are read several at once."""

    def batch(self, rows: np.ndarray) -> dict[str, Any]:
        return self[rows]  # type: ignore[index]


def test_each_sample_of_a_source_is_checked_when_it_is_read() -> None:
    sample = jax.ShapeDtypeStruct((STEPS, UNITS), jnp.float32)
    floats = PADDED._replace(inputs=PLAIN.inputs.astype(np.float32))
    for kind in (Source, ManyAtOnce):
        data = Dataset(kind(floats), floats, floats)
        good = check_dataset(data, sample, (), CLASSES, STEPS).train
        assert len(good) == 5 and hasattr(good, "batch") == (kind is ManyAtOnce)
        np.testing.assert_array_equal(good[3]["inputs"], floats.inputs[3])

        def spoiled(field: str, value: float, kind: Any = kind) -> Any:
            array = np.array(getattr(floats, field))
            array[4] = value
            part = floats._replace(**{field: array})
            return check_dataset(Dataset(kind(part), floats, floats), sample, (), CLASSES, STEPS)

        for field, value, words in (
            ("inputs", np.nan, "train part, sample 4: expected finite inputs, got nan"),
            ("labels", 3, "train part, sample 4: expected labels from 0 to 2, got 3 to 3"),
            ("lengths", 9, "train part, sample 4: expected lengths from 0 to 6 steps"),
        ):
            train = spoiled(field, value).train  # the first sample is good
            assert train[0]["label"] == 0
            with pytest.raises(ConfigError, match=words):
                train[4]
            if kind is ManyAtOnce:
                rows = np.array([1, 2])
                np.testing.assert_array_equal(train.batch(rows)["label"], [1, 2])
                with pytest.raises(ConfigError, match=r"samples \[.*4.*\]: expected"):
                    train.batch(np.array([0, 4]))
