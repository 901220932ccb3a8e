"""Finite volumes on a moved mesh: averages over cells whose faces may move, conserved to rounding.

The average of `u` over a cell of volume `V`, whose faces `f` have the normals `n`, as long as the face is large, and
move by `w`, changes by what flows through the faces and by what they sweep up,

    d(V u)/dt = - sum_f (F(u) - u w) . n,        dV/dt = sum_f w . n,

so that a constant stays constant if both are integrated alike: the geometric conservation law.

A cell is that of an unknown: along an axis with walls the one between two vertices, along a periodic axis the one from
halfway to the vertex before to halfway to the next. Values are reconstructed from cell to cell as on a regular grid,
which is of second order where the mesh is smooth.

**Reference:** Thomas and Lombard, "Geometric Conservation Law and Its Application to Flow Computations on Moving
Grids", 1979, doi:10.2514/3.61273.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..pdes import AbstractCalculus, Field, Grid, Robin, van_leer
from ..pdes.calculus import check_field
from ..pdes.finite_difference import ghost_values
from .structured import StructuredMesh, signed_areas

LAYERS = 2  # of ghost values on each side


class MeshFiniteVolume(AbstractCalculus):
    """The calculus of averages over the cells of a moved mesh, for laws written with `flux_divergence`.

    Fluxes, Laplacian and `diffusion` are sums over faces, so that what leaves one cell enters the next. Single
    derivatives are those of the mesh. The flux of a law is limited and upwinded as in `FiniteVolume`, by its speed
    relative to the faces.

    **Arguments:**

    - `mesh`: the mesh.
    - `velocity`: of its vertices, `(dim, *vertex)`, length per time; at rest by default.
    - `limiter`: `limiter(left_slope, right_slope)`, `van_leer` or `minmod`.

    **Raises:** `ValueError` for velocities of another shape than the vertices.
    """

    mesh: StructuredMesh
    velocity: Float[Array, "dim *vertex"] | None = None
    limiter: Callable = eqx.field(static=True, default=van_leer)

    def __check_init__(self):
        if self.velocity is not None and jnp.shape(self.velocity) != jnp.shape(self.mesh.vertices):
            raise ValueError(
                f"MeshFiniteVolume takes one velocity for each vertex, {jnp.shape(self.mesh.vertices)} "
                f"(dim, *vertex); got {jnp.shape(self.velocity)}."
            )

    @property
    def grid(self) -> Grid:
        """The grid that was moved."""
        return self.mesh.grid

    @property
    def coordinates(self):
        """The points of the unknowns, `(dim, *space)`."""
        return self.mesh.coordinates

    @property
    def dimensions(self) -> int:
        """The number of space axes."""
        return self.grid.dimensions

    @property
    def volumes(self) -> Float[Array, "*space"]:
        """The length or area of the cell of each unknown, `(*space,)`."""
        return signed_areas(self._corners) if self.dimensions == 2 else jnp.diff(self._corners[0])

    @property
    def growth(self) -> Float[Array, "*space"]:
        """The rate of change of these volumes, as their faces move, `(*space,)`."""
        return sum(jnp.diff(self._swept(axis), axis=axis) for axis in range(self.dimensions))

    def field(self, u):
        """Wrap averages `(channel, *space)`, which obey the boundary conditions of the grid's box."""
        return self.mesh.field(u)

    def known(self, values):
        """Wrap a coefficient `(channel, *space)`; at walls it is extrapolated, without a condition."""
        return self.mesh.known(values)

    def derivative(self, u, orders):
        """That of the mesh; see `AbstractCalculus.derivative` for shapes."""
        return self.mesh.derivative(u, orders)

    def laplacian(self, u):
        """What the gradient carries through the faces; see `AbstractCalculus.laplacian` for shapes."""
        return self.diffusion(u, jnp.ones((), u.value.dtype) if isinstance(u, Field) else 1.0)

    def diffusion(self, u, coefficient):
        """What the flux `k grad u` carries through the faces; see `AbstractCalculus.diffusion` for shapes.

        The gradient at a face is exact for linear fields, on any mesh.
        """
        check_field(u)
        values, dtype = self._pad(u), u.value.dtype
        coefficient = jnp.asarray(coefficient, dtype)
        if coefficient.ndim:
            coefficient = self._pad(self.known(coefficient[None]))
        total = 0.0
        for axis in range(self.dimensions):
            normal = self._normal(axis).astype(dtype)
            steps = [step.astype(dtype) for step in _face_differences(self._centers, axis)]
            jumps = _face_differences(values, axis)
            if self.dimensions == 1:
                flow = jumps[0] / steps[0]
            else:
                # The gradient g with g . step = jump, from cell to cell and along the face.
                (a, b), (c, d) = steps
                (across, along), (n, m) = jumps, normal
                flow = (across * (n * d - m * c) + along * (m * a - n * b)) / (a * d - b * c)
            if coefficient.ndim:
                flow = flow * _middles(_keep(coefficient, axis, 1), axis)
            total += jnp.diff(flow, axis=axis + 1)
        scale = coefficient if coefficient.ndim == 0 else 1
        return scale * total / self.volumes.astype(dtype)

    def flux_divergence(self, u, flux):
        """What a flux carries out of each cell; see `AbstractCalculus.flux_divergence` for shapes.

        The dissipation of a face is the largest wave speed beside it relative to the face, bounded by the row sums of
        the flux's Jacobian: exact for one channel, safe for systems.
        """
        check_field(u)
        values, dtype = self._pad(u), u.value.dtype
        total = 0.0
        for axis in range(self.dimensions):
            below, above = self._reconstruct(values, axis)
            normal, swept = self._normal(axis).astype(dtype), self._swept(axis).astype(dtype)

            def through(value, normal=normal):
                return sum(n * flux(value, a) for a, n in enumerate(normal))

            speed = jnp.maximum(_wave_speed(through, below, swept), _wave_speed(through, above, swept))
            faces = 0.5 * (through(below) + through(above)) - 0.5 * speed * (above - below)
            total += jnp.diff(faces, axis=axis + 1)
        return total / self.volumes.astype(dtype)

    def sweep(self, u: Field) -> Float[Array, "channel *space"]:
        """How much the moving faces sweep up, `sum_f u w . n`.

        **Arguments:**

        - `u`: the field, averages `(channel, *space)`.

        **Returns:** amounts per time, not divided by volumes, `(channel, *space)`.
        """
        check_field(u)
        values, total = self._pad(u), 0.0
        for axis in range(self.dimensions):
            below, above = self._reconstruct(values, axis)
            swept = 0.5 * (below + above) * self._swept(axis).astype(below.dtype)
            total += jnp.diff(swept, axis=axis + 1)
        return total

    @property
    def _corners(self) -> Array:
        """Of the cells of the unknowns, `(dim, *corner)`."""
        return _to_corners(self.mesh.vertices, self.grid, self.grid.box.lengths)

    @property
    def _centers(self) -> Array:
        """The points of the unknowns, with mirror images behind walls."""
        found = self.coordinates
        for axis, (left, _) in enumerate(self.grid.box.boundaries):
            moved = jnp.moveaxis(found, axis + 1, -1)
            length, low = self.grid.box.lengths[axis], self.grid.box.lower[axis]
            if left.is_periodic:
                first = moved[..., -LAYERS:].at[axis].add(-length)
                last = moved[..., :LAYERS].at[axis].add(length)
            else:
                first = moved[..., :LAYERS][..., ::-1]
                first = first.at[axis].set(2 * low - first[axis])
                last = moved[..., -LAYERS:][..., ::-1]
                last = last.at[axis].set(2 * (low + length) - last[axis])
            found = jnp.moveaxis(jnp.concatenate([first, moved, last], axis=-1), -1, axis + 1)
        return found

    def _normal(self, axis: int) -> Array:
        """The normals of the faces across an axis of the grid, as long as the faces are, `(dim, *face)`."""
        if self.dimensions == 1:
            return jnp.ones_like(self._corners)
        x, y = jnp.diff(self._corners, axis=2 - axis)
        return jnp.stack([y, -x] if axis == 0 else [-y, x])

    def _swept(self, axis: int) -> Array:
        """The volume that the faces across an axis sweep per time, `(*face,)`."""
        normal = self._normal(axis)
        if self.velocity is None:
            return jnp.zeros_like(normal[0])
        velocity = _to_corners(self.velocity, self.grid, (0.0,) * self.dimensions)
        if self.dimensions == 2:
            velocity = _middles(velocity, 1 - axis)
        return jnp.sum(velocity * normal, axis=0)

    def _pad(self, u: Field) -> Array:
        """The values with ghosts on each side of each axis, `(channel, *padded)`."""
        values = u.value
        for axis, pair in enumerate(self.grid.box.boundaries):
            moved = jnp.moveaxis(values, axis + 1, -1)
            if pair[0].is_periodic:
                low, high = moved[..., -LAYERS:], moved[..., :LAYERS]
            else:
                conditioned = u.source is not None
                low, high = (
                    ghost_values(
                        inward, self._wall(axis, side), LAYERS, 1, self.grid.spacing[axis], conditioned
                    )
                    for side, inward in enumerate((moved, moved[..., ::-1]))
                )
                low = low[..., ::-1]
            values = jnp.moveaxis(jnp.concatenate([low, moved, high], axis=-1), -1, axis + 1)
        return values

    def _wall(self, axis: int, side: int) -> Robin:
        """A wall's condition in units of the grid, whose cells are stretched there."""
        a, b, g = (jnp.asarray(datum) for datum in self.grid.box.boundaries[axis][side].robin())
        extent = jnp.diff(self._corners[axis], axis=axis)
        if self.dimensions == 2:
            extent = _middles(extent[None], 1 - axis)[0]
        width = jnp.take(extent, -side, axis=axis)
        data = [a, b * self.grid.spacing[axis] / width, g]
        if axis == 1:  # the other axis has its ghosts already
            n, mode = self.grid.shape[0], "wrap" if self.grid.box.periodic[0] else "edge"
            data = [
                jnp.pad(d, [(0, 0)] * (d.ndim - 1) + [(LAYERS, LAYERS)], mode=mode)
                if d.shape[-1:] == (n,)
                else d
                for d in data
            ]
        return Robin(*data)

    def _reconstruct(self, values: Array, axis: int) -> tuple[Array, Array]:
        """The values on both sides of the faces across an axis, from padded ones."""
        moved = jnp.moveaxis(_keep(values, axis, LAYERS), axis + 1, -1)
        jumps = jnp.diff(moved, axis=-1)
        slopes = self.limiter(jumps[..., :-1], jumps[..., 1:])
        cells = moved[..., 1:-1]
        below, above = (cells + 0.5 * slopes)[..., :-1], (cells - 0.5 * slopes)[..., 1:]
        return jnp.moveaxis(below, -1, axis + 1), jnp.moveaxis(above, -1, axis + 1)


