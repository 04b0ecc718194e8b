"""Evaluate a checkpoint; model and data are rebuilt from the checkpoint alone.

    python -m train.evaluate --checkpoint checkpoints/randman_reference

takes a run directory, whose best checkpoint by validation accuracy is meant, or one of the numbered
folders in its ``checkpoints``, and prints accuracy, confusion matrix and firing rates; with
``--json`` one JSON object, as the last line. A network of ``train.yin_yang`` may be run by another
method than the one that trained it:

    python -m train.evaluate --checkpoint RUN --method surrogate

A trained network goes to other frameworks as a NIR file, and what comes back is evaluated on the
same data:

    python -m train.evaluate --checkpoint RUN --export net.nir
    python -m train.evaluate --nir net.nir

it is evaluated over several devices, with the numbers of one:

    python -m train.evaluate --checkpoint RUN --devices 4

and it goes on chips, so many of them, looked at some times after they were programmed:

    python -m train.evaluate --checkpoint RUN --crossbar pcm --times 1s,1h,1d,1y --repeats 10
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from train.chips.ages import parse_times
from train.errors import ConfigError, exit_code
from train.flags import quiet_pipe, read_flags
from train.progress.health import lost_spikes
from train.progress.report import format_score
from train.settings import CrossbarLayers, CrossbarScaling
from train.store.layout import PLOTS
from train.tasks.yin_yang.settings import Method

if TYPE_CHECKING:
    from train.restored.run import Restored

COMMAND = "python -m train.evaluate"

_ABOUT_CHIPS = "crossbar_layers crossbar_scaling times repeats sweeps before chip_plot".split()


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate, and how to say it."""

    checkpoint: Path | None = None
    """A run directory, or one of the numbered folders in its checkpoints."""
    nir: Path | None = None
    """A NIR file, in the place of a checkpoint; of files that were not exported here a checkpoint
    says what they are for."""
    nir_method: Literal["euler", "exp"] | None = None
    """How the network of the NIR file is stepped; by default as the file says."""
    producer: str | None = None
    """Preset for a NIR file of another framework, such as norse-1.1.0."""
    export: Path | None = None
    """Write the network to this NIR file."""
    export_target: str | None = None
    """Framework that is to read the exported file, such as spikingjelly-2.0.0; by default any that
    reads NIR as it is defined."""
    part: Literal["train", "validation", "test"] = "test"
    """Part of the data set."""
    method: Method | None = None
    """Run a network of yin_yang by this method, over the weights that another one has trained."""
    json: bool = False
    """Print one JSON object instead of text."""
    diagnose: bool = False
    """Say of each layer whether it is silent, saturated or healthy, on up to 250 samples."""
    crossbar: Literal["ideal", "pcm", "reram"] | None = None
    """Run the network on chips of this kind too; a table and a picture say what becomes of it."""
    crossbar_layers: CrossbarLayers = "all"
    """Layers that lie on crossbars."""
    crossbar_scaling: CrossbarScaling = "none"
    """`abs_max`: scale inputs to their largest value, and do not read steps without any."""
    times: str = "1s,1h,1d,1y"
    """Ages of the chips: seconds s, minutes m, hours h, days d, years y."""
    repeats: int = 10
    """Chips: the weights are programmed so many times."""
    sweeps: bool = True
    """Vary noise, levels, faults and ADC bits of the devices too, at the first of the ages."""
    before: Path | None = None
    """Another run to put beside it, such as one that was not trained for crossbars."""
    chip_plot: Path | None = None
    """Where the picture is drawn; by default plots/crossbar.png in the run directory."""
    plots: bool = False
    """Draw the pictures of a run directory anew, such as those of a run that was killed."""
    size_limit: bool = True
    """Refuse a network that needs more memory than this machine has left, before it is built."""
    devices: int = 1
    """Devices over which each batch is spread, whatever number of them trained the network."""
    model_devices: int = 1
    """Devices among them over which the neurons of wide layers are spread."""

    def spread(self) -> dict[str, Any]:
        """Returns what `train.restored.run.restore` is told of memory and devices."""
        return {
            "size_limit": self.size_limit,
            "devices": self.devices,
            "model_devices": self.model_devices,
        }


def describe(result: dict[str, Any]) -> str:
    """Returns what `evaluate_network` found as text."""
    part, score = result["part"], result["score"]
    rates = [
        f"  {layer:<10} {hz:7.2f} Hz   {_activity(result, layer)}"
        for layer, hz in result["rates_hz"].items()
    ]
    lost = result.get("lost_spikes", 0)
    lines = [
        f"{result['checkpoint']}: task {result['task']}, epoch {result['epoch']}",
        f"{part} {score} {format_score(score, result[f'{part}_{score}'], 2)}, loss"
        f" {result[f'{part}_loss']:.4f} ({result['samples']} samples)"
        + (f", on one {result['chip']} chip" if "chip" in result else ""),
        "",
        *_confusion_lines(result.get("confusion")),
        "mean firing rate",
        *rates,
        *(["", lost_spikes(lost, part)] if lost else []),
        *(["", result["diagnosis"]] if "diagnosis" in result else []),
        *(["", *result["chips"]["table"]] if "chips" in result else []),
        *(f"wrote {file}" for file in result.get("plots", ())),
        *([f"wrote {result['export']}"] if "export" in result else []),
    ]
    return "\n".join(lines)


