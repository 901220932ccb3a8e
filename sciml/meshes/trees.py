"""The element nearest to a point, by a tree of bounding boxes.

A mesh that has been moved far has small cells beside large ones, so neither a lattice of bins nor a walk from cell to
cell has a bound on its work that holds for all meshes, and a walk may go round in circles. A tree of boxes has no such
cases. The elements are put in an order that keeps neighbors together, every four make a box, every four boxes another,
and a search opens the nearest boxes first and leaves out those that are farther than the best element so far. It finds
the element that holds a point, or else the nearest one, after a number of steps that grows like the logarithm of the
number of elements.

The shape of the tree depends on the number of elements only, so that it is built and searched under `jit`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

_WAYS = 4


class BoxTree(eqx.Module):
    """Polygons, and the boxes around them; the children of node `n` are `4 n + 1, ..., 4 n + 4`.

    **Arguments:**

    - `elements`: the corners of convex polygons in the order of the leaves, counterclockwise, `(element, corner, 2)`.
    - `middles`, `halves`: the boxes, `(node, 2)` each: middle and half the width; the width of an empty box is minus
        infinity, so that it is infinitely far from every point.
    - `periods`: per axis, the length after which everything comes again, or `None`.
    """

    elements: Float[Array, "element corner 2"]
    middles: Float[Array, "node 2"]
    halves: Float[Array, "node 2"]
    periods: tuple[float | None, ...] = eqx.field(static=True)

    @property
    def first_leaf(self) -> int:
        """The number of the first leaf among the nodes."""
        return (len(self.middles) - 1) // _WAYS

    @property
    def depth(self) -> int:
        """How many levels there are above the leaves."""
        return _count_levels(len(self.elements))


def build_tree(elements: Float[Array, "element corner 2"], periods: tuple[float | None, ...]) -> BoxTree:
    """Build the tree of polygons that stand in an order which keeps neighbors together.

    **Arguments:**

    - `elements`: `(element, corner, 2)`, convex, counterclockwise.
    - `periods`: per axis, the length after which everything comes again, or `None`.

    **Returns:** the tree.
    """
    count = _WAYS ** _count_levels(len(elements)) - len(elements)
    low = jnp.pad(jnp.min(elements, axis=1), ((0, count), (0, 0)), constant_values=np.inf)
    high = jnp.pad(jnp.max(elements, axis=1), ((0, count), (0, 0)), constant_values=-np.inf)
    lows, highs = [low], [high]
    while len(lows[0]) > 1:
        lows.insert(0, jnp.min(lows[0].reshape(-1, _WAYS, 2), axis=1))
        highs.insert(0, jnp.max(highs[0].reshape(-1, _WAYS, 2), axis=1))
    low, high = jnp.concatenate(lows), jnp.concatenate(highs)
    empty = low > high
    return BoxTree(
        elements,
        jnp.where(empty, 0.0, (low + high) / 2),
        jnp.where(empty, -np.inf, (high - low) / 2),
        periods,
    )


def find_nearest(
    tree: BoxTree,
    points: Float[Array, "2 point"],
    tolerance: float,
    known: tuple[Int[Array, " point"], Bool[Array, " point"]] | None = None,
) -> tuple[Int[Array, " point"], Bool[Array, " point"]]:
    """Find for each point the element that holds it, or else the nearest one.

    **Arguments:**

    - `tree`: the tree.
    - `points`: `(2, point)`.
    - `tolerance`: up to this distance, a length, an element counts as holding the point.
    - `known`: elements found before, and whether they hold their points, `(point,)` each: those are not searched for.

    **Returns:** which element, and whether it holds the point, `(point,)` each.
    """
    count = points.shape[1]
    start, held = known or (jnp.zeros(count, jnp.int32), jnp.zeros(count, bool))
    return jax.vmap(lambda *each: _search(tree, tolerance, *each))(points.T, start, held)


def _search(tree: BoxTree, tolerance: float, point: Array, start: Array, held: Array) -> tuple[Array, Array]:
    first_leaf, depth = tree.first_leaf, tree.depth
    places = jnp.arange(_WAYS)
    # Each level leaves three siblings on the stack, and the last writes four.
    stack = jnp.zeros((_WAYS - 1) * depth + 2 * _WAYS, jnp.int32)

    def unfinished(state):
        return state[1] > 0

    def step(state):
        stack, top, best, nearest = state
        node = stack[top - 1]
        is_leaf = node >= first_leaf
        # A leaf: its polygon may be the nearest so far.
        leaf = jnp.clip(node - first_leaf, 0, len(tree.elements) - 1)
        corners = tree.elements[leaf]
        offset = project_point(point, corners, tree.periods) - find_image(point, corners, tree.periods)
        distance = jnp.sum(offset**2)
        distance = jnp.where(distance <= tolerance**2, 0.0, distance)
        better = is_leaf & (distance < best)
        best, nearest = jnp.where(better, distance, best), jnp.where(better, leaf, nearest)
        # Not a leaf: its children go on the stack, the nearest on top, those that are too far not at all.
        first = jnp.where(is_leaf, 0, _WAYS * node + 1)
        middles = jax.lax.dynamic_slice_in_dim(tree.middles, first, _WAYS)
        halves = jax.lax.dynamic_slice_in_dim(tree.halves, first, _WAYS)
        far = jnp.sum(
            jnp.maximum(abs(nearest_image(point - middles, tree.periods)) - halves, 0.0) ** 2, axis=1
        )
        worth = (far < best) & ~is_leaf
        before = (far[None] > far[:, None]) | ((far[None] == far[:, None]) & (places[None] < places[:, None]))
        rank = jnp.sum(before & worth[None], axis=1)
        chosen = (rank[:, None] == places) & worth[:, None]
        pushed = jnp.sum(jnp.where(chosen, first + places[:, None], 0), axis=0).astype(stack.dtype)
        stack = jax.lax.dynamic_update_slice_in_dim(stack, pushed, top - 1, 0)
        return stack, top - 1 + jnp.sum(worth), best, nearest

    best = jnp.where(held, 0.0, np.inf).astype(point.dtype)
    top = jnp.where(held, 0, 1)
    _, _, best, nearest = jax.lax.while_loop(unfinished, step, (stack, top, best, start))
    return nearest, best == 0


def order_cells(shape: tuple[int, int]) -> np.ndarray:
    """The flat indices of the cells of a lattice, neighbors near each other: Morton's order.

    **Arguments:**

    - `shape`: how many cells along each axis.

    **Returns:** `(cell,)`.
    """
    i, j = np.indices(shape).reshape(2, -1)
    return np.argsort(_interleave(i) | (_interleave(j) << 1), kind="stable")


def order_points(points: Float[Array, "2 point"]) -> Int[Array, " point"]:
    """The order that brings points which are near each other together.

    **Arguments:**

    - `points`: `(2, point)`.

    **Returns:** indices `(point,)`.
    """
    low, high = jnp.min(points, axis=1, keepdims=True), jnp.max(points, axis=1, keepdims=True)
    # 15 bits per axis fit into the 32 bits that integers have without float64.
    scaled = (points - low) / jnp.maximum(high - low, jnp.finfo(points.dtype).tiny) * (2**15 - 1)
    i, j = scaled.astype(jnp.int32)
    return jnp.argsort(_interleave(i) | (_interleave(j) << 1))


def _interleave(number):
    """Zeros between the lowest 16 bits."""
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        number = (number | (number << shift)) & mask
    return number


def _count_levels(elements: int) -> int:
    levels = 0
    while _WAYS**levels < elements:
        levels += 1
    return levels


def nearest_image(
    offset: Float[Array, "*point 2"], periods: tuple[float | None, ...]
) -> Float[Array, "*point 2"]:
    """The shortest of all periodic images of an offset.

    **Arguments:**

    - `offset`: `(*point, 2)`.
    - `periods`: per axis, the length after which everything comes again, or `None`.

    **Returns:** `(*point, 2)`.
    """
    parts = [
        part if period is None else part - period * jnp.round(part / period)
        for part, period in zip(jnp.moveaxis(offset, -1, 0), periods, strict=True)
    ]
    return jnp.stack(parts, axis=-1)


def find_image(
    point: Float[Array, "2"], corners: Float[Array, "corner 2"], periods: tuple[float | None, ...]
) -> Float[Array, "2"]:
    """The periodic image of a point that a polygon could hold.

    **Arguments:**

    - `point`: `(2,)`.
    - `corners`: `(corner, 2)`.
    - `periods`: per axis, the length after which everything comes again, or `None`.

    **Returns:** `(2,)`.
    """
    middle = (jnp.min(corners, axis=0) + jnp.max(corners, axis=0)) / 2
    return middle + nearest_image(point - middle, periods) if any(periods) else point


def project_point(
    point: Float[Array, "2"], corners: Float[Array, "corner 2"], periods: tuple[float | None, ...]
) -> Float[Array, "2"]:
    """The point of a convex polygon that is nearest to a point, the point's own image where the polygon holds it.

    **Arguments:**

    - `point`: `(2,)`.
    - `corners`: counterclockwise, `(corner, 2)`.
    - `periods`: per axis, the length after which everything comes again, or `None`.

    **Returns:** `(2,)`.
    """
    image = find_image(point, corners, periods)
    offset = image - corners
    sides = jnp.roll(corners, -1, axis=0) - corners
    inside = jnp.all(sides[:, 0] * offset[:, 1] - sides[:, 1] * offset[:, 0] >= 0)
    tiny = jnp.finfo(corners.dtype).tiny
    along = jnp.sum(offset * sides, axis=1) / jnp.maximum(jnp.sum(sides**2, axis=1), tiny)
    apart = offset - jnp.clip(along, 0, 1)[:, None] * sides
    nearest = apart[jnp.argmin(jnp.sum(apart**2, axis=1))]
    return jnp.where(inside, image, image - nearest)
