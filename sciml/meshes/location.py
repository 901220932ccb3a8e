"""Which cell of a mesh a point is in, and where in it.

On a structured mesh the search starts at the nearest of a few cells, spread over the lattice, and walks: the map of the
cell it stands in says how many cells further the point should be. That takes two to five steps on a mesh of a
Monge-Ampere mover. The few points it does not reach, and all points of triangle meshes, are searched for in a tree of
boxes, which cannot fail. Within a quadrilateral with corners `a, b, c, d` (`b` along the first axis, `d` along the
second) the place `(s, t)` of a point solves

    h = s e + t f + s t g,       h = x - a, e = b - a, f = d - a, g = (c - d) - (b - a),

whose solution, with `e x f = e_0 f_1 - e_1 f_0`, is

    s = 2 h x f / (e x f - h x g + J),  t = 2 e x h / (e x f + h x g + J),  J^2 = (e x f + h x g)^2 + 4 (e x h) (g x f).

`J` is the Jacobian at the point. Both denominators are twice a Jacobian on a side of the cell, so this form divides by
nothing small as long as the corners are convex, parallelograms included.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..pdes import Grid
from .certificate import MeshError
from .mesh import AbstractMesh
from .structured import StructuredMesh
from .trees import (
    build_tree,
    find_image,
    find_nearest,
    nearest_image,
    order_cells,
    order_points,
    project_point,
)
from .triangles import TriangleMesh

_STARTS = 8  # per axis, from which a walk may begin
_LONG_STEPS, _STEPS = 8, 24  # after the long ones a walk goes cell by cell, until the tree takes over
_ROUNDING = (
    64  # times the precision: how far, over the size of the domain, a point may be off the cell that holds it
)


class Location(eqx.Module):
    """Where points are in a mesh.

    **Arguments:**

    - `cell`: the indices of the cell in a structured mesh, `(dim, *points)`; the number of a triangle, `(1, *points)`.
    - `local`: where in the cell, from 0 to 1 along each axis of its bilinear map, `(dim, *points)`; the three
        barycentric coordinates in a triangle, `(3, *points)`. Differentiable with respect to points and mesh.
    - `found`: whether the point is in the mesh, `(*points,)`. Where it is not, cell and place are those of the nearest
        point of the mesh. Along a periodic axis every point is in it.
    """

    cell: Int[Array, "index *points"]
    local: Float[Array, "coordinate *points"]
    found: Bool[Array, "*points"]


def locate(mesh: AbstractMesh, points: Float[Array, "dim *points"]) -> Location:
    """Find the cells that hold points. It works under `jit`, `vmap` and `grad`.

    **Arguments:**

    - `mesh`: a structured mesh, or a triangle mesh.
    - `points`: positions `(dim, *points)`.

    **Returns:** for each point its cell, where it is in it, and whether it is in the mesh at all.

    **Raises:** `ValueError` for points of another dimension; `MeshError` for a mesh that is tangled. Under `jit` a
    mesh is not known before the program runs: there the points in tangled cells are not found.
    """
    check_mesh("locate", mesh)
    points = check_points("locate", points, mesh.dimensions)
    check_untangled("locate", mesh)
    if isinstance(mesh, TriangleMesh):
        return _locate_triangles(mesh.points, mesh.triangles, points)
    return _locate_nodes(mesh.closed_vertices, mesh.grid, points)


def locate_triangles(
    nodes: Float[Array, "2 node"], triangles: Int[Array, "triangle 3"], points: Float[Array, "2 *points"]
) -> Location:
    """Find the triangles that hold points; any set of triangles with positive areas, mesh or not.

    **Arguments:**

    - `nodes`: `(2, node)`.
    - `triangles`: the indices of their corners, counterclockwise, `(triangle, 3)`.
    - `points`: positions `(2, *points)`.

    **Returns:** for each point its triangle, its barycentric coordinates, and whether it is in a triangle at all.
    """
    return _locate_triangles(nodes, triangles, check_points("locate_triangles", points, 2))


def check_mesh(owner: str, mesh: AbstractMesh) -> None:
    """Refuse what is neither a structured nor a triangle mesh.

    **Arguments:**

    - `owner`: who asks, for the message.
    - `mesh`: what was given.

    **Raises:** `ValueError` with the type.
    """
    if not isinstance(mesh, StructuredMesh | TriangleMesh):
        cure = " Write uniform_mesh(grid)." if isinstance(mesh, Grid) else ""
        raise ValueError(
            f"{owner} needs a StructuredMesh or a TriangleMesh; got {type(mesh).__name__}.{cure}"
        )


def check_points(
    owner: str, points: Float[Array, "dim *points"], dimensions: int
) -> Float[Array, "dim *points"]:
    """Check that positions have one coordinate per axis, along their first axis.

    **Arguments:**

    - `owner`: who asks, for the message.
    - `points`: `(dim, *points)`.
    - `dimensions`: of the mesh.

    **Returns:** the points as a JAX array `(dim, *points)`; integers become floats.

    **Raises:** `ValueError` for another shape.
    """
    shape = jnp.shape(points)
    if not shape or shape[0] != dimensions:
        transposed = len(shape) == 2 and shape[1] == dimensions
        cure = "Write points.T." if transposed else "Write jnp.stack of one array per coordinate."
        raise ValueError(
            f"{owner} needs points (dim, *points) with dim = {dimensions} on this mesh; got an array {shape}. {cure}"
        )
    points = jnp.asarray(points)
    return points if jnp.issubdtype(points.dtype, jnp.floating) else points.astype(float)


def check_untangled(owner: str, mesh: AbstractMesh) -> None:
    """Refuse a mesh that is tangled, if it is known.

    **Arguments:**

    - `owner`: who asks, for the message.
    - `mesh`: the mesh.

    **Raises:** `MeshError` with the worst cell.
    """
    corners = find_smallest_corners(mesh)
    if isinstance(corners, jax.core.Tracer):
        return
    corners = np.asarray(corners)
    tangled = np.sum(~(corners > 0))
    if tangled == 0:
        return
    worst = np.unravel_index(np.argmin(corners), corners.shape)
    raise MeshError(
        f"{owner} needs a mesh whose cells do not overlap; {tangled} of {corners.size} are tangled, the worst is "
        f"{tuple(map(int, worst))}, where the Jacobian at a corner is {corners.min():.3g} of what it was. Move the "
        f"mesh for a density that is closer to even, or on a finer grid."
    )


@eqx.filter_jit
def find_smallest_corners(mesh: AbstractMesh) -> Float[Array, "*cell"]:
    """The smallest Jacobian at a corner of each cell, over that before the mesh was moved.

    **Arguments:**

    - `mesh`: the mesh.

    **Returns:** `(*cell,)`; not positive where a cell is tangled.
    """
    return jnp.min(mesh.corner_jacobians, axis=0)


def locate_nodes(
    nodes: Float[Array, "dim *node"], grid: Grid, points: Float[Array, "dim *points"]
) -> Location:
    """Find the cells of a lattice of nodes that hold points.

    **Arguments:**

    - `nodes`: the corners of the cells `(dim, *node)`, those at a periodic seam repeated; they fill the grid's box.
    - `grid`: for its box; the lattice may have another number of cells.
    - `points`: positions `(dim, *points)`.

    **Returns:** the location.
    """
    shape = points.shape[1:]
    points = points.reshape(len(points), -1).astype(nodes.dtype)
    inside = clamp_points(points, grid)
    off = jnp.max(abs(points - inside), axis=0)
    tolerance = round_off(grid, nodes.dtype)
    if grid.dimensions == 1:
        cell, local, held = _find_intervals(nodes[0], grid, inside)
    else:
        cell, local, held = _find_quadrilaterals(nodes, grid, inside, tolerance)
    found = held & (off <= tolerance)
    return Location(cell.reshape(-1, *shape), local.reshape(-1, *shape), found.reshape(shape))


_locate_nodes = eqx.filter_jit(locate_nodes)


def clamp_points(points: Float[Array, "dim *points"], grid: Grid) -> Float[Array, "dim *points"]:
    """The nearest points of a box.

    **Arguments:**

    - `points`: positions `(dim, *points)`.
    - `grid`: for its box.

    **Returns:** `(dim, *points)`; along periodic axes they are as they were.
    """
    box = grid.box
    # Not `jnp.clip`, whose derivative on the wall is one half.
    rows = [
        row if periodic else jnp.where(row < low, low, jnp.where(row > high, high, row))
        for row, low, high, periodic in zip(points, box.lower, box.upper, box.periodic, strict=True)
    ]
    return jnp.stack(rows)


def round_off(grid: Grid, dtype: np.dtype) -> float:
    """How far rounding may put a point off the cell that holds it.

    **Arguments:**

    - `grid`: for its box.
    - `dtype`: of the positions.

    **Returns:** a length.
    """
    size = max(map(abs, (*grid.box.lower, *grid.box.upper, *grid.box.lengths)))
    return _ROUNDING * float(jnp.finfo(dtype).eps) * size


def _find_intervals(nodes: Array, grid: Grid, points: Array) -> tuple[Array, Array, Array]:
    x, count = points[0], len(nodes) - 1
    if grid.box.periodic[0]:
        length = grid.box.lengths[0]
        x = x - length * jnp.floor((x - nodes[0]) / length)
    cell = jnp.clip(jnp.searchsorted(nodes, jax.lax.stop_gradient(x), side="right") - 1, 0, count - 1)
    width = nodes[cell + 1] - nodes[cell]
    positive = width > 0
    local = (x - nodes[cell]) / jnp.where(positive, width, 1)
    return cell[None], local[None], positive & jnp.isfinite(x)


def _find_quadrilaterals(
    nodes: Array, grid: Grid, points: Array, tolerance: float
) -> tuple[Array, Array, Array]:
    periods = tuple(
        length if periodic else None
        for length, periodic in zip(grid.box.lengths, grid.box.periodic, strict=True)
    )
    shape = tuple(n - 1 for n in nodes.shape[1:])
    corners = [nodes[:, :-1, :-1], nodes[:, 1:, :-1], nodes[:, 1:, 1:], nodes[:, :-1, 1:]]
    elements = jnp.stack(corners).reshape(4, 2, -1).transpose(2, 0, 1)
    # What is searched for is a whole number: it has no derivative.
    fixed, sought = jax.lax.stop_gradient((elements, points))
    cell, held = _walk(fixed, shape, sought, periods, tolerance)
    order = order_cells(shape)
    tree = build_tree(fixed[order], periods)
    leaf, held = find_nearest(tree, sought, tolerance, (jnp.asarray(np.argsort(order))[cell], held))
    cell = jnp.asarray(order)[leaf]
    local, convex = jax.vmap(lambda *each: _invert(*each, periods))(elements[cell], points.T, held)
    return jnp.stack(jnp.unravel_index(cell, shape)), local.T, held & convex


def _walk(
    elements: Array, shape: tuple[int, int], points: Array, periods, tolerance: float
) -> tuple[Array, Array]:
    """Flat indices of cells, and whether they hold the points, `(point,)` each."""
    strides = [math.ceil(n / _STARTS) for n in shape]
    lattice = [np.arange(stride // 2, n, stride) for stride, n in zip(strides, shape, strict=True)]
    starts = np.ravel_multi_index(np.meshgrid(*lattice, indexing="ij"), shape).ravel()
    middles = jnp.mean(elements, axis=1)
    apart = nearest_image(points.T[:, None] - middles[starts], periods)
    first = jnp.asarray(starts)[jnp.argmin(jnp.sum(apart**2, axis=-1), axis=1)]

    def go(point, start):
        def unfinished(state):
            _, count, held = state
            return (count < _STEPS) & ~held

        def step(state):
            cell, count, _ = state
            corners = elements[cell]
            a, b, c, d = corners
            offset = find_image(point, corners, periods) - corners
            sides = jnp.roll(corners, -1, axis=0) - corners
            slack = tolerance * jnp.sqrt(jnp.sum(sides**2, axis=1))
            held = jnp.all(_cross(sides.T, offset.T) >= -slack)
            # How many cells further the point would be if all were like the middle of this one.
            across, along = (d - a + c - b) / 2, (b - a + c - d) / 2
            middle = jnp.mean(offset, axis=0)
            ahead = jnp.stack([_cross(middle, across), _cross(along, middle)]) / _cross(along, across)
            furthest = jnp.where(count < _LONG_STEPS, jnp.array(strides), 1)
            jump = jnp.clip(jnp.round(ahead), -furthest, furthest)
            # In a cell that is no parallelogram the point may be outside, though not by half a cell.
            nudge = jnp.where(jnp.argmax(abs(ahead)) == jnp.arange(2), jnp.sign(ahead), 0)
            jump = jnp.where(jnp.any(jump != 0), jump, nudge)
            jump = jnp.where(jnp.isfinite(jump), jump, 0).astype(cell.dtype)
            moved = [
                index % n if period else jnp.clip(index, 0, n - 1)
                for index, n, period in zip(
                    jnp.stack(jnp.unravel_index(cell, shape)) + jump, shape, periods, strict=True
                )
            ]
            return jnp.where(held, cell, moved[0] * shape[1] + moved[1]), count + 1, held

        cell, _, held = jax.lax.while_loop(unfinished, step, (start, jnp.asarray(0), jnp.asarray(False)))
        return cell, held

    return jax.vmap(go)(points.T, first)


def _invert(corners: Array, point: Array, held: Array, periods) -> tuple[Array, Array]:
    """The place `(2,)` of a point in a quadrilateral, and whether that is convex."""
    image = find_image(point, jax.lax.stop_gradient(corners), periods)
    # A point that no cell holds is rare here, as points outside the box have been moved to its walls.
    nearest = project_point(*jax.lax.stop_gradient((point, corners)), periods)
    place = jnp.where(held, image, nearest)
    a, b, c, d = corners
    h, e, f, g = place - a, b - a, d - a, (c - d) - (b - a)
    area, bend = _cross(e, f), _cross(h, g)
    square = (area + bend) ** 2 + 4 * _cross(e, h) * _cross(g, f)
    convex = _corners_are_positive(corners)
    jacobian = jnp.sqrt(jnp.where(convex & (square > 0), square, 1))
    first, second = area - bend + jacobian, area + bend + jacobian
    safe = convex & (first > 0) & (second > 0)
    local = 2 * jnp.stack(
        [_cross(h, f) / jnp.where(safe, first, 1), _cross(e, h) / jnp.where(safe, second, 1)]
    )
    local = jnp.where(safe, local, 0.5)
    return jnp.where(held, local, jnp.clip(local, 0, 1)), safe


def _corners_are_positive(corners: Array) -> Array:
    sides = (jnp.roll(corners, -1, axis=0) - corners).T
    return jnp.all(_cross(jnp.roll(sides, 1, axis=1), sides) > 0)


def _cross(a: Array, b: Array) -> Array:
    return a[0] * b[1] - a[1] * b[0]


@eqx.filter_jit
def _locate_triangles(nodes: Array, triangles: Array, points: Array) -> Location:
    shape = points.shape[1:]
    points = points.reshape(2, -1).astype(nodes.dtype)
    elements = jnp.moveaxis(nodes[:, triangles], 0, -1)
    fixed, sought = jax.lax.stop_gradient((elements, points))
    order = order_points(jnp.mean(fixed, axis=1).T)
    tolerance = _ROUNDING * jnp.finfo(nodes.dtype).eps * jnp.max(abs(jax.lax.stop_gradient(nodes)))
    leaf, held = find_nearest(build_tree(fixed[order], (None, None)), sought, tolerance)
    number = order[leaf]

    def invert(corners, point, held):
        place = jnp.where(held, point, project_point(point, corners, (None, None)))
        a, b, c = corners
        area = _cross(b - a, c - a)
        positive = area > 0
        s, t = jnp.stack([_cross(place - a, c - a), _cross(b - a, place - a)]) / jnp.where(positive, area, 1)
        return jnp.where(positive, jnp.stack([1 - s - t, s, t]), 1 / 3), positive

    local, positive = jax.vmap(invert)(elements[number], points.T, held)
    found = held & positive
    return Location(number.reshape(1, *shape), local.T.reshape(3, *shape), found.reshape(shape))