def _network(options: EvaluateOptions) -> Restored:
    from train.restored.run import restore

    trained = None
    if options.checkpoint is not None:
        trained = restore(options.checkpoint, options.method, **options.spread())
    if options.nir is None:
        assert trained is not None
        return trained
    from train.restored.exchange import import_network

    return import_network(
        options.nir, trained, options.nir_method, options.producer, options.size_limit
    )


def _check_options(options: EvaluateOptions) -> None:
    """Refuses flags that contradict each other."""
    if options.checkpoint is None and options.nir is None:
        raise ConfigError("expected --checkpoint RUN or --nir FILE, got neither")
    for name in ("nir_method", "producer"):
        if options.nir is None and getattr(options, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} is about a file: add --nir FILE")
    if options.export is None and options.export_target is not None:
        raise ConfigError("--export-target is about a file: add --export FILE")
    if options.export is not None and options.export.is_dir():
        raise ConfigError(
            "--export: expected the name of a file such as net.nir, got the folder"
            f" {options.export}"
        )
    if options.export is not None and not options.export.parent.is_dir():
        raise ConfigError(
            f"--export {options.export}: there is no folder {options.export.parent}; make it, or"
            " choose another"
        )
    if options.nir is not None and (options.plots or options.diagnose or options.crossbar):
        raise ConfigError(
            "--plots, --diagnose and --crossbar look at a run: use them with --checkpoint, without"
            " --nir"
        )
    default = EvaluateOptions()
    if (options.devices, options.model_devices) != (default.devices, default.model_devices):
        for name in ("nir", "crossbar", "diagnose"):
            if getattr(options, name):
                raise ConfigError(
                    f"--{name} runs the network in another way, on one device; leave --devices and"
                    " --model-devices out, or ask for it in a second call"
                )
    for name in _ABOUT_CHIPS:
        if options.crossbar is None and getattr(options, name) != getattr(default, name):
            raise ConfigError(f"--{name.replace('_', '-')} is about chips: add --crossbar pcm")
    if options.crossbar is not None:
        parse_times(options.times, options.crossbar)
    if options.repeats < 1:
        raise ConfigError(f"--repeats: expected at least one chip, got {options.repeats}")


def _on_chips(options: EvaluateOptions, trained: Restored) -> dict[str, Any]:
    """Returns what chips make of the network, and of the one before it."""
    from train.chips.deploy import Protocol
    from train.chips.report import side_by_side
    from train.restored.run import restore

    assert options.crossbar is not None
    protocol = Protocol(
        options.crossbar,
        options.crossbar_layers,
        options.crossbar_scaling,
        parse_times(options.times, options.crossbar),
        options.repeats,
        options.sweeps,
    )
    networks = {str(options.checkpoint): trained}
    if options.before is not None:
        before = restore(options.before, options.method, size_limit=options.size_limit)
        networks = {"before": before, "after": trained}
    target = options.chip_plot or trained.path.parents[1] / PLOTS / "crossbar.png"
    shown = not options.json and sys.stderr.isatty()
    return side_by_side(networks, options.part, protocol, target, shown)


def _activity(result: dict[str, Any], layer: str) -> str:
    activity = result["activity"][layer]
    if result["slot"] == "step":
        return f"{activity:7.2%} of slots"
    return f"{activity:7.2f} spikes per neuron and {result['slot']}"


def _confusion_lines(confusion: list[list[int]] | None) -> list[str]:
    if confusion is None:
        return []
    width = max(len(str(n)) for n in (*sum(confusion, []), len(confusion) - 1)) + 1
    header = "".join(f"{c:>{width}}" for c in range(len(confusion)))
    rows = [
        f"  {true:>5} |" + "".join(f"{n or '.':>{width}}" for n in row)
        for true, row in enumerate(confusion)
    ]
    title = "confusion matrix (rows: true class, columns: predicted class)"
    return [title, f"        |{header}", *rows, ""]


@quiet_pipe
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``python -m train.evaluate``; returns the exit code."""
    options = read_flags(EvaluateOptions, COMMAND, __doc__, arguments)

    def work() -> int:
        _check_options(options)
        from train.restored.evaluation import diagnose, draw_plots, evaluate_network

        path = options.nir or options.checkpoint
        assert path is not None
        trained = _network(options)
        result = evaluate_network(trained, path, options.part)
        if options.export is not None:
            from train.restored.exchange import export_network

            export_network(trained, options.export, options.export_target)
            result["export"] = str(options.export)
        if options.plots:
            result["plots"] = [str(file) for file in draw_plots(path, **options.spread())]
        if options.crossbar is not None:
            result["chips"] = _on_chips(options, trained)
            result.setdefault("plots", []).append(result["chips"]["plot"])
        if options.diagnose:
            result["diagnosis"] = diagnose(
                path, options.part, options.method, size_limit=options.size_limit
            )
        print(json.dumps(result, allow_nan=False) if options.json else describe(result))
        return 0

    return exit_code(COMMAND, work)


if __name__ == "__main__":
    raise SystemExit(main())
