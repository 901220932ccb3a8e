"""A network of one resolution on a finer grid: its output is interpolated.

A Fourier neural operator runs on any grid, but on another than it was trained on its output is not quite the same
function: walls, padding and activations alias differently. Values of 1 % off do little harm to a field, and much to a
basis, whose functions are weighed against each other.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..constraints import SpaceTimeGrid
from ..constraints.terms import difference_weights

NEIGHBORS = 4


class Interpolated(eqx.Module):
    """A network that runs on a coarse grid, for a constraint on a finer one.

    **Arguments:**

    - `network`: maps `(in_channel, time, *space)` to `(out_channel, time, *space)` on the coarse grid.
    - `coarse`, `fine`: the grids, over the same box.
    """

    network: Callable
    coarse: SpaceTimeGrid
    fine: SpaceTimeGrid

    def __call__(self, inputs: Float[Array, "in_channel time *space"]) -> Float[Array, "out time *space"]:
        """Run on the coarse grid, and interpolate by polynomials along each axis.

        **Arguments:**

        - `inputs`: as the fine grid encodes them, `(in_channel, time, *space)`.

        **Returns:** the network's output on the fine grid, `(out, time, *space)`.
        """
        channels = inputs.shape[0] - self.fine.count_inputs(0)
        start = inputs[:channels, 0]
        for axis in range(1, len(self.coarse.shape)):
            start = interpolate_along(start, axis, interpolation_matrix(self.fine, self.coarse, axis))
        out = self.network(self.coarse.encode(start))
        for axis in range(len(self.coarse.shape)):
            out = interpolate_along(out, 1 + axis, interpolation_matrix(self.coarse, self.fine, axis))
        return out


def interpolation_matrix(source: SpaceTimeGrid, target: SpaceTimeGrid, axis: int) -> np.ndarray:
    """The matrix from values along an axis of one grid to another's, by polynomials through the nearest points.

    **Arguments:**

    - `source`, `target`: the grids.
    - `axis`: 0 is time, in which the clock is the coordinate.

    **Returns:** `(target point, source point)`.
    """
    here, there = source.axes[axis], target.axes[axis]
    if axis == 0:
        here, there = source.clock(here), target.clock(there)
    wraps = source.periodic[axis]
    return interpolate_points(here, there, source.calculus.grid.box.lengths[axis - 1] if wraps else None)


def interpolate_points(here: np.ndarray, there: np.ndarray, period: float | None) -> np.ndarray:
    """The matrix from values at some points to others, by polynomials through the nearest.

    **Arguments:**

    - `here`: increasing, `(source point,)`.
    - `there`: `(target point,)`.
    - `period`: of the axis; `None` where it has ends.

    **Returns:** `(target point, source point)`.
    """
    wraps, count = period is not None, len(here)
    matrix = np.zeros((len(there), count))
    for row, place in enumerate(there):
        first = int(np.searchsorted(here, place + 1e-12 * (1 + abs(place)))) - NEIGHBORS // 2
        if not wraps:
            first = min(max(first, 0), count - NEIGHBORS)
        near = np.arange(first, first + NEIGHBORS)
        nodes = here[near % count] + (near // count) * (period or 0.0)
        matrix[row, near % count] += difference_weights(nodes, place, 0)
    return matrix


def interpolate_along(values: Float[Array, "..."], axis: int, matrix: np.ndarray) -> Float[Array, "..."]:
    """Apply an interpolation along one axis.

    **Arguments:**

    - `values`: `(..., source point, ...)`.
    - `axis`: that of the source points.
    - `matrix`: `(target point, source point)`.

    **Returns:** `(..., target point, ...)`.
    """
    moved = jnp.tensordot(
        values, jnp.asarray(matrix, values.dtype), axes=(axis, 1), precision=jax.lax.Precision.HIGHEST
    )
    return jnp.moveaxis(moved, -1, axis)
