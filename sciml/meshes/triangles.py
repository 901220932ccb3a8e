"""Unstructured triangle meshes, as a calculus on their nodes.

A mesh is its points. It remembers where they were when it was made, `reference`, and the areas of the triangles then,
so that a moved mesh knows whether it is tangled and whether its boundary is still where it was.

It is a calculus whose unknowns are at the nodes. Around each node the quadratic through the node's own value is fitted
to two rings of neighbors,

    minimize  sum_j |x_j - x_i|^-6 (u_i + g . d_j + d_j . H d_j / 2 - u_j)^2,        d_j = x_j - x_i,

and its slope and curvature are the derivatives: exact for quadratic fields on any mesh, of order two and one on smooth
fields. The fit is made for the points as they are, so it can be differentiated with respect to them.

**Reference:** Liszka and Orkisz, "The finite difference method at arbitrary irregular grids and its application in
applied mechanics", 1980, doi:10.1016/0045-7949(80)90149-2.
"""

from collections.abc import Hashable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..pdes import AbstractBoundary, Dirichlet, Field
from ..pdes.calculus import check_field, check_orders, check_values
from .mesh import AbstractMesh, Density
from .triangle_checks import check_points, check_triangles, signed_areas_of
from .triangle_connectivity import Connectivity, connect


