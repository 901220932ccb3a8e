"""Incompressible flow on a triangle mesh for a given time: the classical step, alone or with a network to correct it.

    u_t + (u . grad) u = -grad p + nu lap u,      div u = 0.

A small step of time `h` follows what the flow carries back to where it was (semi-Lagrange, the midpoint rule), takes
pressure and friction half from there and half from where it is now,

    u'   = [u + h/2 (nu lap u - grad p)](foot) + h/2 (nu lap u' - grad p),
    u_new = u' - h/2 grad q,    lap q = 2/h div(u' - u),    p_new = p + q / 2,

and so is of second order in time, but for what comes in through a wall while it lasts. `p` is that of the middle of the
small step before: with all of `q` pressures would ring from step to step. The first is that of a small step that is
taken back. At the feet values are interpolated to third order; slopes and Laplacians at nodes are those of the
quadratic fits of `TriangleMesh`, what is solved for is of linear finite elements. The pressure makes *changes* of the
velocity free of divergence: so the solution itself may be any sample of a flow, whose divergence by these slopes is not
quite zero.

No time step is too long to be stable, and the mesh may be any with the same triangles. What is beyond the walls of the
window is not known to this step, and is what a network has to add.

**Reference:** Xiu and Karniadakis, "A semi-Lagrangian high-order method for Navier-Stokes equations", 2001,
doi:10.1006/jcph.2001.6847; Guermond, Minev and Shen, "An overview of projection methods for incompressible flows",
2006, doi:10.1016/j.cma.2005.10.010.
"""

from collections.abc import Hashable, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..pdes import Field
from ..pdes.calculus import check_values
from ._checks import check_positive
from .triangle_elements import Rings, lump_mass, make_rings
from .triangles import TriangleMesh
from .walking import Walk, make_walk


