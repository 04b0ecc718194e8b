"""How far gradients reach in a deep network; rewrites benchmarks/results/gradient_depth.json.

    python -m benchmarks.event.gradient_depth

Norm of the gradient of each layer's weights, on one batch of default Randman, before training: six
feed-forward layers of 128 neurons started by `lsuv`, for several slopes of the SuperSpike
surrogate. About a minute on 2 cores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.machine import take_no_options, write_results
from train.data.order import epoch_order
from train.data.parts import Part
from train.settings.network import NetworkConfig
from train.tasks.randman import Randman, RandmanConfig, RandmanData, load_randman

RESULTS = Path(__file__).parents[1] / "results" / "gradient_depth.json"
COMMAND = "python -m benchmarks.event.gradient_depth"
SLOPES = (1.0, 3.0, 5.0, 10.0, 30.0, 100.0)
DEPTH = 6


def gradient_norms(slope: float, batch: Part) -> dict[str, Any]:
    """Return the gradient norm of each layer, and the firing rates in Hz."""
    network = NetworkConfig(recurrent=False, hidden=(128,) * DEPTH, surrogate_slope=slope)
    model = Randman().build(RandmanConfig(network=network))
    params, _ = model.rescale(model.init(jax.random.key(0)), batch, network.init_spread)

    def loss(params: Any) -> tuple[jax.Array, Any]:
        output = model.apply(params, jnp.asarray(batch.inputs), jax.random.key(0))
        rates = [jnp.mean(spikes) / model.slot for spikes in output.spikes]
        return jnp.mean(model.objective.loss(output.z, jnp.asarray(batch.labels), 0.0)), rates

    grads, rates = jax.jit(jax.grad(loss, has_aux=True))(params)
    norms = [jnp.linalg.norm(grads["cell"][f"cells_{k}"]["kernel"]) for k in range(DEPTH + 1)]
    return {
        "norms": [float(norm) for norm in norms],
        "first_over_last": float(norms[0] / norms[-1]),
        "rates_hz": [round(float(rate), 2) for rate in rates],
    }


def main() -> None:
    take_no_options(COMMAND, __doc__)
    train = load_randman(RandmanData()).train
    rows = epoch_order(0, 1, len(train.labels), 250)[0]
    found = {}
    for slope in SLOPES:
        found[str(slope)] = gradient_norms(slope, train.take(rows))
        print(slope, found[str(slope)], flush=True)
    write_results(RESULTS, COMMAND, {"slopes": found})


if __name__ == "__main__":
    main()
