"""The end of a run: the best checkpoint scored on the test part, pictures, ``result.json``."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from train import processes
from train.run.costs import costs_of
from train.run.prepare import Run
from train.run.record import draw, rates_hz, results_of, share
from train.settings import RunOptions
from train.store import run_directory
from train.tasks.task import Task


def finish(
    run: Run, task: Task, options: RunOptions, started: float, begun: float
) -> dict[str, Any]:
    """Evaluates the best checkpoint, as it was saved, on the test part; writes the result.

    All processes evaluate; the first one draws and writes.

    Args:
      run: the run, trained to its end.
      task: its task.
      options: whether pictures are drawn.
      started: when the command began, in seconds since 1970.
      begun: when the first step began.

    Returns:
      What ``result.json`` holds, but for its sums; nothing in a process that is not the first.
    """
    from train.store.read import best_checkpoint

    score = run.model.objective.score
    best = best_checkpoint(run.path)
    params = best.restore(run.first, task.older_parameters(best.settings_version)).params
    if not processes.first():
        run.score(params, run.data.test)
        return {}
    here, test_part = processes.on_host((params, run.data.test))
    with ThreadPoolExecutor(1) as beside:  # most of the time XLA compiles
        costs = beside.submit(costs_of, run.model, here, test_part)
        scored = run.score(params, run.data.test)
        records = run_directory.read_metrics(run.path)
        test = scored.sums
    result = {
        f"test_{score}": share(test.points, test.samples),
        "test_loss": float(test.loss / test.samples),
        "test_rates_hz": rates_hz(run.model, test),
        **({"test_lost_spikes": int(test.lost)} if run.model.bounded else {}),
        f"validation_{score}": best.meta["metrics"][f"validation_{score}"],
        "score": score,
        "best_epoch": best.meta["epoch"],
        "epochs": run.training.epochs,
        "epochs_done": records[-1]["epoch"],
        "seed": run.training.seed,
        "seconds": round(time.time() - started, 3),
        "training_seconds": records[-1]["seconds"],
        "first_step_unix_time": begun,
        "costs": costs.result(),
    }
    if options.plots:
        draw(task, results_of(run.path, run.model, here, test_part, scored, records))
    # Written last: a run with a result is finished.
    run_directory.write_result(run.path, result)
    return result
