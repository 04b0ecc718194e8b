"""Groups of rows, each of which runs in a process of its own: what fails there ends there.

A group is a generator of ``(name, function)``; the function returns the row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import flax_snn as snn
from benchmarks.gpu.measure import measured
from benchmarks.gpu.networks import LIF, layer_alone, loss_of, network, settled
from benchmarks.gpu.sizes import Sizes
from flax_snn.time_loop import LOOPS
from flax_snn.time_loop.kernel import cut

Rows = Iterator[tuple[str, Callable[[], dict[str, Any]]]]


def floors(sizes: Sizes) -> Rows:
    """Bandwidth of a copy, and arithmetic of a product."""

    def copy() -> dict[str, Any]:
        x = jnp.zeros(sizes.copied, jnp.float32)
        row = measured(lambda x: x + 1.0, x, least=sizes.seconds)
        return row | {"bytes_per_second": 2 * x.nbytes / row["seconds"]}

    def product(dtype: Any) -> dict[str, Any]:
        x = jnp.ones((sizes.product, sizes.product), dtype)
        row = measured(jnp.matmul, x, x, least=sizes.seconds)
        return row | {"operations_per_second": 2 * sizes.product**3 / row["seconds"]}

    yield "copy", copy
    yield "product float32", functools.partial(product, jnp.float32)
    yield "product bfloat16", functools.partial(product, jnp.bfloat16)


def equality(sizes: Sizes, loops: tuple[str, ...]) -> Rows:
    """Outputs and gradients of each loop on the device beside the loop step by step on a CPU."""
    del sizes
    cells: dict[str, Any] = {
        "LIF": snn.LIFCell(33, dynamics=LIF),
        "refractory, synapse": snn.LIFCell(
            33, dynamics=snn.LIFDynamics(tau_syn=5e-3, refractory=3e-3)
        ),
        "learned": snn.LIFCell(33, dynamics=LIF, learn=("tau_mem", "threshold")),
        "ALIF": snn.ALIFCell(33),
        "no reset": snn.LIFCell(33, dynamics=snn.LIFDynamics(reset="none")),
        "recurrent": snn.RecurrentLIFCell(33, dynamics=LIF),
        "readout": snn.LeakyIntegratorReadout(33),
    }
    cpu = jax.local_devices(backend="cpu")[0]
    for loop in loops:
        for name, cell in cells.items():
            yield f"{loop}: {name}", functools.partial(_equal, loop, cell, cpu)


def _equal(loop: str, cell: Any, cpu: Any) -> dict[str, Any]:
    def results(implementation: str, variables: Any, x: Any) -> Any:
        net = snn.RNN(cell, implementation=implementation)

        def loss(variables: Any, x: Any) -> Any:
            out: Any = net.apply(variables, x)
            return jnp.sum(jnp.cos(jnp.arange(out.size)).reshape(out.shape) * out), out

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(variables, x)

    with jax.default_matmul_precision("highest"):
        with jax.default_device(cpu):
            variables, x = settled(cell)
            (_, out), gradients = results("scan", variables, x)
        on_device = jax.device_put((variables, x), jax.devices()[0])
        (_, found), found_gradients = results(loop, *on_device)
    out, found = np.asarray(out), np.asarray(found)
    near = [
        float(np.max(np.abs(np.asarray(a) - np.asarray(b))) / (1e-12 + np.max(np.abs(b))))
        for a, b in zip(jax.tree.leaves(found_gradients), jax.tree.leaves(gradients), strict=True)
    ]
    differ = float(np.mean(np.abs(out - found) > 1e-4 * (1.0 + np.abs(out))))
    agree = differ == 0.0 and max(near) <= 1e-3
    spikes = float(np.mean(out != 0.0))
    return {
        "ok": agree and spikes > 0.0,
        "outputs_that_differ": differ,
        "gradient_error": max(near),
        "outputs_not_zero": spikes,
    }


def layers(
    sizes: Sizes, loops: tuple[str, ...], of: tuple[tuple[int, int], ...] | None = None
) -> Rows:
    """A layer of neurons alone, forward, and forward and backward."""
    for steps, size in of or sizes.head:
        for loop in loops:
            for backward in (False, True):
                way = "forward and backward" if backward else "forward"
                row = functools.partial(_layer, sizes, loop, steps, size, backward)
                yield f"{loop}: T {steps}, {size} neurons, {way}", row


def _layer(sizes: Sizes, loop: str, steps: int, size: int, backward: bool) -> dict[str, Any]:
    net, variables, x = layer_alone(loop, steps, size)
    function = jax.grad(loss_of(net), argnums=1) if backward else net.apply
    row = measured(function, variables, x, least=sizes.seconds)
    # Currents read and outputs written; and on the way back currents, cotangents, gradients.
    moved = (5 if backward else 2) * x.nbytes
    sized = {"loop": loop, "steps": steps, "size": size, "backward": backward}
    return {**sized, **row, "least_bytes": moved}


def blocks(sizes: Sizes) -> Rows:
    """The kernel with other blocks, and with states computed twice."""
    steps, size = sizes.head[0]
    for block in (32, 64, 256, 512, 1024):
        yield f"block {block}", functools.partial(_with, sizes, steps, size, BLOCK=block)
    yield "states computed twice", functools.partial(_with, sizes, steps, size, SAVED_BYTES=0)


def _with(sizes: Sizes, steps: int, size: int, **constants: int) -> dict[str, Any]:
    before = {name: getattr(cut, name) for name in constants}
    try:
        for name, value in constants.items():
            setattr(cut, name, value)
        return _layer(sizes, "kernel", steps, size, True) | constants
    finally:
        for name, value in before.items():
            setattr(cut, name, value)


def networks(sizes: Sizes, loops: tuple[str, ...]) -> Rows:
    """A training step of whole networks."""
    for widths, steps, batch in sizes.networks:
        for loop in loops:
            name = f"{loop}: {'-'.join(widths)}, T {steps}, batch {batch}"
            yield name, functools.partial(_network, sizes, loop, widths, steps, batch)


def _network(
    sizes: Sizes, loop: str, widths: tuple[str, ...], steps: int, batch: int
) -> dict[str, Any]:
    net, variables, x = network(loop, widths, steps, batch)
    row = measured(jax.grad(loss_of(net)), variables, x, least=sizes.seconds)
    return {"loop": loop, "widths": list(widths), "steps": steps, "batch": batch, **row}


def million(sizes: Sizes) -> Rows:
    """One step of many LIF neurons with a refractory period."""

    def one() -> dict[str, Any]:
        cell = snn.LIFCell(dynamics=snn.LIFDynamics(refractory=2e-3))
        x = jax.random.uniform(jax.random.key(0), (1, sizes.million), maxval=4.0)
        carry = cell.initialize_carry(jax.random.key(1), x.shape)
        row = measured(lambda c, x: cell.apply({}, c, x), carry, x, least=sizes.seconds)
        state = sum(leaf.nbytes for leaf in jax.tree.leaves(carry))
        return row | {"neurons": sizes.million, "least_bytes": 2 * state + 2 * x.nbytes}

    yield "one step", one


def linear(sizes: Sizes) -> Rows:
    """The widely quoted benchmark: a square product and LIF neurons."""
    features, steps, batch = sizes.linear
    for backward in (False, True):
        for loop in ("auto", "kernel", "scan"):
            way = "forward and backward" if backward else "forward"
            row = functools.partial(_linear, sizes, loop, backward)
            yield f"{loop}: {features} x {features}, T {steps}, batch {batch}, {way}", row


def _linear(sizes: Sizes, loop: str, backward: bool) -> dict[str, Any]:
    features, steps, batch = sizes.linear
    net = snn.RNN(snn.LIFCell(features, dynamics=LIF), implementation=loop, time_major=True)
    x = jax.random.bernoulli(jax.random.key(0), 0.1, (steps, batch, features)).astype(jnp.float32)
    variables = net.init(jax.random.key(1), x)
    function = jax.grad(loss_of(net), (0, 1)) if backward else net.apply
    row = measured(function, variables, x, least=sizes.seconds)
    operations = (3 if backward else 1) * 2 * features**2 * steps * batch
    return {"loop": loop, "backward": backward, **row, "least_operations": operations}


def _grid(sizes: Sizes) -> Rows:
    return layers(sizes, ("kernel", "fused", "scan"), sizes.grid)


GROUPS: dict[str, Callable[[Sizes], Rows]] = {
    "floors": floors,
    "layer, kernel": lambda sizes: layers(sizes, ("kernel",)),
    "layer, other loops": lambda sizes: layers(sizes, ("fused", "scan")),
    "equality, kernel": lambda sizes: equality(sizes, ("kernel",)),
    "equality, other loops": lambda sizes: equality(
        sizes, tuple(name for name in LOOPS if name != "kernel")
    ),
    "networks": lambda sizes: networks(sizes, ("auto", "fused", "scan", "kernel")),
    "million": million,
    "linear": linear,
    "blocks": blocks,
    "grid": _grid,
}
"""The groups of rows that JAX runs, most important first."""
