"""The report of a run: numbers as the run has them, words escaped, faults refused."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import jax
import jax.numpy as jnp
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
    # The coordinates are membranes of neurons that never spike; first spikes are spikes.
    assert found["samples"][0]["layers"][-1]["spiking"] == (kind == "yin_yang")
    assert ("decision time, ms" in page([found])) == (kind == "yin_yang")
    assert ">Predictions</h3>" in page([found])


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


def test_a_run_named_twice_is_refused(tiny_run: Path, tmp_path: Path, capsys):
    again = tiny_run / ".." / tiny_run.name
    assert main([str(tiny_run), str(again), "--output", str(tmp_path / "a.html")]) == 2
    assert "got one twice" in capsys.readouterr().err


def test_all_runs_are_looked_at_before_any_is_run(
    tiny_run: Path, copy_of_run: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    def work(*_: object) -> None:
        raise AssertionError("the first run was collected before the second was read")

    monkeypatch.setattr("train.reporting.collect", work)
    (copy_of_run / "result.json").write_text("{")
    assert main([str(tiny_run), str(copy_of_run), "--output", str(tmp_path / "a.html")]) == 2
    assert "result.json" in capsys.readouterr().err


def test_a_path_with_spaces_and_markup_is_shown_and_not_read(tiny_run: Path, tmp_path: Path):
    evil = tmp_path / "a run <script>alert(1)<" / "b"
    shutil.copytree(tiny_run, evil)
    text = write_report([evil], samples=1).read_text("utf-8")
    assert "a run &lt;script&gt;alert(1)&lt;/b" in text
    assert [tag for tag, _ in Page(text).elements].count("script") == 2


@pytest.mark.slow
def test_gradients_are_those_of_the_network_before_and_after(collected: dict, tiny_run: Path):
    run = app.restore(tiny_run)
    part, seed = run.data("test"), run.settings.training.seed
    # The seed makes a key for the parameters and one for noise.
    fresh = run.model.init(jax.random.split(jax.random.key(seed))[0])

    @jax.jit
    @jax.grad
    def gradient(params):
        logits = run.model.apply(params, jnp.asarray(part.inputs), jax.random.key(0)).z
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), part.labels[:, None], axis=1)
        return -chosen.mean()

    for when, params in (("before", fresh), ("after", run.params)):
        params = jax.tree.map(np.asarray, params)  # both of the host: one compilation
        kernel = np.asarray(gradient(params)["cell"]["cells_0"]["kernel"], np.float64)
        norm = collected["gradients"]["cell/cells_0/kernel"][when]
        assert norm == pytest.approx(np.sqrt((kernel**2).sum()), rel=1e-4)
    assert ">before<" in page([collected])


def test_settings_that_differ_between_runs_are_told_and_none_is_said(collected: dict):
    assert "The runs have the same settings." in page([collected, collected])
    changed = [{**each} for each in collected["settings"]]
    changed[0]["value"] = "another"
    text = page([collected, {**collected, "settings": changed}])
    assert "Settings that differ" in text and ">another<" in text


def test_links_of_a_page_lead_somewhere_and_names_are_unique(collected: dict):
    for runs in ([collected], [collected, {**collected, "run": "other"}]):
        elements = Page(page(runs)).elements
        ids = [given["id"] for _, given in elements if "id" in given]
        links = [given["href"] for tag, given in elements if tag == "a"]
        assert len(ids) == len(set(ids)) and len(links) > len(runs)
        assert all(link[1:] in ids for link in links)
        assert all(given.get("scope") for tag, given in elements if tag == "th")


def test_what_can_be_operated_has_a_name(collected: dict):
    elements = Page(page([collected])).elements
    sliders = [given for tag, given in elements if tag == "input"]
    assert [given["aria-label"] for given in sliders] == ["Sample", "Time"]
    # An output element would take the label from the slider, and speak at every step.
    assert "output" not in [tag for tag, _ in elements]
    canvases = [given for tag, given in elements if tag == "canvas"]
    assert len(canvases) == 3 and all(c["role"] == "img" and c["aria-label"] for c in canvases)


def test_costs_have_units_and_silent_neurons_names(collected: dict):
    layers = {"hidden_1": {"rates": [0.0, 2.0, 9.0], "silent": [0], "saturated": [2]}}
    text = page([{**collected, "test": {**collected["test"], "layers": layers}}])
    assert "footprint, bytes" in text and "energy per sample, pJ (estimate)" in text
    assert "hidden_1: 3 neurons, 1 silent (0: 0), 1 saturated (S: 2)." in text


def test_delays_are_steps_of_a_grid_and_seconds_without_one(collected: dict):
    (row,) = [r for r in collected["parameters"]["rows"] if r["name"] == "cell/cells_0/kernel"]
    rows = [{**row, "kind": "delay"}, {**row, "kind": "tau_mem"}]
    for steps, word in ((True, "delay, time steps"), (False, "delay, s")):
        changed = {"steps": steps, "parameters": {"words": "", "rows": rows}}
        text = page([{**collected, **changed}])
        assert f">{word}</text>" in text and ">tau_mem, s</text>" in text


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
