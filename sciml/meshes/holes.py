"""Triangle meshes of a rectangle with a round hole, finer at the hole.

The size of edges grows linearly from the circle to a distance `reach`, and is the same beyond. Nodes of the boundary
are placed by it. All others start from a low-discrepancy sequence and push one another away along the edges of
Delaunay's triangulation until edges are as long as they should be: Persson and Strang's DistMesh, with the boundary
held. Nothing is random: the same arguments make the same mesh.

**Reference:** Persson and Strang, "A simple mesh generator in MATLAB", 2004, doi:10.1137/S0036144503429121; Roberts,
"The unreasonable effectiveness of quasirandom sequences", 2018 (the sequence of the plastic number).
"""

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._optional import require
from ..pdes import AbstractBoundary
from .densities import AbstractDensity
from .mesh import Density
from .triangle_connectivity import find_segments
from .triangles import TriangleMesh

HOLE = "hole"
_PIECES = 400  # of quadrature, per axis
_ROUNDS = 80  # of relaxation; 200 make no better triangles
_MARGIN = 0.5  # of an edge, between the boundary and nodes that are not on it
_PRESSURE, _STRIDE = 1.2, 0.2  # how much longer bars want to be, and a step of Euler's method
_PLASTIC, _THIRD = 1.32471795724474602596, 0.5497004779019703  # a third coordinate of the sequence


class HoleGrading(eqx.Module):
    """A round hole, and how edges grow with the distance from it.

    **Arguments:**

    - `radius`: of the hole.
    - `center`: of the hole, two lengths.
    - `finest`: edges at the hole over those far from it, at most 1.
    - `reach`: the distance off the circle from which on edges have one size; by default four radii.

    **Raises:** `ValueError` for numbers out of range.
    """

    radius: float
    center: tuple[float, float]
    finest: float
    reach: float

    def __init__(
        self,
        radius: float,
        *,
        center: Sequence[float] = (0.0, 0.0),
        finest: float = 0.35,
        reach: float | None = None,
    ):
        self.radius, self.finest = float(radius), float(finest)
        self.center = tuple(float(c) for c in center)
        self.reach = 4 * self.radius if reach is None else float(reach)
        numbers = np.array([self.radius, self.finest, self.reach, *self.center])
        if len(self.center) != 2 or not np.all(np.isfinite(numbers)):
            raise ValueError(
                f"HoleGrading needs finite numbers and a center of two coordinates; got {radius=}, {center=}, "
                f"{finest=}, {reach=}."
            )
        if not (self.radius > 0 and 0 < self.finest <= 1 and self.reach > 0):
            raise ValueError(
                f"HoleGrading needs radius > 0, 0 < finest <= 1 and reach > 0; got radius={self.radius:g}, "
                f"finest={self.finest:g}, reach={self.reach:g}."
            )

    def distance(self, points: Float[Array, "2 *points"]) -> Float[Array, "*points"]:
        """How far points are outside of the circle.

        **Arguments:**

        - `points`: positions `(2, *points)`, as NumPy's arrays or JAX's.

        **Returns:** `(*points,)`, negative inside.
        """
        xp = np if isinstance(points, np.ndarray) else jnp
        x, y = points[0] - self.center[0], points[1] - self.center[1]
        # Not at zero, where the root has no derivative.
        return xp.sqrt(xp.maximum(x**2 + y**2, 1e-12 * self.radius**2)) - self.radius

    def size(self, points: Float[Array, "2 *points"]) -> Float[Array, "*points"]:
        """The length of edges, over that far from the hole.

        **Arguments:**

        - `points`: positions `(2, *points)`, as NumPy's arrays or JAX's.

        **Returns:** `(*points,)`, from `finest` to 1.
        """
        xp = np if isinstance(points, np.ndarray) else jnp
        return self.finest + (1 - self.finest) * xp.clip(self.distance(points) / self.reach, 0, 1)


class Graded(AbstractDensity):
    """A density of nodes for movers of a mesh that is graded already: `m(x) size(x)^2`.

    A mover of triangles leaves a mesh as it was made where its density is even. So what it is given is how much more
    densely nodes should stand than they did.

    **Arguments:**

    - `density`: how densely nodes should stand, positions `(2, *points)` to positive numbers `(*points,)`.
    - `grading`: how the mesh was graded.
    """

    density: Density
    grading: HoleGrading = eqx.field(static=True)

    def __call__(self, x):
        """See `AbstractDensity.__call__` for shapes."""
        return self.density(x) * self.grading.size(jnp.asarray(x)) ** 2


