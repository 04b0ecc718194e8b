"""Spiking networks for images: a multilayer perceptron, and convolutions in front of it."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling

import flax_snn as snn
from flax_snn.products import conv_general_dilated, convolution_for
from flax_snn.typing import Array, Float
from train.tasks.fashion_mnist.encoding import SIDE
from train.tasks.fashion_mnist.settings import FashionNetwork

READOUT = "readout"

UNROLLED = 16
"""Steps up to which the loop over time is written out, so that XLA fuses all of it."""


class ImageNetwork(nn.Module):
    """Maps currents or spikes of pixels to membranes of one leaky integrator for each class.

    Attributes:
      config: the settings.
      dt: length of a time step in seconds.
      constant: whether the input is the same in all steps: the first weights are then used once.
      training: with dropout.
      outputs: output neurons.
    """

    config: FashionNetwork
    dt: float
    constant: bool
    training: bool
    outputs: int = 10

    @nn.compact
    def __call__(self, inputs: Float[Array, "B T P"]) -> Float[Array, "B T C"]:
        """Returns the membranes of the output neurons."""
        config, (batch, steps, _) = self.config, inputs.shape
        x = inputs[:, :1] if self.constant else inputs
        if config.architecture == "conv":
            x = x.reshape(*x.shape[:2], SIDE, SIDE, 1)
            for k, channels in enumerate(config.channels):
                init = _normal(config.layer_gain if k else config.input_gain)
                x = nn.Conv(
                    channels,
                    (3, 3),
                    kernel_init=init,
                    use_bias=False,
                    conv_general_dilated=convolution_for(x.dtype) if k else conv_general_dilated,
                )(x)
                pool = snn.layers.MaxPool((2, 2))
                if config.pooled == "currents":  # of constant ones once for all steps
                    x = self._spikes(self._normalised(pool(x)), steps)
                else:
                    x = pool(self._spikes(self._normalised(x), steps))
            x = x.reshape(batch, steps, -1)
        first = config.architecture == "mlp"
        for size in config.hidden:
            init = _normal(config.input_gain if first else config.layer_gain)
            if not first:
                x = self._dropout(x)
            x = nn.Dense(size, kernel_init=init, use_bias=False)(x)
            x, first = self._spikes(x, steps), False
        readout = nn.Dense(
            self.outputs,
            kernel_init=_normal(config.readout_gain),
            dot_general=_narrow_product,
            name=READOUT,
        )
        reader = snn.LIDynamics(tau_mem=config.tau_readout, dt=self.dt)
        # What cells do is found by the numbers in their names: the readout is the last one.
        spiking = len(config.hidden) + (
            len(config.channels) if config.architecture == "conv" else 0
        )
        name = f"LeakyIntegrator_{spiking}"
        return snn.LeakyIntegrator(dynamics=reader, name=name)(readout(self._dropout(x)))

    def _spikes(self, currents: Float[Array, "B T *F"], steps: int) -> Float[Array, "B T *F"]:
        """Returns the spikes of neurons that are driven by currents, constant ones if T = 1."""
        if currents.shape[1] != steps:
            currents = jnp.broadcast_to(currents, (len(currents), steps, *currents.shape[2:]))
        axes = currents.ndim - 2
        layer = snn.RNN(
            snn.LIFCell(None, dynamics=self._neuron, feature_axes=axes),
            unroll=steps if steps <= UNROLLED else 1,
        )
        spikes: Array = layer(currents)
        return spikes

    @property
    def _neuron(self) -> snn.LIFDynamics:
        """What a hidden neuron does."""
        config = self.config
        return snn.LIFDynamics(
            tau_mem=config.tau_mem,
            dt=self.dt,
            surrogate=snn.surrogate.superspike(config.surrogate_slope),
        )

    def _normalised(self, currents: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C"]:
        """Returns currents that spread like the threshold, in each image, step and group."""
        groups = self.config.norm_groups
        if not groups:
            return currents
        gain = snn.ThresholdNorm.for_neurons(self._neuron).gain
        norm = nn.GroupNorm(
            groups, reduction_axes=(-3, -2, -1), scale_init=nn.initializers.constant(gain)
        )
        normalised: Array = norm(currents)
        return normalised

    def _dropout(self, x: Float[Array, "B T F"]) -> Float[Array, "B T F"]:
        if not self.config.dropout:
            return x
        dropped: Array = snn.layers.SequenceDropout(
            self.config.dropout, deterministic=not self.training
        )(x)
        return dropped


def _normal(gain: float) -> nn.initializers.Initializer:
    """Returns an initialiser of weights N(0, gain^2 / fan in)."""
    return variance_scaling(gain**2, "fan_in", "normal")


def _narrow_product(x: Array, kernel: Array, dimensions: Any, precision: Any = None) -> Array:
    """Returns ``x @ kernel`` for a kernel of few columns, as `flax.linen.Dense` asks for it."""
    del dimensions, precision  # those of Dense
    return _product(x, kernel)


@jax.custom_vjp
def _product(x: Float[Array, "*B N"], kernel: Float[Array, "N C"]) -> Float[Array, "*B C"]:
    return x @ kernel


def _product_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ kernel, (x, kernel)


def _product_backward(kept: tuple[Array, Array], d_y: Array) -> tuple[Array, Array]:
    """Returns the cotangents; that of the kernel is made transposed, (C, N).

    XLA's product for a CPU takes five times as long if the long axis comes first, and it would turn
    the transposition round: hence the barrier.
    """
    x, kernel = kept
    narrow = d_y.reshape(-1, d_y.shape[-1]).T @ x.reshape(-1, x.shape[-1])
    return d_y @ kernel.T, jax.lax.optimization_barrier(narrow).T


_product.defvjp(_product_forward, _product_backward)
