"""Linear finite elements on a triangle mesh: matrices of mass and stiffness, and slopes.

With `lambda_a` the function that is one at corner `a` of a triangle, zero at the others and linear between,

    mass_ab      = integral lambda_a lambda_b             = area (1 + [a = b]) / 12,
    stiffness_ab = integral grad lambda_a . grad lambda_b = area grad lambda_a . grad lambda_b.

Everything is differentiable with respect to the nodes.

**Reference:** Ciarlet, "The finite element method for elliptic problems", 1978, doi:10.1137/1.9780898719208.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..pdes.calculus import check_values
from .triangles import TriangleMesh


def assemble_mass(
    mesh: TriangleMesh,
) -> tuple[Int[Array, " entry"], Int[Array, " entry"], Float[Array, " entry"]]:
    """The matrix of mass, as entries of a sparse matrix; those at the same place add up.

    `scipy.sparse.coo_array((values, (rows, columns)))` adds them.

    **Arguments:**

    - `mesh`: the triangle mesh.

    **Returns:** rows, columns and values, `(entry,)` each, nine entries per triangle.
    """
    return _list_entries(mesh, _mass_of_elements(mesh))


def assemble_stiffness(
    mesh: TriangleMesh, coefficient: Float[Array, " triangle"] | float = 1.0
) -> tuple[Int[Array, " entry"], Int[Array, " entry"], Float[Array, " entry"]]:
    """The matrix of stiffness, `-div(k grad)`, as entries of a sparse matrix; those at the same place add up.

    **Arguments:**

    - `mesh`: the triangle mesh.
    - `coefficient`: `k` in each triangle, a scalar or `(triangle,)`.

    **Returns:** rows, columns and values, `(entry,)` each, nine entries per triangle.
    """
    return _list_entries(mesh, coefficient * _stiffness_of_elements(mesh))


def apply_mass(mesh: TriangleMesh, u: Float[Array, "channel node"]) -> Float[Array, "channel node"]:
    """The matrix of mass times values at the nodes, without the matrix.

    **Arguments:**

    - `mesh`: the triangle mesh.
    - `u`: values `(channel, node)`.

    **Returns:** `(channel, node)`.

    **Raises:** `ValueError` for another shape.
    """
    return _apply(mesh, _mass_of_elements(mesh), u)


def apply_stiffness(
    mesh: TriangleMesh, u: Float[Array, "channel node"], coefficient: Float[Array, " triangle"] | float = 1.0
) -> Float[Array, "channel node"]:
    """The matrix of stiffness times values at the nodes, without the matrix.

    **Arguments:**

    - `mesh`: the triangle mesh.
    - `u`: values `(channel, node)`.
    - `coefficient`: as for `assemble_stiffness`, a scalar or `(triangle,)`.

    **Returns:** `(channel, node)`.

    **Raises:** `ValueError` for another shape.
    """
    return _apply(mesh, coefficient * _stiffness_of_elements(mesh), u)


def find_slopes(mesh: TriangleMesh, u: Float[Array, "channel node"]) -> Float[Array, "channel 2 triangle"]:
    """The gradient of the piecewise linear interpolant, constant on each triangle.

    **Arguments:**

    - `mesh`: the triangle mesh.
    - `u`: values `(channel, node)`.

    **Returns:** `(channel, 2, triangle)`.

    **Raises:** `ValueError` for another shape.
    """
    u = check_values("find_slopes", u, mesh.points.shape[1:])
    corners = u[:, mesh.triangles]
    return jnp.sum(corners[:, None] * _slopes_of_elements(mesh).astype(u.dtype), axis=-1)


def _slopes_of_elements(mesh: TriangleMesh) -> Array:
    """`grad lambda_a`, `(2, triangle, 3)`."""
    corners = mesh.points[:, mesh.triangles]
    # The side opposite to a corner, counter-clockwise; turned by a right angle it points to the corner.
    side = jnp.roll(corners, 1, axis=-1) - jnp.roll(corners, -1, axis=-1)
    return jnp.stack([-side[1], side[0]]) / (2 * mesh.volumes[:, None])


def _mass_of_elements(mesh: TriangleMesh) -> Array:
    """`(3, 3, triangle)`."""
    pattern = (np.ones((3, 3)) + np.eye(3))[..., None] / 12
    return pattern.astype(mesh.points.dtype) * mesh.volumes


def _stiffness_of_elements(mesh: TriangleMesh) -> Array:
    """`(3, 3, triangle)`."""
    slopes = jnp.moveaxis(_slopes_of_elements(mesh), -1, 0)
    return mesh.volumes * jnp.sum(slopes[:, None] * slopes[None, :], axis=2)


def _list_entries(mesh: TriangleMesh, elements: Array) -> tuple[Array, Array, Array]:
    corners = mesh.triangles.T
    rows = jnp.broadcast_to(corners[:, None], elements.shape)
    columns = jnp.broadcast_to(corners[None, :], elements.shape)
    return rows.ravel(), columns.ravel(), elements.ravel()


def _apply(mesh: TriangleMesh, elements: Array, u: Array) -> Array:
    u = check_values("Finite elements", u, mesh.points.shape[1:])
    corners = mesh.triangles.T
    products = jnp.sum(elements.astype(u.dtype) * u[:, corners][:, None], axis=2)
    return jnp.zeros_like(u).at[:, corners].add(products)
