"""The sections on what training changed: parameters, and gradients before and after."""

from __future__ import annotations

from typing import Any

from train.reporting.charts import lines
from train.reporting.tables import escaped, table


def parameters(run: dict[str, Any]) -> str:
    """Returns the section on parameters: a table, histograms, and pictures of matrices."""
    found = run["parameters"]
    rows, charts = [], []
    for row in found["rows"]:
        before, after = row["before"] or {}, row["after"]
        rows.append(
            [row["name"], "×".join(map(str, row["shape"])) or "1"]
            + [x.get(n) for x in (before, after) for n in ("mean", "std", "min", "max")]
        )
        edges = row["edges"]
        middle = [(a + b) / 2 for a, b in zip(edges, edges[1:], strict=False)]
        series = {} if row["counts_before"] is None else {"before": (middle, row["counts_before"])}
        series["after"] = (middle, row["counts"])
        looks = {"before": (1, 1), "after": (0, 0)}
        chart = lines(
            series,
            f"Histogram of {row['name']}, before and after training",
            _axis(row["kind"], run["steps"]),
            "number of values",
            looks,
            whole=False,
            from_zero=True,
        )
        charts.append(f"<div>{chart}{_matrix(row)}</div>")
    head = ["parameter", "shape"]
    head += [f"{f} {w}" for w in ("before", "after") for f in ("mean", "std", "min", "max")]
    return (
        f"<p>{escaped(found['words'])}{_fixed(found['rows'])}</p>"
        f'{table("Parameters", head, rows)}<div class="grid2">{"".join(charts)}</div>'
    )


def gradients(run: dict[str, Any]) -> str:
    """Returns the section on gradients: the norm by parameter, before and after training."""
    found = run["gradients"]
    if isinstance(found, str):
        return f"<p>{escaped(found)}</p>"
    rows = [[name, norms["before"], norms["after"]] for name, norms in found.items()]
    return (
        "<p>Of the loss on the first samples of the test part, before training (where the"
        " parameters before it are known) and after it. A layer whose norm is far below that of"
        " the others hardly learns. The norm over all layers in each epoch stands among the"
        " learning curves.</p>"
        + table("Norm of the gradient", ["parameter", "before", "after"], rows)
    )


def _axis(kind: str, steps: bool) -> str:
    """Returns a kind of parameters with its unit: delays are steps of a network that has steps."""
    if kind.startswith("tau"):
        return f"{kind}, s"
    if "delay" in kind:
        return f"{kind}, {'time steps' if steps else 's'}"
    return kind


def _matrix(row: dict[str, Any]) -> str:
    if "image" not in row:
        return ""
    sources, targets = row["shape"]
    after = row["after"]
    words = (
        f"{sources} sources from top to bottom, {targets} targets from left to right. Orange is"
        f" positive, blue negative, white zero; the strongest is"
        f" {max(abs(after['min']), abs(after['max'])):.4g} in size."
    )
    return (
        f'<figure class="plain"><img class="matrix" alt="{escaped(row["name"])} as an image"'
        f' src="{row["image"]}"><figcaption>{escaped(words)}</figcaption></figure>'
    )


def _fixed(rows: list[dict[str, Any]]) -> str:
    """Returns a sentence on what a run might have learned and did not."""
    kinds = {row["kind"] for row in rows}
    left = [
        name
        for name, mark in (("time constants", "tau"), ("thresholds", "thresh"), ("delays", "delay"))
        if not any(mark in kind for kind in kinds)
    ]
    if not left:
        return ""
    names = left[0] if len(left) == 1 else f"{', '.join(left[:-1])} and {left[-1]}"
    return f" The run did not learn {names}: they are as set."
