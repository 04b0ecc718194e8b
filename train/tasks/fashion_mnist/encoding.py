"""From an image to the input of a network: constant currents, or one spike for each pixel."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from flax_snn import event
from flax_snn.encode import latency
from flax_snn.typing import Array, Float, Num, PRNGKey
from train.tasks.fashion_mnist.settings import FashionData

SIDE = 28


@dataclasses.dataclass(frozen=True)
class Images:
    """Images (B, 784) of bytes, which become currents or spikes (B, T, 784).

    Attributes:
      data: the settings.
    """

    data: FashionData

    @property
    def features(self) -> int:
        """Number of pixels."""
        return SIDE * SIDE

    @property
    def sample(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of one stored image."""
        return jax.ShapeDtypeStruct((SIDE * SIDE,), jnp.uint8)

    def __call__(self, inputs: Num[Array, "B P"]) -> Float[Array, "B T P"]:
        """Returns the input of the network in time steps."""
        brightness = jnp.asarray(inputs, jnp.float32) / 255.0
        data = self.data
        if data.encoding == "direct":
            return jnp.broadcast_to(brightness[:, None], (len(inputs), data.steps, self.features))
        return latency(
            brightness,
            tau=data.latency_tau,
            threshold=data.latency_threshold,
            dt=data.dt,
            steps=data.steps,
        )

    def augment(
        self, inputs: Num[Array, "B P"], key: PRNGKey, deviation: float
    ) -> Num[Array, "B P"]:
        """Moves and mirrors images; ``deviation`` is 0, which `FashionMNIST.check` sees to."""
        del deviation
        data, batch = self.data, len(inputs)
        images = inputs.reshape(batch, SIDE, SIDE)
        first, second = jax.random.split(key)
        if data.flip:
            mirrored = jax.random.bernoulli(first, 0.5, (batch, 1, 1))
            images = jnp.where(mirrored, images[:, :, ::-1], images)
        if data.pixel_shift:
            images = _moved(images, second, data.pixel_shift)
        return images.reshape(batch, -1)

    def spikes(self, inputs: Num[Array, "B P"]) -> event.Spikes:
        """Returns the input with its times; a current counts as a spike where it is not 0."""
        active = self(jnp.asarray(inputs)) > 0
        return event.from_raster(active.astype(jnp.float32), dt=self.data.dt)


def _moved(images: Num[Array, "B H W"], key: PRNGKey, most: int) -> Num[Array, "B H W"]:
    """Moves each image by a whole number of pixels; what comes in is black."""
    padded = jnp.pad(images, ((0, 0), (most, most), (most, most)))
    corner = jax.random.randint(key, (len(images), 2), 0, 2 * most + 1)

    def cut(image: Array, at: Array) -> Array:
        return jax.lax.dynamic_slice(image, (at[0], at[1]), (SIDE, SIDE))

    return jax.vmap(cut)(padded, corner)
