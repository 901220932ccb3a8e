"""Interpolation of third order between triangle meshes, by places that are found once.

Linear interpolation of the values at the corners loses what curves between them. With half of what the slopes at the
corners foretell,

    u(x) = sum_k l_k (u_k + g_k . (x - x_k) / 2),

it is exact for quadratic fields: `l` are the barycentric coordinates of `x`, and `g` the slopes of the quadratic fits
of `TriangleMesh`. It is continuous, and linear in the values.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..pdes.calculus import check_values
from .location import check_points, check_untangled, locate_triangles
from .triangles import TriangleMesh


class PlannedTriangles(eqx.Module):
    """Interpolation from a triangle mesh to given points, by where they are in it; `plan_triangles` makes one.

    **Arguments:**

    - `cell`: the number of the triangle of each point, `(point,)`.
    - `local`: its barycentric coordinates, `(3, point)`.
    """

    cell: Int[Array, " point"]
    local: Float[Array, "3 point"]

    def __call__(
        self,
        values: Float[Array, "channel node"],
        mesh: TriangleMesh,
        slopes: Float[Array, "channel 2 node"] | None = None,
    ) -> Float[Array, "channel point"]:
        """Interpolate; linear in the values.

        **Arguments:**

        - `values`: at the nodes `(channel, node)`.
        - `mesh`: the mesh that the points were found in.
        - `slopes`: at the nodes `(channel, 2, node)`, where they are known already.

        **Returns:** `(channel, point)`.

        **Raises:** `ValueError` for values of another shape.
        """
        values = check_values("PlannedTriangles", values, mesh.points.shape[1:])
        corners = mesh.triangles[self.cell].T
        places, local = mesh.points[:, corners], self.local.astype(mesh.points.dtype)
        # Where the point is by its coordinates: those of a point outside are of the nearest in the mesh.
        away = jnp.sum(local * places, axis=1)[:, None] - places
        if slopes is None:
            slopes = mesh.gradient(mesh.known(values))
        terms = values[:, corners] + 0.5 * jnp.sum(slopes[:, :, corners] * away.astype(values.dtype), axis=1)
        return jnp.sum(local.astype(values.dtype) * terms, axis=1)


def plan_triangles(mesh: TriangleMesh, points: Float[Array, "2 point"]) -> PlannedTriangles:
    """Find where points are in a triangle mesh.

    **Arguments:**

    - `mesh`: the mesh.
    - `points`: positions `(2, point)`; those outside get the value at the nearest point of the mesh.

    **Returns:** the interpolation.

    **Raises:** `ValueError` for points of another dimension; `MeshError` for a mesh that is tangled.
    """
    points = check_points("plan_triangles", points, 2)
    check_untangled("plan_triangles", mesh)
    place = locate_triangles(mesh.points, mesh.triangles, points)
    return PlannedTriangles(place.cell[0], place.local)