class TriangleMesh(AbstractMesh):
    """Triangles that share edges, with one unknown per node.

    The boundary is found from the triangles. Without `walls`, each straight side is a wall, numbered counter-clockwise
    from the leftmost, lowest corner: those of a rectangle are 0 bottom, 1 right, 2 top and 3 left. Every node at which
    a curved boundary turns is a corner. Triangles that run clockwise are turned around.

    A boundary condition is a value that `field` writes to the nodes of a wall, so rates there have no effect: read the
    unknown of an evolving solution from `mesh.field(u).value`. Walls without a condition are treated as the inside, by
    one-sided fits.

    **Arguments:**

    - `points`: the nodes `(2, node)`, lengths.
    - `triangles`: the indices of their corners `(triangle, 3)`.
    - `walls`: by name, the pieces of the boundary of each wall as pairs of nodes `(segment, 2)`. Pieces not named are
        on the wall `"untagged"`.
    - `boundaries`: a `Dirichlet` for all walls, or one per name of a wall. Its value has shape `()`, or broadcasts to
        `(channel, node)`, of which the nodes of the wall are used; at a corner the wall named last decides.
    - `tolerance`: how far, over the size of the domain, a node may be off the line of a straight side that it is put
        on; 1e-9 by default, 1e-5 for points in float32.

    **Raises:** `ValueError` that names nodes or triangles: indices out of range, nodes in no triangle or twice at one
    place, triangles without area, a tangled mesh, pieces of walls that are not on the boundary, other conditions than
    `Dirichlet`.
    """

    points: Float[Array, "2 node"]
    reference: Float[Array, "2 node"]
    reference_volumes: Float[Array, " triangle"]
    connectivity: Connectivity
    boundaries: dict[Hashable, Dirichlet]

    def __init__(
        self,
        points: Float[Array, "2 node"],
        triangles: Int[Array, "triangle 3"],
        *,
        walls: Mapping[Hashable, Int[Array, "segment 2"]] | None = None,
        boundaries: AbstractBoundary | Mapping[Hashable, AbstractBoundary] | None = None,
        tolerance: float | None = None,
    ):
        points = check_points("TriangleMesh", points)
        triangles = check_triangles("TriangleMesh", points, triangles)
        if tolerance is None:
            tolerance = 1e-9 if points.dtype == np.float64 else 1e-5
        self.connectivity, points = connect(points, triangles, walls, tolerance)
        # Not `jnp.asarray`, which would compile a program for each shape.
        self.points, self.reference_volumes = jax.device_put((points, signed_areas_of(points, triangles)))
        self.reference = self.points
        self.boundaries = _check_boundaries(boundaries, self.connectivity.walls)

    @property
    def triangles(self) -> Int[Array, "triangle 3"]:
        """The corners of each triangle, counter-clockwise before the mesh was moved, `(triangle, 3)`."""
        return self.connectivity.triangles

    @property
    def walls(self) -> tuple[Hashable, ...]:
        """The names of the walls."""
        return self.connectivity.walls

    @property
    def segments(self) -> Int[Array, "segment 2"]:
        """The ends of each piece of the boundary, with the domain to the left, `(segment, 2)`."""
        return self.connectivity.segments

    @property
    def on_boundary(self) -> Bool[Array, " node"]:
        """Whether a node is on the boundary, `(node,)`."""
        return jnp.any(self.connectivity.members, axis=0)

    @property
    def may_slide(self) -> Bool[Array, " node"]:
        """Whether a node is on a straight side and no corner of it, `(node,)`."""
        rails = self.connectivity.rails
        return rails[:, 0] != rails[:, 1]

    @property
    def tangents(self) -> Float[Array, "2 node"]:
        """The direction in which a node of a straight side may slide, of length one, `(2, node)`; else 0."""
        start, end = self.reference[:, self.connectivity.rails].transpose(2, 0, 1)
        along = end - start
        # One where there is no side: the root of zero has no derivative.
        squares = jnp.where(self.may_slide, jnp.sum(along**2, axis=0), 1)
        return along / jnp.sqrt(squares)

    @property
    def coordinates(self):
        """The nodes, `(2, node)`."""
        return self.points

    @property
    def volumes(self) -> Float[Array, " triangle"]:
        """The signed area of each triangle `(triangle,)`: negative for one that is turned over."""
        return signed_triangle_areas(self.points, self.triangles)

    @property
    def corner_jacobians(self) -> Float[Array, "3 triangle"]:
        """The area over that before the move, `(3, triangle)`: on a triangle the same at all corners."""
        return jnp.broadcast_to(self.volumes / self.reference_volumes, (3, len(self.triangles)))

    @property
    def boundary_error(self):
        """The farthest that a node of the boundary is off its straight side, or a corner off its place, a length."""
        rails = self.connectivity.rails
        start = self.reference[:, rails[:, 0]]
        length = jnp.sqrt(jnp.sum((self.reference[:, rails[:, 1]] - start) ** 2, axis=0))
        share = jnp.clip(jnp.sum((self.points - start) * self.tangents, axis=0), 0, length)
        off = jnp.sqrt(jnp.sum((self.points - start - share * self.tangents) ** 2, axis=0))
        return jnp.max(jnp.where(self.on_boundary, off, 0))

    @property
    def domain_volume(self):
        """The area inside the boundary of the mesh before the move."""
        a, b = jnp.moveaxis(self.reference[:, self.segments], -1, 0)
        return 0.5 * jnp.sum(a[0] * b[1] - a[1] * b[0])

    def masses(self, density: Density, points: int):
        """By Gauss' formula on a square collapsed to each triangle; see `AbstractMesh.masses` for shapes."""
        return self.means(density, points) * self.volumes

    def means(self, density: Density, points: int) -> Float[Array, " triangle"]:
        """The mean of a density over each triangle, one without area included.

        **Arguments:**

        - `density`: positions `(dim, *points)` to numbers `(*points,)`.
        - `points`: of Gauss' formula, per direction.

        **Returns:** `(triangle,)`.
        """
        nodes, weights = np.polynomial.legendre.leggauss(points)
        s, w = (nodes + 1) / 2, weights / 2
        table = np.array(
            [(1 - p, p * (1 - q), p * q, 2 * p * wp * wq) for p, wp in zip(s, w) for q, wq in zip(s, w)]
        )
        corners = self.points[:, self.triangles]

        def add(total, entry):
            return total + entry[3] * density(jnp.sum(corners * entry[:3], axis=-1)), None

        # One point of each triangle at a time: the program stays small, and so does its memory.
        start = jnp.zeros(len(self.triangles), self.points.dtype)
        return jax.lax.scan(add, start, jnp.asarray(table, self.points.dtype))[0]

    def move_to(self, points: Float[Array, "2 node"]) -> "TriangleMesh":
        """The same triangles with their nodes elsewhere, tangled or not; it works under `jit`, `vmap` and `grad`.

        **Arguments:**

        - `points`: where the nodes go, `(2, node)`.

        **Returns:** the moved mesh; what it was measured against stays.

        **Raises:** `ValueError` for another shape.
        """
        if jnp.shape(points) != self.points.shape:
            raise ValueError(
                f"TriangleMesh.move_to needs points of shape {self.points.shape} (2, node), one per node; got "
                f"{jnp.shape(points)}."
            )
        return eqx.tree_at(lambda m: m.points, self, jnp.asarray(points, self.points.dtype))

    def field(self, u):
        """Wrap values `(channel, node)`, those of walls replaced by their condition."""
        values = check_values("TriangleMesh.field", u, self.points.shape[1:])
        for name, wall in self.boundaries.items():
            there = self.connectivity.members[self.walls.index(name)]
            values = jnp.where(there, jnp.asarray(wall.value, values.dtype), values)
        return Field(values, self._stencils(values.dtype))

    def known(self, values):
        """Wrap a coefficient `(channel, node)`; no condition at walls."""
        values = check_values("TriangleMesh.known", values, self.points.shape[1:])
        return Field(values, self._stencils(values.dtype))

    def derivative(self, u, orders):
        """The slope or curvature of the fit, up to second order; see `AbstractCalculus.derivative` for shapes."""
        check_field(u)
        orders = check_orders(orders, 2)
        if orders == (0, 0):
            return u.value
        axes = [axis for axis, order in enumerate(orders) for _ in range(order)]
        if len(axes) > 2:
            raise ValueError(
                f"TriangleMesh fits quadratics, so it differentiates up to second order; got orders {orders}. Use a "
                f"StructuredMesh for a law with higher derivatives."
            )
        return self._apply(u, axes[0] if len(axes) == 1 else 2 + sum(axes))

    def gradient(self, u: Field) -> Float[Array, "channel 2 node"]:
        """Both first derivatives at once.

        **Arguments:**

        - `u`: the field, values `(channel, node)`.

        **Returns:** `(channel, 2, node)`.
        """
        check_field(u)
        return jnp.stack([self._apply(u, k) for k in (0, 1)], axis=1)

    def hessian(self, u: Field) -> Float[Array, "channel 2 2 node"]:
        """All second derivatives at once.

        **Arguments:**

        - `u`: the field, values `(channel, node)`.

        **Returns:** `(channel, 2, 2, node)`.
        """
        check_field(u)
        xx, xy, yy = (self._apply(u, k) for k in (2, 3, 4))
        return jnp.stack([jnp.stack([xx, xy], axis=1), jnp.stack([xy, yy], axis=1)], axis=1)

    def _apply(self, u: Field, which: int) -> Array:
        self._check_fit()
        around = u.value[:, self.connectivity.neighbors] - u.value[:, :, None]
        return jnp.sum(u.source[which] * around, axis=-1)

    def _check_fit(self) -> None:
        """Refuse before anything is solved: a singular fit gives numbers like any other."""
        connectivity = self.connectivity
        if connectivity.unfit:
            raise ValueError(
                f"TriangleMesh cannot fit a quadratic around node(s) {', '.join(map(str, connectivity.unfit))}: with "
                f"their neighbors they lie on a conic, such as two lines. Refine the mesh to three rows of nodes or "
                f"more; mesh and movers need no fit."
            )

    def _stencils(self, dtype) -> Array:
        """What the differences to the neighbors are weighted by for u_x, u_y, u_xx, u_xy, u_yy.

        `(5, node, neighbor)`. By Gram and Schmidt, twice, which is as stable as a QR factorization and stays one fused
        loop over all nodes.
        """
        present = self.connectivity.present
        offsets = self.points[:, self.connectivity.neighbors] - self.points[:, :, None]
        squares = jnp.sum(offsets**2, axis=0)
        scale = jnp.sqrt(jnp.sum(squares, axis=1, keepdims=True) / jnp.sum(present, axis=1, keepdims=True))
        scale = jax.lax.stop_gradient(scale)
        dx, dy = offsets / scale
        weight = jnp.where(present, jnp.where(present, dx**2 + dy**2, 1) ** -1.5, 0)
        basis, upper = [], {}
        for k, column in enumerate((dx, dy, dx**2 / 2, dx * dy, dy**2 / 2)):
            column = column * weight
            for _ in range(2):
                for j, q in enumerate(basis):
                    part = jnp.sum(q * column, axis=1, keepdims=True)
                    column, upper[j, k] = column - part * q, upper.get((j, k), 0) + part
            upper[k, k] = jnp.sqrt(jnp.sum(column**2, axis=1, keepdims=True))
            basis.append(column / upper[k, k])
        rows: dict[int, Array] = {}
        for k in reversed(range(5)):
            known = sum(upper[k, j] * rows[j] for j in range(k + 1, 5))
            rows[k] = (basis[k] - known) / upper[k, k]
        found = [rows[k] * weight / scale ** (1 if k < 2 else 2) for k in range(5)]
        return jnp.stack(found).astype(dtype)


