"""What a mesh is worth for a function: the error of its piecewise linear interpolant.

The function is taken at the vertices and interpolated linearly on triangles, `u_h = sum_k lambda_k u(x_k)`. A
quadrilateral makes two triangles by one diagonal or the other, and for a function that changes in one direction the two
may differ by a factor of three. So the better diagonal of the whole mesh is taken, on moved and uniform meshes alike:
what is compared is the mesh and not the luck of its diagonals.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .mesh import AbstractMesh
from .structured import StructuredMesh
from .triangles import TriangleMesh

# Six points and weights on a triangle, exact to degree four: Dunavant, 1985, doi:10.1002/nme.1620210612.
_SIX = ((0.445948490915965, 0.223381589678011), (0.091576213509771, 0.109951743655322))
# Gauss-Legendre on an interval, exact to degree five.
_INTERVAL_POINTS = 3

RISING, FALLING = 0, 1


class ErrorNorms(eqx.Module):
    """How far a function is from its interpolant on a mesh.

    **Arguments:**

    - `l2`: the root of the integral of the squared error, a scalar; the function's unit times the root of an area.
    - `largest`: the largest error at the points of the quadrature, a scalar.
    - `diagonal`: how quadrilaterals were cut: 0 from the first to the last corner, 1 the other way; a scalar.
    """

    l2: Float[Array, ""]
    largest: Float[Array, ""]
    diagonal: Int[Array, ""]


def interpolation_error(
    function: Callable[[Float[Array, "dim *points"]], Float[Array, "*points"]],
    mesh: AbstractMesh,
    pieces: int = 2,
) -> ErrorNorms:
    """Measure the piecewise linear interpolant of a known function, in L2 and in the largest error.

    It can be differentiated with respect to the mesh's vertices and to what the function holds.

    **Arguments:**

    - `function`: positions `(dim, *points)` to numbers `(*points,)`.
    - `mesh`: the mesh.
    - `pieces`: each side of a triangle (each interval) is cut into so many pieces before the quadrature.

    **Returns:** the error with the diagonal whose L2 error is the smaller one.

    **Raises:** `ValueError` for no pieces, or a mesh that has neither quadrilaterals, triangles nor intervals.
    """
    if pieces < 1:
        raise ValueError(f"interpolation_error needs pieces >= 1 of each side of a triangle; got {pieces}.")
    return _measure_mesh(function, mesh, pieces)


@eqx.filter_jit
def _measure_mesh(function: Callable, mesh: AbstractMesh, pieces: int) -> ErrorNorms:
    found = [_measure(function, simplices, pieces) for simplices in _simplices(mesh)]
    if len(found) == 1:
        ((l2, largest),) = found
        return ErrorNorms(l2, largest, jnp.asarray(RISING))
    (l2, largest), (other_l2, other_largest) = found
    better = l2 <= other_l2
    return ErrorNorms(
        jnp.where(better, l2, other_l2),
        jnp.where(better, largest, other_largest),
        jnp.where(better, RISING, FALLING),
    )


def _simplices(mesh: AbstractMesh) -> list[Array]:
    """One way to cut the mesh, or two: corners `(corner, dim, *simplex)`."""
    if isinstance(mesh, StructuredMesh):
        corners = mesh.closed_vertices
        if mesh.dimensions == 1:
            return [jnp.stack([corners[:, :-1], corners[:, 1:]])]
        a, b = corners[:, :-1, :-1], corners[:, 1:, :-1]
        c, d = corners[:, :-1, 1:], corners[:, 1:, 1:]
        return [
            jnp.stack([jnp.stack(pair, axis=1) for pair in triangles])
            for triangles in (((a, a), (b, d), (d, c)), ((a, b), (b, d), (c, c)))
        ]
    if isinstance(mesh, TriangleMesh):
        return [jnp.moveaxis(mesh.points[:, mesh.triangles], -1, 0)]
    raise ValueError(
        f"interpolation_error knows intervals, quadrilaterals and triangles; got {type(mesh).__name__}."
    )


def _measure(function: Callable, corners: Array, pieces: int) -> tuple[Array, Array]:
    """L2 and largest error on simplices `(corner, dim, *simplex)`."""
    values = jax.vmap(function)(corners)
    sides = corners[1:] - corners[0]
    if len(corners) == 2:
        volumes = abs(sides[0, 0])
        table = _interval_table(pieces)
    else:
        volumes = 0.5 * abs(sides[0, 0] * sides[1, 1] - sides[0, 1] * sides[1, 0])
        table = _triangle_table(pieces)

    def add(sums, entry):
        weight, places = entry[0], entry[1:]
        error = function(jnp.tensordot(places, corners, 1)) - jnp.tensordot(places, values, 1)
        squares, largest = sums
        return (
            squares + weight * jnp.sum(volumes * error**2),
            jnp.maximum(largest, jnp.max(abs(error))),
        ), None

    # One point of each simplex at a time: the program stays small, and so does its memory.
    zero = jnp.zeros((), values.dtype)
    (squares, largest), _ = jax.lax.scan(add, (zero, zero), jnp.asarray(table, values.dtype))
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)), 0.0), largest


def _triangle_table(pieces: int) -> np.ndarray:
    """Weights, which add up to one, and barycentric coordinates: `(point, 1 + 3)`."""
    small = []
    for inside, weight in _SIX:
        small += [(weight, *np.roll([1 - 2 * inside, inside, inside], k)) for k in range(3)]
    small = np.array(small)
    rows = []
    for i in range(pieces):
        for j in range(pieces - i):
            rows.append(_place(small, np.array([(i, j), (i + 1, j), (i, j + 1)]) / pieces))
            if i + j < pieces - 1:
                rows.append(_place(small, np.array([(i + 1, j), (i + 1, j + 1), (i, j + 1)]) / pieces))
    table = np.concatenate(rows)
    return np.column_stack([table[:, 0] / pieces**2, 1 - table[:, 1] - table[:, 2], table[:, 1:]])


def _place(small: np.ndarray, corners: np.ndarray) -> np.ndarray:
    return np.column_stack([small[:, 0], small[:, 1:] @ corners])


def _interval_table(pieces: int) -> np.ndarray:
    """As `_triangle_table`, `(point, 1 + 2)`."""
    nodes, weights = np.polynomial.legendre.leggauss(_INTERVAL_POINTS)
    places = ((np.arange(pieces)[:, None] + (nodes + 1) / 2) / pieces).ravel()
    return np.column_stack([np.tile(weights / 2 / pieces, pieces), 1 - places, places])