def _to_corners(values: Array, grid: Grid, periods: tuple[float, ...]) -> Array:
    """From vertices to the corners of the cells of the unknowns: halfway between vertices along periodic axes."""
    for axis, (periodic, period) in enumerate(zip(grid.box.periodic, periods)):
        if periodic:
            before = jnp.roll(values, 1, axis + 1)
            first = (axis, *(slice(None),) * axis, 0)
            before = before.at[first].add(-period)
            middles = 0.5 * (before + values)
            last = jax.lax.index_in_dim(middles, 0, axis + 1).at[axis].add(period)
            values = jnp.concatenate([middles, last], axis=axis + 1)
    return values


def _middles(values: Array, axis: int) -> Array:
    """Means of neighbors along an axis of space; the first axis is of channels or components."""
    n = values.shape[axis + 1]
    low = jax.lax.slice_in_dim(values, 0, n - 1, axis=axis + 1)
    return 0.5 * (low + jax.lax.slice_in_dim(values, 1, n, axis=axis + 1))


def _keep(padded: Array, axis: int, layers: int) -> Array:
    """Padded values with so many ghosts along an axis, and none along the others."""
    cuts = [LAYERS - layers if a == axis else LAYERS for a in range(padded.ndim - 1)]
    return padded[(slice(None), *(slice(cut, n - cut) for cut, n in zip(cuts, padded.shape[1:])))]


def _face_differences(padded: Array, axis: int) -> tuple[Array, ...]:
    """At the faces across an axis: differences from cell to cell and, in two dimensions, along the face."""
    across = jnp.diff(_keep(padded, axis, 1), axis=axis + 1)
    if padded.ndim == 2:
        return (across,)
    other = 2 - axis
    inner = padded[:, 1:-1, 1:-1]
    n = inner.shape[other]
    low = jax.lax.slice_in_dim(inner, 0, n - 2, axis=other)
    along = 0.5 * (jax.lax.slice_in_dim(inner, 2, n, axis=other) - low)
    return across, _middles(along, axis)


def _wave_speed(through: Callable, values: Array, swept: Array) -> Array:
    """The largest row sum of the Jacobian of the flux through faces that sweep, `(1, *face)`."""

    def column(channel):
        tangent = jnp.zeros_like(values).at[channel].set(1.0)
        return jnp.abs(jax.jvp(lambda v: through(v) - swept * v, (values,), (tangent,))[1])

    return jnp.max(sum(column(channel) for channel in range(values.shape[0])), axis=0, keepdims=True)
