"""Layers of the time grid through NIR: what NIR can say, and what is refused with a remedy."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import nir_reference
import numpy as np
import pytest
from covering_rows import covered_by

import flax_snn as snn

DYNAMICS = snn.LIFDynamics(tau_mem=5e-3)
AVERAGE = {"use_running_average": True}


def strong(scale: float) -> Any:
    return nn.initializers.normal(scale)


def delayed(kind: str, **more: Any) -> snn.DelayedDense:
    return snn.DelayedDense(6, 5, kind=kind, rounded=True, kernel_init=strong(3.0), **more)


def delayed_cell(kind: str) -> snn.DelayedDenseCell:
    return snn.DelayedDenseCell(6, 5, kind=kind, rounded=True, kernel_init=strong(3.0))


def lif() -> snn.LIF:
    return snn.LIF(dynamics=DYNAMICS)


def norm() -> snn.ThresholdNorm:
    return snn.ThresholdNorm(**AVERAGE, scale_init=nn.initializers.constant(3.0))


NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "axon": (nn.Sequential([delayed("axon", bias_init=strong(0.5)), lif()]), (4,)),
    "dendrite": (nn.Sequential([delayed("dendrite", use_bias=False), lif()]), (4,)),
    "axon behind a map": (
        nn.Sequential(
            [nn.Conv(3, (3, 3), kernel_init=strong(2.0)), norm(), lif(), snn.nir.Flatten()]
            + [delayed("axon"), lif()]
        ),
        (4, 4, 2),
    ),
    "cells": (
        snn.RNN(
            snn.Chain(
                (
                    delayed_cell("axon"),
                    snn.LIFCell(dynamics=DYNAMICS),
                    snn.SequenceDropoutCell(0.5, deterministic=True),
                    snn.LeakyIntegratorReadout(3),
                )
            )
        ),
        (4,),
    ),
    "norm of a matrix": (
        nn.Sequential([nn.Dense(6, kernel_init=strong(3.0)), norm(), lif()]),
        (4,),
    ),
    "norm of a map": (
        nn.Sequential(
            [nn.Conv(3, (3, 3), kernel_init=strong(2.0)), norm(), lif(), snn.SumPool((2, 2))]
        ),
        (4, 4, 2),
    ),
    "norm of delayed weights": (nn.Sequential([delayed("axon"), norm(), lif()]), (4,)),
    "residual": (
        nn.Sequential(
            [
                nn.Dense(6, kernel_init=strong(3.0)),
                lif(),
                snn.SpikingResidual(
                    nn.Sequential([nn.Dense(6, kernel_init=strong(3.0)), norm(), lif()])
                ),
                nn.Dense(2),
            ]
        ),
        (4,),
    ),
    "dropout of evaluation": (
        nn.Sequential(
            [nn.Dense(6, kernel_init=strong(3.0)), snn.SequenceDropout(0.5, True), lif()]
        ),
        (4,),
    ),
}


DEFAULT = ["axon behind a map", "cells"]


@pytest.mark.parametrize("name", covered_by(list(NETWORKS), DEFAULT))
def test_the_graph_means_the_same_and_comes_back(name):
    network, features = NETWORKS[name]
    x = (np.random.default_rng(1).random((2, 25, *features)) < 0.4).astype(np.float32)
    variables = jax.jit(network.init)(jax.random.key(2), x)
    expected = np.asarray(jax.jit(network.apply)(variables, x), np.float64)
    assert np.any(expected)
    fixed = {k: v for k, v in variables.items() if k != "delays"}
    graph = snn.nir.to_nir(network, fixed, features, dt=1e-3)
    first = np.moveaxis(x, 1, 0)
    first = np.moveaxis(first, -1, 2) if len(features) > 1 else first
    found = nir_reference.run(graph, first, 1e-3, "exp")
    assert found["margin"] > 1e-4  # float32 flips no spike
    out = np.moveaxis(found["output"], 0, 1)
    out = np.moveaxis(out, 2, -1) if out.ndim > 3 else out
    np.testing.assert_allclose(out, expected, atol=2e-5)
    again, variables = snn.nir.from_nir(graph, dt=1e-3, method="exp")
    np.testing.assert_allclose(jax.jit(again.apply)(variables, x), expected, atol=2e-5)


REFUSED: dict[str, tuple[Any, str]] = {
    "spread": (delayed("axon").clone(rounded=False), r"export layer.clone\(rounded=True\)"),
    "synapse": (delayed("synapse"), "train with kind='axon' or 'dendrite'"),
    "bias": (delayed("dendrite", bias_init=strong(1.0)), "train with use_bias=False"),
    "time": (delayed("axon", time_major=True), "time_major=True; export it without"),
    "recurrent": (
        snn.RNN(snn.DelayedRecurrentCell(3, dynamics=DYNAMICS, max_delay=2)),
        "recurrent connections have delays of their own: use RecurrentLIFCell",
    ),
    "norm first": (snn.ThresholdNorm(**AVERAGE), "weights right before the normalisation"),
    "norm of a batch": (
        nn.Sequential([nn.Dense(3), snn.ThresholdNorm(use_running_average=False)]),
        r"export layer.clone\(use_running_average=True\)",
    ),
    "norm of pooled currents": (
        nn.Sequential([nn.Dense(4), lif(), norm()]),
        "weights right before the normalisation.*got LIF",
    ),
    "norm in a block": (
        nn.Sequential([nn.Dense(4), snn.SpikingResidual(nn.Sequential([norm(), lif()]))]),
        "expected a block that begins with weights or neurons",
    ),
    "dropout": (
        snn.SequenceDropout(0.5, deterministic=False),
        r"export layer.clone\(deterministic=True\)",
    ),
    "and": (snn.SpikingResidual(nn.Dense(4), connect="and"), "train with connect='add'"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_nir_cannot_say_is_refused_with_the_remedy(name):
    network, match = REFUSED[name]
    x = jnp.ones((5, 2, 4) if name == "time" else (2, 5, 4))
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = jax.jit(network.init)(keys, x)
    with pytest.raises(snn.nir.NIRError, match=match):
        snn.nir.to_nir(network, variables, (4,), dt=1e-3)


def test_a_maximum_is_refused():
    network = nn.Sequential([snn.MaxPool((2, 2))])
    with pytest.raises(snn.nir.NIRError, match="train with snn.SumPool or AvgPool"):
        snn.nir.to_nir(network, {}, (4, 4, 2), dt=1e-3)
