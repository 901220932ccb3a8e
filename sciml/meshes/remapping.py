"""Conservative transfer of cell averages from one mesh to another of the same grid.

In one dimension cells of both meshes overlap in intervals, over which a linear reconstruction is integrated exactly. In
two dimensions the mesh is led from the old vertices to the new ones along straight lines, in steps in which no cell
loses more than a part of itself. In each step a face sweeps a quadrilateral, and what lies in it goes from the cell
that loses this area to the cell that gains it,

    A_new u_new = A_old u_old - sum over faces of the integral of u over the swept area.

The signed areas that the faces of a cell sweep add up to its change of area, so constants stay constant, and what
leaves one cell enters the next, so mass is conserved; both to rounding. The integrals are those of a linear
reconstruction. So that no new extrema arise they are drawn, as far as needed, towards those of the plain averages, with
which a new average is a weighted mean of old ones.

**Reference:** Dukowicz and Baumgardner, "Incremental remapping as a transport/advection algorithm", 2000,
doi:10.1006/jcph.2000.6465; Zalesak, "Fully multidimensional flux-corrected transport algorithms for fluids", 1979,
doi:10.1016/0021-9991(79)90051-2.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..pdes import Grid
from ..pdes.calculus import check_values
from .certificate import MeshError
from .location import check_untangled
from .structured import StructuredMesh, close_vertices, signed_areas

_SHARE = 0.5  # of a cell's area that may leave it in one step
_MOST_STEPS = 10_000


def remap(
    values: Float[Array, "channel *cell"],
    old: StructuredMesh,
    new: StructuredMesh,
    *,
    bounded: bool = True,
    steps: int | None = None,
) -> Float[Array, "channel *cell"]:
    """Transfer cell averages between two meshes of one grid; mass and constants are kept to rounding.

    **Arguments:**

    - `values`: averages over the cells of the old mesh, whose areas are `old.volumes`; `(channel, *cell)`. Along a
        periodic axis cell `i` begins at vertex `i`.
    - `old`, `new`: the two meshes.
    - `bounded`: make no new extrema, at the price of accuracy at extrema and at walls. Else the transfer of linear
        fields is exact, and jumps overshoot.
    - `steps`: from the old to the new mesh in two dimensions; by default as many as the bounds need. With a number
        given it can be differentiated in reverse mode; with one that is too small the bounds are lost.

    **Returns:** averages over the cells of the new mesh, `(channel, *cell)`.

    **Raises:** `ValueError` for meshes of two grids or of two domains, or values of another shape; `MeshError` for a
    mesh that is tangled, or where the straight way between them is. Under `jit` that way is checked when the program
    runs.
    """
    for mesh in (old, new):
        if not isinstance(mesh, StructuredMesh):
            raise ValueError(f"remap needs two StructuredMeshes; got {type(mesh).__name__}. Use resample.")
    _check_grids(old.grid, new.grid)
    values = check_values("remap", values, old.grid.shape)
    if steps is not None and steps < 1:
        raise ValueError(f"remap needs steps >= 1, or None; got {steps}.")
    for mesh in (old, new):
        check_untangled("remap", mesh)
    _check_domains(old, new)
    if old.dimensions == 1:
        return _overlap(values, old, new, bounded)
    moved, arrived = _sweep(values, old, new, bounded, steps)
    message = (
        "remap: on the straight way from the old mesh to the new one a cell is turned over. Remap to a mesh in "
        "between first, or use resample, which does not conserve."
    )
    if isinstance(arrived, jax.core.Tracer):
        return eqx.error_if(moved, ~arrived, message)
    if not arrived:
        raise MeshError(message)
    return moved


def _check_grids(old: Grid, new: Grid) -> None:
    boxes = [(grid.box.lower, grid.box.upper, grid.box.periodic) for grid in (old, new)]
    if old.shape != new.shape or boxes[0] != boxes[1]:
        raise ValueError(
            f"remap needs two meshes of one grid; got {old.shape} cells in the box from {old.box.lower} to "
            f"{old.box.upper} and {new.shape} in that from {new.box.lower} to {new.box.upper}, periodic along "
            f"{old.box.periodic} and {new.box.periodic}. Use resample, which does not conserve."
        )


def _check_domains(old: StructuredMesh, new: StructuredMesh) -> None:
    totals = [_add_volumes(mesh) for mesh in (old, new)]
    if any(isinstance(total, jax.core.Tracer) for total in totals):
        return
    first, second = map(float, totals)
    if abs(first - second) > 1e3 * float(jnp.finfo(totals[0].dtype).eps) * first:
        raise MeshError(
            f"remap needs two meshes of one domain; their cells add up to {first:.9g} and {second:.9g}. Put the "
            f"vertices on walls back on their walls."
        )


@eqx.filter_jit
def _add_volumes(mesh: StructuredMesh) -> Array:
    return jnp.sum(mesh.volumes)


# One dimension: overlaps.


@eqx.filter_jit
def _overlap(values: Array, old: StructuredMesh, new: StructuredMesh, bounded: bool) -> Array:
    x, y = old.closed_vertices[0], new.closed_vertices[0]
    periodic, length = old.grid.box.periodic[0], old.grid.box.lengths[0]
    widths, precision = x[1:] - x[:-1], values.dtype
    # Less is lost to rounding where the integrals are small.
    mean = jnp.sum(values * widths, axis=1, keepdims=True) / jnp.sum(widths)
    values = values - mean
    slopes = _slope(values, (x[1:] + x[:-1]) / 2, widths, length if periodic else None, bounded)
    integrals = jnp.cumsum(values * widths, axis=1)
    below = jnp.pad(integrals, [(0, 0), (1, 0)])
    turns = jnp.floor((y - x[0]) / length) if periodic else jnp.zeros_like(y)
    place = y - turns * length
    cell = jnp.clip(jnp.searchsorted(x, jax.lax.stop_gradient(place), side="right") - 1, 0, len(widths) - 1)
    left, right = place - x[cell], place - x[cell + 1]
    upto = below[:, cell] + values[:, cell] * left + 0.5 * slopes[:, cell] * left * right
    upto = upto + turns * integrals[:, -1:]
    return (mean + (upto[:, 1:] - upto[:, :-1]) / (y[1:] - y[:-1])).astype(precision)


def _slope(values: Array, middles: Array, widths: Array, length: float | None, bounded: bool) -> Array:
    mode = "edge" if length is None else "wrap"
    padded, places = jnp.pad(values, [(0, 0), (1, 1)], mode=mode), jnp.pad(middles, 1, mode=mode)
    if length is not None:
        places = places.at[0].add(-length).at[-1].add(length)
    below, above = padded[:, :-2], padded[:, 2:]
    slopes = (above - below) / (places[2:] - places[:-2])
    if not bounded:
        return slopes
    # An edge of the reconstruction lies between the average and that of the neighbor: zero at a wall.
    room = 2 * jnp.minimum(abs(above - values), abs(values - below)) / widths
    return jnp.where((above - values) * (values - below) > 0, jnp.clip(slopes, -room, room), 0)


# Two dimensions: swept areas. Along an axis a face stands at the low side of each cell, and one more at the end: at a
# periodic seam the first again, at walls both of no effect. What a face moves goes from the cell below to that above.


@eqx.filter_jit
def _sweep(
    values: Array, old: StructuredMesh, new: StructuredMesh, bounded: bool, steps: int | None
) -> tuple[Array, Array]:
    grid, precision = old.grid, values.dtype
    dtype = jnp.result_type(values.dtype, old.vertices.dtype, new.vertices.dtype)
    start = old.vertices.astype(dtype)
    velocity = new.vertices.astype(dtype) - start

    def advance(values, time, step):
        before, after = start + time * velocity, start + (time + step) * velocity
        return _move_faces(values, close_vertices(before, grid), close_vertices(after, grid), grid, bounded)

    def safe_step(state):
        values, time, count, _ = state
        rate, positive = _examine_speed(start + time * velocity, velocity, grid)
        # The rest in equal steps, so that the last is none of rounding.
        rest = jnp.maximum(jnp.ceil((1 - time) * rate / _SHARE), 1)
        values = advance(values, time, (1 - time) / rest)
        return values, jnp.where(rest > 1, time + (1 - time) / rest, 1), count + 1, positive

    def equal_step(values, time):
        _, positive = _examine_speed(start + time * velocity, velocity, grid)
        return advance(values, time, 1 / steps), positive

    values = values.astype(dtype)
    if steps is not None:
        values, positive = jax.lax.scan(equal_step, values, jnp.arange(steps, dtype=dtype) / steps)
        return values.astype(precision), jnp.all(positive)
    state = (values, jnp.zeros((), dtype), jnp.asarray(0), jnp.asarray(True))
    values, time, _, positive = jax.lax.while_loop(
        lambda state: (state[1] < 1) & (state[2] < _MOST_STEPS) & state[3], safe_step, state
    )
    return values.astype(precision), (time == 1) & positive


def _examine_speed(vertices: Array, velocity: Array, grid: Grid) -> tuple[Array, Array]:
    """The largest share of its area that a cell loses per unit of time, and whether all areas are positive."""
    corners = close_vertices(vertices, grid)
    speed = close_vertices(velocity, grid) - close_vertices(jnp.zeros_like(velocity), grid)
    areas, loss = signed_areas(corners), 0.0
    for axis in (0, 1):
        first, second = _ends(corners, axis)
        swept = _cross((sum(_ends(speed, axis)) / 2), first - second)
        low, high = _sides(swept, axis)
        loss = loss + jnp.maximum(high, 0) - jnp.minimum(low, 0)
    positive = jnp.min(areas) > 0
    return jnp.where(positive, jnp.max(loss / areas), 1.0), positive


def _move_faces(values: Array, old: Array, new: Array, grid: Grid, bounded: bool) -> Array:
    """Averages `(channel, x, y)` after the corners `(2, x + 1, y + 1)` have moved."""
    mass, areas = values * signed_areas(old), signed_areas(new)
    centers = _centers(old)
    slopes = _gradient(values, centers, grid)
    plain, extra = [], []
    for axis in (0, 1):
        (a, b), (d, c) = _ends(old, axis), _ends(new, axis)
        area, moment = _measure(a, b, c, d)
        low, high = _beside(values, axis, grid)
        low_slope, high_slope = _beside(slopes, axis, grid)
        low_center, high_center = _beside(centers, axis, grid, positions=True)
        # What the cell below loses is its own, what it gains comes from the cell above.
        below = area > 0
        center = jnp.where(below, low_center, high_center)
        slope = jnp.where(below, low_slope, high_slope)
        plain.append(_close_walls(area * jnp.where(below, low, high), axis, grid))
        extra.append(_close_walls(jnp.sum(slope * (moment + area * (a - center)), axis=1), axis, grid))
    plainly = mass - sum(_lose(flux, axis) for axis, flux in enumerate(plain))
    if bounded:
        extra = _limit(extra, values, plainly / areas, areas, grid)
    return (plainly - sum(_lose(flux, axis) for axis, flux in enumerate(extra))) / areas


def _limit(extra: list[Array], values: Array, plain: Array, areas: Array, grid: Grid) -> list[Array]:
    """Take so much of the extra fluxes that no average leaves the range of the neighbors; Zalesak's factors."""
    high, low = jnp.maximum(values, plain), jnp.minimum(values, plain)
    top, bottom, gain, loss = high, low, 0.0, 0.0
    for axis, flux in enumerate(extra):
        top = jnp.maximum(top, jnp.maximum(*_around(_pad(high, axis, grid), axis)))
        bottom = jnp.minimum(bottom, jnp.minimum(*_around(_pad(low, axis, grid), axis)))
        entering, leaving = _sides(flux, axis)
        gain = gain + jnp.maximum(entering, 0) - jnp.minimum(leaving, 0)
        loss = loss + jnp.maximum(leaving, 0) - jnp.minimum(entering, 0)
    may_gain = _share((top - plain) * areas, gain)
    may_lose = _share((plain - bottom) * areas, loss)
    limited = []
    for axis, flux in enumerate(extra):
        low_gain, high_gain = _beside(may_gain, axis, grid)
        low_loss, high_loss = _beside(may_lose, axis, grid)
        upward, downward = jnp.minimum(high_gain, low_loss), jnp.minimum(low_gain, high_loss)
        limited.append(flux * jnp.where(flux > 0, upward, downward))
    return limited


