"""Cubic spline interpolation of values on a grid: continued evenly at walls, periodically elsewhere.

    f(x) = sum_k c_k B(x / h - k),    with the c such that f takes the given values

`B` is the cubic B-spline, so that `f` has two continuous derivatives and an error of fourth order. Its normal
derivative on walls is zero. At each position `4^dim` coefficients are gathered, whatever the size of the grid.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import Grid

PADDING = 2  # a position within half a cell of a wall reaches two points beyond it


class Knots(eqx.Module):
    """Where the values along one axis stand.

    **Arguments:**

    - `lower`, `length`: where the axis begins, and how long it is; lengths.
    - `cells`: how many cells there are along it.
    - `periodic`: whether it is periodic; else it ends in walls.
    - `centered`: whether the values are at the cells' centers and not at their ends.
    """

    lower: float = eqx.field(static=True)
    length: float = eqx.field(static=True)
    cells: int = eqx.field(static=True)
    periodic: bool = eqx.field(static=True)
    centered: bool = eqx.field(static=True)

    def locate(self, x: Float[Array, "*points"]) -> tuple[Array, Array]:
        """The index of the first of four coefficients, and the place within its cell.

        **Arguments:**

        - `x`: coordinates `(*points,)`; beyond walls they are reflected, beyond a period wrapped.

        **Returns:** indices into padded coefficients and places from 0 to 1, `(*points,)` each.
        """
        span = self.length if self.periodic else 2 * self.length
        inside = jnp.mod(x - self.lower, span)
        if not self.periodic:
            # Not `minimum`, whose derivative on the far wall is undecided.
            inside = jnp.where(inside > self.length, span - inside, inside)
        place = inside * (self.cells / self.length) - 0.5 * self.centered
        cell = jnp.clip(jnp.floor(place), -1.0 * self.centered, self.cells - 1)
        return cell.astype(jnp.int32) + (PADDING - 1), place - cell


def find_knots(grid: Grid, shape: tuple[int, ...]) -> tuple[Knots, ...] | None:
    """Where values of a shape stand on a grid.

    **Arguments:**

    - `grid`: the grid.
    - `shape`: of the values: that of the grid's points, or of its vertices.

    **Returns:** one set of knots per axis; `None` when the shape is neither.
    """
    box = grid.box
    vertices = tuple(n + (not periodic) for n, periodic in zip(grid.shape, box.periodic, strict=True))
    if shape not in (grid.shape, vertices):
        return None
    return tuple(
        Knots(low, length, n, periodic, centered=not periodic and shape == grid.shape)
        for low, length, n, periodic in zip(box.lower, box.lengths, grid.shape, box.periodic, strict=True)
    )


def fit_spline(values: Float[Array, "*space"], knots: tuple[Knots, ...]) -> Float[Array, "*padded"]:
    """The coefficients of the spline through values.

    **Arguments:**

    - `values`: at the knots `(*space,)`.
    - `knots`: where they stand.

    **Returns:** coefficients `(*padded,)`, continued beyond walls and periods.
    """
    for axis, along in enumerate(knots):
        matrix = jnp.asarray(_inverse(values.shape[axis], along.periodic, along.centered), values.dtype)
        moved = jnp.matmul(jnp.moveaxis(values, axis, -1), matrix.T, precision=jax.lax.Precision.HIGHEST)
        mode = "wrap" if along.periodic else "symmetric" if along.centered else "reflect"
        widths = [(0, 0)] * (values.ndim - 1) + [(PADDING, PADDING)]
        values = jnp.moveaxis(jnp.pad(moved, widths, mode=mode), -1, axis)
    return values


def evaluate_spline(
    coefficients: Float[Array, "*padded"], knots: tuple[Knots, ...], x: Float[Array, "dim *points"]
) -> Float[Array, "*points"]:
    """The spline at positions.

    **Arguments:**

    - `coefficients`: of `fit_spline`, `(*padded,)`.
    - `knots`: the same.
    - `x`: positions `(dim, *points)`.

    **Returns:** values `(*points,)`.
    """
    base, weights = 0, []
    for axis, along in enumerate(knots):
        first, place = along.locate(x[axis])
        base = base * coefficients.shape[axis] + first
        weights.append(_basis(place))
    flat = coefficients.ravel()

    def gather(axis, offset):
        if axis == len(knots):
            return flat.at[base + offset].get(mode="promise_in_bounds")
        stride = int(np.prod(coefficients.shape[axis + 1 :]))
        return sum(weight * gather(axis + 1, offset + k * stride) for k, weight in enumerate(weights[axis]))

    return gather(0, 0)


def _basis(t: Array) -> tuple[Array, ...]:
    s = 1 - t
    return (
        s**3 / 6,
        2 / 3 - t**2 * (1 - t / 2),
        2 / 3 - s**2 * (1 - s / 2),
        t**3 / 6,
    )


@functools.lru_cache(maxsize=32)
def _inverse(points: int, periodic: bool, centered: bool) -> np.ndarray:
    """Values to coefficients: the inverse of `(c_(k-1) + 4 c_k + c_(k+1)) / 6` with its continuation."""
    matrix = (4 * np.eye(points) + np.eye(points, k=1) + np.eye(points, k=-1)) / 6
    if periodic:
        matrix[0, -1] = matrix[-1, 0] = 1 / 6
    elif centered:
        matrix[0, 0] = matrix[-1, -1] = 5 / 6
    else:
        matrix[0, 1] = matrix[-1, -2] = 2 / 6
    return np.linalg.inv(matrix)
