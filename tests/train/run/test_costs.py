"""What a trained network costs, in its result: counted anew in NumPy from its spikes."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np

from train.restored.run import restore
from train.run.costs import SAMPLES, costs_of


def pairs(x, weights):
    """Pairs of an input and a weight that are not zero."""
    return int(((x != 0).astype(np.int64) @ (weights != 0).sum(axis=1)).sum())


def test_the_result_says_what_the_network_costs(tiny_run):
    run = restore(tiny_run)
    costs = json.loads((tiny_run / "result.json").read_text())["costs"]
    part = run.data("test").take(slice(0, SAMPLES))
    network, x = run.model.on_grid(part.inputs)
    _, traces = network.apply(run.variables, x, mutable=["intermediates"])
    x, samples = np.asarray(x), len(part.labels)
    operations = weights = zeros = active = outputs = 0
    for name in ("cells_0", "cells_1"):
        params = {k: np.asarray(v) for k, v in run.params["cell"][name].items()}
        sown = traces["intermediates"]["cell"][name]
        operations += pairs(x, params["kernel"])
        kernels = [params["kernel"]]
        if "spikes" in sown:
            x = np.asarray(sown["spikes"][0])
            active, outputs = active + np.count_nonzero(x), outputs + x.size
        if "recurrent_kernel" in params:
            operations += pairs(x[:, :-1], params["recurrent_kernel"])
            kernels.append(params["recurrent_kernel"])
        weights += sum(k.size for k in kernels)
        zeros += sum((k == 0).sum() for k in kernels)
    assert costs["effective_acs"] + costs["effective_macs"] == operations / samples > 0
    assert costs["dense"] == weights * part.inputs.shape[1]
    assert costs["connection_sparsity"] == zeros / weights
    assert costs["activation_sparsity"] == 1 - active / outputs
    sizes = [leaf.size for leaf in jax.tree.leaves(run.params)]
    assert costs["parameter_count"] == sum(sizes) and costs["footprint"] == 4 * sum(sizes)
    assert costs["samples"] == samples and "not_counted" not in costs


def test_a_network_whose_operations_cannot_be_counted_says_why(tiny_run):
    run = restore(tiny_run)
    part = run.data("test")
    broken = dataclasses.replace(run.model.runner, network=run.network.clone(time_major=True))
    model = dataclasses.replace(run.model, runner=broken)
    odd = part._replace(inputs=jnp.asarray(part.inputs)[:, :, :-1])
    found = costs_of(model, run.params, odd)
    (reason,) = found["not_counted"]
    assert reason.startswith("operations: ") and set(found) == {"footprint", "not_counted"}
