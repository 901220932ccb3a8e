"""Triangle meshes of the cells of structured ones, each cut in two."""

import enum
from collections.abc import Hashable, Mapping

import jax
import numpy as np
from jaxtyping import Array

from ..pdes import AbstractBoundary
from .structured import StructuredMesh, close_vertices, reference_vertices
from .triangles import TriangleMesh


class Diagonal(enum.Enum):
    """How a quadrilateral is cut in two."""

    RISING = "from its first corner to its last, as y = x in a square"
    FALLING = "the other way, as y = 1 - x"
    SHORTER = "by the shorter of the diagonals that leave two triangles which are not turned over"


def triangulate(
    mesh: StructuredMesh,
    diagonal: Diagonal = Diagonal.RISING,
    *,
    boundaries: AbstractBoundary | Mapping[Hashable, AbstractBoundary] | None = None,
) -> TriangleMesh:
    """Cut each quadrilateral of a structured mesh in two triangles.

    A moved mesh stays moved: areas and walls are measured against the triangles of the uniform mesh. The seam of a
    periodic axis is cut open. Walls are 0 bottom, 1 right, 2 top and 3 left; triangle `2 k` is below the diagonal of
    cell `k`, `2 k + 1` above it, and node `(i, j)` of the vertices is node `i * ny + j`.

    **Arguments:**

    - `mesh`: a structured mesh in two dimensions.
    - `diagonal`: how to cut. `SHORTER` looks at the vertices, so it does not work under `jax.jit`.
    - `boundaries`: as for `TriangleMesh`.

    **Returns:** the triangle mesh.

    **Raises:** `ValueError` for another mesh, another diagonal, or `SHORTER` under `jax.jit`.
    """
    if not isinstance(mesh, StructuredMesh) or mesh.dimensions != 2:
        kind = f"{mesh.dimensions} dimension(s)" if isinstance(mesh, StructuredMesh) else type(mesh).__name__
        raise ValueError(f"triangulate needs a StructuredMesh in 2 dimensions; got {kind}.")
    if not isinstance(diagonal, Diagonal):
        raise ValueError(
            f"triangulate needs a Diagonal, one of {[d.name for d in Diagonal]}; got {diagonal!r}. "
            f"Write Diagonal.RISING."
        )
    vertices = mesh.closed_vertices
    shape = vertices.shape[1:]
    number = np.arange(np.prod(shape)).reshape(shape)
    quads = np.stack([number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]], axis=-1).reshape(
        -1, 4
    )
    rising = _choose_rising(vertices, quads, diagonal)
    # Corners a, b, c, d of a quadrilateral run counter-clockwise from the lower left one. Those of a triangle begin
    # opposite to the diagonal, so that half a turn of the domain takes triangles to triangles, quadrature included.
    below = np.where(rising[:, None], quads[:, [1, 2, 0]], quads[:, [0, 1, 3]])
    above = np.where(rising[:, None], quads[:, [3, 0, 2]], quads[:, [2, 3, 1]])
    triangles = np.stack([below, above], axis=1).reshape(-1, 3)
    with jax.ensure_compile_time_eval():
        uniform = close_vertices(reference_vertices(mesh.grid).astype(vertices.dtype), mesh.grid)
        made = TriangleMesh(uniform.reshape(2, -1), triangles, boundaries=boundaries)
    return made.move_to(vertices.reshape(2, -1))


def _choose_rising(vertices: Array, quads: np.ndarray, diagonal: Diagonal) -> np.ndarray:
    """Per quadrilateral, whether it is cut from its first to its third corner: `(cell,)`."""
    if diagonal is not Diagonal.SHORTER:
        return np.full(len(quads), diagonal is Diagonal.RISING)
    if isinstance(vertices, jax.core.Tracer):
        raise ValueError(
            "triangulate with Diagonal.SHORTER looks at the vertices, which are not known under jax.jit, jax.vmap or "
            "jax.grad. Take Diagonal.RISING or FALLING there, or cut outside and write move_to(points) inside."
        )
    a, b, c, d = np.moveaxis(np.asarray(vertices).reshape(2, -1)[:, quads], -1, 0)

    def turn(p, q, r):
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    rises = np.minimum(turn(a, b, c), turn(a, c, d)) > 0
    falls = np.minimum(turn(a, b, d), turn(b, c, d)) > 0
    shorter = np.sum((c - a) ** 2, axis=0) <= np.sum((d - b) ** 2, axis=0)
    return np.where(rises == falls, shorter, rises)
