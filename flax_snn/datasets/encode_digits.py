"""Encodes recordings of spoken digits as a file of spikes of the SHD layout, from a command line.

    python -m flax_snn.datasets.encode_digits --recordings recordings --file digits.h5

The command may be stopped at any time; the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from flax_snn.datasets.recorded.sound_spikes import encode_sounds
from flax_snn.datasets.recorded.spoken_digits import SpokenDigits
from flax_snn.encode import BasilarMembrane


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flax_snn.datasets.encode_digits",
        description="Encodes recordings of spoken digits as spikes, in one HDF5 file.",
    )
    parser.add_argument("--recordings", required=True, help="folder of the WAV files")
    parser.add_argument("--file", required=True, help="the HDF5 file to be made")
    parser.add_argument("--encoder", choices=("cochlea", "mel"), default="cochlea")
    parser.add_argument("--part", choices=("train", "test", "all"), default="all")
    parser.add_argument("--speakers", nargs="*", help="names of the speakers wanted; default: all")
    parser.add_argument("--without", nargs="*", default=(), help="speakers left out")
    parser.add_argument("--channels", type=int, help="default: 700 of the cochlea, 40 mel channels")
    parser.add_argument("--dt", type=float, help="seconds of a step, for --encoder mel only")
    parser.add_argument("--seed", type=int, default=0, help="of the cochlea's nerve fibres")
    flags = parser.parse_args(arguments)
    settings: dict[str, Any] = {}
    if flags.channels is not None:
        cochlea = flags.encoder == "cochlea"
        name = "membrane" if cochlea else "channels"
        settings[name] = BasilarMembrane(flags.channels) if cochlea else flags.channels
    if flags.dt is not None:
        settings["dt"] = flags.dt
    try:
        source = SpokenDigits(
            flags.recordings, flags.part, speakers=flags.speakers, without=flags.without
        )
        made = encode_sounds(flags.file, source, flags.encoder, seed=flags.seed, settings=settings)
    except (OSError, TypeError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{flags.file}: {len(made)} samples, {made.shape[0]} units, classes {made.classes}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
