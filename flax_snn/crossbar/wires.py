"""Voltage lost along the wires of an array: a model of first order, and the circuit itself."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from flax_snn import checks
from flax_snn.typing import Array, Float


@dataclasses.dataclass(frozen=True)
class IRDrop:
    """Loss of output current by the resistance of the wires, to first order.

        a_j = (n / G) sum_i |w_ij| |x_i|            c_j = a_j (a_j (0.05 a_j - 0.2) + 0.5)
        y_j = sum_i w_ij x_i - scale c_j sum_i w_ij x_i (1 - (1 - i / n)^2)       i = 0 .. n - 1

    It grows with the size of the array and with its activity: sparse spikes lose less than dense
    inputs. What the circuit does exactly: `nodal_currents`.

    Attributes:
      scale: factor of the loss.
      wire_conductance: conductance G of a wire segment as a multiple of g_max; by default 0.35 ohm
        against 5 uS, as in the source.

    Reference: aihwkit 1.2.0, ``ir_drop`` and ``ir_drop_g_ratio``.
    """

    scale: float = 1.0
    wire_conductance: float = 1.0 / (0.35 * 5e-6)

    def __post_init__(self) -> None:
        """Checks the fields."""
        checks.fields(self, checks.non_negative, "scale")
        checks.fields(self, checks.positive, "wire_conductance")

    def loss(self, x: Float[Array, "... n"], matrix: Float[Array, "n M"]) -> Float[Array, "... M"]:
        """Returns the loss of ``x @ matrix``, in units in which full scale is 1."""
        n = x.shape[-1]
        a = (n / self.wire_conductance) * (jnp.abs(x) @ jnp.abs(matrix))
        c = a * (a * (0.05 * a - 0.2) + 0.5)
        position = 1.0 - (1.0 - jnp.arange(n, dtype=matrix.dtype) / n) ** 2
        return self.scale * c * (x @ (matrix * position[:, None]))


def nodal_currents(
    conductance: Float[np.ndarray, "n m"],
    voltage: Float[np.ndarray, "..."],
    row_resistance: float,
    column_resistance: float | None = None,
) -> Float[np.ndarray, "..."]:
    """Solves the circuit of an array with resistive wires; float64, on the host.

        (p_ij - p_i,j-1) / Rr + (p_ij - p_i,j+1) / Rr + g_ij (p_ij - q_ij) = 0
        (q_ij - q_i-1,j) / Rc + (q_ij - q_i+1,j) / Rc - g_ij (p_ij - q_ij) = 0

    Rows are driven left of column 0 and end behind the last column, columns begin at row 0 and are
    grounded below the last row. For arrays up to some hundred rows and columns.

    Args:
      conductance: conductances in S.
      voltage: voltages of the rows in V, ``(*B, n)``.
      row_resistance: resistance of a wire segment of a row in ohm, > 0.
      column_resistance: of a column; by default that of a row.

    Returns:
      Currents of the columns in A, ``(*B, m)``; with wires that conduct perfectly they are
      ``voltage @ conductance``.

    Raises:
      ValueError: shapes that do not fit, negative conductances, resistances not above 0.
    """
    from scipy import sparse
    from scipy.sparse import linalg

    g = np.asarray(conductance, np.float64)
    v = np.asarray(voltage, np.float64)
    if g.ndim != 2 or v.ndim < 1 or v.shape[-1] != g.shape[0]:
        raise ValueError(
            "nodal_currents: expected conductances (n, m) and voltages (..., n), got"
            f" {g.shape} and {v.shape}"
        )
    if not (np.all(np.isfinite(g)) and np.all(g >= 0.0)):
        raise ValueError("nodal_currents: expected finite conductances >= 0 in S")
    column_resistance = row_resistance if column_resistance is None else column_resistance
    for name, value in (("row", row_resistance), ("column", column_resistance)):
        checks.positive(f"nodal_currents: {name}_resistance", value)
    n, m = g.shape
    p = np.arange(n * m).reshape(n, m)
    q = p + n * m
    row, column = 1.0 / row_resistance, 1.0 / column_resistance
    edges = [
        (p[:, :-1], p[:, 1:], np.full((n, m - 1), row)),
        (q[:-1], q[1:], np.full((n - 1, m), column)),
        (p, q, g),
    ]
    diagonal = np.zeros(2 * n * m)
    diagonal[p[:, 0]] += row
    diagonal[q[-1]] += column
    rows, columns, values = [], [], []
    for a, b, conducts in edges:
        i, j, c = a.ravel(), b.ravel(), conducts.ravel()
        np.add.at(diagonal, i, c)
        np.add.at(diagonal, j, c)
        rows += [i, j]
        columns += [j, i]
        values += [-c, -c]
    each = np.arange(2 * n * m)
    entries = np.concatenate([*values, diagonal])
    where = (np.concatenate([*rows, each]), np.concatenate([*columns, each]))
    system = sparse.csc_matrix((entries, where), shape=(2 * n * m, 2 * n * m))
    drive = np.zeros((2 * n * m, v.reshape(-1, n).shape[0]))
    drive[p[:, 0]] = row * v.reshape(-1, n).T
    potentials = linalg.splu(system).solve(drive)
    return (potentials[q[-1]] * column).T.reshape(*v.shape[:-1], m)
