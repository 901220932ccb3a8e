"""Structured meshes of a box: the regular cells of a grid, with their corners moved.

A mesh is its vertices. Cell `i` of an axis lies between the vertices `i` and `i + 1`; on a periodic axis the last cell
ends at the first vertex, one period further. Unknowns live where those of a `Grid` live: on a periodic axis at the
vertices, on an axis with walls at the middle of a cell, which is the mean of its corners.

A mesh is a calculus. With the map `x(xi)` from the grid to the mesh, the chain rule gives

    du/dx_k       = sum_i (J^-1)_ik du/dxi_i,                          J_ki = dx_k/dxi_i
    d2u/dx_k dx_l = sum_ij (J^-1)_ik (J^-1)_jl (d2u/dxi_i dxi_j - sum_m du/dx_m d2x_m/dxi_i dxi_j)

where both the unknown and the map are differentiated by the same formulas on the grid, so that derivatives of linear
fields are exact on any mesh, to rounding.

**Reference:** Huang and Russell, "Adaptive Moving Mesh Methods", 2011, doi:10.1007/978-1-4419-7916-2.
"""

import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import (
    AbstractCalculus,
    Box,
    Dirichlet,
    Field,
    FiniteDifference,
    Grid,
    Robin,
)
from ..pdes.calculus import check_field, check_orders, check_values
from .mesh import AbstractMesh, Density


