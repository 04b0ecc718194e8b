"""Decision regions and first spikes over the plane hold the numbers that were passed in."""

from collections.abc import Iterator

import matplotlib

matplotlib.use("Agg")

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from flax_snn import plot
from flax_snn.plot.palette import MOST_CLASSES, class_style


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    plt.close("all")  # Doctests leave figures open.
    yield
    plt.close("all")


RNG = np.random.default_rng(0)
REGIONS = np.array([[0, 0, 1, -1], [2, 2, 1, -1]])
POINTS = RNG.random((60, 2))
LABELS = np.arange(60) % 3
PREDICTIONS = np.where(np.arange(60) % 7 == 0, 1, LABELS)


def draw(**changes):
    """Draw with some arguments changed."""
    arguments = {
        "regions": REGIONS,
        "points": POINTS,
        "predictions": PREDICTIONS,
        "labels": LABELS,
    }
    options = {name: changes.pop(name) for name in ("outline", "extent", "ax") if name in changes}
    return plot.decision_regions(*(arguments | changes).values(), **options)


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def shown(ax, x: float, y: float) -> tuple[float, ...] | None:
    """Colour at a point of the picture of the regions; none where nothing is drawn."""
    (image,) = ax.images
    pixels = image.make_image(ax.figure.canvas.get_renderer(), unsampled=True)[0]
    left, right, bottom, top = image.get_extent()
    rows, columns = pixels.shape[:2]
    row, column = (
        int((y - bottom) / (top - bottom) * rows),
        int((x - left) / (right - left) * columns),
    )
    pixel = pixels[row, column] / 255.0
    return tuple(pixel[:3]) if pixel[3] else None


@pytest.mark.parametrize("extent", [(0.0, 1.0, 0.0, 1.0), (-1.0, 3.0, -2.0, 2.0)])
def test_a_region_has_the_pale_color_of_its_class_at_its_place(extent):
    ax = draw(extent=extent)
    ax.figure.canvas.draw()
    assert tuple(ax.images[0].get_extent()) == extent
    for row, column in np.ndindex(REGIONS.shape):
        x = extent[0] + (column + 0.5) / 4 * (extent[1] - extent[0])
        y = extent[2] + (row + 0.5) / 2 * (extent[3] - extent[2])
        label = int(REGIONS[row, column])
        if label < 0:
            assert shown(ax, x, y) is None
        else:
            assert shown(ax, x, y) == pytest.approx(class_style(label).pale, abs=1 / 255)


def test_no_color_of_a_third_class_appears_between_two():
    ax = draw(regions=np.array([[0, 2]]), labels=np.zeros(60, int), predictions=np.zeros(60, int))
    ax.figure.canvas.draw()
    pixels = np.asarray(ax.figure.canvas.buffer_rgba())[..., :3] / 255.0
    assert not (np.abs(pixels - class_style(1).pale) < 0.01).all(axis=-1).any()


def test_samples_have_the_color_of_their_class_and_wrong_ones_an_edge():
    ax = draw()
    right, wrong = ax.collections[:3], ax.collections[3:6]
    for c in range(3):
        of_class = LABELS == c
        for points, chosen in ((right[c], PREDICTIONS == c), (wrong[c], PREDICTIONS != c)):
            np.testing.assert_allclose(points.get_offsets(), POINTS[of_class & chosen])
            for color in points.get_facecolor():
                np.testing.assert_allclose(color[:3], to_rgb(class_style(c).color))
        assert right[c].get_linewidths()[0] == 0.0
        assert wrong[c].get_sizes()[0] > 3.0 * right[c].get_sizes()[0]
    np.testing.assert_allclose(wrong[0].get_edgecolor()[0], (0.0, 0.0, 0.0, 1.0))
    count = int((LABELS != PREDICTIONS).sum())
    assert legend(ax) == ["class 0", "class 1", "class 2", f"wrong: {count} of 60"]


def test_the_outline_runs_where_the_true_class_changes():
    g = (np.arange(200) + 0.5) / 200
    x, y = np.meshgrid(g, g)
    distance = np.hypot(x - 0.5, y - 0.5)
    outline = np.where(distance < 0.2, 1, np.where(distance < 0.45, 0, -1))
    ax = draw(outline=outline)
    lines = [c for c in ax.collections if hasattr(c, "levels")]
    found = np.concatenate([path.vertices for c in lines for path in c.get_paths()])
    radii = np.hypot(*(found - 0.5).T)
    off = np.minimum(np.abs(radii - 0.2), np.abs(radii - 0.45))
    assert off.max() < 1 / 200  # A cell.
    assert {round(r, 1) for r in radii} == {0.2, 0.4, 0.5}
    assert legend(ax)[-1] == "true boundaries"


def linear(color) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


