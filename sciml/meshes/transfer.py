"""Values of one mesh at other points: linear and cubic interpolation.

Both methods are isoparametric: the positions of the points are interpolated by the formula that interpolates values,

    x(xi) = sum_k N_k(xi) x_k,        u(x(xi)) = sum_k N_k(xi) u_k,

with `xi` the indices of the points. So a linear field is reproduced to rounding, however the mesh has been moved.
`Linear` has the bilinear `N_k` on the lattice of the points and of their feet on the walls, to which values are
continued by their gradient. `Cubic` has Hermite patches with slopes of fourth order.

What exists serves regular grids only. `jax.scipy.ndimage.map_coordinates` is linear and does not reach from the
outermost points to a wall; `scipy.ndimage` does not run under `jit`; `interpax` interpolates on tensor products of
axes, by local patches of third order or by splines that are solved for anew for every set of values. As a moved mesh
needs the same weights for positions and values, they are written here and serve grids too; tests compare with scipy.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..pdes import Grid
from ..pdes.calculus import check_values
from .location import (
    Location,
    check_mesh,
    check_points,
    check_untangled,
    clamp_points,
    locate_nodes,
    locate_triangles,
)
from .mesh import AbstractMesh
from .patches import fit_patches, gather_corners, invert_patches, open_patches, real_precision
from .structured import StructuredMesh, close_vertices, reference_vertices


class AbstractInterpolation(eqx.Module):
    """A way to fill in between points."""

    @abc.abstractmethod
    def evaluate(
        self,
        values: Float[Array, "channel *space"],
        mesh: Grid | StructuredMesh,
        points: Float[Array, "dim point"],
    ) -> Float[Array, "channel point"]:
        """Interpolate on a structured mesh or a grid. It checks nothing; `interpolate` does.

        **Arguments:**

        - `values`: at the points of the unknowns, `(channel, *space)`.
        - `mesh`: the mesh or grid.
        - `points`: positions in the box, `(dim, point)`.

        **Returns:** `(channel, point)`.
        """


class Linear(AbstractInterpolation):
    """Bilinear between four points, of second order.

    It makes no new extrema, except within half a cell of a wall: there it goes on with the gradient at the outermost
    points.
    """

    def evaluate(self, values, mesh, points):
        """See `AbstractInterpolation.evaluate` for shapes."""
        return _blend(_extend(values, mesh), find_place(mesh, points))


class Cubic(AbstractInterpolation):
    """Bicubic between four points and their slopes: of fourth order, with one continuous derivative.

    It overshoots beside jumps. It wants at least five points per axis and a smooth mesh: where the cubic map of the
    points folds, as it may where neighboring cells differ in size about fivefold, it is `Linear`.
    """

    def evaluate(self, values, mesh, points):
        """See `AbstractInterpolation.evaluate` for shapes."""
        grid, place = _grid(mesh), find_place(mesh, points)
        start, fitted = count_points(place, grid), fit_patches(values, grid)
        if isinstance(mesh, Grid):
            return open_patches(fitted, start, grid).evaluate()
        moves = mesh.coordinates - grid.coordinates.astype(mesh.vertices.dtype)
        indices, good = invert_patches(fit_patches(moves, grid), start, points, grid)
        smooth = open_patches(fitted, indices, grid).evaluate()
        return jnp.where(good, smooth, _blend(_extend(values, mesh), place))


def interpolate(
    values: Float[Array, "channel *space"],
    mesh: Grid | AbstractMesh,
    points: Float[Array, "dim *points"],
    method: AbstractInterpolation | None = None,
) -> Float[Array, "channel *points"]:
    """Interpolate values of a grid or mesh to positions.

    It works under `jit`, `vmap` and `grad`, with respect to values, vertices and positions.

    **Arguments:**

    - `values`: at the points of the unknowns, where `mesh.coordinates` are, `(channel, *space)`.
    - `mesh`: a grid, a structured mesh, or a triangle mesh.
    - `points`: positions `(dim, *points)`. Along a periodic axis they may be anywhere. Outside the domain they get the
        value at its nearest point; `locate` says which are.
    - `method`: `Linear()` by default, or `Cubic()`. A triangle mesh knows the first only.

    **Returns:** `(channel, *points)`.

    **Raises:** `ValueError` for values of another shape or points of another dimension; `MeshError` for a mesh that is
    tangled. Under `jit` a mesh is not known before the program runs: there values in tangled cells are finite, but mean
    nothing.
    """
    method = Linear() if method is None else method
    if not isinstance(method, AbstractInterpolation):
        raise ValueError(f"interpolate needs a method such as Linear() or Cubic(); got {method!r}.")
    if not isinstance(mesh, Grid):
        check_mesh("interpolate", mesh)
    structured = isinstance(mesh, Grid | StructuredMesh)
    shape = _grid(mesh).shape if structured else mesh.coordinates.shape[1:]
    values = check_values("interpolate", values, shape)
    points = check_points("interpolate", points, mesh.dimensions)
    if not structured and not isinstance(method, Linear):
        raise ValueError(
            f"interpolate on a {type(mesh).__name__} is linear; got {method!r}. Write Linear(), or use a "
            f"StructuredMesh."
        )
    if not isinstance(mesh, Grid):
        check_untangled("interpolate", mesh)
    return _interpolate(values, mesh, points, method)


def resample(
    values: Float[Array, "channel *space"],
    old: Grid | AbstractMesh,
    new: Grid | AbstractMesh,
    method: AbstractInterpolation | None = None,
) -> Float[Array, "channel *new_space"]:
    """Interpolate values of one grid or mesh to the points of another.

    **Arguments:**

    - `values`: `(channel, *space)`.
    - `old`: where they are known.
    - `new`: where they are wanted, in the same box.
    - `method`: as for `interpolate`.

    **Returns:** `(channel, *new_space)`.

    **Raises:** `ValueError` for two boxes that differ, and as `interpolate`.
    """
    boxes = [_grid(mesh).box for mesh in (old, new) if isinstance(mesh, Grid | StructuredMesh)]
    corners = {(box.lower, box.upper) for box in boxes}
    if len(corners) > 1:
        raise ValueError(
            f"resample needs two meshes of one box; got boxes from {boxes[0].lower} to {boxes[0].upper} and from "
            f"{boxes[1].lower} to {boxes[1].upper}. For points of your own write interpolate."
        )
    return interpolate(values, old, new.coordinates, method)


@eqx.filter_jit
def _interpolate(values: Array, mesh, points: Array, method: AbstractInterpolation) -> Array:
    shape = points.shape[1:]
    points = points.reshape(len(points), -1)
    if isinstance(mesh, Grid | StructuredMesh):
        found = method.evaluate(values, mesh, clamp_points(points, _grid(mesh)))
    else:
        place = locate_triangles(mesh.points, mesh.triangles, points)
        weights = place.local.astype(real_precision(values))
        found = jnp.sum(values[:, mesh.triangles[place.cell[0]]] * weights.T, axis=-1)
    return found.reshape(len(values), *shape)


def _grid(mesh: Grid | StructuredMesh) -> Grid:
    return mesh if isinstance(mesh, Grid) else mesh.grid


# The nodes: points, their feet on walls and the corners between walls. They reach from wall to wall, or once around.


def _extend_points(vertices: Array, grid: Grid) -> Array:
    """Positions of the nodes `(dim, *node)`, but for those at the seam again."""
    for axis, periodic in enumerate(grid.box.periodic, start=1):
        if not periodic:
            n = vertices.shape[axis]
            low = jax.lax.slice_in_dim(vertices, 0, n - 1, axis=axis)
            high = jax.lax.slice_in_dim(vertices, 1, n, axis=axis)
            first, last = (jax.lax.slice_in_dim(vertices, k, k + 1, axis=axis) for k in (0, n - 1))
            vertices = jnp.concatenate([first, 0.5 * (low + high), last], axis=axis)
    return vertices


def _extend(values: Array, mesh: Grid | StructuredMesh) -> Array:
    """Values at all nodes `(channel, *node)`."""
    grid = _grid(mesh)
    feet = [(0, 0) if periodic else (1, 1) for periodic in grid.box.periodic]
    seam = [(0, 1) if periodic else (0, 0) for periodic in grid.box.periodic]
    if not all(grid.box.periodic):
        # By finite differences, whatever the mesh is differentiated by: they reach walls without a condition.
        mesh = StructuredMesh(grid, reference_vertices(grid) if isinstance(mesh, Grid) else mesh.vertices)
        slopes = jnp.pad(mesh.gradient(mesh.known(values)), [(0, 0), (0, 0), *feet], mode="edge")
        near = jnp.pad(mesh.coordinates, [(0, 0), *feet], mode="edge")
        steps = (_extend_points(mesh.vertices, grid) - near).astype(real_precision(values))
        values = jnp.pad(values, [(0, 0), *feet], mode="edge") + jnp.sum(slopes * steps, axis=1)
    return jnp.pad(values, [(0, 0), *seam], mode="wrap")


def find_place(mesh: Grid | StructuredMesh, points: Array) -> Location:
    """Where points `(dim, point)` are among the nodes."""
    grid = _grid(mesh)
    if isinstance(mesh, StructuredMesh):
        return locate_nodes(close_vertices(_extend_points(mesh.vertices, grid), grid), grid, points)
    cells, locals_ = [], []
    for x, low, h, n, periodic in zip(
        points, grid.box.lower, grid.spacing, grid.shape, grid.box.periodic, strict=True
    ):
        index = (x - low) / h
        if periodic:
            index = index - n * jnp.floor(index / n)
            cell = jnp.clip(jnp.floor(index), 0, n - 1)
            local = index - cell
        else:
            cell = jnp.clip(jnp.floor(index + 0.5), 0, n)
            # The first and the last cell, between a wall and a point, are half as wide.
            local = (index - jnp.maximum(cell - 0.5, 0)) / jnp.where((cell == 0) | (cell == n), 0.5, 1.0)
        cells.append(jax.lax.stop_gradient(cell).astype(jnp.int32))
        locals_.append(local)
    return Location(jnp.stack(cells), jnp.stack(locals_), jnp.ones(points.shape[1:], bool))


def _blend(nodes: Array, place: Location) -> Array:
    """Multilinear interpolation of `(channel, *node)`: `(channel, point)`."""
    weights = jnp.ones((1, 1))
    for t in place.local:
        weights = (weights[:, None] * jnp.stack([1 - t, t])).reshape(-1, len(t))
    return jnp.sum(gather_corners(nodes, place.cell) * weights.astype(real_precision(nodes)), axis=1)


def count_points(place: Location, grid: Grid) -> Array:
    """From a place among the nodes to indices of the points, `(dim, point)`: a node on a wall is half an index away."""
    rows = []
    for cell, local, n, periodic in zip(place.cell, place.local, grid.shape, grid.box.periodic, strict=True):
        if periodic:
            rows.append(cell + local)
        else:
            width = jnp.where((cell == 0) | (cell == n), 0.5, 1.0).astype(local.dtype)
            rows.append(jnp.maximum(cell - 1.0, -0.5) + width * local)
    return jnp.stack(rows).astype(place.local.dtype)
