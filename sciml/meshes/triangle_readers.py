"""Triangle meshes of points, by Delaunay's triangulation, and from files."""

from collections.abc import Hashable, Mapping
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float

from .._optional import require
from ..pdes import AbstractBoundary
from .triangle_checks import check_points, flatness
from .triangles import TriangleMesh

# Of lower dimension than a triangle: they may say which wall an edge belongs to, and are not missed.
_SMALLER_CELLS = ("vertex", "line")
# Meshes of these say where quadratic nodes are; meshio's names of what else has three or four sides.
_CURES = {
    "triangle6": "Write the mesh with linear elements (order 1), without nodes at the middle of edges.",
    "quad": "Cut quadrilaterals in two where the mesh is made, or read the points and give the triangles yourself.",
    "tetra": "Meshes are in the plane; write a mesh of the surface.",
}


def triangulate_points(
    points: Float[Array, "2 node"],
    *,
    outline: Float[Array, "2 corner"] | None = None,
    boundaries: AbstractBoundary | Mapping[Hashable, AbstractBoundary] | None = None,
) -> TriangleMesh:
    """Connect points by Delaunay's triangulation, which fills their convex hull.

    Points alone cannot tell a domain that is not convex from one that is, so such a domain, and one with holes, would
    be filled up. Say what the domain is by `outline`, to have that refused.

    **Arguments:**

    - `points`: the nodes `(2, node)`, lengths; those on the boundary included.
    - `outline`: the corners of the domain in order `(2, corner)`, if it is to be checked.
    - `boundaries`: as for `TriangleMesh`.

    **Returns:** the mesh.

    **Raises:** `ValueError` for points on one line, and for an outline that is not convex or not that of the points;
    `ImportError` without scipy.
    """
    points = check_points("triangulate_points", points)
    if outline is not None:
        _check_outline(points, np.asarray(check_points("triangulate_points' outline", outline)))
    spatial = require("scipy.spatial", extra="meshes")
    try:
        triangles = spatial.Delaunay(points.T).simplices
    except (spatial.QhullError, ValueError) as error:
        raise ValueError(
            f"triangulate_points cannot connect {points.shape[1]} points: there are fewer than three, or they are on "
            f"one line. Give points that fill an area."
        ) from error
    # Rounding leaves triangles without area between points of a straight side.
    small = 1e-9 if points.dtype == np.float64 else 1e-5
    return TriangleMesh(points, triangles[flatness(points, triangles) > small], boundaries=boundaries)


def read_mesh(
    path: str | PathLike[str],
    *,
    boundaries: AbstractBoundary | Mapping[Hashable, AbstractBoundary] | None = None,
) -> TriangleMesh:
    """Read a mesh of triangles from a file, by meshio: gmsh, VTK, XDMF and many more.

    A third coordinate that is constant is left out, and so are nodes in no triangle. Where lines of the file carry
    gmsh's physical groups, these are the walls, by their name if they have one, else by their number; else walls are
    the straight sides of the boundary.

    **Arguments:**

    - `path`: the file; its ending says what it is.
    - `boundaries`: as for `TriangleMesh`.

    **Returns:** the mesh.

    **Raises:** `ValueError` for a file that meshio cannot read, without triangles or with other cells than triangles,
    or that is not plane; `FileNotFoundError`; `ImportError` without meshio.
    """
    meshio = require("meshio", extra="meshes")
    if not Path(path).is_file():
        raise FileNotFoundError(f"read_mesh: there is no file {str(path)!r}.")
    try:
        read = meshio.read(path)
    # meshio leaves the program when no reader of an ending understands the file.
    except (SystemExit, meshio.ReadError, ValueError, IndexError, KeyError, AssertionError) as error:
        raise ValueError(
            f"read_mesh: meshio cannot read {str(path)!r}: {error!r}. Is its ending that of its format, and is it "
            f"whole?"
        ) from error
    triangles = _find_triangles(str(path), read)
    points = _flatten(str(path), np.asarray(read.points))
    used, numbered = np.unique(triangles, return_inverse=True)
    walls = _find_walls(read, used)
    return TriangleMesh(points[:, used], numbered.reshape(-1, 3), walls=walls, boundaries=boundaries)


