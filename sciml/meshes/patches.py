"""Bicubic Hermite patches on a lattice of points, and the inverse of a map that is made of them.

Positions on the lattice are counted in indices of the points: whole numbers at the points, a half more or less at a
wall. A patch has values, slopes and mixed slopes at its corners, so that neighbors agree in value and slope.
"""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..pdes import FiniteDifference, Grid
from .location import round_off
from .trees import nearest_image

_MOST_STEPS = 12  # of Newton's method, from a start that is off by the curvature of one cell


class Patches(eqx.Module):
    """For each of some points the patch that it is in.

    **Arguments:**

    - `coefficients`: values, slopes and mixed slopes at the corners, `(kind, channel, corner, point)`.
    - `local`: where in the patch, from 0 to 1 along each axis, `(dim, point)`.
    """

    coefficients: Float[Array, "kind channel corner point"]
    local: Float[Array, "dim point"]

    def evaluate(self, slope_along: int | None = None) -> Float[Array, "channel point"]:
        """The values at the points, or their slopes.

        **Arguments:**

        - `slope_along`: an axis for the slope along it, per index; `None` for values.

        **Returns:** `(channel, point)`.
        """
        dimensions = len(self.local)
        total = 1.0
        for axis, t in enumerate(self.local):
            # Kinds of all axes, then corners of all axes, then points.
            shape = [2 if a == axis else 1 for a in range(dimensions)]
            total = total * _weigh_hermite(t, axis == slope_along).reshape(*shape, *shape, -1)
        weights = total.reshape(2**dimensions, 1, 2**dimensions, -1)
        return jnp.sum(self.coefficients * weights.astype(real_precision(self.coefficients)), axis=(0, 2))


def fit_patches(values: Float[Array, "channel *space"], grid: Grid) -> Float[Array, "kind channel *space"]:
    """Values, slopes and mixed slopes at every point, slopes per index, by differences of fourth order.

    **Arguments:**

    - `values`: `(channel, *space)`.
    - `grid`: the grid of the points.

    **Returns:** `(kind, channel, *space)`.
    """
    calculus = FiniteDifference(grid, order=4)
    field = calculus.known(values)
    kinds = itertools.product((0, 1), repeat=grid.dimensions)
    return jnp.stack(
        [
            calculus.derivative(field, orders) * math.prod(h**k for h, k in zip(grid.spacing, orders))
            for orders in kinds
        ]
    )


def open_patches(
    fitted: Float[Array, "kind channel *space"], indices: Float[Array, "dim point"], grid: Grid
) -> Patches:
    """Look up the patches that points are in.

    **Arguments:**

    - `fitted`: of `fit_patches`, `(kind, channel, *space)`.
    - `indices`: of the points, `(dim, point)`.
    - `grid`: the same.

    **Returns:** the patches.
    """
    bases = []
    for index, n, periodic in zip(jax.lax.stop_gradient(indices), grid.shape, grid.box.periodic, strict=True):
        # Half a cell before the first point and behind the last, their patches go on.
        bases.append(jnp.floor(index) if periodic else jnp.clip(jnp.floor(index), 0, n - 2))
    base = jnp.stack(bases)
    return Patches(gather_corners(fitted, base.astype(jnp.int32)), indices - base)


