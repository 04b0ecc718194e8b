"""Batch normalisation through time, scaled to the threshold of the neurons behind it.

    y = scale * gain * threshold * (x - mean) / sqrt(var + epsilon) + bias

with mean and variance of each feature over batch, time and space. A current that is spread like the
threshold makes neurons neither silent nor saturated, however deep the network is: Zheng et al.,
*Going deeper with directly-trained larger spiking neural networks*, 2021 (threshold-dependent batch
normalisation, tdBN).

In a trained network mean and variance are constants, and the layer is a factor and an offset of
each feature: `fold_norms` multiplies them into the weights before it, for export and for chips.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer

from flax_snn import checks
from flax_snn.cells.neuron_values import at_least_float32
from flax_snn.dynamics import Neuron
from flax_snn.layers.delayed_dense import DelayedDense
from flax_snn.layers.delayed_weights import wider
from flax_snn.products import as_floating
from flax_snn.representation import short_repr
from flax_snn.sequence_mask import time_steps
from flax_snn.typing import Array, Shaped

__all__ = ["ThresholdNorm", "fold_norms"]


def __dir__() -> list[str]:
    return __all__


class ThresholdNorm(nn.Module):
    """Batch normalisation over batch and time, scaled to the threshold of the neurons behind it.

    Stands between weights and neurons: ``nn.Conv -> ThresholdNorm -> snn.LIF``. The statistics are
    those of ``nn.BatchNorm`` (collection ``batch_stats``), the parameters ``scale`` and ``bias``.

    >>> import flax.linen as nn, flax_snn as snn, jax
    >>> norm = snn.ThresholdNorm(threshold=1.0)
    >>> x = 3 + jax.random.normal(jax.random.key(0), (8, 50, 16))
    >>> variables = norm.init(jax.random.key(0), x, use_running_average=False)
    >>> y, _ = norm.apply(variables, x, use_running_average=False, mutable=["batch_stats"])
    >>> abs(float(y.mean())) < 1e-5, round(float(y.std()), 3)
    (True, 1.0)

    Attributes:
      threshold: threshold of the neurons behind it, above their resting potential.
      gain: further factor; 1 by default, and 1 / sqrt(n) where n layers are added up.
      use_running_average: use the statistics that training has collected, for evaluation; here or
        as an argument of the call, as in ``nn.BatchNorm``.
      momentum: part of the collected statistics that an update keeps.
      epsilon: is added to the variance.
      use_bias: learn an offset of each feature.
      use_scale: learn a factor of each feature.
      bias_init: initialiser of the offset, zeros by default.
      scale_init: initialiser of the factor, ones by default.
      dtype: dtype of the result; by default that of inputs and parameters.
      param_dtype: dtype of the parameters, float32 by default.
      axis_name: name of the axis of devices over which statistics are averaged, as in
        ``nn.BatchNorm``.
      time_axis: axis of the time steps, as `flax_snn.sequence_mask` says; only lengths and masks
        need it.
    """

    threshold: float = 1.0
    gain: float = 1.0
    use_running_average: bool | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    use_bias: bool = True
    use_scale: bool = True
    bias_init: Initializer = nn.initializers.zeros_init()
    scale_init: Initializer = nn.initializers.ones_init()
    dtype: Any = None
    param_dtype: Any = jnp.float32
    axis_name: str | None = None
    time_axis: int | None = None

    def __post_init__(self) -> None:
        """Checks the configuration when the layer is made."""
        checks.positive("ThresholdNorm: threshold", self.threshold)
        checks.positive("ThresholdNorm: gain", self.gain)
        checks.positive("ThresholdNorm: epsilon", self.epsilon)
        checks.in_range("ThresholdNorm: momentum", self.momentum, 0.0, 1.0)
        super().__post_init__()

    __repr__ = short_repr

    @classmethod
    def for_neurons(cls, dynamics: Neuron, **settings: Any) -> ThresholdNorm:
        """Returns a layer whose currents move the membrane of a neuron by about its threshold.

        The equation of Zheng et al. is for neurons that add up their input as it is. Neurons that
        average it, such as `LIFDynamics` by default, respond to a current that is spread like their
        threshold with much less, and stay silent; here the gain makes up for that:

            gain = 1 / standard deviation of the membrane for a current of variance 1 in each step

        >>> import flax_snn as snn
        >>> snn.ThresholdNorm.for_neurons(snn.LIFDynamics(tau_mem=20e-3, threshold=0.5))
        ThresholdNorm(threshold=0.5, gain=6.32...)

        Args:
          dynamics: the neuron behind the layer.
          **settings: other attributes of the layer.

        Raises:
          TypeError: not a neuron.
          ValueError: a neuron that does not respond to its input, or rests above its threshold.
        """
        remedy = "give the neurons behind the layer, such as snn.LIFDynamics()"
        checks.instance("ThresholdNorm: dynamics", dynamics, Neuron, remedy=remedy)
        distance = float(dynamics.resting_distance(dynamics.coefficients()))
        power = float(dynamics.membrane_power(0, longest=None))
        if not (0.0 < power < math.inf and 0.0 < distance < math.inf):
            raise ValueError(
                f"ThresholdNorm: expected neurons that respond to their input, below a threshold,"
                f" got {dynamics!r}; give threshold and gain"
            )
        return cls(threshold=distance, gain=1.0 / math.sqrt(power), **settings)

    @nn.compact
    def __call__(
        self,
        inputs: Shaped[Array | np.ndarray, "..."],
        use_running_average: bool | None = None,
        *,
        seq_lengths: Any = None,
        mask: Any = None,
    ) -> Array:
        """Returns the normalised currents.

        Args:
          inputs: currents ``(*B, T, *features)``; the last axis is normalised.
          use_running_average: use the collected statistics; by default as the attribute says.
          seq_lengths: int ``(*B,)``: steps behind these are padding, and do not count.
          mask: bool ``(*B, T)``: True where a step is data; the others do not count.

        Returns:
          Currents of the shape of the inputs; what comes out of padding is what a current of 0
          gives.

        Raises:
          ValueError: neither here nor in the attribute is said which statistics to use; lengths or
            a mask that do not fit, or that leave no data; another number of features.
        """
        inputs = as_floating(inputs, self.dtype or self.param_dtype)
        checks.rank("ThresholdNorm: inputs", inputs, "(*B, T, *features)")
        if jnp.finfo(inputs.dtype).bits > jnp.finfo(at_least_float32(self.param_dtype)).bits:
            raise TypeError(
                f"ThresholdNorm: expected inputs no wider than the statistics, got {inputs.dtype};"
                f" set param_dtype={inputs.dtype} or convert the input"
            )
        average = nn.merge_param(
            "use_running_average", self.use_running_average, use_running_average
        )
        is_data = None
        if seq_lengths is not None or mask is not None:
            steps = time_steps(
                "inputs", inputs, time_axis=self.time_axis, seq_lengths=seq_lengths, mask=mask
            )
            given = None if steps.mask is None else checks.known_values(steps.mask)
            if given is not None and not given.any():
                raise ValueError(
                    "ThresholdNorm: expected at least one step with data in the batch, got none;"
                    " leave out batches without data"
                )
            inputs = steps.without_padding(inputs)
            is_data = steps.is_data(inputs.shape)
        x = nn.BatchNorm(
            use_running_average=average,
            momentum=self.momentum,
            epsilon=self.epsilon,
            use_bias=False,
            use_scale=False,
            param_dtype=self.param_dtype,
            axis_name=self.axis_name,
            use_fast_variance=False,  # the difference of two squares loses digits
            force_float32_reductions=jnp.finfo(self.param_dtype).bits <= 32,
            name="norm",
        )(inputs.astype(at_least_float32(inputs.dtype)), mask=is_data)
        size, lead = inputs.shape[-1:], (1,) * (inputs.ndim - 1)
        x = x * (self.gain * self.threshold)
        if self.use_scale:
            scale = self.param("scale", self.scale_init, size, self.param_dtype)
            x = x * scale.astype(x.dtype).reshape(lead + size)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, size, self.param_dtype)
            x = x + bias.astype(x.dtype).reshape(lead + size)
        return x.astype(self.dtype or wider(inputs.dtype, self.param_dtype))

    @nn.nowrap
    def factor_and_offset(self, variables: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Returns what the trained layer is: a factor and an offset of each feature, float64.

        Args:
          variables: variables of this layer, with ``batch_stats``.

        Raises:
          ValueError: no collected statistics.
        """
        stats = variables.get("batch_stats", {}).get("norm")
        if stats is None:
            raise ValueError(
                "ThresholdNorm: expected the collected statistics in 'batch_stats', got"
                f" {', '.join(variables) or 'nothing'}; pass all collections of the variables"
            )
        params = variables.get("params", {})
        mean, var = (np.asarray(stats[name], np.float64) for name in ("mean", "var"))
        factor = self.gain * self.threshold / np.sqrt(var + self.epsilon)
        if self.use_scale:
            factor = factor * np.asarray(nn.unbox(params["scale"]), np.float64)
        offset = -mean * factor
        if self.use_bias:
            offset = offset + np.asarray(nn.unbox(params["bias"]), np.float64)
        return factor, offset


