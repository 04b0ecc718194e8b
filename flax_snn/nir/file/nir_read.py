"""Why ``nir.read`` refuses some files that are right.

``nir.read`` computes the shape of what every node receives and sends, and refuses a graph in which
two shapes differ along an edge. Two of its rules (nir 1.0.8) are not those of the nodes:

- the output of a Conv2d is computed from the height of the kernel along both axes;
- the input channels of a Conv1d or Conv2d are taken from the weights, without their groups.

Besides, a nested graph whose Output feeds further nodes is refused. ``type_check=False`` switches
the check off, but not inside nested graphs.
"""

from __future__ import annotations

from flax_snn.nir.graph import Graph, Node, Shape
from flax_snn.nir.wiring import Wiring

__all__ = ["NIRReadWarning"]


class NIRReadWarning(UserWarning):
    """A file was written that is right and that ``nir.read`` refuses by its own type check.

    The message names the nodes, quotes ``nir.read``, and says how to read or write it instead.
    """


def describe_refusal(name: str, graph: Graph, wiring: Wiring, error: Exception) -> str:
    """Returns the text of a warning about a file that ``nir.read`` refuses.

    Args:
      name: name of the file.
      graph: the graph in it.
      wiring: the same graph without nesting, with its shapes.
      error: what ``nir.read`` raised.
    """
    reasons = refusals(graph, wiring)
    cause = "; ".join(reasons) or "flax_snn does not know the reason"
    return (
        f"{name}: the file is right, and nir.read refuses it by its own type check"
        f" ({type(error).__name__}: {error}). Reason: {cause}. {_remedy(graph, wiring)}"
    )


def refusals(graph: Graph, wiring: Wiring, prefix: str = "") -> list[str]:
    """Returns the reasons for which ``nir.read`` refuses a graph; an empty list if it reads it.

    Args:
      graph: a graph, or a graph nested in it.
      wiring: the whole graph without nesting, with its shapes.
      prefix: names of the graphs around this one, each followed by a dot.
    """
    reasons = []
    for name, node in graph.nodes.items():
        full_name = prefix + name
        if isinstance(node, Graph):
            reasons += refusals(node, wiring, f"{full_name}.")
            if _output_goes_on(node):
                reasons.append(
                    f"the Output of the nested graph {full_name!r} feeds further nodes of that"
                    " graph, and nir then finds no output"
                )
        elif node.type in ("Conv1d", "Conv2d"):
            received, sent = wiring.in_shape(full_name), wiring.shapes[full_name]
            reasons += _convolution_refusals(node, full_name, received, sent)
    return reasons


def _convolution_refusals(node: Node, name: str, received: Shape, sent: Shape) -> list[str]:
    kind, weight = f"node {name!r} ({node.type})", node["weight"]
    reasons = []
    if weight.shape[1] != received[0]:
        reasons.append(
            f"{kind} has {node['groups']} groups, and nir takes the {weight.shape[1]} input"
            f" channels of one group for all {received[0]}"
        )
    sizes = nir_output_sizes(node, received[1:])
    if sizes != sent[1:]:
        reasons.append(
            f"{kind} has a kernel of {weight.shape[2]} x {weight.shape[3]}, and nir takes its"
            f" height for its width: it computes the output shape {(sent[0], *sizes)} instead of"
            f" {sent}"
        )
    return reasons


def nir_output_sizes(node: Node, sizes: Shape) -> Shape:
    """Returns the spatial output sizes that ``nir`` computes for a convolution.

    Args:
      node: a Conv1d or Conv2d.
      sizes: spatial sizes of its input.
    """
    if node["padding"] == "same":
        return sizes
    padding = (0,) * len(sizes) if node["padding"] == "valid" else node["padding"]
    height = node["weight"].shape[2]
    return tuple(
        (size + 2 * pad - dilation * (height - 1) - 1) // stride + 1
        for size, pad, dilation, stride in zip(
            sizes, padding, node["dilation"], node["stride"], strict=True
        )
    )


def _output_goes_on(graph: Graph) -> bool:
    outputs = {n for n, node in graph.nodes.items() if _is_output(node)}
    return any(source in outputs for source, _ in graph.edges)


def _is_output(node: Node | Graph) -> bool:
    return isinstance(node, Node) and node.type == "Output"


def _remedy(graph: Graph, wiring: Wiring) -> str:
    inside = any(
        refusals(node, wiring, f"{name}.") or _output_goes_on(node)
        for name, node in graph.nodes.items()
        if isinstance(node, Graph)
    )
    if inside:
        return (
            "snn.nir.load reads it. nir.read(path, type_check=False) does not, because nir checks"
            " nested graphs in any case: put the nodes of the nested graph into the graph around it"
        )
    return (
        "nir.read(path, type_check=False) and snn.nir.load read it. For readers that call nir.read"
        " as it is, write the network with snn.nir.to_nir(..., for_nir_read=True), which fills"
        " kernels with zeros until they are square and have one group, or use padding='SAME',"
        " square kernels and no groups in the network"
    )
