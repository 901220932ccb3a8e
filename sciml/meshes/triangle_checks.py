"""What is refused of a triangle mesh that comes in: errors that name nodes and triangles, and the cure."""

import jax
import numpy as np

from .triangle_connectivity import find_edges, list_sides


def check_points(owner: str, points) -> np.ndarray:
    """Refuse points that are not `(2, node)` and finite.

    **Arguments:**

    - `owner`: what was called, for the message.
    - `points`: the nodes `(2, node)`.

    **Returns:** the points, in NumPy, `(2, node)`.

    **Raises:** `ValueError` naming the shape or the nodes.
    """
    if isinstance(points, jax.core.Tracer):
        raise ValueError(
            f"{owner} looks at its points, which are not known under jax.jit, jax.vmap or jax.grad. Make the mesh "
            f"outside, and inside write mesh.move_to(points)."
        )
    points = np.asarray(points)
    # Files may have the bytes in the other order, or more of them than JAX knows.
    points = points.astype(np.float32 if points.dtype.newbyteorder("=") == np.float32 else np.float64)
    if points.ndim != 2 or points.shape[0] != 2:
        message = f"{owner} needs points of shape (2, node); got {points.shape}."
        if points.ndim == 2 and points.shape[1] == 2:
            message += " They are (node, 2): write points.T."
        elif points.ndim == 2 and 3 in points.shape:
            message += " There are three coordinates: leave out the one that is constant."
        raise ValueError(message)
    if not np.all(np.isfinite(points)):
        bad = np.flatnonzero(~np.all(np.isfinite(points), axis=0))
        raise ValueError(
            f"{owner} needs finite points; {_list('node', bad)} not finite. Check how they were read."
        )
    return points


def check_triangles(owner: str, points: np.ndarray, triangles) -> np.ndarray:
    """Refuse triangles that are no mesh of the points, and turn the others counter-clockwise.

    **Arguments:**

    - `owner`: what was called, for the message.
    - `points`: the nodes `(2, node)`, checked.
    - `triangles`: the indices of their corners, `(triangle, 3)`.

    **Returns:** the triangles, counter-clockwise, `(triangle, 3)`.

    **Raises:** `ValueError` for a wrong shape, indices out of range, nodes in no triangle or twice at one place,
    triangles without area, and meshes that are tangled.
    """
    triangles = np.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not len(triangles):
        raise ValueError(
            f"{owner} needs triangles of shape (triangle, 3), at least one; got {triangles.shape}. Cut quadrilaterals "
            f"in two, and leave out the nodes at the middle of edges."
        )
    if not np.issubdtype(triangles.dtype, np.integer):
        raise ValueError(f"{owner} needs triangles of integers, indices of nodes; got {triangles.dtype}.")
    count = points.shape[1]
    _check_indices(owner, triangles, count)
    _check_places(owner, points)
    unused = np.setdiff1d(np.arange(count), triangles)
    if len(unused):
        raise ValueError(
            f"{owner}: {_list('node', unused)} in no triangle. Leave unused nodes out, and number the rest anew."
        )
    _check_areas(owner, points, triangles)
    turned = signed_areas_of(points, triangles) < 0
    triangles = np.where(turned[:, None], triangles[:, ::-1], triangles)
    _check_tangles(owner, triangles)
    return triangles.astype(np.int32)


