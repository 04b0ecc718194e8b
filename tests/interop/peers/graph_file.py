"""NIR files as the workers read and write them. Needs nir, 1.0.8."""

from __future__ import annotations

from pathlib import Path

import nir

UNCHECKED = "nir.read(type_check=False): nir infers a wrong shape, or the shapes do not fit"
INFERRED = "infer_types() before nir.write, which refuses input_shape=None"


def read(file: Path, workarounds: list[str] | None = None) -> nir.NIRGraph:
    """Read the file, without nir's own type check if that fails.

    nir takes the height of a kernel for its width too, and the input channels of a group for all.
    """
    try:
        return nir.read(str(file))
    except ValueError as error:
        if "Type inference error" not in str(error):
            raise
    if workarounds is not None:
        workarounds.append(UNCHECKED)
    return nir.read(str(file), type_check=False)


def write(file: Path, graph: nir.NIRGraph) -> list[str]:
    """Write the file, with shapes inferred if convolutions lack them; return the workarounds."""
    nodes = graph.nodes.values()
    lacking = any(isinstance(node, nir.Conv2d) and node.input_shape is None for node in nodes)
    if lacking:
        graph.infer_types()
    nir.write(str(file), graph)
    return [INFERRED] if lacking else []
