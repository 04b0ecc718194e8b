"""Dropout whose mask stays the same through a sequence.

A feature that is dropped in one step and not in the next one only adds noise, which a membrane
averages away. So one mask is drawn for a sample and a sequence, and all its steps share it: Gal &
Ghahramani, *A theoretically grounded application of dropout in recurrent neural networks*, 2016.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.cells.cell_check import check_has_state
from flax_snn.products import as_floating
from flax_snn.representation import short_repr
from flax_snn.typing import Array, PRNGKey, Shape, Shaped

__all__ = ["SequenceDropout", "SequenceDropoutCell"]


class SequenceDropout(nn.Module):
    """Drops features of a sequence, the same ones in all its steps: ``nn.Dropout`` over time.

    >>> import flax_snn as snn, jax
    >>> layer = snn.SequenceDropout(0.5, deterministic=False)
    >>> y = layer.apply({}, jax.numpy.ones((1, 3, 4)), rngs={"dropout": jax.random.key(1)})
    >>> bool((y == y[:, :1]).all())
    True

    The mask does not depend on the number of steps: chunks of a sequence that are given the same
    key share it. A network step in a `Chain` takes `SequenceDropoutCell`.

    Attributes:
      rate: probability with which a feature is dropped; the others are divided by ``1 - rate``.
      deterministic: drop nothing, for evaluation; here or as an argument of the call.
      feature_axes: number of trailing axes that are features. ``None`` (default): all axes after
        the time axis of inputs with one batch axis, ``(B, T, *features)``.
      time_major: inputs are ``(T, *B, *features)``.
      whole_channels: drop whole channels, the same ones in all places of ``(B, T, H, W, C)``.
      rng_collection: name of the RNG stream.
    """

    rate: float
    deterministic: bool | None = None
    feature_axes: int | None = None
    time_major: bool = False
    whole_channels: bool = False
    rng_collection: str = "dropout"

    def __post_init__(self) -> None:
        """Checks the rate when the layer is made."""
        checks.in_range("SequenceDropout: rate", self.rate, 0.0, 1.0)
        super().__post_init__()

    __repr__ = short_repr

    @nn.compact
    def __call__(
        self, inputs: Shaped[Array | np.ndarray, "..."], deterministic: bool | None = None
    ) -> Array:
        """Drops features.

        Args:
          inputs: ``(*B, T, *features)``, or ``(T, *B, *features)`` with ``time_major``.
          deterministic: drop nothing; by default as the attribute says.

        Raises:
          ValueError: too few axes; no axes of features; deterministic is not said.
        """
        inputs = as_floating(inputs, jnp.float32)
        if self.feature_axes is None and inputs.ndim < 3:
            raise ValueError(
                f"SequenceDropout: expected inputs (B, T, *features), got shape {inputs.shape};"
                " with no batch axis say how many trailing axes are features: feature_axes=1"
            )
        axes = inputs.ndim - 2 if self.feature_axes is None else self.feature_axes
        checks.whole_number("SequenceDropout: feature_axes", axes)
        if axes >= inputs.ndim:
            raise ValueError(
                f"SequenceDropout: expected a time axis before {axes} axes of features, got shape"
                f" {inputs.shape}"
            )
        time = 0 if self.time_major else inputs.ndim - axes - 1
        shared = [time]
        if self.whole_channels:
            shared += range(inputs.ndim - axes, inputs.ndim - 1)
        dropout = nn.Dropout(
            self.rate, broadcast_dims=tuple(shared), rng_collection=self.rng_collection
        )
        silent = nn.merge_param("deterministic", self.deterministic, deterministic)
        return dropout(inputs, deterministic=silent)


class SequenceDropoutCell(nn.RNNCellBase):
    """Drops features in a chain of cells, the same ones in all steps of a sequence.

    It has no parameters and no state: the mask follows from the RNG key ``dropout``, which
    `snn.RNN` gives to all steps alike. ``nn.RNN`` does so with ``split_rngs={"dropout": False}``.
    In a stream the mask stays for as long as ``apply`` is given the same key: give each sequence
    its own. (From one key a loop over steps, as in ``nn.RNN``, draws another mask than `snn.RNN`.)

    >>> import flax_snn as snn, jax
    >>> cells = (snn.LIFCell(8), snn.SequenceDropoutCell(0.2, deterministic=False), snn.LIFCell(4))
    >>> net = snn.RNN(snn.Chain(cells))
    >>> keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    >>> net.init_with_output(keys, jax.numpy.ones((2, 20, 3)))[0].shape
    (2, 20, 4)

    Attributes:
      rate: probability with which a feature is dropped; the others are divided by ``1 - rate``.
      deterministic: drop nothing, for evaluation.
      rng_collection: name of the RNG stream.
    """

    rate: float
    deterministic: bool
    rng_collection: str = "dropout"

    def __post_init__(self) -> None:
        """Checks the configuration when the cell is made."""
        checks.in_range("SequenceDropoutCell: rate", self.rate, 0.0, 1.0)
        checks.boolean("SequenceDropoutCell: deterministic", self.deterministic)
        super().__post_init__()

    __repr__ = short_repr

    @nn.compact
    def __call__(self, carry: Any, inputs: Array | None = None) -> tuple[Any, Array]:
        """Drops features of one step ``(*B, F)``; the carry is empty."""
        inputs = as_floating(check_has_state(self, carry, inputs), jnp.float32)
        return carry, self._dropout()(inputs)

    @nn.compact
    def over_time(self, carry: Any, inputs: Array, time_axis: int) -> Any:
        """Drops features of a whole sequence at once, for runners."""
        if type(self).__call__ is not SequenceDropoutCell.__call__:
            return NotImplemented
        return carry, self._dropout((time_axis,))(as_floating(inputs, jnp.float32))

    @nn.nowrap
    def initialize_carry(self, rng: PRNGKey | None, input_shape: Shape) -> tuple[()]:
        """Returns the empty state."""
        del rng, input_shape
        return ()

    @property
    def num_feature_axes(self) -> int:
        """Trailing axes of one input that are features."""
        return 1

    def _dropout(self, shared: Shape = ()) -> nn.Dropout:
        return nn.Dropout(
            self.rate,
            broadcast_dims=shared,
            deterministic=self.deterministic,
            rng_collection=self.rng_collection,
            name="mask",
        )
