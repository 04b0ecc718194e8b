"""Randman against published generators' arrays, and against its formula written out again."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flax_snn.datasets import (
    Randman,
    randman,
    randman_cutoff,
    randman_manifold,
    randman_spike_times,
    randman_standardise,
)
from flax_snn.datasets.generated.randman import _draw_parameters

GOLDEN = Path(__file__).parents[1] / "golden" / "datasets"

FILES = ("randman_a1_d1", "randman_a2_d2", "randman_a3_d3", "randman_a15_bias")
# Row of the golden files -> the settings that make it.
ROWS: dict[str, dict[str, Any]] = {
    "numpy": {"variant": "numpy"},
    "torch": {"variant": "torch"},
    "paper": {"variant": "paper"},
    "torch_f32": {"variant": "torch"},
    "torch_beta": {"variant": "torch", "beta": 3.0},
    "numpy_bias": {"variant": "numpy", "use_bias": True},
    "torch_bias": {"variant": "torch", "use_bias": True},
}
ONLY_IN_BIAS_FILE = ("torch_beta", "numpy_bias", "torch_bias")

SMALL: dict[str, Any] = {"classes": 3, "samples_per_class": 20, "units": 4, "alpha": 2.0}


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return dict(arrays)


def small(**settings: Any) -> Randman:
    return randman(**{**SMALL, **settings})


def count(times: np.ndarray, units: np.ndarray, bins: int, num_units: int) -> np.ndarray:
    """The raster, one event after the other."""
    raster = np.zeros((len(times), bins, num_units), int)
    for sample, (row, who) in enumerate(zip(times, units, strict=True)):
        for time, unit in zip(row, who, strict=True):
            raster[sample, int(time), unit] += 1
    return raster


@pytest.mark.parametrize(
    ("file", "row"),
    [
        (file, row)
        for file in FILES
        for row in ROWS
        if row not in ONLY_IN_BIAS_FILE or file == "randman_a15_bias"
    ],
)
def test_evaluation_on_fixed_parameters(file: str, row: str):
    g = load(file)
    alpha, steps, step_frac = float(g["alpha"]), int(g["steps"]), float(g["step_frac"])
    y = randman_manifold(g["A"], g["B"], g["C"], g["x"], alpha=alpha, **ROWS[row])
    s = randman_standardise(y)
    times = randman_spike_times(s, steps=steps, step_frac=step_frac)
    # float64 differs by the order of rounding; float32 by its phase, up to 2 pi F.
    y_tolerance, s_tolerance = 1e-10, 1e-10
    if row == "torch_f32":
        y_tolerance, s_tolerance = (2e-5 if g["A"].shape[-1] == 1000 else 2e-7), 5e-5
    np.testing.assert_allclose(y, g[f"y_{row}"], rtol=0, atol=y_tolerance)
    np.testing.assert_allclose(s, g[f"s_{row}"], rtol=0, atol=s_tolerance)
    np.testing.assert_array_equal(np.floor(times), g[f"t_{row}"])
    if f"r_{row}" in g:
        units = np.broadcast_to(np.arange(y.shape[1]), times.shape)
        np.testing.assert_array_equal(count(times, units, steps, y.shape[1]), g[f"r_{row}"])


def direct(A, B, C, x, alpha: float, variant: str, beta: float, use_bias: bool) -> np.ndarray:
    """The formula as it is printed, one number after the other."""
    y = np.zeros((len(x), len(A)))
    for sample, unit in np.ndindex(*y.shape):
        factors = []
        for j in range(A.shape[1]):
            terms = []
            for k in range(A.shape[2]):
                n = k + 1 if variant == "paper" else k
                weight = (k + 1) ** -alpha
                if variant == "torch":
                    weight = 1 / (abs(k + 1 - beta) ** alpha + 1)
                if k == 0 and variant != "paper" and not use_bias:
                    weight = 0.0
                phase = n * x[sample, j] * B[unit, j, k] + C[unit, j, k]
                terms.append(A[unit, j, k] * weight * math.sin(2 * math.pi * phase))
            factors.append(math.fsum(terms))
        y[sample, unit] = math.prod(factors)
    return y


@pytest.mark.parametrize(
    ("variant", "use_bias"),
    [("numpy", False), ("numpy", True), ("torch", False), ("torch", True), ("paper", False)],
)
def test_evaluation_is_the_printed_formula(variant: Any, use_bias: bool):
    rng = np.random.default_rng(1)
    A, B, C = rng.random((3, 4, 3, 9))
    x = rng.random((7, 3))
    beta = 1.7 if variant == "torch" else 0.0
    settings = {"alpha": 1.3, "variant": variant, "beta": beta, "use_bias": use_bias}
    y = randman_manifold(A, B, C, x, **settings)
    np.testing.assert_allclose(y, direct(A, B, C, x, **settings), rtol=0, atol=1e-12)


def test_a_row_does_not_depend_on_the_rows_beside_it():
    rng = np.random.default_rng(0)
    A, B, C = rng.random((3, 50, 2, 12))
    x = rng.random((400, 2))  # 40000 values a term, several chunks
    whole = randman_manifold(A, B, C, x, alpha=1.0)
    some = [3, 170, 399]
    # The same sine in another vector lane: the last bits may differ on some machines.
    np.testing.assert_allclose(
        randman_manifold(A, B, C, x[some], alpha=1.0), whole[some], rtol=0, atol=1e-13
    )


@pytest.mark.parametrize(
    ("alpha", "terms"),
    [(0.5, 1000), (1.0, 1000), (1.25, 252), (1.5, 100), (2.0, 32), (2.5, 16), (3.0, 10)]
    + [(4.0, 6), (5.0, 4), (0.9, 1000), (1e-3, 1000)],
)
def test_cutoff(alpha: float, terms: int):
    assert randman_cutoff(alpha) == terms


def test_cutoff_is_capped():
    assert randman_cutoff(1.5, f_max=20) == 20
    assert randman_cutoff(1.0, prec=0.1) == 10


def test_port_data_set():
    g = load("randman_port_set")
    data = randman(
        classes=3,
        samples_per_class=20,
        units=8,
        dim=2,
        alpha=float(g["alpha"]),
        steps=int(g["steps"]),
        step_frac=float(g["step_frac"]),
        spikes_per_unit=2,
        seed=int(g["seed"]),
    )
    # What is drawn is equal to the bit, what goes through a sine to rounding.
    np.testing.assert_array_equal(data.manifold_seeds, g["seeds"])
    np.testing.assert_array_equal(data.order, g["order"])
    np.testing.assert_array_equal(data.x, g["x"].reshape(60, 2)[g["order"]])
    np.testing.assert_array_equal(data.units, g["units"])
    np.testing.assert_array_equal(data.labels, g["labels"])
    np.testing.assert_allclose(data.times, g["times"], rtol=0, atol=40 * 1e-10)
    raster = data.raster(bins=g["raster"].shape[1])
    assert raster.dtype == np.uint8
    np.testing.assert_array_equal(raster, g["raster"])
    assert raster.max() == 2


def test_port_parameters():
    g = load("randman_port_set")
    for index in np.ndindex(3, 2):
        A, B, C = _draw_parameters(int(g["seeds"][index]), 8, 2, 32)
        np.testing.assert_array_equal(A[..., 1:], g["A"][index][..., 1:])  # theirs is zeroed at 0
        np.testing.assert_array_equal(B, g["B"][index])
        np.testing.assert_array_equal(C, g["C"][index])


def test_stork_data_set():
    g = load("randman_stork_set")
    blocks = []
    for label, spike in np.ndindex(3, 2):
        parameters = (g[name][label, spike] for name in "ABC")
        y = randman_manifold(*parameters, g["x"][label], alpha=float(g["alpha"]), variant="torch")
        # float32 there; the worst of these 960 values is 2.02e-7 off.
        np.testing.assert_allclose(y, g["y"][label, spike], rtol=0, atol=4e-7)
        blocks.append(
            randman_spike_times(
                randman_standardise(y),
                steps=int(g["steps"]),
                step_frac=float(g["step_frac"]),
                offset_frac=float(g["offset_frac"]),
            )
        )
    times = np.stack(blocks).reshape(3, 2, 20, 8).transpose(0, 2, 1, 3).reshape(60, 16)
    np.testing.assert_array_equal(np.floor(times), g["times"])
    # The columns and labels of the generator, back in the order of the stack.
    data = randman(
        classes=3, samples_per_class=20, units=8, alpha=2.0, spikes_per_unit=2, variant="torch"
    )
    unshuffle = np.argsort(data.order)
    np.testing.assert_array_equal(data.units[unshuffle], g["units"])
    np.testing.assert_array_equal(data.labels[unshuffle], g["labels"])


@pytest.mark.parametrize("variant", ["numpy", "torch", "paper"])
def test_generator_uses_its_settings(variant: Any):
    """Class 1, spike 1, from the documented draws and the formula written out."""
    settings = {"beta": 0.4} if variant == "torch" else {}
    data = small(
        variant=variant,
        dim=2,
        spikes_per_unit=2,
        steps=50,
        step_frac=0.6,
        offset_frac=0.25,
        f_max=12,
        seed=5,
        **settings,
    )
    generator = np.random.default_rng(5)
    seed = generator.integers(np.iinfo(np.int64).max, size=(3, 2))[1, 1]
    x = [generator.random((20, 2)) for _ in range(3)][1]
    A, B, C = np.moveaxis(np.random.default_rng(seed).random((4, 2, 3, 12)), 2, 0)
    y = direct(A, B, C, x, 2.0, variant, settings.get("beta", 0.0), False)
    s = (y - y.min(0)) / (np.ptp(y, axis=0) + 1e-7)
    mine = np.argsort(data.order)[20:40]
    np.testing.assert_array_equal(data.x[mine], x)
    np.testing.assert_array_equal(data.labels[mine], 1)
    np.testing.assert_array_equal(data.units[mine, 4:], np.tile(np.arange(4), (20, 1)))
    expected = 50 * (0.6 * 0.75 * s + 0.25)
    np.testing.assert_allclose(data.times[mine, 4:], expected, rtol=0, atol=1e-10)


def test_default_task_in_small():
    data = small(units=20, alpha=1.0)
    assert data.settings.cutoff == 1000
    assert (data.settings.steps, data.settings.dt) == (100, 2e-3)
    raster = data.raster()
    assert raster.shape == (60, 100, 20)
    # Every unit fires once, in the first half: only timing tells the classes apart.
    np.testing.assert_array_equal(raster.sum(1), 1)
    assert not raster[:, 50:].any()
    # Every unit's first spike of a class is at the very start, its last just before the half.
    for label in range(3):
        times = data.times[data.labels == label]
        np.testing.assert_array_equal(times.min(0), 0.0)
        assert (times.max(0) < 50).all()
        assert (times.max(0) > 49.99).all()


def test_same_seed_same_bits():
    first, second, other = small(seed=3), small(seed=3), small(seed=4)
    for field in ("times", "units", "labels", "x", "order", "manifold_seeds"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))
    assert not np.array_equal(first.times, other.times)
    assert not np.array_equal(first.order, other.order)


def test_one_thread_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch):
    threads = small()
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    np.testing.assert_array_equal(small().times, threads.times)


@pytest.mark.parametrize("settings", [{}, {"steps": 250, "dt": 1e-4}, {"step_frac": 1.0}])
def test_steps_scale_the_times_only(settings: dict[str, Any]):
    data, scaled = small(), small(**settings)
    ratio = scaled.settings.steps * scaled.settings.step_frac / 50
    np.testing.assert_allclose(scaled.times, data.times * ratio, rtol=1e-14)


@pytest.mark.parametrize("parts", [(0.8, 0.1, 0.1), (16, 2, 2), (0.5, 0.0, 0.5), (1, 0, 19)])
def test_split_is_balanced_and_disjoint(parts: tuple[float, ...]):
    data = small()
    split = data.split(parts)
    for part, wanted in zip(split, parts, strict=True):
        per_class = wanted if isinstance(wanted, int) else round(wanted * 20)
        np.testing.assert_array_equal(np.bincount(part.labels, minlength=3), per_class)
        # Rows of the whole set, complete and in its order.
        rows = np.flatnonzero(np.isin(data.order, part.order))
        for field in ("times", "units", "labels", "x", "order"):
            np.testing.assert_array_equal(getattr(part, field), getattr(data, field)[rows])
        np.testing.assert_array_equal(part.raster(), data.raster()[rows])
    together = np.concatenate([part.order for part in split])
    np.testing.assert_array_equal(np.sort(together), np.arange(60))


def test_default_split_takes_the_first_of_each_class_for_training():
    data = small()
    train, validation, test = data.split()
    for label in range(3):
        order = data.order[data.labels == label]
        np.testing.assert_array_equal(train.order[train.labels == label], order[:16])
        np.testing.assert_array_equal(validation.order[validation.labels == label], order[16:18])
        np.testing.assert_array_equal(test.order[test.labels == label], order[18:])


def test_fractions_that_round_badly_are_whole():
    split = small(samples_per_class=30).split((0.7, 0.2, 0.1))  # 0.7 * 30 is 20.999...
    assert [len(part) for part in split] == [63, 18, 9]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((0.8, 0.2), "train, validation, test"),
        ((0.8, 0.1, 0.2), "sum to 1"),
        ((0.81, 0.1, 0.09), "counts per class"),
        ((16, 2, 3), "sum to 20"),
        ((48, 6, 6), "counts per class"),
        ((-0.1, 0.6, 0.5), ">= 0"),
        ((math.nan, 0.5, 0.5), ">= 0"),
        ((22, 0, -2), ">= 0"),
    ],
)
def test_split_refuses(parts: tuple[float, ...], message: str):
    with pytest.raises(ValueError, match=f"expected three counts.*{message}"):
        small().split(parts)


def test_split_refuses_classes_out_of_balance():
    data = small()
    fields = ("times", "units", "labels", "x", "order")
    part = dataclasses.replace(data, **{name: getattr(data, name)[:31] for name in fields})
    with pytest.raises(ValueError, match="equally many samples"):
        part.split()


def test_raster_adds_up():
    data = small(spikes_per_unit=30, steps=8)
    raster = data.raster()
    np.testing.assert_array_equal(raster, count(data.times, data.units, 8, 4))
    assert raster.sum() == data.times.size
    np.testing.assert_array_equal(raster.sum(1), 30)
    for dtype in (np.int16, np.float32):
        assert data.raster(dtype).dtype == dtype
        np.testing.assert_array_equal(data.raster(dtype), raster)


def test_raster_refuses_events_outside():
    data = small(step_frac=1.0)
    assert data.raster(bins=100).sum() == data.times.size
    with pytest.raises(ValueError, match=r"time: expected every one in \[0, 99\).*outside"):
        data.raster(bins=99)
    with pytest.raises(ValueError, match="bins: expected a whole number"):
        data.raster(bins=0)


def test_raster_refuses_counts_that_do_not_fit():
    data = small(spikes_per_unit=300, steps=1)
    with pytest.raises(ValueError, match="got uint8 for 300 events.*wider dtype"):
        data.raster()
    np.testing.assert_array_equal(data.raster(np.uint16), 300)
    with pytest.raises(ValueError, match="got bool for"):
        small(spikes_per_unit=2, steps=1).raster(bool)


def test_long_samples_do_not_wrap():
    data = small(steps=40000, step_frac=1.0, classes=1)
    assert data.times.max() > 32768
    raster = data.raster()
    assert raster.shape[1] == 40000
    np.testing.assert_array_equal(raster, count(data.times, data.units, 40000, 4))


def test_standardise_keeps_the_constant():
    y = np.array([[0.0, -1.0], [1e-7, 3.0], [0.5e-7, 0.0]])
    expected = [[0.0, 0.0], [0.5, 4 / (4 + 1e-7)], [0.25, 1 / (4 + 1e-7)]]
    np.testing.assert_allclose(randman_standardise(y), expected, rtol=1e-15)
    assert (randman_standardise(y) < 1).all()


def test_the_end_of_the_range_is_refused():
    # A range so large that 1e-7 is lost: s = 1 exactly, one step past the last one in use.
    s = randman_standardise(np.array([[0.0], [1e10]]))
    assert s.max() == 1.0
    for step_frac in (0.5, 1.0):
        with pytest.raises(ValueError, match=r"expected s in \[0, 1\).*standardise in float64"):
            randman_spike_times(s, steps=100, step_frac=step_frac)
    with pytest.raises(ValueError, match="expected s in"):
        randman_spike_times(np.array([-1e-9]), steps=100)
    with pytest.raises(ValueError, match="expected s in"):
        randman_spike_times(np.array([np.nan]), steps=100)
    assert randman_spike_times(np.array([0.0, 0.999]), steps=10, step_frac=1.0).max() < 10


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "y", [np.ones((1, 3)), np.eye(3, dtype=np.float32), np.arange(3.0), np.full((2, 2), np.nan)]
)
def test_standardise_refuses(y: np.ndarray):
    with pytest.raises(ValueError, match="expected y of shape"):
        randman_standardise(y)


def test_standardise_refuses_a_constant_unit():
    with pytest.raises(ValueError, match="constant unit 1"):
        randman_standardise(np.array([[0.0, 2.0], [1.0, 2.0]]))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "values"),
    {
        "classes": (0, -1, 2.0, "3", True, None),
        "samples_per_class": (1, 0, 20.0),
        "units": (0, 4.5),
        "dim": (0, 1.0),
        "steps": (0, 100.0, math.nan),
        "spikes_per_unit": (0, 1.5),
        "f_max": (0, 1e3),
        "seed": (-1, 0.5, None),
        "alpha": (0.0, -1.0, math.nan, math.inf, "1"),
        "dt": (0.0, -1e-3, math.nan),
        "step_frac": (0.0, -0.5, 1.01, math.nan),
        "offset_frac": (-0.1, 1.0, math.nan),
        "prec": (0.0, 1.0, math.nan),
        "beta": (1.0, math.nan),
        "variant": ("jax", "", None),
        "use_bias": (1, None),
    }.items(),
)
def test_bad_settings_are_refused(name: str, values: tuple[Any, ...]):
    for value in values:
        with pytest.raises((TypeError, ValueError), match=rf"{name}: expected .*, got "):
            small(**{name: value})


def test_settings_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="leave use_bias out"):
        small(variant="paper", use_bias=True)
    with pytest.raises(ValueError, match="at least 2 terms"):
        small(f_max=1)
    small(variant="paper", f_max=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((5, 3))}, "one shape"),
        ({"B": np.zeros((4, 2, 6))}, "one shape"),
        ({"x": np.zeros(5)}, "x: expected a real, finite array of rank 2"),
        ({"A": np.full((4, 2, 7), np.nan)}, "A: expected a real, finite array"),
        ({"C": np.zeros((4, 2, 7), complex)}, "C: expected a real, finite array"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(change: dict[str, np.ndarray], message: str):
    arrays = {name: np.zeros((4, 2, 7)) for name in "ABC"} | {"x": np.zeros((5, 2))} | change
    with pytest.raises(ValueError, match=message):
        randman_manifold(**arrays, alpha=1.0)


@pytest.mark.usefixtures("unchecked")
def test_settings_hold_plain_numbers():
    settings = small(classes=np.int64(3), dt=np.float32(0.5)).settings
    assert type(settings.classes) is int and type(settings.dt) is float
    with pytest.raises(TypeError, match="steps: expected a whole number"):
        small(steps=np.bool_(True))