def signed_triangle_areas(
    points: Float[Array, "2 node"], triangles: Int[Array, "triangle 3"]
) -> Float[Array, " triangle"]:
    """The areas of triangles.

    **Arguments:**

    - `points`: the nodes `(2, node)`, lengths.
    - `triangles`: the indices of their corners `(triangle, 3)`.

    **Returns:** `(triangle,)`, negative where the corners run clockwise.
    """
    a, b, c = jnp.moveaxis(points[:, triangles], -1, 0)
    return 0.5 * ((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _check_boundaries(boundaries, walls: tuple[Hashable, ...]) -> dict[Hashable, Dirichlet]:
    """One condition per wall that has one."""
    if boundaries is None:
        return {}
    if isinstance(boundaries, AbstractBoundary):
        boundaries = dict.fromkeys(walls, boundaries)
    for name, boundary in boundaries.items():
        if name not in walls:
            raise ValueError(
                f"TriangleMesh has no wall {name!r}; its walls are {', '.join(map(repr, walls))}."
            )
        if not isinstance(boundary, Dirichlet):
            raise ValueError(
                f"TriangleMesh takes Dirichlet conditions, values at the nodes of a wall; got "
                f"{type(boundary).__name__} on wall {name!r}. Use a StructuredMesh for the others, or leave the wall "
                f"without a condition."
            )
    return dict(boundaries)