def invert_patches(
    moves: Float[Array, "kind dim *space"],
    start: Float[Array, "dim point"],
    points: Float[Array, "dim point"],
    grid: Grid,
) -> tuple[Float[Array, "dim point"], Bool[Array, " point"]]:
    """Find the indices at which a cubic map takes given positions, by Newton's method.

    **Arguments:**

    - `moves`: the displacement of the points off the grid, fitted, `(kind, dim, *space)`.
    - `start`: indices nearby `(dim, point)`.
    - `points`: the positions `(dim, point)`.
    - `grid`: the grid of the points.

    **Returns:** indices `(dim, point)`, and whether there are any, `(point,)`; where there are none, the start.
    Differentiable with respect to moves and positions.
    """
    start, points = jax.lax.stop_gradient(start), points.astype(start.dtype)
    tolerance = round_off(grid, start.dtype)
    box = grid.box
    periods = tuple(length if wraps else None for length, wraps in zip(box.lengths, box.periodic))

    @jax.custom_jvp
    def find(moves, start, points):
        def unfinished(state):
            _, residual, _, count = state
            return (count < _MOST_STEPS) & jnp.any(residual > tolerance)

        def advance(state):
            indices, _, _, count = state
            patches = open_patches(moves, indices, grid)
            residual = nearest_image((_place(patches, indices, grid) - points).T, periods).T
            change, positive = _solve(_find_jacobian(patches, grid), residual)
            return indices - jnp.clip(change, -0.5, 0.5), jnp.max(abs(residual), axis=0), positive, count + 1

        ones = jnp.ones(start.shape[1:], start.dtype)
        state = (start, np.inf * ones, ones > 0, jnp.asarray(0))
        indices, residual, positive, _ = jax.lax.while_loop(unfinished, advance, state)
        return indices, (residual <= tolerance) & positive & jnp.all(abs(indices - start) < 1, axis=0)

    @find.defjvp
    def _follow(primals, tangents):
        # The implicit function theorem: the map changes where the point is, and the point moves; no start matters.
        indices, good = find(*primals)
        patches = open_patches(primals[0], indices, grid)
        change = open_patches(tangents[0], indices, grid).evaluate() - tangents[2]
        slope, _ = _solve(_find_jacobian(patches, grid), change)
        return (indices, good), (-slope, np.zeros(good.shape, jax.dtypes.float0))

    indices, good = find(moves, start, points)
    return jnp.where(good, indices, start), good


def _place(patches: Patches, indices: Array, grid: Grid) -> Array:
    first, h = (
        jnp.asarray(x, indices.dtype)[:, None] for x in ([axis[0] for axis in grid.axes], grid.spacing)
    )
    return first + h * indices + patches.evaluate()


def _find_jacobian(patches: Patches, grid: Grid) -> Array:
    """Of the position with respect to the indices, `(dim, dim, point)`."""
    slopes = jnp.stack([patches.evaluate(axis) for axis in range(grid.dimensions)], axis=1)
    return slopes + jnp.diag(jnp.asarray(grid.spacing, slopes.dtype))[..., None]


def gather_corners(
    nodes: Float[Array, "*lead_and_node"], cells: Int[Array, "dim point"]
) -> Float[Array, "*lead corner point"]:
    """Look up values at the corners of cells; behind the last node comes the first.

    **Arguments:**

    - `nodes`: the values `(*lead, *node)`.
    - `cells`: indices `(dim, point)`.

    **Returns:** `(*lead, corner, point)`.
    """
    dimensions, shape = len(cells), nodes.shape[nodes.ndim - len(cells) :]
    at = []
    for axis, (cell, n) in enumerate(zip(cells, shape, strict=True)):
        ends = jnp.arange(2).reshape([2 if a == axis else 1 for a in range(dimensions)] + [1])
        at.append((cell + ends) % n)
    flat = jnp.ravel_multi_index(at, shape, mode="wrap").reshape(2**dimensions, -1)
    return nodes.reshape(*nodes.shape[:-dimensions], -1)[..., flat]


def real_precision(values: Float[Array, "..."]) -> np.dtype:
    """The precision of values, complex ones too.

    **Arguments:**

    - `values`: of any shape `(...)`.

    **Returns:** a real dtype.
    """
    return jnp.finfo(values.dtype).dtype


def _weigh_hermite(t: Array, slope: bool) -> Array:
    """The weights of values and of slopes at both ends, `(kind, end, point)`."""
    s = 1 - t
    if slope:
        rows = (-6 * t * s, 6 * t * s), (s * (1 - 3 * t), t * (3 * t - 2))
    else:
        rows = (s**2 * (1 + 2 * t), t**2 * (3 - 2 * t)), (t * s**2, -(t**2) * s)
    return jnp.stack([jnp.stack(row) for row in rows])


def _solve(jacobian: Array, right: Array) -> tuple[Array, Array]:
    """Solve with a matrix `(dim, dim, point)`; where its determinant is not positive the answer is 0."""
    if len(right) == 1:
        determinant, adjugate = jacobian[0, 0], right
    else:
        (a, b), (c, d) = jacobian
        determinant = a * d - b * c
        adjugate = jnp.stack([d * right[0] - b * right[1], a * right[1] - c * right[0]])
    positive = determinant > 0
    return jnp.where(positive, adjugate / jnp.where(positive, determinant, 1), 0), positive
