"""How much memory a network of a file needs for one step of one sample, before it is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from flax_snn.nir.error import fail
from flax_snn.nir.wiring import Wiring


def check_size(
    wiring: Wiring, steps: Mapping[str, np.ndarray], param_dtype: Any, max_bytes: int
) -> None:
    """Refuses a network whose values would not fit into a number of bytes.

    A file of a few kilobytes can declare feature maps and delays of any size. Counted are what each
    node sends in one step of one sample, and what each Delay remembers.

    Args:
      wiring: the graph.
      steps: delay in steps of each Delay.
      param_dtype: dtype of the values.
      max_bytes: the largest number of bytes.

    Raises:
      NIRError: it needs more; the message names the node that needs most.
    """
    size = np.dtype(param_dtype).itemsize
    needs = {name: size * math.prod(shape) for name, shape in wiring.shapes.items()}
    for name, each in steps.items():
        needs[name] += size * each.size * int(each.max(initial=0))
    total = sum(needs.values())
    if total > max_bytes:
        most = max(needs, key=needs.__getitem__)
        shape = f"shape {wiring.shapes[most]}"
        if most in steps:
            shape += f" over {int(steps[most].max(initial=0))} steps"
        raise fail(
            f"node {most!r}",
            f"a network of at most {max_bytes} bytes in a step of one sample",
            f"{total}, {needs[most]} of them for this node, {shape}",
            "pass a larger max_bytes if the network is meant to have this size",
        )
