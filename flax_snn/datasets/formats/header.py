"""The header of Prophesee's files: lines of text that begin with %, then binary data.

% Date 2020-09-25 07:48:29
% evt 3.0
% geometry 1280x720            or Width and Height, or ...;height=720;width=1280 behind the format
"""

from __future__ import annotations

import re
from typing import NamedTuple

from flax_snn import checks

_SENSORS = {
    # height and width by a word of the camera's plugin or sensor
    "genx320": (320, 320),
    "gen31": (480, 640),
    "gen3": (480, 640),
    "gen41": (720, 1280),
    "gen4": (720, 1280),
    "imx636": (720, 1280),
    "imx646": (720, 1280),
}


_LARGEST = 65536


class Header(NamedTuple):
    """What stands before the data.

    Attributes:
      lines: value of each line by its keyword, in lower case.
      size: bytes of the header.
    """

    lines: dict[str, str]
    size: int


def read_header(content: bytes) -> Header:
    """Reads the lines of text at the beginning of a file, which may have none."""
    lines: dict[str, str] = {}
    size = 0
    # A binary word could begin with a %; only a blank behind it makes a line of text.
    while content[size : size + 2] == b"% ":
        stop = content.find(b"\n", size)
        if stop < 0:
            break
        text = content[size + 2 : stop].decode("latin-1").strip()
        size = stop + 1
        if text == "end":
            break
        keyword, _, value = text.partition(" ")
        lines[keyword.lower()] = value.strip()
    return Header(lines, size)


def sensor_of(path: str, lines: dict[str, str], given: tuple[int, int] | None) -> tuple[int, int]:
    """Returns height and width of the sensor, as given or as the header has them.

    Raises:
      ValueError: neither says it, or they contradict each other.
    """
    found = _in_header(lines)
    if given is not None:
        given = (checks.whole_number("sensor", given[0]), checks.whole_number("sensor", given[1]))
        if found is not None and found != given:
            raise ValueError(
                checks.error_text(
                    path, f"sensor={found}, as its header says", given, "leave it out"
                )
            )
        return _possible("sensor", given)
    if found is None:
        found = _of_camera(lines)
    if found is None:
        raise ValueError(
            checks.error_text(
                path,
                "a header that names the sensor's size",
                f"lines {sorted(lines)}",
                "give sensor=(height, width)",
            )
        )
    return _possible(f"{path}, header", found)


def _possible(name: str, sensor: tuple[int, int]) -> tuple[int, int]:
    """Returns height and width, of which events have at most 16 bits each."""
    if not all(1 <= size <= _LARGEST for size in sensor):
        what = f"a sensor of 1 to {_LARGEST} rows and columns"
        found = " x ".join(str(size) if size < 10**20 else "a longer number" for size in sensor)
        raise ValueError(checks.error_text(name, what, found, "give sensor=(height, width)"))
    return sensor


def _in_header(lines: dict[str, str]) -> tuple[int, int] | None:
    text = "; ".join(f"{keyword} {value}" for keyword, value in lines.items())
    # Digits that are too many for a number are too many for a sensor.
    if match := re.search(r"\bgeometry (\d{1,99})x(\d{1,99})", text, re.ASCII):
        return int(match[2]), int(match[1])
    height = re.search(r"\bheight[ =](\d{1,99})", text, re.ASCII)
    width = re.search(r"\bwidth[ =](\d{1,99})", text, re.ASCII)
    return (int(height[1]), int(width[1])) if height and width else None


def _of_camera(lines: dict[str, str]) -> tuple[int, int] | None:
    names = ("plugin_name", "plugin_integrator_name", "sensor_name", "sensor_generation")
    text = " ".join(lines.get(name, "") for name in names).lower()
    return next((size for word, size in _SENSORS.items() if word in text), None)