def signed_areas_of(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The areas of triangles.

    **Arguments:**

    - `points`: the nodes `(2, node)`.
    - `triangles`: their corners `(triangle, 3)`.

    **Returns:** `(triangle,)`, negative where the corners run clockwise.
    """
    a, b, c = np.moveaxis(points[:, triangles], -1, 0)
    return 0.5 * ((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _check_indices(owner: str, triangles: np.ndarray, count: int) -> None:
    outside = np.any((triangles < 0) | (triangles >= count), axis=1)
    if np.any(outside):
        first = int(np.argmax(outside))
        message = (
            f"{owner}: triangle {first} has corners {tuple(triangles[first].tolist())}; with {count} nodes indices run "
            f"from 0 to {count - 1}."
        )
        if triangles.min() == 1 and triangles.max() == count:
            message += " They count from 1: subtract 1."
        raise ValueError(message)
    ordered = np.sort(triangles, axis=1)
    repeated = np.flatnonzero(np.any(ordered[:, 1:] == ordered[:, :-1], axis=1))
    if len(repeated):
        raise ValueError(
            f"{owner}: {_list('triangle', repeated)} without area: a node is a corner twice. Leave such triangles out."
        )
    _, index, times = np.unique(ordered, axis=0, return_index=True, return_counts=True)
    if np.any(times > 1):
        raise ValueError(
            f"{owner}: {_list('triangle', index[times > 1])} there more than once. Keep each triangle once."
        )


def _check_places(owner: str, points: np.ndarray) -> None:
    size = np.ptp(points, axis=1).max()
    rounded = np.round(points / (size or 1.0) * 1e12)
    _, inverse, times = np.unique(rounded, axis=1, return_inverse=True, return_counts=True)
    if np.any(times > 1):
        same = np.flatnonzero(inverse.ravel() == np.argmax(times > 1))
        raise ValueError(
            f"{owner}: nodes {same[0]} and {same[1]} are at the same place, {tuple(points[:, same[0]].tolist())}; "
            f"{int(np.sum(times - 1))} nodes repeat another. Merge them: "
            f"points, index = np.unique(points, axis=1, return_inverse=True); triangles = index[triangles]."
        )


def _check_areas(owner: str, points: np.ndarray, triangles: np.ndarray) -> None:
    small = 1e-12 if points.dtype == np.float64 else 1e-6
    flat = np.flatnonzero(flatness(points, triangles) <= small)
    if len(flat):
        raise ValueError(
            f"{owner}: {_list('triangle', flat)} without area: the corners are on a line. Leave such triangles out, or "
            f"turn the edge they share with a neighbor."
        )


def flatness(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The area of each triangle over the square of its longest edge: 0 for corners on a line.

    **Arguments:**

    - `points`: the nodes `(2, node)`.
    - `triangles`: their corners `(triangle, 3)`.

    **Returns:** `(triangle,)`, at most 0.43.
    """
    corners = points[:, triangles]
    squares = np.sum((corners - np.roll(corners, 1, axis=-1)) ** 2, axis=0).max(axis=-1)
    return np.abs(signed_areas_of(points, triangles)) / squares


def _check_tangles(owner: str, triangles: np.ndarray) -> None:
    count, sides = len(triangles), list_sides(triangles)
    edges, index = find_edges(triangles)
    times = np.bincount(index.ravel())
    if np.any(times > 2):
        edge = int(np.argmax(times > 2))
        sharing = np.flatnonzero(np.any(index == edge, axis=1))
        raise ValueError(
            f"{owner}: the edge {tuple(edges[edge].tolist())} belongs to {times[edge]} triangles, {sharing.tolist()}; "
            f"in the plane an edge has at most two. Leave out those that overlap others."
        )
    _, again, same = np.unique(sides, axis=0, return_inverse=True, return_counts=True)
    if np.any(same > 1):
        first, second = (np.flatnonzero(again.ravel() == np.argmax(same > 1)) % count).tolist()
        raise ValueError(
            f"{owner}: the mesh is tangled: triangles {first} and {second} lie on the same side of the edge they "
            f"share, and {int(np.sum(same > 1))} edges are like it. A mover starts from a mesh that is not: take the "
            f"one before it was moved, or move_to(points) of it to keep a tangled one for its certificate."
        )


def _list(noun: str, which: np.ndarray) -> str:
    """A few indices in words, with the verb."""
    shown = ", ".join(map(str, which[:5].tolist()))
    if len(which) == 1:
        return f"{noun} {shown} is"
    return f"{noun}s {shown}{', ...' if len(which) > 5 else ''} ({len(which)} in all) are"
