"""The report of a run: numbers as the run has them, words escaped, faults refused."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import train as app
from train.report import main, write_report
from train.reporting import collect, page
from train.reporting.charts import ticks
from train.reporting.pack import packed, quantised
from train.reporting.samples import decision_time


@pytest.fixture(scope="module")
def collected(tiny_run: Path) -> dict:
    return collect(tiny_run, 3)


class Page(HTMLParser):
    """Elements of a page, with their attributes, and the text that is shown."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


def decoded(array: dict) -> np.ndarray:
    kind = np.dtype(array["dtype"]).newbyteorder("<")
    return np.frombuffer(base64.b64decode(array["data"]), kind).reshape(array["shape"])


def test_numbers_are_those_of_the_files_and_of_the_network(collected: dict, tiny_run: Path):
    lines = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((tiny_run / "result.json").read_text())
    assert [r["train_loss"] for r in collected["records"]] == [r["train_loss"] for r in lines]
    assert collected["test"]["accuracy"] == result["test_accuracy"]
    assert collected["test"]["loss"] == pytest.approx(result["test_loss"], rel=1e-5)
    assert collected["finished"]
    run = app.restore(tiny_run)
    part = run.data("test")
    logits = np.asarray(run.apply(part.inputs, part.lengths))
    for sample in collected["samples"]:
        row = sample["row"]
        assert sample["target"] == int(part.labels[row])
        assert sample["prediction"] == int(logits[row].argmax())
        steps, units = np.nonzero(np.asarray(part.inputs)[row])
        shown = sample["layers"][0]
        np.testing.assert_allclose(decoded(shown["t"]), steps * sample["dt"], rtol=1e-6)
        np.testing.assert_array_equal(decoded(shown["n"]), units)


def test_a_page_is_whole_and_needs_no_other_file(collected: dict):
    text = page([collected, collected])
    elements = Page(text).elements
    tags = [tag for tag, _ in elements]
    assert tags.count("style") == 1 and tags.count("main") == 1 and tags.count("h1") == 1
    assert "link" not in tags and "iframe" not in tags
    for tag, given in elements:
        source = given.get("src", "")
        assert not source or source.startswith("data:"), (tag, source[:50])
        if tag == "img":
            assert given["alt"]
        if tag == "svg" and given.get("role") == "img":
            assert given["aria-label"]
    assert f">{collected['test']['accuracy']:.6g}<" in text


def test_words_of_files_are_inert(collected: dict):
    evil = "</script><script>alert(1)</script>"
    sample = {**collected["samples"][0], "target": evil}
    setting = {"name": evil, "value": evil, "default": None, "differs": False}
    changed = {"run": evil, "about": evil, "samples": [sample], "settings": [setting]}
    scripts = [tag for tag, _ in Page(page([{**collected, **changed}])).elements if tag == "script"]
    assert len(scripts) == 2
    data = re.search(r'id="data">(.*?)</script>', page([{**collected, **changed}]), re.S)
    assert data is not None and json.loads(data[1])[0][0]["target"] == evil


def test_spikes_and_weights_are_those_of_the_network(collected: dict, tiny_run: Path):
    run = app.restore(tiny_run)
    part = run.data("test")
    counts = np.asarray(run.apply(part.inputs, part.lengths))
    for sample in collected["samples"]:
        neurons = decoded(sample["layers"][-1]["n"])
        shown = np.bincount(neurons, minlength=counts.shape[1])
        # The network decides by the scaled counts of its output spikes.
        scaled = shown * run.settings.network.count_scale
        np.testing.assert_allclose(scaled, counts[sample["row"]], rtol=1e-6)
    kernel = np.asarray(run.params["cell"]["cells_0"]["kernel"], np.float64)
    (row,) = [r for r in collected["parameters"]["rows"] if r["name"] == "cell/cells_0/kernel"]
    assert row["after"]["mean"] == pytest.approx(kernel.mean(), rel=1e-5)
    assert row["after"]["max"] == pytest.approx(kernel.max(), rel=1e-6)


def test_a_run_that_was_stopped_is_called_unfinished(stopped_run: Path, tmp_path: Path):
    text = write_report([stopped_run], tmp_path / "a.html", 1).read_text("utf-8")
    assert "Unfinished: all 2 epochs are done, its result is not written" in text


def test_epochs_that_are_left_are_counted(collected: dict):
    text = page([{**collected, "finished": False, "result": None, "epochs_done": 1}])
    assert "Unfinished: 1 of 2 epochs are done" in text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regression", "yin_yang"])
def test_other_tasks(kind: str, request: pytest.FixtureRequest, tmp_path: Path):
    train = request.getfixturevalue(f"train_{kind}")
    assert train(tmp_path / "run") == 0
    found = collect(tmp_path / "run", 2)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found["test"][found["score"]] == result[f"test_{found['score']}"]
    assert ("confusion" in found["test"]) == (kind == "yin_yang")
    has_membranes = any("v" in layer for layer in found["samples"][0]["layers"])
    assert has_membranes == (kind == "regression")
    assert "<h3>Predictions</h3>" in page([found])


def test_faults_are_one_message_and_exit_code_2(tiny_run: Path, tmp_path: Path, capsys):
    there = tmp_path / "there.html"
    there.write_text("mine")
    for arguments, word in [
        ([tmp_path / "none"], "not a directory"),
        ([tmp_path], "not the directory of a run"),
        ([tiny_run, "--output", there], "--overwrite"),
        ([tiny_run, "--output", tmp_path / "no" / "x.html"], "cannot be written"),
        ([tiny_run, "--samples", "0"], "at least one sample"),
    ]:
        assert main([str(each) for each in arguments]) == 2
        said = capsys.readouterr().err
        assert word in said and said.count("error:") == 1
    assert there.read_text() == "mine"
    assert [each.name for each in tmp_path.iterdir()] == ["there.html"]


def test_a_damaged_run_is_one_message(copy_of_run: Path, tmp_path: Path, capsys):
    (copy_of_run / "result.json").write_text('{"test_accuracy": "much"}')
    assert main([str(copy_of_run), "--output", str(tmp_path / "a.html")]) == 2
    said = capsys.readouterr().err
    assert "result.json" in said and said.count("error:") == 1
    assert not (tmp_path / "a.html").exists()


def test_the_file_is_written(tiny_run: Path, tmp_path: Path):
    target = write_report([tiny_run], tmp_path / "a.html", 2)
    assert target.read_text("utf-8").startswith("<!doctype html>")
    assert [each.name for each in tmp_path.iterdir()] == ["a.html"]


def test_curves_come_back_from_their_steps():
    values = np.random.default_rng(0).normal(size=(7, 3))
    found = quantised(values)
    back = found["low"] + decoded(found) / 65535 * (found["high"] - found["low"])
    assert np.abs(back - values).max() <= np.ptp(values) / 131070 * 1.0001
    with pytest.raises(ValueError, match="65535"):
        packed([70000], "uint16")


def test_a_decision_is_the_first_step_after_the_last_doubt():
    output = np.array([[1, 0], [0, 1], [1, 0], [0, 0]])  # ahead, equal, ahead, ahead
    assert decision_time(output, 1, 0, 0.5) == 1.5
    assert decision_time(output, 1, 1, 0.5) is None
    assert ticks(0.0, 1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
