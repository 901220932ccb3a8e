"""Who is next to whom on a triangle mesh: found once, in NumPy, when the mesh is made.

Triangles are turned counter-clockwise. Then every edge inside is run through once in each direction, and an edge that
is run through in one direction only is a piece of the boundary, with the domain to its left. Two triangles that run
through an edge in the same direction lie on the same side of it: the mesh was tangled before anyone moved it.

The corners of the boundary are those of the polygon which is nowhere farther from it than a tolerance (the algorithm of
Ramer, Douglas and Peucker). A *rail* is the line between two corners: a node on it may slide, a corner may not.

**Reference:** Douglas and Peucker, "Algorithms for the reduction of the number of points required to represent a
digitized line or its caricature", 1973, doi:10.3138/FM57-6770-U75U-7727.
"""

from collections.abc import Hashable, Mapping

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Int

# A quadratic fit has five unknowns. With fewer neighbors than this the third ring joins, and with more than the largest
# number, on the fans of a bad mesh, the nearest are taken.
FEWEST_NEIGHBORS = 9
MOST_NEIGHBORS = 24
UNTAGGED = "untagged"


class Connectivity(eqx.Module):
    """What of a triangle mesh does not change when its nodes move. Made by `TriangleMesh`, never by hand.

    **Arguments:**

    - `triangles`: the corners of each triangle `(triangle, 3)`, counter-clockwise before the mesh was moved.
    - `edges`: the ends of each edge, once, `(edge, 2)`.
    - `triangle_edges`: the edges of each triangle, `(triangle, 3)`; edge `k` is opposite to corner `k`.
    - `segments`: the ends of each piece of the boundary `(segment, 2)`, with the domain to the left.
    - `segment_walls`: which of `walls` a piece belongs to, `(segment,)`.
    - `rails`: the corners between which a node of the boundary may slide, `(node, 2)`; the node itself, twice, if it is
        a corner or inside.
    - `members`: whether a node is on a wall, `(wall, node)`; a corner is on two.
    - `neighbors`: the nodes to which a quadratic is fitted, `(node, neighbor)`; the node itself fills up the rows.
    - `present`: whether an entry of `neighbors` is one, `(node, neighbor)`.
    - `walls`: the names of the walls.
    - `unfit`: the first few nodes around which no quadratic can be fitted.
    """

    triangles: Int[Array, "triangle 3"]
    edges: Int[Array, "edge 2"]
    triangle_edges: Int[Array, "triangle 3"]
    segments: Int[Array, "segment 2"]
    segment_walls: Int[Array, " segment"]
    rails: Int[Array, "node 2"]
    members: Bool[Array, "wall node"]
    neighbors: Int[Array, "node neighbor"]
    present: Bool[Array, "node neighbor"]
    walls: tuple[Hashable, ...] = eqx.field(static=True)
    unfit: tuple[int, ...] = eqx.field(static=True)


def connect(
    points: np.ndarray,
    triangles: np.ndarray,
    walls: Mapping[Hashable, np.ndarray] | None,
    tolerance: float,
) -> tuple[Connectivity, np.ndarray]:
    """Find edges, walls and neighborhoods.

    **Arguments:**

    - `points`: the nodes `(2, node)`, checked.
    - `triangles`: checked and counter-clockwise, `(triangle, 3)`.
    - `walls`: pieces of the boundary `(segment, 2)` by the name of their wall; `None` makes a wall of each straight
        side.
    - `tolerance`: how far a node of the boundary may be off a straight line, over the size of the domain.

    **Returns:** the connectivity, and the points with those of straight sides put on their line.
    """
    segments = find_segments(triangles)
    given = None if walls is None else _name_segments(segments, walls)
    size = np.ptp(points, axis=1).max()
    rails = np.stack([np.arange(points.shape[1])] * 2, axis=1)
    sides = np.zeros(len(segments), int)
    corners_of_sides: list[tuple[int, int]] = []
    for loop in _trace_loops(points, segments):
        nodes = segments[loop, 0]
        corner = _find_corners(points[:, nodes], tolerance * size)
        if given is not None:
            corner |= given[1][loop] != given[1][np.roll(loop, 1)]
        crossed = np.bincount(segments[:, 0], minlength=points.shape[1])[nodes] > 1
        corner |= crossed
        shift = _first_corner(points[:, nodes], corner)
        loop, corner = np.roll(loop, -shift), np.roll(corner, -shift)
        nodes = segments[loop, 0]
        starts = np.flatnonzero(corner)
        ends = np.append(starts[1:], len(nodes))
        for start, end in zip(starts, ends, strict=True):
            ends_of_side = (int(nodes[start]), int(nodes[end % len(nodes)]))
            sides[loop[start:end]] = len(corners_of_sides)
            rails[nodes[start + 1 : end]] = ends_of_side
            corners_of_sides.append(ends_of_side)
    points = _straighten(points, rails, size)
    names, index = (tuple(range(len(corners_of_sides))), sides) if given is None else given
    members = np.zeros((len(names), points.shape[1]), bool)
    members[index[:, None], segments] = True
    neighbors, present = _surround(points, triangles)
    # Put there all at once: `jnp.asarray` would compile a program for each shape.
    arrays = [triangles, *find_edges(triangles), segments, index, rails, members, neighbors, present]
    arrays = [array if array.dtype == bool else array.astype(np.int32) for array in arrays]
    found = Connectivity(*jax.device_put(arrays), walls=names, unfit=_find_unfit(points, neighbors, present))
    return found, points


