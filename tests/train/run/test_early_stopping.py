"""When a run ends early."""

import pytest

from train.run.early_stopping import Patience


def records(scores):
    return [{"epoch": k, "validation_accuracy": s} for k, s in enumerate(scores, 1)]


@pytest.mark.parametrize(
    ("patience", "scores", "ends"),
    [
        (2, [0.1, 0.5, 0.4, 0.4, 0.9], 4),
        (2, [0.1, 0.5, 0.4, 0.6, 0.5, 0.5], 6),
        # Equal is not better.
        (3, [0.5, 0.5, 0.5, 0.5], 4),
        (1, [0.1, 0.2, 0.3, 0.2], 4),
        (0, [0.5, 0.4, 0.3, 0.2], None),
    ],
)
def test_the_epoch_that_ends_a_run(patience, scores, ends):
    patient = Patience(patience, "accuracy", [])
    ended = None
    for record in records(scores):
        may_end = patient.may_end(record["epoch"])
        patient.see(record)
        # Nothing ends that was not announced: the next epoch would be running already.
        assert may_end or not patient.ended()
        if patient.ended():
            ended = record["epoch"]
            break
    assert ended == ends
    if ends:
        assert f"after epoch {ends}" in patient.words()


@pytest.mark.parametrize("done", range(5))
def test_a_resumed_run_counts_on(done):
    scores = [0.1, 0.5, 0.4, 0.45]
    patient = Patience(2, "accuracy", records(scores)[:done])
    for record in records(scores)[done:]:
        patient.see(record)
    assert patient.ended()


@pytest.mark.slow
def test_a_run_ends_early(train, tmp_path):
    flags = "--epochs 30 --learning-rate 1e-9 --patience 3"
    assert train(tmp_path, *flags.split()) == 0
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    # Nothing is learned: the first epoch stays the best.
    assert len(lines) == 4
    assert (tmp_path / "result.json").exists()