def _share(room: Array, wanted: Array) -> Array:
    some = wanted > 0
    return jnp.where(some, jnp.clip(room / jnp.where(some, wanted, 1), 0, 1), 1)


def _gradient(values: Array, centers: Array, grid: Grid) -> Array:
    """`(channel, 2, x, y)`, exact for linear fields: one-sided differences at walls, of values and places alike."""
    rows, changes = [], []
    for axis in (0, 1):
        for found, array, positions in ((rows, centers, True), (changes, values, False)):
            before, after = _around(_pad(array, axis, grid, positions), axis)
            found.append(after - before)
    (a, b), (c, d) = rows
    along, across = changes
    return jnp.stack([d * along - b * across, a * across - c * along], axis=1) / (a * d - b * c)


def _centers(corners: Array) -> Array:
    a, b = corners[:, :-1, :-1], corners[:, 1:, :-1]
    d, c = corners[:, :-1, 1:], corners[:, 1:, 1:]
    area, moment = _measure(a, b, c, d)
    return a + moment / area


def _measure(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    """The signed area of a quadrilateral, and the integral of the position relative to its first corner."""
    b, c, d = b - a, c - a, d - a
    first, second = _cross(b, c), _cross(c, d)
    return (first + second) / 2, ((b + c) * first + (c + d) * second) / 6


def _ends(corners: Array, axis: int) -> tuple[Array, Array]:
    """The ends of the faces of an axis, so that the cell above lies to the right."""
    if axis == 0:
        return corners[:, :, :-1], corners[:, :, 1:]
    return corners[:, 1:, :], corners[:, :-1, :]


def _pad(array: Array, axis: int, grid: Grid, positions: bool = False) -> Array:
    """Add a cell at both ends of an axis: across the seam that which comes there, at walls the outermost again."""
    axis = axis - 2
    widths = [(0, 0)] * array.ndim
    widths[axis] = (1, 1)
    periodic = grid.box.periodic[axis]
    padded = jnp.pad(array, widths, mode="wrap" if periodic else "edge")
    if positions and periodic:
        turns = jnp.zeros(padded.shape[axis], array.dtype).at[0].set(-1).at[-1].set(1)
        turns = turns.reshape((-1, 1) if axis == -2 else (1, -1))
        padded = padded.at[axis].add(turns * grid.box.lengths[axis])
    return padded


def _around(padded: Array, axis: int) -> tuple[Array, Array]:
    """The neighbors of each cell."""
    n = padded.shape[axis - 2]
    return tuple(jax.lax.slice_in_dim(padded, k, n - 2 + k, axis=padded.ndim + axis - 2) for k in (0, 2))


def _sides(faces: Array, axis: int) -> tuple[Array, Array]:
    """What is at the low and at the high face of each cell."""
    n = faces.shape[axis - 2]
    return tuple(jax.lax.slice_in_dim(faces, k, n - 1 + k, axis=faces.ndim + axis - 2) for k in (0, 1))


def _beside(array: Array, axis: int, grid: Grid, positions: bool = False) -> tuple[Array, Array]:
    """What is in the cells below and above each face."""
    return _sides(_pad(array, axis, grid, positions), axis)


def _lose(flux: Array, axis: int) -> Array:
    low, high = _sides(flux, axis)
    return high - low


def _close_walls(flux: Array, axis: int, grid: Grid) -> Array:
    if grid.box.periodic[axis]:
        return flux
    n = flux.shape[axis - 2]
    inside = (jnp.arange(n) > 0) & (jnp.arange(n) < n - 1)
    return jnp.where(inside.reshape((-1, 1) if axis == 0 else (1, -1)), flux, 0)


def _cross(a: Array, b: Array) -> Array:
    return a[0] * b[1] - a[1] * b[0]