def find_edges(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The edges of triangles, each once.

    **Arguments:**

    - `triangles`: the corners `(triangle, 3)`.

    **Returns:** the ends `(edge, 2)`, the smaller index first, and the edge opposite to each corner `(triangle, 3)`.
    """
    edges, index = np.unique(np.sort(list_sides(triangles), axis=1), axis=0, return_inverse=True)
    return edges, index.reshape(3, -1).T


def find_segments(triangles: np.ndarray) -> np.ndarray:
    """The edges that belong to one triangle only.

    **Arguments:**

    - `triangles`: the corners `(triangle, 3)`, counter-clockwise.

    **Returns:** the ends `(segment, 2)`, with the triangle to the left.
    """
    sides = list_sides(triangles)
    edges, index = find_edges(triangles)
    return sides[np.bincount(index.ravel(), minlength=len(edges))[index.T.ravel()] == 1]


def list_sides(triangles: np.ndarray) -> np.ndarray:
    """The sides of triangles in the direction of their corners.

    **Arguments:**

    - `triangles`: the corners `(triangle, 3)`.

    **Returns:** the ends `(3 * triangle, 2)`: those opposite to all first corners, then to all second, to all third.
    """
    return np.concatenate([triangles[:, [1, 2]], triangles[:, [2, 0]], triangles[:, [0, 1]]])


def _name_segments(segments: np.ndarray, walls: Mapping) -> tuple[tuple[Hashable, ...], np.ndarray]:
    """The names of the walls, and which of them each segment belongs to."""
    place = {frozenset(pair): i for i, pair in enumerate(segments.tolist())}
    index = np.full(len(segments), -1)
    for number, (name, pairs) in enumerate(walls.items()):
        pairs = np.asarray(pairs)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
            raise ValueError(
                f"TriangleMesh needs the wall {name!r} as pairs of nodes (segment, 2), integers; got "
                f"{pairs.dtype} of shape {pairs.shape}."
            )
        for pair in pairs.tolist():
            i = place.get(frozenset(pair))
            if i is None:
                raise ValueError(
                    f"TriangleMesh: the wall {name!r} has a piece {tuple(pair)}, which is no edge of the boundary. "
                    f"Walls are made of edges that belong to one triangle only; drop the others."
                )
            if index[i] not in (-1, number):
                raise ValueError(
                    f"TriangleMesh: the edge {tuple(pair)} is in two walls, {list(walls)[index[i]]!r} and {name!r}. "
                    f"Leave it in one of them."
                )
            index[i] = number
    names = tuple(walls)
    if np.any(index < 0):
        index[index < 0] = len(names)
        names = (*names, UNTAGGED)
    return names, index


def _trace_loops(points: np.ndarray, segments: np.ndarray) -> list[np.ndarray]:
    """The segments in the order of the boundary, one array per closed curve, the outermost first."""
    leaving: dict[int, list[int]] = {}
    for i, (start, _) in enumerate(segments.tolist()):
        leaving.setdefault(start, []).append(i)
    loops = []
    while leaving:
        first = next(iter(leaving))
        here, loop = first, []
        while True:
            i = leaving[here].pop()
            if not leaving[here]:
                del leaving[here]
            loop.append(i)
            here = int(segments[i, 1])
            if here == first:
                break
        loops.append(np.array(loop))

    def area(loop):
        x, y = points[:, segments[loop, 0]]
        return -np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))

    return sorted(loops, key=area)


def _find_corners(loop: np.ndarray, tolerance: float) -> np.ndarray:
    """Which points `(2, point)` of a closed curve are corners of a polygon within the tolerance of it: `(point,)`."""
    count = loop.shape[1]
    first = int(np.lexsort(loop[::-1])[0])
    curve = np.roll(loop, -first, axis=1)
    middle = int(np.argmax(np.sum((curve - curve[:, :1]) ** 2, axis=0)))
    closed = np.concatenate([curve, curve[:, :1]], axis=1)
    corner = np.zeros(count, bool)
    corner[[0, middle]] = True
    runs = [(0, middle), (middle, count)]
    while runs:
        low, high = runs.pop()
        if high - low < 2:
            continue
        off = _distances(closed[:, low + 1 : high], closed[:, low], closed[:, high])
        worst = int(np.argmax(off))
        if off[worst] > tolerance:
            split = low + 1 + worst
            corner[split] = True
            runs += [(low, split), (split, high)]
    # The two points it began with need not be corners where rounding decided.
    for start in (middle, 0):
        there = np.flatnonzero(corner)
        if len(there) > 3:
            place = int(np.searchsorted(there, start))
            low, high = there[place - 1], there[(place + 1) % len(there)]
            between = np.arange(low + 1, high + (count if high <= low else 0)) % count
            if np.all(_distances(curve[:, between], curve[:, low], curve[:, high]) <= tolerance):
                corner[start] = False
    return np.roll(corner, first)


def _distances(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """From the line between two points: `(point,)`."""
    along = end - start
    share = along @ (points - start[:, None]) / max(along @ along, np.finfo(float).tiny)
    foot = start[:, None] + along[:, None] * np.clip(share, 0, 1)
    return np.sqrt(np.sum((points - foot) ** 2, axis=0))


def _first_corner(loop: np.ndarray, corner: np.ndarray) -> int:
    """The index of the leftmost corner of a closed curve, the lowest of those."""
    where = np.flatnonzero(corner)
    x, y = loop[:, where]
    near = x <= x.min() + 1e-9 * np.ptp(loop, axis=1).max()
    return int(where[near][np.argmin(y[near])])


def _straighten(points: np.ndarray, rails: np.ndarray, size: float) -> np.ndarray:
    """Put the nodes of straight sides on their line, unless rounding is all that parts them."""
    start, end = points[:, rails[:, 0]], points[:, rails[:, 1]]
    along = end - start
    length = np.sum(along**2, axis=0)
    share = np.sum((points - start) * along, axis=0) / np.where(length > 0, length, 1)
    foot = start + along * share
    off = np.sqrt(np.sum((points - foot) ** 2, axis=0))
    move = (rails[:, 0] != rails[:, 1]) & (off > 4 * np.finfo(points.dtype).eps * size)
    return np.where(move, foot, points).astype(points.dtype)


def _surround(points: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two rings of neighbors, three where two have too few: indices and which are present, `(node, neighbor)`."""
    count = points.shape[1]
    touching: list[set[int]] = [set() for _ in range(count)]
    for a, b in find_edges(triangles)[0].tolist():
        touching[a].add(b)
        touching[b].add(a)
    rows = []
    for node in range(count):
        known, ring, found, depth = {node}, {node}, [], 0
        while ring and (depth < 2 or (depth < 3 and len(found) < FEWEST_NEIGHBORS)):
            ring = set().union(*(touching[i] for i in ring)) - known
            known |= ring
            offsets = points[:, sorted(ring)] - points[:, [node]]
            found += [i for _, i in sorted(zip(np.sum(offsets**2, axis=0), sorted(ring), strict=True))]
            depth += 1
        rows.append(found[:MOST_NEIGHBORS])
    most = max(map(len, rows))
    neighbors = np.array([row + [node] * (most - len(row)) for node, row in enumerate(rows)])
    present = np.array([[True] * len(row) + [False] * (most - len(row)) for row in rows])
    return neighbors, present


def _find_unfit(points: np.ndarray, neighbors: np.ndarray, present: np.ndarray) -> tuple[int, ...]:
    """Nodes whose neighbors lie on a conic with them, so that quadratics cannot be told apart there."""
    dx, dy = points[:, neighbors] - points[:, :, None]
    columns = np.stack([dx, dy, dx**2, dx * dy, dy**2], axis=-1) * present[..., None]
    norms = np.sqrt(np.sum(columns**2, axis=1, keepdims=True))
    columns = columns / np.where(norms > 0, norms, 1)
    smallest = np.linalg.eigvalsh(np.einsum("nki,nkj->nij", columns, columns))[:, 0]
    return tuple(np.flatnonzero(smallest < 1e-10)[:5].tolist())
