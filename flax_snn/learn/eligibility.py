"""Eligibility traces of every step, written as they are defined: forward-mode derivatives."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from flax_snn.learn.components import tangents
from flax_snn.learn.network import as_batch, read_network
from flax_snn.learn.unit import Unit, UnitArrays, UnitState
from flax_snn.products import as_floating, feed_back
from flax_snn.time_loop.states import floating
from flax_snn.typing import Array


def eligibility_traces(model: nn.Module, variables: Any, inputs: Any) -> dict[str, Array]:
    """Returns ``e_ij[t] = dz_j[t]/dw_ij`` through the state of neuron j alone.

    For analysis and tests: this keeps a matrix for each step and sample, which the rules avoid.

    >>> import flax_snn as snn, jax, jax.numpy as jnp
    >>> model = snn.RNN(snn.RecurrentLIFCell(5))
    >>> x = jnp.ones((2, 10, 3))
    >>> variables = model.init(jax.random.key(0), x)
    >>> traces = snn.learn.eligibility_traces(model, variables, x)
    >>> traces["kernel"].shape, traces["recurrent_kernel"].shape
    ((2, 10, 3, 5), (2, 10, 5, 5))

    Args:
      model: a runner over a cell of neurons, or over a chain, of which the first layer is taken.
      variables: its variables.
      inputs: ``(B, T, F)``.

    Returns:
      The traces of the weights of the layer by name: ``(B, T, F, M)``, and ``(B, T, N, M)`` of
      recurrent weights, with one block of N columns for each input current of a neuron.

    Raises:
      TypeError: another model than a runner over cells of neurons.
      ValueError: neurons that see each other within a step.
    """
    inputs, _ = as_batch("eligibility_traces", model, (inputs, None))
    x = jax.ShapeDtypeStruct((inputs.shape[0], inputs.shape[2]), inputs.dtype)
    network, weights, _, states = read_network("eligibility_traces", model, variables, x)
    layer, arrays = network.layers[0], UnitArrays(weights[0])
    unit, kernel = Unit(layer), weights[0].recurrent_kernel
    start = unit.start(states[0])
    v = layer.neuron.membrane(states[0])
    count = len(jax.tree.leaves(floating(start)))
    sizes = {"kernel": inputs.shape[2] if weights[0].kernel is not None else 0}
    if kernel is not None:
        sizes["recurrent_kernel"] = v.shape[1]
    currents = {"kernel": layer.neuron.blocks, "recurrent_kernel": layer.neuron.recurrent_blocks}
    none = {
        name: jnp.zeros((count, v.shape[0], size, currents[name] * v.shape[1]), v.dtype)
        for name, size in sizes.items()
    }

    def spread(array: Array, blocks: int) -> Array:
        return jnp.tile(array, (1, blocks))[:, None]

    def step(loop: Any, x: Array) -> Any:
        state, held = loop
        x = as_floating(x, layer.dtype or layer.param_dtype)
        current = layer.project(x, weights[0]).astype(v.dtype)
        fed: list[Array] = []

        def recurrent(spikes: Array) -> Array:
            assert kernel is not None
            fed.append(spikes)
            return feed_back(spikes, kernel, layer.dtype, layer.dot_general)

        after, _, (_, value) = unit.step(
            arrays, state, current, recurrent if sizes.get("recurrent_kernel") else None
        )

        def moved(source: int, tangent: Array) -> list[Array]:
            return tangents(unit, source, value)(arrays, state, current, tangent)

        pre = {"kernel": x, "recurrent_kernel": fed[0] if fed else x}
        found: dict[str, list[Array]] = {}
        for name in sizes:
            blocks = currents[name]
            rows = [jnp.zeros_like(held[name][0]) for _ in range(count + 1)]
            for m in range(count):
                each = moved(m, jnp.ones_like(v))
                rows = [
                    row + held[name][m] * spread(d, blocks)
                    for row, d in zip(rows, each, strict=True)
                ]
            for s in range(blocks):
                only = jnp.zeros((1, blocks, 1), v.dtype).at[0, s].set(1)
                ones = jnp.broadcast_to(only, (v.shape[0], blocks, v.shape[1]))
                ones = ones.reshape(v.shape[0], -1)
                each = moved(count + (name == "recurrent_kernel"), ones)
                mine = [(d[:, None] * only).reshape(v.shape[0], 1, -1) for d in each]
                driven = pre[name].astype(v.dtype)[:, :, None]
                rows = [row + driven * d for row, d in zip(rows, mine, strict=True)]
            found[name] = rows
        held = {name: jnp.stack(rows[:-1]) for name, rows in found.items()}
        return (after, held), {name: rows[-1] for name, rows in found.items()}

    loop: tuple[UnitState, Any] = (start, none)
    _, traces = lax.scan(step, loop, jnp.moveaxis(inputs, 1, 0))
    return {name: jnp.moveaxis(array, 0, 1) for name, array in traces.items()}
