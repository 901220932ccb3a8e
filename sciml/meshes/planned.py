"""Interpolation from one mesh to the same points again and again: where they are is found once."""

import equinox as eqx
from jaxtyping import Array, Float

from ..pdes import Grid
from ..pdes.calculus import check_values
from .location import check_points, check_untangled, clamp_points
from .patches import fit_patches, invert_patches, open_patches
from .structured import StructuredMesh
from .transfer import count_points, find_place


class PlannedTransfer(eqx.Module):
    """`Cubic` interpolation from the points of a mesh to given points, by their indices in it.

    To search for indices costs several times what interpolation does. `plan_transfer` makes one.

    **Arguments:**

    - `indices`: of the points in the mesh, `(dim, *points)`.
    - `grid`: the grid of the mesh.
    """

    indices: Float[Array, "dim *points"]
    grid: Grid

    def __call__(self, values: Float[Array, "channel *space"]) -> Float[Array, "channel *points"]:
        """Interpolate; linear in the values.

        **Arguments:**

        - `values`: at the points of the mesh `(channel, *space)`.

        **Returns:** `(channel, *points)`.

        **Raises:** `ValueError` for values of another shape.
        """
        values = check_values("PlannedTransfer", values, self.grid.shape)
        flat = self.indices.reshape(len(self.indices), -1)
        found = open_patches(fit_patches(values, self.grid), flat, self.grid).evaluate()
        return found.reshape(len(values), *self.indices.shape[1:])


def plan_transfer(mesh: StructuredMesh, points: Float[Array, "dim *points"]) -> PlannedTransfer:
    """Find where points are in a mesh.

    Where the cubic map of the mesh has no inverse, indices are those of the bilinear map.

    **Arguments:**

    - `mesh`: the mesh.
    - `points`: positions `(dim, *points)`.

    **Returns:** the interpolation.

    **Raises:** `ValueError` for points of another dimension; `MeshError` for a mesh that is tangled.
    """
    grid = mesh.grid
    points = check_points("plan_transfer", points, mesh.dimensions)
    check_untangled("plan_transfer", mesh)
    flat = clamp_points(points.reshape(len(points), -1), grid)
    start = count_points(find_place(mesh, flat), grid)
    moves = mesh.coordinates - grid.coordinates.astype(mesh.vertices.dtype)
    indices, _ = invert_patches(fit_patches(moves, grid), start, flat, grid)
    return PlannedTransfer(indices.reshape(points.shape), grid)
