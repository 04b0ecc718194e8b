"""The kernel: one program of the device holds a block of neurons in registers for all time steps.

A loop of `lax.scan` on a GPU starts kernels in each time step and moves the state through memory
each time. Here a layer is one kernel: a block of neurons of the batch stays on chip from the first
step to the last one, and what moves is the currents in and the outputs out. Any neuron runs here
whose step is elementwise (`elementwise.py`): the kernel is traced from the step itself. A block of
a recurrent layer has its whole width, and holds the recurrent weights from the first step to the
last one, too; a layer whose weights do not fit is refused (`fits.py`).

Written in Pallas; interpreted on machines without a GPU. **No GPU has run it yet**: it is tested
interpreted, and lowered for CUDA. Never chosen by ``auto``.

Reference: Fang et al., *SpikingJelly*, Science Advances 2023 (neurons fused over time); Chen et
al., *Training deep nets with sublinear memory cost*, 2016 (recomputation).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.interpreters import ad

from flax_snn.products import is_explicit
from flax_snn.time_loop.kernel.chain import run_chain
from flax_snn.time_loop.kernel.cut import chain_of
from flax_snn.time_loop.kernel.fits import why_not_layer
from flax_snn.time_loop.kernel.passes import NO_FORWARD_MODE
from flax_snn.time_loop.loop import Result, Run, Traces
from flax_snn.typing import Array


class Kernel:
    """All steps of a layer in one kernel of a GPU; never chosen by auto."""

    def why_not(self, run: Run) -> str | None:
        """Returns why a layer cannot run as one kernel, or None if all of them can."""
        if not run.sized:
            return f"a kernel needs sizes that are known, got inputs of shape {run.inputs.shape}"
        if is_explicit(run.inputs):
            return "its arrays are spread over a mesh of explicit axes"
        if run.programmed:
            return "crossbars are programmed in each step"
        if run.chunk is not None:
            return f"it has no chunks, got chunk={run.chunk}"
        for layer, weights, state in zip(run.layers, run.weights, run.states, strict=True):
            reason = why_not_layer(layer, weights, state)
            entries = run.steps * layer.neuron.membrane(state).size
            if reason is None and entries >= 2**31:
                reason = f"it counts to 2147483647, and its time steps have {entries} entries"
            if reason is not None:
                return f"{type(layer.neuron).__name__}: {reason}"
        return None

    def worth(self, run: Run) -> bool:
        """Returns False: no GPU has shown that it wins."""
        del run
        return False

    def run(self, run: Run) -> Result:
        """Runs one layer after the other, each over all steps in one kernel.

        Raises:
          TypeError: forward-mode and second derivatives.
        """
        sequence = jnp.moveaxis(run.inputs, run.axis, 0)
        arguments = (run.weights, run.states, sequence)
        if any(isinstance(leaf, ad.JVPTracer) for leaf in jax.tree.leaves(arguments)):
            raise TypeError(NO_FORWARD_MODE)
        try:
            states, *sequences = run_chain(chain_of(run), *arguments)
        except TypeError as error:
            raise (TypeError(NO_FORWARD_MODE) if "jvp" in str(error) else error) from error

        def placed(leaf: Array) -> Array:
            return jnp.moveaxis(leaf, 0, run.axis)

        outputs, spikes, membranes = jax.tree.map(placed, tuple(sequences))
        traces = Traces(spikes, membranes) if run.traced else None
        return Result(states, outputs, traces)
