"""What `train.chips` found, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import tqdm

from train.chips.deploy import Protocol, deploy
from train.errors import ConfigError
from train.restored.run import Restored

SWEEPS = {
    "noise": "noise of devices x",
    "levels": "levels",
    "faults": "stuck devices",
    "adc_bits": "ADC bits",
}
"""Properties of a device that are varied, in words."""


def side_by_side(
    networks: Mapping[str, Restored], part: str, protocol: Protocol, target: Path, shown: bool
) -> dict[str, Any]:
    """Runs networks on chips, and draws what becomes of them.

    Args:
      networks: networks of one task, by what they are.
      part: ``train``, ``validation`` or ``test``.
      protocol: what is done with each.
      target: where the picture is drawn, a PNG file.
      shown: whether a bar shows how far it is.

    Returns:
      ``results`` of `train.chips.deploy.deploy` by the names of the networks, a ``table`` of them,
      line by line, and the ``plot``.

    Raises:
      ConfigError: networks for other data, or of other layers; a picture that cannot be written.
    """
    _check_alike(list(networks.values()))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--chip-plot {target}: {error}; choose another file") from error
    results = {}
    with tqdm.tqdm(total=len(networks) * protocol.rows, disable=not shown, leave=False) as bar:

        def tick(words: str) -> None:
            bar.set_postfix_str(words)
            bar.update()

        for name, network in networks.items():
            results[name] = deploy(network, part, protocol, tick)
    return {
        "results": results,
        "table": table(results),
        "plot": str(draw(results, target)),
    }


def table(results: Mapping[str, dict[str, Any]]) -> list[str]:
    """Returns lines that show results of `train.chips.deploy.deploy` side by side.

    Args:
      results: results of the same protocol, by what they are. Firing rates are those of the last.
    """
    rows = list(results.values())
    first = rows[0]
    percent = first["score"] == "accuracy"

    def number(mean: float, std: float | None = None) -> str:
        factor = 100.0 if percent else 1.0
        text = f"{factor * mean:.2f}"
        return text if std is None else f"{text} +- {factor * std:.2f}"

    unit = f"{first['score']}{' in %' if percent else ''}"
    header = [unit, *results]
    header += [f"{layer}, Hz" for layer in first["digital"]["rates_hz"]]
    lines = [header, ["digital", *(number(r["digital"]["score"]) for r in rows)]]
    lines[-1] += [f"{hz:.2f}" for hz in rows[-1]["digital"]["rates_hz"].values()]
    for k, row in enumerate(first["times"]):
        compensated = row["compensation"]
        label = f"after {row['time']}{', compensated' if compensated else ''}"
        line = [label, *(number(r["times"][k]["mean"], r["times"][k]["std"]) for r in rows)]
        lines.append(line + [f"{hz:.2f}" for hz in rows[-1]["times"][k]["rates_hz"].values()])
    for name, values in first.get("sweeps", {}).items():
        for k, row in enumerate(values):
            found = [r["sweeps"][name][k] for r in rows]
            line = [f"{SWEEPS[name]} {row['value']:g}"]
            line += [number(r["mean"], r["std"]) for r in found]
            lines.append(line + [f"{hz:.2f}" for hz in found[-1]["rates_hz"].values()])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def draw(results: Mapping[str, dict[str, Any]], target: Path) -> Path:
    """Draws results of `train.chips.deploy.deploy` over each other.

    Args:
      results: results of the same protocol, by what they are.
      target: the PNG file.

    Returns:
      The file.
    """
    from train.pictures import draw_chips, save

    return save(draw_chips(results, SWEEPS), target)


def _check_alike(networks: Sequence[Restored]) -> None:
    """Refuses networks whose scores cannot stand side by side."""
    for what, name in (
        ("task", "task.name"),
        ("data", "settings.data"),
        ("layers", "model.layers"),
    ):
        found = [attrgetter(name)(each) for each in networks]
        if any(each != found[0] for each in found):
            raise ConfigError(
                f"--before: expected a run of the same {what}, got {found[0]} and {found[1]}"
            )