class FlowStep(eqx.Module):
    """One step of an incompressible flow on a triangle mesh.

    Walls with a condition of the mesh hold it. Of the others, on those named `still` the velocity stays what it is, as
    where a flow comes in. Those in `fading` are no walls to the flow: beyond them it has no vortices, and the pressure
    fades over a length, `dp/dn = -p / length`, which is right for a row of vortices `2 pi length` apart that passes by.
    On the rest the velocity is carried along at a constant velocity, as where vortices leave.

    **Arguments:**

    - `mesh`: the mesh, moved or not; the step is good for all with the same triangles.
    - `duration`: of the step, a time.
    - `leaving`: the velocity at which what is at open walls is carried along, two numbers.
    - `still`: names of walls.
    - `fading`: by the name of a wall, a length.
    - `substeps`: so many small steps.
    - `tolerance`: of the linear systems, over the size of their right-hand sides.

    **Raises:** `ValueError` for numbers out of range, or a wall that the mesh has not.
    """

    rings: Rings
    walk: Walk
    fixed: Bool[Array, " node"]
    open: Bool[Array, " node"]
    segments: Int[Array, "segment 2"]
    segment_walls: Int[Array, " segment"]
    leaks: tuple[float, ...] = eqx.field(static=True)
    duration: float = eqx.field(static=True)
    leaving: tuple[float, float] = eqx.field(static=True)
    substeps: int = eqx.field(static=True)
    tolerance: float = eqx.field(static=True)

    def __init__(
        self,
        mesh: TriangleMesh,
        duration: float,
        *,
        leaving: Sequence[float],
        still: Sequence[Hashable] = (),
        fading: Mapping[Hashable, float] | None = None,
        substeps: int = 4,
        tolerance: float = 1e-3,
    ):
        check_positive("FlowStep", "duration", duration)
        check_positive("FlowStep", "tolerance", tolerance)
        if isinstance(substeps, bool) or not isinstance(substeps, int) or substeps < 1:
            raise ValueError(f"FlowStep.substeps is a whole number, 1 or more; got {substeps!r}.")
        if np.shape(leaving) != (2,) or not np.all(np.isfinite(leaving)):
            raise ValueError(f"FlowStep.leaving is a velocity, two finite numbers; got {leaving!r}.")
        fading = dict(fading or {})
        for name in (*still, *fading):
            if name not in mesh.walls:
                raise ValueError(
                    f"FlowStep was given a wall {name!r}; those of the mesh are {', '.join(map(repr, mesh.walls))}."
                )
            if name in mesh.boundaries or (name in still and name in fading):
                what = "held by a condition of the mesh, and" if name in mesh.boundaries else "both still and"
                raise ValueError(
                    f"FlowStep: wall {name!r} is {what} {'fading' if name in fading else 'still'}; it can be one of "
                    "these. Name it once."
                )
        for name, length in fading.items():
            check_positive("FlowStep", f"fading[{name!r}]", length)
        members = np.asarray(mesh.connectivity.members)
        held = np.zeros(members.shape[1], bool)
        for name in mesh.boundaries:
            held |= members[mesh.walls.index(name)]
        resting = held.copy()
        for name in still:
            resting |= members[mesh.walls.index(name)]
        fixed = resting.copy()
        for index, name in enumerate(mesh.walls):
            if name not in fading:
                fixed |= members[index]
        self.rings, self.walk = make_rings(mesh), make_walk(mesh)
        self.segments, self.segment_walls = mesh.segments, mesh.connectivity.segment_walls
        self.fixed, self.open = jax.device_put((fixed, fixed & ~resting))
        self.duration, self.leaving = float(duration), tuple(map(float, leaving))
        # One over the length for each wall; not an array, which an optimizer would train.
        self.leaks = tuple(float(1 / fading[name]) if name in fading else 0.0 for name in mesh.walls)
        self.substeps, self.tolerance = substeps, float(tolerance)

    def __call__(
        self, u: Float[Array, "2 node"], mesh: TriangleMesh, viscosity: Float[Array, ""] | float
    ) -> Float[Array, "2 node"]:
        """Step. It works under `jit`, `vmap` and `grad`.

        **Arguments:**

        - `u`: the velocity at the nodes, `(2, node)`.
        - `mesh`: where they are.
        - `viscosity`: kinematic, a scalar.

        **Returns:** the velocity one step later, `(2, node)`.

        **Raises:** `ValueError` for a solution of another shape, or a mesh of another number of triangles.
        """
        u = check_values("FlowStep", u, mesh.points.shape[1:])
        if len(u) != 2 or mesh.triangles.shape != self.walk.beside.shape:
            raise ValueError(
                f"FlowStep takes the two components of a velocity on a mesh of {len(self.walk.beside)} triangles; got "
                f"{len(u)} channels on {len(mesh.triangles)} triangles. Make a FlowStep for this mesh."
            )
        small = _SmallStep(self, mesh, u.dtype, jnp.asarray(viscosity, u.dtype))
        u = mesh.field(u).value
        after, pull = small.advance(u, u, None)
        for _ in range(self.substeps):
            halfway, before = (u + after) / 2, u
            u, pull = small.advance(u, halfway, pull)
            after = 2 * u - before  # where it goes on as it did
        return u