def mesh_with_hole(
    lower: Sequence[float],
    upper: Sequence[float],
    grading: HoleGrading,
    *,
    nodes: int,
    boundaries: AbstractBoundary | Mapping[Hashable, AbstractBoundary] | None = None,
) -> TriangleMesh:
    """Cover a rectangle with a round hole by triangles.

    The circle is the wall `"hole"`, sides are 0 bottom, 1 right, 2 top and 3 left. Movers keep the nodes of the circle
    where they are, and slide those of the sides.

    ```python
    grading = HoleGrading(0.5, reach=1.0)
    mesh = mesh_with_hole((-1.5, -2.5), (8.0, 2.5), grading, nodes=2500)
    moved = Spring().move(Graded(density, grading), mesh)
    ```

    **Arguments:**

    - `lower`, `upper`: the corners of the rectangle, two lengths each.
    - `grading`: the hole, and how edges grow with the distance from it.
    - `nodes`: how many in all.
    - `boundaries`: as for `TriangleMesh`.

    **Returns:** the mesh.

    **Raises:** `ValueError` for a hole that is not inside of the rectangle, or too few nodes to follow the boundary;
    `ImportError` without scipy.
    """
    domain = _Domain(*_check(lower, upper, grading, nodes), grading)
    domain = dataclasses.replace(domain, scale=domain.find_scale(nodes))
    boundary = domain.place_boundary()
    count = nodes - boundary.shape[1]
    if count < boundary.shape[1]:
        raise ValueError(
            f"mesh_with_hole: {boundary.shape[1]} of {nodes} nodes are on the boundary, too many to fill the inside "
            f"well. Take more nodes."
        )
    points = domain.relax(boundary, domain.scatter(count))
    triangles = domain.connect(points)
    walls = domain.name_walls(points, triangles, boundary.shape[1])
    return TriangleMesh(points, triangles, walls=walls, boundaries=boundaries)


