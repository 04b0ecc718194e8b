"""Parameters before and after training: weights, time constants, thresholds, delays, gradients."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from train.data.parts import Part
from train.reporting.pack import png
from train.restored.run import Restored
from train.run.step import create_state

BINS = 41
SIDE = 256
"""Most rows and columns of a matrix that are drawn; of more, evenly spaced ones."""

GRADIENT_SAMPLES = 64


def named(params: Any) -> dict[str, np.ndarray]:
    """Returns parameters by their path, such as ``cell/cells_0/kernel``."""
    return {k: np.asarray(v) for k, v in flatten_dict(params, sep="/").items()}


def initial(trained: Restored) -> tuple[Any, str]:
    """Returns parameters as the seed draws them, and in words what they are.

    A run does not store them. ``None`` comes where they are those of another run.
    """
    training = trained.settings.training
    if getattr(training, "init_from", ""):
        return None, "The run began with the weights of another run: there is no “before”."
    # Compiled as in training, so that the bits are the same, and nothing but the draw runs.
    draw = jax.jit(lambda seed: create_state(trained.model, training, 1, seed).params)
    words = f"“Before” is not stored: it was drawn again from seed {training.seed}"
    if trained.model.rescaled is not None:
        words += ", without the rescaling of the weights on data (lsuv) that followed"
    return draw(np.uint32(training.seed)), words + "."


def parameters_of(trained: Restored, before: Any, words: str) -> dict[str, Any]:
    """Returns a row for each parameter, with histograms and pictures of matrices.

    Args:
      trained: the network.
      before: its parameters before training, as `initial` returns them.
      words: what these are.
    """
    old = {} if before is None else named(before)
    rows = [_row(name, value, old.get(name)) for name, value in named(trained.params).items()]
    return {"words": words, "rows": rows}


def _row(name: str, value: np.ndarray, before: np.ndarray | None) -> dict[str, Any]:
    last = name.rpartition("/")[2]
    log = last.startswith("log_")
    if log:
        value, last = np.exp(value), last.removeprefix("log_")
        before = None if before is None else np.exp(before)
    both = [value] if before is None else [value, before]
    low, high = (float(f([f(x) for x in both])) for f in (np.min, np.max))
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    row = {
        "name": f"{name} (exponential of it)" if log else name,
        "kind": last,
        "shape": list(value.shape),
        "after": _summary(value),
        "before": None if before is None else _summary(before),
        "edges": edges.tolist(),
        "counts": np.histogram(value, edges)[0].tolist(),
        "counts_before": None if before is None else np.histogram(before, edges)[0].tolist(),
    }
    if value.ndim == 2 and "kernel" in last:
        row["image"] = png(_coloured(value))
    return row


def _summary(values: np.ndarray) -> dict[str, float]:
    x = np.asarray(values, np.float64)
    return {f.__name__: float(f(x)) for f in (np.mean, np.std, np.min, np.max)}


def _coloured(matrix: np.ndarray) -> np.ndarray:
    """Returns blue for negative and orange for positive weights; white is zero."""
    for axis in (0, 1):
        size = matrix.shape[axis]
        if size > SIDE:
            rows = np.linspace(0, size - 1, SIDE).astype(int)
            matrix = np.take(matrix, rows, axis)
    x = matrix / (np.abs(matrix).max() or 1.0)
    ends = np.where((x > 0)[..., None], [179.0, 88.0, 6.0], [5.0, 90.0, 160.0])
    return np.asarray(np.rint(255.0 + (ends - 255.0) * np.abs(x)[..., None]), np.uint8)


def gradient_norms(
    trained: Restored, before: Any, part: Part
) -> dict[str, dict[str, float | None]]:
    """Returns the norm of the gradient of the loss by parameter, on the first samples of a part.

    Args:
      trained: the network.
      before: its parameters before training; ``None`` where they are not known.
      part: the samples.

    Returns:
      For each parameter the norms ``before`` and ``after`` training; ``None`` for one that is not
      known.
    """
    model = trained.model
    some = jax.tree.map(jnp.asarray, part.take(slice(0, GRADIENT_SAMPLES)))

    @jax.jit
    @jax.grad
    def gradient(params: Any) -> jax.Array:
        z = model.apply(params, some.inputs, jax.random.key(0), some.lengths).z
        return jnp.mean(model.objective.loss(z, some.labels, 0.0))

    # Arrays of the host, both of them: one compilation for two calls.
    after, before = (jax.tree.map(np.asarray, each) for each in (trained.params, before))
    old = {} if before is None else _norms(gradient(before))
    new = _norms(gradient(after))
    return {name: {"before": old.get(name), "after": norm} for name, norm in new.items()}


def _norms(gradients: Any) -> dict[str, float]:
    each = named(gradients).items()
    return {name: float(np.linalg.norm(np.asarray(g, np.float64))) for name, g in each}
