"""Charts and tables: what each says to the eye, and to those who listen."""

import re
from html.parser import HTMLParser

import pytest

from train.reporting import charts
from train.reporting.page import short_names
from train.reporting.tables import counted, shown, table


class Elements(HTMLParser):
    """Elements with their attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def curves(text: str) -> list[dict]:
    """Attributes of the curves themselves, without those of the legend."""
    drawing = re.search(r'<svg class="chart".*?</svg>', text, re.S)
    assert drawing is not None
    return [a for _, a in Elements(drawing[0]).found if a.get("class", "").startswith("line")]


def test_no_two_of_thirty_curves_look_alike_and_neighbours_differ_in_their_dash():
    series = {f"run {k}": ([1, 2], [0.0, float(k)]) for k in range(30)}
    found = [(a["class"], a["stroke-dasharray"]) for a in curves(charts.lines(series, "", "", ""))]
    assert len(set(found)) == 30
    assert all(a[1] != b[1] for a, b in zip(found, found[1:], strict=False))


def test_a_chart_says_its_numbers():
    text = charts.lines({"loss": ([1, 2, 3], [3.0, 0.5, 1.25])}, "Loss by epoch", "epoch", "nats")
    (svg,) = [a for tag, a in Elements(text).found if tag == "svg" and a.get("role") == "img"]
    assert svg["aria-label"] == "Loss by epoch. loss: from 3 to 1.25, lowest 0.5, highest 3"
    assert "<figcaption>Loss by epoch</figcaption>" in text
    assert ">epoch</text>" in text and ">nats</text>" in text


def test_epochs_and_neurons_have_no_fractions():
    assert charts.ticks(1, 4, 6, whole=True) == [1, 2, 3, 4]
    text = charts.bars([1.0, 2.0, 3.0], {}, "rates", "neuron", "Hz")
    assert re.findall(r'class="xtick"[^>]*>([^<]*)<', text) == ["0", "1", "2"]
    # The number of a bar stands below its middle.
    bar = [a for tag, a in Elements(text).found if tag == "rect"][1]
    middle = float(bar["x"]) + float(bar["width"]) / 2
    at = float(re.findall(r'class="xtick" x="([^"]*)"', text)[1])
    assert at == pytest.approx(middle, abs=0.2)


def test_a_rate_begins_at_zero_where_it_is_asked_for():
    series = {"rate": ([1, 2], [10.0, 12.0])}
    numbers = r'class="ytick"[^>]*>([^<]*)<'
    assert re.findall(numbers, charts.lines(series, "", "", "", from_zero=True))[0] == "0"
    assert float(re.findall(numbers, charts.lines(series, "", "", ""))[0]) >= 10


def test_lonely_points_are_dots_and_gaps_stay():
    values = [1.0, None, *map(float, range(20)), None]
    (line,) = curves(charts.lines({"a": (list(range(23)), values)}, "", "", ""))
    assert line["d"].count("M") == 2
    text = charts.lines({"a": (list(range(23)), values)}, "", "", "")
    (dots,) = [a["d"] for _, a in Elements(text).found if a.get("class", "").startswith("dot")]
    assert dots.count("M") == 1


def test_letters_stand_over_wide_bars_only_and_each_mark_below_the_axis():
    few = charts.bars([0.0, 1.0], {0: "0"}, "", "", "")
    many = charts.bars([0.0] * 200, dict.fromkeys(range(200), "0"), "", "", "")
    assert few.count('class="mark"') == 1 and few.count('class="below"') == 1
    assert many.count('class="mark"') == 0 and many.count('class="below"') == 200


def test_a_table_names_its_rows_and_columns_and_numbers_of_lists_are_short():
    text = table("t", ["a", "b"], [["x", [0.123456789, 2]], ["y", None]])
    heads = [a["scope"] for tag, a in Elements(text).found if tag == "th"]
    assert heads == ["col", "col", "row", "row"]
    assert ">0.123457, 2<" in text
    assert shown([]) == "none" and shown(True) == "yes" and shown({"a": 1}) == '{"a": 1}'
    assert counted(1, "spike") == "1 spike" and counted(0, "spike") == "0 spikes"


def test_runs_are_named_by_what_tells_them_apart():
    assert short_names(["/a/b/c"]) == ["/a/b/c"]
    assert short_names(["/a/b/c", "/a/b/d/"]) == ["c", "d"]
    assert short_names(["a/x/run", "a/y/run"]) == ["x/run", "y/run"]
    assert short_names(["a", "a/b"]) == ["a", "a/b"]
