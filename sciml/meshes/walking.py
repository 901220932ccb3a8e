"""Walks through a triangle mesh, from triangle to triangle across the edge beyond which the point is.

Where it is known about where a point is, as for what a flow carries for a short time, this is faster than a search. It
is for points that no hole hides from where the walk begins: there it ends at the hole, as for a point beyond a wall.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .triangle_transfer import PlannedTriangles
from .triangles import TriangleMesh

_ROUNDING = 1e-5  # how far outside a point may be, in barycentric coordinates


class Walk(eqx.Module):
    """Which triangles are next to one another; `make_walk` makes one.

    **Arguments:**

    - `beside`: the triangle across the edge opposite to each corner, itself at the boundary, `(triangle, 3)`.
    - `first`: a triangle of each node, `(node,)`.
    """

    beside: Int[Array, "triangle 3"]
    first: Int[Array, " node"]

    def __call__(
        self, mesh: TriangleMesh, start: Int[Array, " point"], points: Float[Array, "2 point"]
    ) -> PlannedTriangles:
        """Find points; differentiable with respect to them and the mesh.

        **Arguments:**

        - `mesh`: has the triangles that the walk was made for, and may have moved.
        - `start`: the triangle that each point is looked for from, `(point,)`.
        - `points`: positions `(2, point)`. One beyond the boundary, or behind a hole, gets to a place on it.

        **Returns:** where they are.
        """
        fixed, sought = jax.lax.stop_gradient((mesh.points[:, mesh.triangles], points))

        def unfinished(state):
            _, outside, count = state
            return jnp.any(outside) & (count < len(self.beside))

        def go(state):
            cell, _, count = state
            local = _find_coordinates(fixed, cell, sought)
            corner = jnp.argmin(local, axis=0)
            after = jnp.where(jnp.min(local, axis=0) < -_ROUNDING, self.beside[cell, corner], cell)
            return after, after != cell, count + 1

        cell, _, _ = jax.lax.while_loop(unfinished, go, (start, jnp.ones(start.shape, bool), 0))
        local = _find_coordinates(mesh.points[:, mesh.triangles], cell, points)
        local = jnp.where(local < 0, 0, local)  # not `jnp.clip`, whose derivative at zero is one half
        return PlannedTriangles(cell, local / jnp.sum(local, axis=0))


def make_walk(mesh: TriangleMesh) -> Walk:
    """Find which triangles are next to one another.

    **Arguments:**

    - `mesh`: the mesh.

    **Returns:** the walk.
    """
    edges, triangles = np.asarray(mesh.connectivity.triangle_edges), np.asarray(mesh.triangles)
    # The two sides of an edge are next to one another where the sides of all triangles are sorted by their edge.
    order = np.argsort(edges, axis=None, kind="stable")
    sorted_edges, owners = edges.ravel()[order], order // 3
    both = np.flatnonzero(sorted_edges[1:] == sorted_edges[:-1])
    beside = np.repeat(np.arange(len(edges)), 3)
    beside[order[both]], beside[order[both + 1]] = owners[both + 1], owners[both]
    first = np.zeros(mesh.points.shape[1], np.int32)
    first[triangles.ravel()] = np.repeat(np.arange(len(triangles)), 3)
    return Walk(*jax.device_put((beside.reshape(-1, 3).astype(np.int32), first)))


def _find_coordinates(corners: Array, cell: Array, points: Array) -> Array:
    """Barycentric coordinates of points in triangles, `(3, point)`."""
    a, b, c = jnp.moveaxis(corners[:, cell], -1, 0)
    second, third = _cross(points - a, c - a), _cross(b - a, points - a)
    area = _cross(b - a, c - a)
    s, t = second / area, third / area
    return jnp.stack([1 - s - t, s, t])


def _cross(a: Array, b: Array) -> Array:
    return a[0] * b[1] - a[1] * b[0]