class StructuredMesh(AbstractMesh):
    """A grid whose cells have moved corners; intervals in one dimension, quadrilaterals in two.

    The walls of the grid's box hold for the unknown on the moved mesh, too. Normal derivatives there are rescaled by
    the stretch of the cells at the wall, which supposes that grid lines meet walls at right angles, as those of
    Monge-Ampere movers do.

    **Arguments:**

    - `grid`: the regular grid that was moved, with the box and its boundaries.
    - `vertices`: the corners `(dim, *vertex)`, lengths: as many as cells along a periodic axis, one more along an axis
        with walls.
    - `discretize`: makes the calculus of a grid, by which unknown and map are differentiated: `FiniteDifference`, a
        `functools.partial` of it, or `Spectral` on a box that is periodic throughout.

    **Raises:** `ValueError` for more than two dimensions, or vertices of another shape than the grid's.
    """

    grid: Grid
    vertices: Float[Array, "dim *vertex"]
    discretize: Callable[[Grid], AbstractCalculus] = eqx.field(static=True, default=FiniteDifference)

    def __check_init__(self):
        if not isinstance(self.grid, Grid):
            raise ValueError(
                f"A StructuredMesh needs a Grid first; got {type(self.grid).__name__}. Write uniform_mesh(grid)."
            )
        if self.grid.dimensions > 2:
            raise ValueError(
                f"A StructuredMesh has 1 or 2 dimensions; the grid has {self.grid.dimensions}. Use a fixed grid there."
            )
        expected = (self.grid.dimensions, *vertex_shape(self.grid))
        if jnp.shape(self.vertices) != expected:
            raise ValueError(
                f"A StructuredMesh of this grid has vertices of shape {expected} (dim, *vertex), one more than cells "
                f"along an axis with walls; got {jnp.shape(self.vertices)}. uniform_mesh(grid).vertices has it."
            )

    @property
    def dimensions(self) -> int:
        """The number of space axes."""
        return self.grid.dimensions

    @property
    def coordinates(self):
        """The points of the unknowns, `(dim, *space)`."""
        return self._reference + self._displacement

    @property
    def closed_vertices(self) -> Float[Array, "dim *corner"]:
        """The vertices `(dim, *corner)`, those at a periodic seam repeated: one more than cells on each axis."""
        return close_vertices(self.vertices, self.grid)

    @property
    def volumes(self) -> Float[Array, "*space"]:
        """The signed length or area of each cell, `(*space)`: negative for a cell that is turned over."""
        corners = self.closed_vertices
        if self.dimensions == 1:
            return corners[0, 1:] - corners[0, :-1]
        return signed_areas(corners)

    @property
    def corner_jacobians(self) -> Float[Array, "corner *space"]:
        """The Jacobian determinant at each corner of each cell, `(corner, *space)`, over that of the uniform mesh.

        All four are positive exactly where a quadrilateral is convex and not turned over.
        """
        corners = self.closed_vertices
        if self.dimensions == 1:
            return self.volumes[None] / self.grid.spacing[0]
        low, high = slice(None, -1), slice(1, None)
        found = []
        for i, j in itertools.product((low, high), (low, high)):
            along = corners[:, high, j] - corners[:, low, j]
            across = corners[:, i, high] - corners[:, i, low]
            found.append(along[0] * across[1] - along[1] * across[0])
        return jnp.stack(found) / np.prod(self.grid.spacing)

    @property
    def boundary_error(self):
        """The farthest that a vertex is off the wall it belongs on, a length."""
        box, worst = self.grid.box, jnp.zeros((), self.vertices.dtype)
        for axis, periodic in enumerate(box.periodic):
            if not periodic:
                position = jnp.moveaxis(self.vertices[axis], axis, 0)
                off = jnp.maximum(abs(position[0] - box.lower[axis]), abs(position[-1] - box.upper[axis]))
                worst = jnp.maximum(worst, jnp.max(off))
        return worst

    @property
    def domain_volume(self):
        """The length or area of the box."""
        return float(np.prod(self.grid.box.lengths))

    def masses(self, density: Density, points: int):
        """By Gauss' formula on the bilinear image of each cell; see `AbstractMesh.masses` for shapes."""
        nodes, weights = np.polynomial.legendre.leggauss(points)
        s, w = ((nodes + 1) / 2).tolist(), (weights / 2).tolist()
        corners = self.closed_vertices
        if self.dimensions == 1:
            low, high = corners[:, :-1], corners[:, 1:]
            values = sum(wi * density(low + si * (high - low)) for si, wi in zip(s, w, strict=True))
            return values * self.volumes
        a, b = corners[:, :-1, :-1], corners[:, 1:, :-1]
        c, d = corners[:, :-1, 1:], corners[:, 1:, 1:]

        def at(node):
            p, q, weight = node
            along = (1 - q) * (b - a) + q * (d - c)
            across = (1 - p) * (c - a) + p * (d - b)
            place = (1 - p) * ((1 - q) * a + q * c) + p * ((1 - q) * b + q * d)
            return weight * density(place) * (along[0] * across[1] - along[1] * across[0])

        table = np.array(
            [(p, q, wp * wq) for p, wp in zip(s, w, strict=True) for q, wq in zip(s, w, strict=True)]
        )
        # One node at a time: the program stays small, and so does its memory.
        start = jnp.zeros(self.grid.shape, corners.dtype)
        total, _ = jax.lax.scan(
            lambda sum_, node: (sum_ + at(node), None), start, jnp.asarray(table, corners.dtype)
        )
        return total

    @property
    def jacobian(self) -> Float[Array, "dim dim *space"]:
        """`dx_k/dxi_i` at the points of the unknowns, `(k, i, *space)`."""
        return self._first(self._coordinate_field(None))

    def field(self, u):
        """Wrap values `(channel, *space)`, which obey the boundary conditions of the grid's box."""
        values = check_values("StructuredMesh.field", u, self.grid.shape)
        return Field(values, self.grid.box.boundaries)

    def known(self, values):
        """Wrap a coefficient `(channel, *space)`; at walls it is extrapolated, without a condition."""
        return Field(check_values("StructuredMesh.known", values, self.grid.shape), None)

    def derivative(self, u, orders):
        """The chain rule, up to two orders at a time; see `AbstractCalculus.derivative` for shapes."""
        check_field(u)
        axes = [
            axis for axis, order in enumerate(check_orders(orders, self.dimensions)) for _ in range(order)
        ]
        while axes:
            now, axes = axes[:2], axes[2:]
            # A wall's condition is on u, not on its derivatives.
            u = Field(self._differentiate(u, tuple(now)), None)
        return u.value

    def gradient(self, u: Field) -> Float[Array, "channel dim *space"]:
        """All first derivatives at once.

        **Arguments:**

        - `u`: the field, values `(channel, *space)`.

        **Returns:** `(channel, dim, *space)`.
        """
        check_field(u)
        inside = self._grid_field(u)
        slopes = self._first(inside)
        return jnp.einsum("ik...,ci...->ck...", self._inverse(u), slopes)

    def hessian(self, u: Field) -> Float[Array, "channel dim dim *space"]:
        """All second derivatives at once.

        **Arguments:**

        - `u`: the field, values `(channel, *space)`.

        **Returns:** `(channel, dim, dim, *space)`.
        """
        check_field(u)
        inverse, gradient = self._inverse(u), self.gradient(u)
        bends = self._second(self._coordinate_field(u.source)).astype(u.value.dtype)
        rest = self._second(self._grid_field(u)) - jnp.einsum("cm...,mij...->cij...", gradient, bends)
        return jnp.einsum("ik...,jl...,cij...->ckl...", inverse, inverse, rest)

    def laplacian(self, u):
        """The trace of the Hessian; see `AbstractCalculus.laplacian` for shapes."""
        return jnp.einsum("ckk...->c...", self.hessian(u))

    def _differentiate(self, u: Field, axes: tuple[int, ...]) -> Array:
        if len(axes) == 1:
            return self.gradient(u)[:, axes[0]]
        return self.hessian(u)[:, axes[0], axes[1]]

    @property
    def _reference(self) -> Array:
        return self.grid.coordinates.astype(self.vertices.dtype)

    @property
    def _displacement(self) -> Array:
        """Of the points of the unknowns, `(dim, *space)`."""
        moved = self.vertices - reference_vertices(self.grid).astype(self.vertices.dtype)
        return self._to_points(moved)

    def _to_points(self, values: Array, skip: int | None = None) -> Array:
        """From vertices to points: means along axes with walls."""
        for axis, periodic in enumerate(self.grid.box.periodic):
            if not periodic and axis != skip:
                values = _halve(values, axis + 1)
        return values

    def _inverse(self, u: Field) -> Array:
        """`dxi_i/dx_k`, `(i, k, *space)`, in the precision of the unknown."""
        jacobian = self._first(self._coordinate_field(u.source)).astype(u.value.dtype)
        if self.dimensions == 1:
            return 1 / jacobian
        (a, b), (c, d) = jacobian
        return jnp.stack([jnp.stack([d, -b]), jnp.stack([-c, a])]) / (a * d - b * c)

    def _first(self, inside: tuple[AbstractCalculus, Field, Array]) -> Array:
        calculus, field, linear = inside
        slopes = [calculus.partial(field, axis) for axis in range(self.dimensions)]
        # The displacement was differentiated, the map is the identity more.
        return jnp.stack(slopes, axis=1) + linear

    def _second(self, inside: tuple[AbstractCalculus, Field, Array]) -> Array:
        calculus, field, _ = inside
        n = self.dimensions
        units = np.eye(n, dtype=int)
        upper = {
            (i, j): calculus.derivative(field, tuple((units[i] + units[j]).tolist()))
            for i in range(n)
            for j in range(i, n)
        }
        rows = [jnp.stack([upper[min(i, j), max(i, j)] for j in range(n)], axis=1) for i in range(n)]
        return jnp.stack(rows, axis=1)

    def _grid_field(self, u: Field) -> tuple[AbstractCalculus, Field, Array]:
        """The unknown on the grid, with conditions at walls in the coordinates of the grid."""
        zero = jnp.zeros((), u.value.dtype)
        if u.source is None:
            calculus = self.discretize(self.grid)
            return calculus, calculus.known(u.value), zero
        pairs = []
        for axis, pair in enumerate(self.grid.box.boundaries):
            if pair[0].is_periodic:
                pairs.append(pair)
                continue
            sides = []
            for side, wall in enumerate(pair):
                a, b, g = wall.robin()
                # A Python float or an array of the unknown's precision: no promotion.
                sides.append(Robin(a, b / self._stretch(axis, side), g))
            pairs.append(tuple(sides))
        calculus = self.discretize(self._boxed(pairs))
        return calculus, calculus.field(u.value), zero

    def _coordinate_field(self, conditions) -> tuple[AbstractCalculus, Field, Array]:
        """The displacement on the grid, at walls with the kind of condition that the unknown has.

        The same kind makes derivatives of linear fields exact: if the unknown is given at the wall so is the position,
        and if its slope is given, so is the stretch.
        """
        identity = jnp.eye(self.dimensions, dtype=self.vertices.dtype)
        identity = identity.reshape(identity.shape + (1,) * self.dimensions)
        pairs = []
        for axis, pair in enumerate(self.grid.box.boundaries):
            if pair[0].is_periodic:
                pairs.append(pair)
                continue
            kinds = (None, None) if conditions is None else conditions[axis]
            pairs.append(tuple(self._position_at_wall(axis, side, kinds[side]) for side in (0, 1)))
        calculus = self.discretize(self._boxed(pairs))
        wrap = calculus.known if conditions is None else calculus.field
        return calculus, wrap(self._displacement), identity

    def _position_at_wall(self, axis: int, side: int, wall):
        """`a d + b dd/dn = ...` for the displacement `d`, where the unknown has `a u + b du/dn = g`."""
        moved = self.vertices - reference_vertices(self.grid).astype(self.vertices.dtype)
        at_wall = jnp.take(self._to_points(moved, skip=axis), -side, axis=axis + 1)
        if wall is None:
            return Dirichlet(at_wall)
        a, b, _ = wall.robin()
        if np.prod(jnp.shape(a)) != 1 or np.prod(jnp.shape(b)) != 1:
            return Dirichlet(at_wall)  # no one kind for all channels
        a, b = jnp.reshape(a, ()), jnp.reshape(b, ())
        stretch = self._stretch(axis, side)
        outward = 1.0 if side else -1.0
        unit = jnp.zeros(self.dimensions, self.vertices.dtype).at[axis].set(outward)
        unit = unit.reshape((-1,) + (1,) * (self.dimensions - 1))
        # Normal to the wall the position grows by `stretch` per unit of the grid: the displacement by one less.
        slope = b / stretch * unit * (stretch - 1)
        return Robin(a, b / stretch, a * at_wall + slope)

    def _stretch(self, axis: int, side: int) -> Array:
        """How fast the position moves off a wall, per unit of the grid: `(*wall)`, to second order."""
        moved = self._to_points(self.vertices, skip=axis)[axis]
        near = jnp.moveaxis(moved, axis, 0)
        near = near[::-1] if side else near
        outward = -1.0 if side else 1.0
        return outward * (-1.5 * near[0] + 2 * near[1] - 0.5 * near[2]) / self.grid.spacing[axis]

    def _boxed(self, pairs) -> Grid:
        box = self.grid.box
        return Grid(Box(box.lower, box.upper, tuple(pairs)), self.grid.shape)