def fold_norms(
    model: nn.Sequential, variables: Mapping[str, Any]
) -> tuple[nn.Sequential, dict[str, Any]]:
    """Returns a network without normalisation layers that computes the same, for export.

    Each `ThresholdNorm` is multiplied into the weights right before it. The statistics are those
    that training has collected, so that the result is the network with
    ``use_running_average=True``.

    >>> import flax.linen as nn, flax_snn as snn, jax
    >>> net = nn.Sequential([nn.Dense(4), snn.ThresholdNorm(use_running_average=True), snn.LIF()])
    >>> variables = net.init(jax.random.key(0), jax.numpy.ones((2, 10, 3)))
    >>> folded, variables = snn.layers.fold_norms(net, variables)
    >>> [type(layer).__name__ for layer in folded.layers], sorted(variables)
    (['Dense', 'LIF'], ['params'])

    Args:
      model: ``nn.Sequential`` whose normalisation layers follow ``nn.Dense``, ``nn.Conv`` or
        `DelayedDense`.
      variables: its variables.

    Returns:
      The network and its variables. Layers with folded weights have a bias.

    Raises:
      TypeError: another model.
      ValueError: a normalisation layer with other layers before it, or none.
    """
    remedy = "give the network as nn.Sequential([...])"
    checks.instance("fold_norms: model", model, nn.Sequential, remedy=remedy)
    layers: list[Any] = []
    collected: list[dict[str, Any]] = []
    for k, layer in enumerate(model.layers):
        below = {name: tree[f"layers_{k}"] for name, tree in variables.items() if _has(tree, k)}
        if not isinstance(layer, ThresholdNorm):
            layers.append(layer)
            collected.append(below)
            continue
        before = layers[-1] if layers else None
        if not isinstance(before, nn.Dense | nn.Conv | DelayedDense):
            raise ValueError(
                f"fold_norms: layers_{k}: expected nn.Dense, nn.Conv or snn.DelayedDense before the"
                f" normalisation, got {type(before).__name__ if layers else 'nothing'}; move it"
                " right behind the weights"
            )
        factor, offset = layer.factor_and_offset(below)
        params = fold_into(collected[-1]["params"], factor, offset)
        collected[-1] = {**collected[-1], "params": params}
        layers[-1] = before.clone(use_bias=True)
    folded: dict[str, Any] = {}
    for k, below in enumerate(collected):
        for name, tree in below.items():
            folded.setdefault(name, {})[f"layers_{k}"] = tree
    return nn.Sequential(layers), folded


def fold_into(params: Mapping[str, Any], factor: np.ndarray, offset: np.ndarray) -> dict[str, Any]:
    """Returns the kernel and bias of weights whose outputs get a factor and an offset."""
    kernel: Any = nn.unbox(params["kernel"])
    bias = np.asarray(nn.unbox(params.get("bias", np.zeros(kernel.shape[-1]))), np.float64)
    return {
        **params,
        "kernel": jnp.asarray(np.asarray(kernel, np.float64) * factor, kernel.dtype),
        "bias": jnp.asarray(bias * factor + offset, kernel.dtype),
    }


def _has(tree: Any, k: int) -> bool:
    return f"layers_{k}" in tree