# From linear RGB to what is seen without one kind of cone: Machado, Oliveira and Fernandes, A
# Physiologically-based Model for Simulation of Color Vision Deficiency, 2009, severity 1.
DEFICIENT = {
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def lab(rgb: np.ndarray) -> np.ndarray:
    """Linear RGB to CIE L*a*b* of white D65."""
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(matrix) @ rgb / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("kind", DEFICIENT)
def test_classes_are_told_apart_without_red_or_green(kind):
    seen = [
        lab(np.clip(np.array(DEFICIENT[kind]) @ linear(class_style(c).color), 0.0, 1.0))
        for c in range(MOST_CLASSES)
    ]
    apart = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    # A difference of 2.3 is just noticeable; the first three classes are the commonest.
    assert min(apart) > 2.0 * 2.3
    assert min(np.linalg.norm(seen[i] - seen[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > 30.0


def test_each_of_ten_classes_has_its_own_color_and_shape():
    styles = [class_style(c) for c in range(MOST_CLASSES)]
    for values in zip(*styles, strict=True):
        assert len(set(values)) == MOST_CLASSES
    labels = np.arange(60) % 10
    ax = draw(labels=labels, predictions=labels, regions=np.arange(10)[None])
    assert legend(ax) == [*(f"class {c}" for c in range(10)), "wrong: 0 of 60"]


MAPS = np.array([[[5e-3, np.inf], [np.nan, 7e-3]], [[9e-3, 6e-3], [np.inf, np.inf]]])


def test_first_spikes_are_in_ms_on_one_scale_and_silence_is_grey():
    axes = plot.first_spike_map(jnp.asarray(MAPS, jnp.float32), names=["a", "b"])
    assert [ax.get_title() for ax in axes] == ["a", "b"]
    for ax, times in zip(axes, MAPS, strict=True):
        silence, image = ax.images
        np.testing.assert_array_equal(~np.ma.getmaskarray(silence.get_array()), np.isposinf(times))
        spiked = np.isfinite(times)
        np.testing.assert_array_equal(~np.ma.getmaskarray(image.get_array()), spiked)
        np.testing.assert_allclose(image.get_array()[spiked], 1e3 * times[spiked], rtol=1e-6)
        assert image.get_clim() == pytest.approx((5.0, 9.0))
        assert image.origin == "lower"
    assert axes[1].images[1].colorbar.ax.get_ylabel() == "first spike (ms)\ngrey: silent"


def test_one_neuron_needs_no_axis_and_silence_no_scale():
    (ax,) = plot.first_spike_map(MAPS[1])
    assert ax.get_title() == "neuron 0"
    (silent,) = plot.first_spike_map(np.full((3, 3), np.inf))
    assert silent.images[1].get_array().mask.all()
    assert len(silent.images[1].colorbar.get_ticks()) == 0
    silent.figure.canvas.draw()
    (awake,) = plot.first_spike_map(MAPS[1, :1])
    assert awake.images[1].colorbar.ax.get_ylabel() == "first spike (ms)"


def test_seven_neurons_stand_in_two_rows_with_labels_outside():
    axes = plot.first_spike_map(np.ones((7, 2, 2)), outline=np.array([[0, 0], [1, 1]]))
    assert len(axes) == 7 and len({round(ax.get_position().y0, 6) for ax in axes}) == 2
    assert [bool(ax.get_ylabel()) for ax in axes] == [True, *[False] * 4, True, False]
    assert [bool(ax.get_xlabel()) for ax in axes] == [False, False, *[True] * 5]
    assert all(any(hasattr(c, "levels") for c in ax.collections) for ax in axes)


def test_axes_that_are_given_are_used_and_returned():
    figure, grid = plt.subplots(1, 3)
    assert draw(ax=grid[0]) is grid[0]
    assert plot.first_spike_map(MAPS, axes=list(grid[1:])) == list(grid[1:])
    assert plt.get_fignums() == [figure.number]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: draw(regions=LABELS), r"regions: expected shape \(H, W\).*\(60,\)"),
        (lambda: draw(regions=np.zeros((0, 3), int)), "regions: .* at least 1 x 1 cells"),
        (lambda: draw(regions=REGIONS - 1), "regions: expected classes >= -1, got -2"),
        (lambda: draw(regions=REGIONS + 8), "expected classes below 10, got 10"),
        (lambda: draw(points=POINTS[:, :1]), r"points: expected shape \(S, 2\).*\(60, 1\)"),
        (lambda: draw(points=POINTS[:0]), "points: .* at least one sample"),
        (lambda: draw(points=POINTS * np.nan), "points: expected finite"),
        (lambda: draw(points=POINTS + 0.5), "points: expected samples within .* outside; widen"),
        (lambda: draw(labels=LABELS[1:]), r"labels: expected shape \(60,\), got shape \(59,\)"),
        (lambda: draw(labels=LABELS - 1), "labels: expected classes >= 0, got -1"),
        (lambda: draw(predictions=LABELS[1:]), r"predictions: expected shape \(60,\)"),
        (lambda: draw(outline=[[0, 1]]), r"outline: .* at least 2 x 2 cells, got \(1, 2\)"),
        (lambda: draw(extent=(0.0, 0.0, 0.0, 1.0)), "extent: expected .*low below"),
        (lambda: draw(extent=(0.0, np.inf, 0.0, 1.0)), "extent: expected"),
        (lambda: plot.first_spike_map(np.ones(3)), r"times: expected shape \(N, H, W\)"),
        (lambda: plot.first_spike_map(np.ones((0, 2, 2))), "times: .* at least one cell"),
        (lambda: plot.first_spike_map(-MAPS), "got -inf"),
        (lambda: plot.first_spike_map(MAPS, names=["a"]), "names: expected one for each of 2"),
        (lambda: plot.first_spike_map(MAPS, axes=[]), "axes: expected one for each of 2"),
        (lambda: plot.first_spike_map(MAPS, outline=[1]), "outline: expected shape"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
    assert not plt.get_fignums()  # Nothing half-drawn.


@pytest.mark.usefixtures("unchecked")
def test_what_is_of_another_kind_is_refused():
    for name, values in (("regions", REGIONS), ("labels", LABELS), ("predictions", LABELS)):
        with pytest.raises(TypeError, match=f"{name}: expected classes as integers, got float64"):
            draw(**{name: values * 1.0})
    with pytest.raises(TypeError, match="points: expected real numbers"):
        draw(points=POINTS.astype(complex))
    with pytest.raises(TypeError, match="times: expected real numbers"):
        plot.first_spike_map(MAPS.astype(complex))