def uniform_mesh(
    grid: Grid, *, discretize: Callable[[Grid], AbstractCalculus] = FiniteDifference
) -> StructuredMesh:
    """The mesh of a grid that has not been moved.

    **Arguments:**

    - `grid`: the grid.
    - `discretize`: as for `StructuredMesh`.

    **Returns:** the mesh.
    """
    return StructuredMesh(grid, reference_vertices(grid), discretize)


def vertex_shape(grid: Grid) -> tuple[int, ...]:
    """How many vertices there are along each axis.

    **Arguments:**

    - `grid`: the grid.

    **Returns:** as many as cells along a periodic axis, one more along an axis with walls.
    """
    return tuple(n + (not periodic) for n, periodic in zip(grid.shape, grid.box.periodic, strict=True))


def reference_vertices(grid: Grid) -> Float[Array, "dim *vertex"]:
    """The vertices of a grid's own regular cells.

    **Arguments:**

    - `grid`: the grid.

    **Returns:** `(dim, *vertex)`, in JAX's default floating precision.
    """
    axes = [
        low + h * np.arange(n)
        for low, h, n in zip(grid.box.lower, grid.spacing, vertex_shape(grid), strict=True)
    ]
    return jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij")), dtype=float)


def close_vertices(vertices: Float[Array, "dim *vertex"], grid: Grid) -> Float[Array, "dim *corner"]:
    """Repeat the vertices at a periodic seam, one period further.

    **Arguments:**

    - `vertices`: `(dim, *vertex)`.
    - `grid`: the grid they belong to.

    **Returns:** `(dim, *corner)`: one more than cells along each axis.
    """
    for axis, (periodic, length) in enumerate(zip(grid.box.periodic, grid.box.lengths, strict=True)):
        if periodic:
            first = jnp.take(vertices, jnp.array([0]), axis=axis + 1).at[axis].add(length)
            vertices = jnp.concatenate([vertices, first], axis=axis + 1)
    return vertices


def signed_areas(corners: Float[Array, "2 x y"]) -> Float[Array, "x-1 y-1"]:
    """The areas of the quadrilaterals between lattice points, from their diagonals.

    **Arguments:**

    - `corners`: `(2, x, y)`.

    **Returns:** `(x - 1, y - 1)`; negative where a quadrilateral is turned over.
    """
    rising = corners[:, 1:, 1:] - corners[:, :-1, :-1]
    falling = corners[:, :-1, 1:] - corners[:, 1:, :-1]
    return 0.5 * (rising[0] * falling[1] - rising[1] * falling[0])


def _halve(values: Array, axis: int) -> Array:
    """Means of neighbors along an axis."""
    n = values.shape[axis]
    low = jnp.take(values, jnp.arange(n - 1), axis=axis)
    return 0.5 * (low + jnp.take(values, jnp.arange(1, n), axis=axis))