def _check_outline(points: np.ndarray, outline: np.ndarray) -> None:
    """Refuse an outline that is not convex, or not the hull of the points."""
    before, after = outline - np.roll(outline, 1, axis=1), np.roll(outline, -1, axis=1) - outline
    turns = before[0] * after[1] - before[1] * after[0]
    turns = turns if np.sum(turns) > 0 else -turns
    size = np.ptp(outline, axis=1).max()
    reentrant = np.flatnonzero(turns < -1e-9 * size**2)
    if len(reentrant):
        shown = ", ".join(map(str, reentrant[:5].tolist()))
        raise ValueError(
            f"triangulate_points fills the convex hull of its points, and the outline is not convex: it turns inwards "
            f"at corner(s) {shown}. Make the triangles with a mesh generator, and write TriangleMesh(points, "
            f"triangles) or read_mesh(path)."
        )
    spatial = require("scipy.spatial", extra="meshes")
    hull, wanted = spatial.ConvexHull(points.T).volume, spatial.ConvexHull(outline.T).volume
    if abs(hull / wanted - 1) > 1e-6:
        raise ValueError(
            f"triangulate_points: the points fill an area of {hull:.6g}, but the outline's is {wanted:.6g}. Give nodes "
            f"at all corners of the outline and none outside it; a curved outline is the polygon through its nodes."
        )


def _find_triangles(path: str, read) -> np.ndarray:
    others = sorted({block.type for block in read.cells} - {"triangle", *_SMALLER_CELLS})
    if others:
        cures = [cure for kind, cure in _CURES.items() if any(other.startswith(kind) for other in others)]
        raise ValueError(
            f"read_mesh: {path!r} has cells {', '.join(others)}; a TriangleMesh has triangles only. "
            f"{cures[0] if cures else 'Write a mesh of linear triangles.'}"
        )
    blocks = [block.data for block in read.cells if block.type == "triangle" and len(block.data)]
    if not blocks:
        kinds = sorted({block.type for block in read.cells})
        raise ValueError(
            f"read_mesh: {path!r} has no triangles; its cells are {', '.join(kinds) or 'none'}. In gmsh, mesh in two "
            f"dimensions, and put the surface in a physical group if there are any groups."
        )
    return np.concatenate(blocks)


def _flatten(path: str, points: np.ndarray) -> np.ndarray:
    """Points `(2, node)`, without a third coordinate that is constant."""
    if points.shape[1] == 3:
        heights, size = points[:, 2], np.ptp(points[:, :2], axis=0).max()
        if np.ptp(heights) > 1e-6 * size:
            raise ValueError(
                f"read_mesh: {path!r} is not plane: its third coordinate runs from {heights.min():.6g} to "
                f"{heights.max():.6g}. A TriangleMesh lies in the plane of the first two."
            )
    return points[:, :2].T


def _find_walls(read, used: np.ndarray) -> dict[Hashable, np.ndarray] | None:
    """Pieces of walls by the name of gmsh's physical group, in the numbers of the nodes that are used."""
    groups = read.cell_data.get("gmsh:physical")
    if groups is None:
        return None
    # In gmsh, 0 is no group.
    names = {int(number): name for name, (number, dimension) in read.field_data.items() if dimension == 1}
    found: dict[Hashable, list[np.ndarray]] = {}
    for block, numbers in zip(read.cells, groups, strict=True):
        if block.type != "line":
            continue
        inside = np.all(np.isin(block.data, used), axis=1)
        for number in np.unique(numbers[inside]):
            if number:
                pairs = block.data[inside & (numbers == number)]
                found.setdefault(names.get(int(number), int(number)), []).append(np.searchsorted(used, pairs))
    return {name: np.concatenate(pairs) for name, pairs in found.items()} or None
