"""Linear finite elements on a triangle mesh: matrices of mass and stiffness, and slopes.

With `lambda_a` the function that is one at corner `a` of a triangle, zero at the others and linear between,

    mass_ab      = integral lambda_a lambda_b             = area (1 + [a = b]) / 12,
    stiffness_ab = integral grad lambda_a . grad lambda_b = area grad lambda_a . grad lambda_b.

Everything is differentiable with respect to the nodes.

**Reference:** Ciarlet, "The finite element method for elliptic problems", 1978, doi:10.1137/1.9780898719208.
"""

import equinox as eqx
import jax
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


def lump_mass(mesh: TriangleMesh) -> Float[Array, " node"]:
    """The matrix of mass, lumped: a third of the areas around each node.

    **Arguments:**

    - `mesh`: the triangle mesh.

    **Returns:** `(node,)`.
    """
    return jnp.zeros_like(mesh.points[0]).at[mesh.triangles].add(mesh.volumes[:, None] / 3)


class Rings(eqx.Module):
    """Matrices of linear elements as rows of weights, for products in a loop; `make_rings` makes one.

    **Arguments:**

    - `table`: each node, and those it shares a triangle with, `(slot, node)`; the node itself fills up the columns.
    - `slots`: where in its node's column the entry of each pair of corners is, `(3, 3, triangle)`.
    """

    table: Int[Array, "slot node"]
    slots: Int[Array, "3 3 triangle"]

    def assemble(self, mesh: TriangleMesh) -> Float[Array, "slot node"]:
        """The matrix of stiffness.

        **Arguments:**

        - `mesh`: has the triangles that the rings were made for, and may have moved.

        **Returns:** weights `(slot, node)`, the diagonal first.
        """
        elements = _stiffness_of_elements(mesh)
        rows = jnp.broadcast_to(mesh.triangles.T[:, None], elements.shape)
        return jnp.zeros(self.table.shape, elements.dtype).at[self.slots, rows].add(elements)

    def apply(
        self, weights: Float[Array, "slot node"], u: Float[Array, "channel node"]
    ) -> Float[Array, "channel node"]:
        """A matrix times values at the nodes.

        **Arguments:**

        - `weights`: `(slot, node)`.
        - `u`: `(channel, node)`.

        **Returns:** `(channel, node)`.
        """
        # One slot after the other: four times as fast on a CPU as all at once.
        return sum(w * u[:, beside] for w, beside in zip(weights, self.table))


def make_rings(mesh: TriangleMesh) -> Rings:
    """Find who shares a triangle with whom.

    **Arguments:**

    - `mesh`: the mesh.

    **Returns:** the rings.
    """
    count, triangles = mesh.points.shape[1], np.asarray(mesh.triangles)
    edges = np.asarray(mesh.connectivity.edges)
    start, end = np.concatenate([edges, edges[:, ::-1]]).T
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    degrees = np.bincount(start, minlength=count)
    slot = 1 + np.arange(len(start)) - np.repeat(np.cumsum(degrees) - degrees, degrees)
    table = np.tile(np.arange(count), (1 + degrees.max(), 1))
    table[slot, start] = end
    corners = triangles.T
    pairs = table[:, corners][:, :, None] == corners[None, None]  # (slot, 3, 3, triangle)
    return Rings(*jax.device_put((table.astype(np.int32), pairs.argmax(axis=0).astype(np.int32))))


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