class _SmallStep:
    """What small steps on one mesh have in common."""

    def __init__(self, step: FlowStep, mesh: TriangleMesh, dtype, viscosity: Array):
        self.step, self.mesh, self.viscosity = step, mesh, viscosity
        self.time = step.duration / step.substeps
        self.fits = mesh.known(jnp.zeros((1, mesh.points.shape[1]), dtype)).source
        self.stiffness = step.rings.assemble(mesh).astype(dtype)
        self.mass = lump_mass(mesh).astype(dtype)
        start, end = jnp.moveaxis(mesh.points[:, step.segments], -1, 0)
        leaks = jnp.asarray(step.leaks)[step.segment_walls]
        pieces = leaks * jnp.sqrt(jnp.sum((end - start) ** 2, axis=0)) / 2
        self.leak = (
            jnp.zeros(mesh.points.shape[1], dtype).at[step.segments].add(pieces[:, None].astype(dtype))
        )

    def advance(self, u: Array, halfway: Array, pull: Array | None) -> tuple[Array, Array]:
        """The velocity later, and the gradient of the pressure; `halfway` is the velocity after half of the time.

        Where no pressure is known yet all of its pull is at the end.
        """
        half, inside = self.time / 2, ~self.step.fixed
        ahead = half * self.viscosity * self._lap(u)
        if pull is not None:
            ahead = ahead - half * pull
        feet = self._find_feet(halfway)
        both = feet(*self._with_slopes(jnp.concatenate([u, u + ahead])))
        # On walls it is the velocity that is carried, by no force: at those with a condition the foot is the node.
        carried = jnp.where(inside, both[2:], both[:2])
        pushed = carried if pull is None else carried - half * jnp.where(inside, pull, 0)
        found = self._resist(pushed, carried)
        weight = self.time if pull is None else half
        force = self._press(found - u) / weight
        found = jnp.where(inside, found - weight * force, found)
        return found, force if pull is None else pull + force / 2

    def _find_feet(self, u: Array):
        """Where what is at the nodes was a small step before."""
        points, step = self.mesh.points, self.step
        leaving = jnp.where(step.open, jnp.asarray(step.leaving, u.dtype)[:, None], 0)
        velocity = jnp.where(step.fixed, leaving, u)
        halfway = step.walk(self.mesh, step.walk.first, points - self.time / 2 * velocity)
        midway = jnp.where(step.fixed, leaving, halfway(*self._with_slopes(u)))
        return step.walk(self.mesh, halfway.cell, points - self.time * midway)

    def _resist(self, pushed: Array, walls: Array) -> Array:
        """Half of the friction, by its value at the end; `walls` holds the values on the boundary."""
        inside, friction = ~self.step.fixed, self.time / 2 * self.viscosity

        def apply(u):
            within = jnp.where(inside, u, 0)
            return self.mass * u + friction * jnp.where(inside, self._stiffen(within), 0)

        start = jnp.where(inside, pushed, walls)
        right = jnp.where(inside, -friction * self._stiffen(start), 0)
        return start + self._solve(apply, right, self.mass + friction * self.stiffness[0])

    def _press(self, change: Array) -> Array:
        """The gradient that makes a change of the velocity free of divergence, `(2, node)`."""
        source = self._derive(change[:1], 0) + self._derive(change[1:], 1)
        right = -self.mass * source
        if not any(self.step.leaks):
            right = right - jnp.mean(right)  # what comes in goes out

        def apply(pressure):
            found = self._stiffen(pressure) + self.leak * pressure
            # Else the mean is not determined: without a share of it derivatives, rounded, would have no solution.
            return found if any(self.step.leaks) else found + jnp.mean(pressure)

        found = self._solve(apply, right, self.stiffness[0] + self.leak)
        return jnp.concatenate([self._derive(found, 0), self._derive(found, 1)])

    def _solve(self, apply, right: Array, diagonal: Array) -> Array:
        # From zero: JAX would begin the systems of derivatives at the same place.
        return jax.scipy.sparse.linalg.cg(
            apply, right, tol=self.step.tolerance, maxiter=1000, M=lambda r: r / diagonal
        )[0]

    def _stiffen(self, u: Array) -> Array:
        return self.step.rings.apply(self.stiffness, u)

    def _derive(self, u: Array, which: int) -> Array:
        return self.mesh.derivative(Field(u, self.fits), ((1, 0), (0, 1))[which])

    def _lap(self, u: Array) -> Array:
        field = Field(u, self.fits)
        return self.mesh.derivative(field, (2, 0)) + self.mesh.derivative(field, (0, 2))

    def _with_slopes(self, u: Array) -> tuple[Array, TriangleMesh, Array]:
        return u, self.mesh, self.mesh.gradient(Field(u, self.fits))
