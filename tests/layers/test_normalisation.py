"""Padding and the statistics of normalising layers, against NumPy in float64."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flax_snn as snn
from flax_snn.diagnosis import Diagnosis, diagnose
from flax_snn.initializers import LSUVReport, lsuv

DT = 2e-3
F, N = 6, 10
RNG = np.random.default_rng(3)
SPIKES = (RNG.random((4, 40, F)) < 0.3).astype(np.float32)
KERNEL = RNG.normal(size=(F, N)).astype(np.float32)
LENGTHS = np.array([40, 11, 0, 3], np.int32)


class NormalisedInTime(nn.Module):
    """A layer of neurons behind a layer that normalises sequences, or one step at a time."""

    norm: type[nn.Module] = nn.BatchNorm
    by_step: bool = False
    own_mask: Any = None
    time_major: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        of_batch = self.norm in (nn.BatchNorm, snn.ThresholdNorm)
        settings = {"use_running_average": False} if of_batch else {}
        settings |= {"num_groups": 2} if self.norm is nn.GroupNorm else {}
        norm = self.norm(name="norm", **settings)
        if self.by_step:
            x = jnp.stack([norm(step) for step in jnp.moveaxis(x, 1, 0)], axis=1)
        else:
            x = norm(x) if self.own_mask is None else norm(x, mask=self.own_mask)
        cell = snn.LIFCell(N, dynamics=snn.LIFDynamics(tau_mem=20e-3, dt=DT), name="spiking")
        return snn.RNN(cell, time_major=self.time_major)(x)


def normalised(norm: type[nn.Module], x: np.ndarray) -> np.ndarray:
    """Data of one or more samples, normalised by float64 NumPy with the statistics of all of it."""
    if norm is nn.GroupNorm:
        both = x.reshape(*x.shape[:-1], 2, F // 2)
        mean, spread = (f(both, axis=(1, 3), keepdims=True) for f in (np.mean, np.std))
        return ((both - mean) / np.sqrt(spread**2 + 1e-6)).reshape(x.shape)
    axes = (0, 1) if norm is nn.BatchNorm else 1
    epsilon = 1e-5 if norm is nn.BatchNorm else 1e-6
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


@pytest.mark.slow
@pytest.mark.parametrize("norm", [nn.BatchNorm, nn.GroupNorm, nn.InstanceNorm])
def test_padding_is_no_part_of_the_statistics_of_normalising_layers(norm: type[nn.Module]) -> None:
    net = NormalisedInTime(norm)
    variables = net.init(jax.random.key(0), SPIKES)
    variables["params"]["spiking"]["kernel"] = jnp.asarray(KERNEL)
    result = diagnose(net, variables, SPIKES, seq_lengths=LENGTHS)
    assert result.padding_left_out == ("norm",) and result.padding_included == ()
    assert "padding left out of the statistics of norm" in str(result)

    samples = [SPIKES[b, :length].astype(np.float64) for b, length in enumerate(LENGTHS) if length]
    if norm is nn.BatchNorm:
        flat = normalised(norm, np.concatenate(samples)[None])[0]
        inputs = np.split(flat, np.cumsum([len(sample) for sample in samples])[:-1])
    else:
        inputs = [normalised(norm, sample[None])[0] for sample in samples]
    first, second = [], []
    for currents in inputs:
        free, trace = np.zeros(N), []
        for current in currents @ KERNEL.astype(np.float64):
            free = np.exp(-0.1) * free + (1 - np.exp(-0.1)) * current
            trace.append(free)
        first.append(np.mean(trace))
        second.append(np.mean(np.square(trace)))
    (layer,) = result.layers
    spread = np.sqrt(np.mean(second) - np.mean(first) ** 2)
    assert layer.mean == pytest.approx(np.mean(first), rel=1e-4, abs=1e-5)
    assert layer.spread == pytest.approx(spread, rel=1e-4)
    if norm is nn.BatchNorm:
        net, time_first = NormalisedInTime(time_major=True), np.moveaxis(SPIKES, 1, 0)
        found = diagnose(net, variables, time_first, seq_lengths=LENGTHS, time_major=True)
        assert found.padding_left_out == ("norm",)
        assert found.layers[0].spread == pytest.approx(spread, rel=1e-4)


@pytest.mark.slow
def test_normalising_layers_that_may_include_padding_are_named() -> None:
    """Those in a loop over steps; not those with a mask, or with statistics of single steps."""
    x, lengths = jnp.asarray(SPIKES[:, :12]), np.array([12, 5, 0, 3], np.int32)

    def both(**settings: Any) -> tuple[Diagnosis, LSUVReport]:
        net = NormalisedInTime(**settings)
        variables = net.init(jax.random.key(0), x)
        _, report = lsuv(net, variables, x, seq_lengths=lengths)
        return diagnose(net, variables, x, seq_lengths=lengths), report

    for result in both(by_step=True):
        assert (result.padding_left_out, result.padding_included) == ((), ("norm",))
        assert "padding may be included in the statistics of norm" in str(result)
    is_data = jnp.asarray(np.arange(12) < lengths[:, None])
    own = {"own_mask": jnp.broadcast_to(is_data[..., None], x.shape)}
    masked, left_out = both(**own), both()
    inside = both(norm=snn.ThresholdNorm)  # which has a BatchNorm inside
    assert inside[0].padding_left_out == ("norm/norm",)
    assert inside[0].layers[0].spread == pytest.approx(left_out[0].layers[0].spread, rel=1e-5)
    assert masked[0].layers == left_out[0].layers and masked[1].layers == left_out[1].layers
    assert left_out[1].padding_left_out == ("norm",)
    for result in (*masked, *both(norm=nn.LayerNorm)):
        assert (result.padding_left_out, result.padding_included) == ((), ())
        assert "padding" not in str(result)
    net = NormalisedInTime(by_step=True)
    running = diagnose(
        net, net.init(jax.random.key(0), x), x, seq_lengths=lengths, use_running_average=True
    )
    assert running.padding_included == ()
