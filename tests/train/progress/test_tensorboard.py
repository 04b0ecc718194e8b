"""TensorBoard events hold the metrics of the run."""

import json
import sys

import pytest


def scalars(folder):
    """All scalars of the event files of a folder: {tag: {step: value}}."""
    from tensorboardX.event_file_writer import EventFileWriter  # noqa: F401  # registers protos
    from tensorboardX.proto.event_pb2 import Event

    found = {}
    for path in sorted(folder.iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):
            # A record: length (8), its checksum (4), the event, its checksum (4).
            length = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


@pytest.mark.slow
def test_events_are_the_metrics(train, tmp_path):
    assert train(tmp_path, "--tensorboard") == 0
    found = scalars(tmp_path / "tensorboard")
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name in ("train_loss", "validation_accuracy", "grad_norm", "learning_rate"):
            assert found[name][record["epoch"]] == pytest.approx(record[name], rel=1e-6)
        for layer, rate in record["rates_hz"].items():
            assert found[f"rates_hz/{layer}"][record["epoch"]] == pytest.approx(rate, rel=1e-6)


def test_a_missing_package_is_named(train, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert train(tmp_path / "run", "--tensorboard") == 2
    assert "pip install -e '.[train,tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