@dataclasses.dataclass(frozen=True)
class _Domain:
    """A rectangle with a hole; `scale` is the length of an edge far from the hole."""

    low: np.ndarray
    high: np.ndarray
    grading: HoleGrading
    scale: float = 1.0

    def length(self, points):
        """The length of edges at points `(2, point)`, `(point,)`."""
        return self.scale * self.grading.size(points)

    def sides(self):
        """For each side, counter-clockwise: start, end, and how many edges go into each of its pieces."""
        (a, b), (c, d) = self.low, self.high
        corners = np.array([[a, b], [c, b], [c, d], [a, d]])
        share = (np.arange(_PIECES) + 0.5) / _PIECES
        found = []
        for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            middles = start[:, None] + (end - start)[:, None] * share
            found.append((start, end, math.dist(start, end) / _PIECES / self.length(middles)))
        return found

    def count_around(self):
        """How many edges go around the hole, not rounded."""
        return 2 * math.pi * self.grading.radius / (self.scale * self.grading.finest)

    def find_scale(self, nodes):
        """The scale for so many nodes: `2 / sqrt(3) h^-2` of them per area, and half of those on the boundary."""
        share = (np.arange(_PIECES) + 0.5) / _PIECES
        axes = [a + (b - a) * share for a, b in zip(self.low, self.high, strict=True)]
        places = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(2, -1)
        outside = self.grading.distance(places) > 0
        area = np.prod(self.high - self.low) / _PIECES**2
        inside = 2 / math.sqrt(3) * area * np.sum(self.length(places[:, outside]) ** -2)
        quarter = (sum(np.sum(weights) for _, _, weights in self.sides()) + self.count_around()) / 4
        # nodes = inside / s^2 + 2 quarter / s
        return float((quarter + math.sqrt(quarter**2 + nodes * inside)) / nodes)

    def place_boundary(self):
        """The nodes of circle and sides, `(2, node)`."""
        around = max(12, round(self.count_around()))
        angles = 2 * np.pi * np.arange(around) / around
        circle = self.grading.radius * np.stack([np.cos(angles), np.sin(angles)])
        placed = [np.asarray(self.grading.center)[:, None] + circle]
        for start, end, weights in self.sides():
            total = np.concatenate([[0.0], np.cumsum(weights)])
            count = max(1, round(total[-1]))
            share = np.interp(total[-1] * np.arange(count) / count, total, np.linspace(0, 1, len(total)))
            placed.append(start[:, None] + (end - start)[:, None] * share)
        return np.concatenate(placed, axis=1)

    def scatter(self, count):
        """So many points inside, dense where edges are short, `(2, node)`."""
        found, first = np.zeros((2, 0)), 1
        while found.shape[1] < count:
            number = np.arange(first, first + 8 * count)
            first += 8 * count
            places = np.stack([np.mod(0.5 + number / _PLASTIC**k, 1) for k in (1, 2)])
            points = self.low[:, None] + (self.high - self.low)[:, None] * places
            chance = (self.grading.finest / self.grading.size(points)) ** 2
            chosen = (np.mod(0.5 + number * _THIRD, 1) < chance) & (self.grading.distance(points) > 0)
            found = np.concatenate([found, points[:, chosen]], axis=1)
        return found[:, :count]

    def relax(self, boundary, inner):
        """Let the inner nodes push one another away; all nodes `(2, node)`, those of the boundary first."""
        fixed = boundary.shape[1]
        points = np.concatenate([boundary, inner], axis=1)
        for _ in range(_ROUNDS):
            sides = self.connect(points)[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
            start, end = np.unique(np.sort(sides, axis=1), axis=0).T
            along = points[:, start] - points[:, end]
            lengths = np.hypot(*along)
            wanted = self.length((points[:, start] + points[:, end]) / 2)
            wanted = wanted * _PRESSURE * math.sqrt(np.sum(lengths**2) / np.sum(wanted**2))
            push = _STRIDE * np.maximum(wanted - lengths, 0) / lengths * along
            steps = [
                np.bincount(start, row, points.shape[1]) - np.bincount(end, row, points.shape[1])
                for row in push
            ]
            points[:, fixed:] = self.keep_inside(points[:, fixed:] + np.stack(steps)[:, fixed:])
        return points

    def keep_inside(self, points):
        """Points that came out are put back, a part of an edge from the boundary."""
        margin = _MARGIN * self.length(points)
        center = np.asarray(self.grading.center)[:, None]
        distance = np.maximum(self.grading.distance(points), margin) + self.grading.radius
        points = center + (points - center) * (
            distance / (self.grading.distance(points) + self.grading.radius)
        )
        return np.clip(points, self.low[:, None] + margin, self.high[:, None] - margin)

    def connect(self, points):
        """Delaunay's triangles outside of the hole, `(triangle, 3)`."""
        triangles = require("scipy.spatial", extra="meshes").Delaunay(points.T).simplices
        return triangles[self.grading.distance(points[:, triangles].mean(axis=2)) > 0]

    def name_walls(self, points, triangles, fixed):
        """The pieces of the boundary by the name of their wall."""
        segments = find_segments(triangles)
        if len(segments) != fixed or segments.max() >= fixed:
            raise ValueError(
                f"mesh_with_hole: with {points.shape[1]} nodes the edges are too long to follow the boundary. Take "
                f"more nodes, or a larger hole."
            )
        ends = points[:, segments]
        lines = [(1, self.low[1]), (0, self.high[0]), (1, self.high[1]), (0, self.low[0])]
        on = [np.all(ends[axis] == place, axis=1) for axis, place in lines]
        return {**{k: segments[there] for k, there in enumerate(on)}, HOLE: segments[~np.any(on, axis=0)]}


def _check(lower, upper, grading, nodes) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(grading, HoleGrading):
        raise ValueError(f"mesh_with_hole needs a HoleGrading; got {grading!r}. Write HoleGrading(radius).")
    low, high = np.asarray(lower, float), np.asarray(upper, float)
    if low.shape != (2,) or high.shape != (2,) or not np.all(high > low):
        raise ValueError(
            f"mesh_with_hole needs lower and upper as two numbers each, with lower below upper; got {lower} and "
            f"{upper}."
        )
    center = np.asarray(grading.center)
    if not (np.all(center - grading.radius > low) and np.all(center + grading.radius < high)):
        raise ValueError(
            f"mesh_with_hole needs a hole inside of the rectangle; got radius {grading.radius:g} around "
            f"{grading.center} in {low.tolist()} to {high.tolist()}."
        )
    if isinstance(nodes, bool) or int(nodes) != nodes or nodes < 100:
        raise ValueError(f"mesh_with_hole needs nodes as an integer of at least 100; got {nodes!r}.")
    return low, high
