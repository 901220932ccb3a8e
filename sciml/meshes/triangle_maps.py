"""Triangle meshes moved by the map of a rectangle onto itself that a mover of grids has made.

So act movers whose equation is posed on a rectangle, the Monge-Ampere equation with sliding walls or a network's, on
triangles: every node goes where the map takes it.

**Reference:** Hu, Wang and Ma, "Better neural PDE solvers through data-free mesh movers", 2024, arXiv 2312.05583.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .certificate import certify
from .mesh import Density
from .mover import Moved
from .structured import StructuredMesh
from .triangle_checks import signed_areas_of
from .triangle_movers import check_triangle_mesh, finish_triangles
from .triangles import TriangleMesh


def move_through(density: Density, mesh: TriangleMesh, moved: Moved, *, throw: bool = True) -> Moved:
    """Move the nodes of a triangle mesh by the map that a mover of grids has made, bilinear in each of its cells.

    The triangles need not be those of the grid, but must fill its box. Where they are larger than its cells the map
    can fold them, and the certificate says so. Differentiable with respect to the vertices of the moved grid.

    **Arguments:**

    - `density`: what the certificate measures, positions `(dim, *points)` to positive numbers `(*points,)`.
    - `mesh`: the triangle mesh; its nodes are taken where they were when it was made.
    - `moved`: what a mover made of a grid with walls, in two dimensions.
    - `throw`: refuse a mesh that is not valid; else it is returned, and its certificate says so.

    **Returns:** the mesh with its certificate, whose residual, iterations and convergence are those of the grid's.

    **Raises:** `MeshError` with the triangle and the cure; `ValueError` for a map that is not of a box with walls, or
    triangles that do not fill the box.
    """
    check_triangle_mesh("move_through", mesh)
    _check_square(mesh, moved)
    return finish_triangles("move_through", _move_through(density, mesh, moved), throw)


@eqx.filter_jit
def _move_through(density: Density, mesh: TriangleMesh, moved: Moved) -> Moved:
    grid, vertices = moved.mesh.grid, moved.mesh.vertices
    places, shares = [], []
    for axis, (n, low, h) in enumerate(zip(grid.shape, grid.box.lower, grid.spacing, strict=True)):
        position = (mesh.reference[axis] - low) / h
        place = jnp.clip(jnp.floor(jax.lax.stop_gradient(position)).astype(int), 0, n - 1)
        places.append(place)
        shares.append(position - place)
    (i, j), (s, t) = places, shares
    below = (1 - s) * vertices[:, i, j] + s * vertices[:, i + 1, j]
    above = (1 - s) * vertices[:, i, j + 1] + s * vertices[:, i + 1, j + 1]
    made = mesh.move_to((1 - t) * below + t * above)
    old = moved.certificate
    return Moved(
        made,
        certify(made, density, residual=old.residual, iterations=old.iterations, converged=old.converged),
    )


def _check_square(mesh: TriangleMesh, moved) -> None:
    """Refuse a map whose domain is not that of the triangles."""
    if not isinstance(moved, Moved) or not isinstance(moved.mesh, StructuredMesh):
        kind = type(moved.mesh if isinstance(moved, Moved) else moved).__name__
        raise ValueError(
            f"move_through needs what a mover made of a grid; got {kind}. Write MongeAmpere().move(density, grid)."
        )
    box = moved.mesh.grid.box
    if box.dimensions != 2 or any(box.periodic):
        raise ValueError(
            f"move_through needs a grid with walls in 2 dimensions; got {box.dimensions}, periodic: {box.periodic}. "
            f"A periodic map moves the nodes of its seam off the boundary of the triangles."
        )
    if isinstance(mesh.reference, jax.core.Tracer):
        return
    points, size = np.asarray(mesh.reference), max(box.lengths)
    lower, upper = np.array(box.lower)[:, None], np.array(box.upper)[:, None]
    small = 1e3 * np.finfo(points.dtype).eps
    outside = np.flatnonzero(
        np.any((points < lower - small * size) | (points > upper + small * size), axis=0)
    )
    if len(outside):
        raise ValueError(
            f"move_through: {len(outside)} nodes are outside the box from {box.lower} to {box.upper} of the map, such "
            f"as node {outside[0]} at {tuple(points[:, outside[0]].tolist())}. Make the map on the box that they fill."
        )
    area = float(np.prod(box.lengths))
    filled = float(np.sum(signed_areas_of(points, np.asarray(mesh.triangles))))
    if abs(filled / area - 1) > small:
        raise ValueError(
            f"move_through: the triangles fill {filled:.6g} of the box's area {area:.6g}. The map keeps the walls of "
            f"the box, but not a hole or another outline inside it. Take LaplacianSmoothing() or Spring() for such a "
            f"domain."
        )
