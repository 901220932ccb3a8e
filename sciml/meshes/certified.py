"""A network proposes, Newton's method polishes, a classical mover stands by, and the certificate decides.

1. The network's potential, at the vertices, is where Newton's method starts; there is no relaxation.
2. Where Newton's method does not converge, or may not start as the proposal is folded, the classical mover begins from
    zero, and its relaxation takes place.
3. The certificate is that of the mesh, and refuses it or marks it, as for a classical mover.

4. Where even that is tangled, as the density is more than a mesh of this size can carry, and no error is wanted, the
    uniform mesh is returned, marked as not converged: what is returned is never tangled.

So the mesh is the one the classical mover would have made, to its tolerance, whatever the network proposes.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..pdes import Grid
from .certificate import certify
from .data_free import DataFreeMover, measure_residual
from .equidistribution import VertexEquation
from .lattice import VertexLattice
from .mesh import Density
from .monge_ampere import MongeAmpere, attainable, close_density, finish
from .mover import AbstractMover, Moved
from .newton import Progress, attach_gradient, freeze, solve_by_newton
from .sensors import Solution
from .structured import StructuredMesh, reference_vertices


class Certified(AbstractMover):
    """Lets a data-free mover propose, and makes the mesh exact by Newton's method, or by the classical mover.

    It works under `jit` and `vmap`, and is differentiable with respect to the solution, as the classical mover is.
    Solutions that are mapped over wait for the slowest of them; those that have converged take no more steps.

    The certificate's `details` count: `accepted` (the proposal was returned as it is), `polished` (by Newton's method),
    `fell_back` (to the classical mover), one of which is 1; `gave_up` (the mesh is the uniform one, as the classical
    mover's was tangled); `newtons` and `relaxations`, all of them; `polishing`, the Newton steps from the proposal; and
    they hold the `family_distance` and the `proposal_variation`.

    **Arguments:**

    - `mover`: proposes.
    - `fallback`: polishes, with its tolerance, and stands by.
    - `accept`: a proposal whose certificate's `variation` is at most this, and which is otherwise valid, is returned
        as it is; 0 to polish all.

    **Raises:** `ValueError` for another fallback, or one with another `discretize` than the mover, and for an `accept`
    that is negative or NaN.
    """

    mover: DataFreeMover
    fallback: MongeAmpere = MongeAmpere()
    accept: float = 0.0

    def __check_init__(self):
        if not isinstance(self.mover, DataFreeMover):
            raise ValueError(f"Certified takes a DataFreeMover first; got {type(self.mover).__name__}.")
        if not isinstance(self.fallback, MongeAmpere):
            raise ValueError(
                f"Certified falls back on MongeAmpere(...), whose Newton's method also polishes; got "
                f"{type(self.fallback).__name__}."
            )
        if self.mover.discretize is not self.fallback.discretize:
            raise ValueError(
                f"The mover's meshes have discretize={self.mover.discretize!r}, those of the fallback "
                f"{self.fallback.discretize!r}; give both the same."
            )
        if not isinstance(self.accept, jax.core.Tracer) and not np.all(np.asarray(self.accept) >= 0):
            raise ValueError(
                f"accept must be a variation that is good enough, 0 or more (0 to polish all); got {self.accept}."
            )

    def move(self, density, grid, *, start=None, throw=True):
        """Propose, polish, certify; see `AbstractMover.move`.

        **Arguments:**

        - `density`: as for `DataFreeMover.move`: a solution `(channel, *space)`, a `PointCloud`, or a density,
            positions `(dim, *points)` to numbers `(*points,)`.
        - `grid`: whose vertices are moved.
        - `start`: is not looked at.
        - `throw`: as for all movers.

        **Returns:** the mesh with its certificate, and the potential at the vertices.

        **Raises:** as `MongeAmpere.move`, and `ValueError` for a solution of another shape than the mover's.
        """
        return self.move_for(density, None, grid, throw=throw)

    def move_for(
        self, u: Solution | Density, density: Density | None, grid: Grid, *, throw: bool = True
    ) -> Moved:
        """Propose, polish and certify for a solution whose density is known; see `DataFreeMover.move_for`.

        **Arguments:**

        - `u`: the solution `(channel, *space)`, a `PointCloud`, or a density.
        - `density`: positions `(dim, *points)` to numbers `(*points,)`; `None` to ask the mover's monitor.
        - `grid`, `throw`: as for `move`.

        **Returns:** the mesh, certified for that density.

        **Raises:** as `move`.
        """
        u, density = self.mover.resolve(u, density)
        self.mover.check_box(grid, "The grid is in")
        moved = _move(self, u, density, grid)
        return finish(moved, density, grid, owner="Certified", throw=throw)

    def attempt(
        self, density: Density, grid: Grid, potential: Float[Array, "*vertex"], *, cold: Bool[Array, ""]
    ) -> Progress:
        """One of the two attempts that `move` makes.

        **Arguments:**

        - `density`: positions `(dim, *points)` to numbers `(*points,)`.
        - `grid`: whose vertices are moved.
        - `potential`: to start from `(*vertex,)`.
        - `cold`: whether as the classical mover does, with its relaxation; else by Newton's method alone. A scalar.

        **Returns:** how far it came.
        """
        equation = _pose(density, grid, potential.dtype)
        tolerance = attainable(self.fallback.tolerance, grid, potential.dtype)
        return _try(self.fallback, freeze(equation), potential, tolerance, cold)


class _Attempts(NamedTuple):
    progress: Progress
    count: Int[Array, ""]
    polishing: Int[Array, ""]  # Newton steps of the first attempt
    newtons: Int[Array, ""]
    relaxations: Int[Array, ""]


@eqx.filter_jit
def _move(certified: Certified, u: Solution | None, density: Density, grid: Grid) -> Moved:
    mover, fallback = certified.mover, certified.fallback
    proposal = mover.propose(u, density, grid)
    distance = mover.family.measure_distance(mover.sensors.see(u, density))
    proposed = StructuredMesh(grid, reference_vertices(grid) + proposal.gradient, fallback.discretize)
    first = certify(proposed, density, converged=distance <= mover.farthest)
    accepted = first.valid & (first.variation <= certified.accept)
    equation = _pose(density, grid, proposal.value.dtype)
    found = _solve(fallback, equation, grid, proposal.value, accepted)
    potential = attach_gradient(equation, found.progress.potential)
    lattice = equation.lattice
    exact = lattice.reference + lattice.gradient(potential)
    solved = StructuredMesh(grid, jnp.where(accepted, proposed.vertices, exact), fallback.discretize)
    gave_up = ~(jnp.min(solved.corner_jacobians) > 0)
    # Not a number where an attempt broke down, and then no mesh at all.
    vertices = jnp.where(gave_up, reference_vertices(grid), solved.vertices)
    mesh = StructuredMesh(grid, vertices, fallback.discretize)
    residual = jnp.where(
        accepted, measure_residual(density, proposed.vertices, proposal), found.progress.residual
    )
    certificate = certify(
        mesh,
        density,
        residual=residual,
        iterations=found.newtons + found.relaxations,
        converged=found.progress.converged & ~gave_up,
        details={
            "accepted": accepted.astype(int),
            "polished": ((found.count == 1) & ~accepted).astype(int),
            "fell_back": (found.count == 2).astype(int),
            "gave_up": gave_up.astype(int),
            "newtons": found.newtons,
            "relaxations": found.relaxations,
            "polishing": found.polishing,
            "family_distance": distance,
            "proposal_variation": first.variation,
        },
    )
    final = jnp.where(gave_up, 0.0, jnp.where(accepted, proposal.value, potential))
    return Moved(mesh, certificate, final)


def _pose(density: Density, grid: Grid, dtype: jnp.dtype) -> VertexEquation:
    lattice = VertexLattice(grid)
    return VertexEquation(lattice, close_density(density, grid.dimensions, lattice.shape, dtype))


def _solve(
    fallback: MongeAmpere, equation: VertexEquation, grid: Grid, proposal: Array, accepted: Array
) -> _Attempts:
    """From the proposal by Newton's method; where that fails, from zero as the classical mover does.

    The two are one loop, so that the solver is compiled once, and that under `vmap`, where both sides of a branch would
    be taken, the second is taken only if one of the batch needs it.
    """
    frozen = freeze(equation)
    proposal = jax.lax.stop_gradient(proposal)
    proposal = jnp.where(jnp.isfinite(proposal), proposal, 0.0)
    # A proposal that is accepted is as good as converged.
    tolerance = jnp.where(accepted, jnp.inf, attainable(fallback.tolerance, grid, proposal.dtype))

    def attempt(state):
        cold = state.count > 0
        start = jnp.where(cold, 0.0, proposal)
        progress = _try(fallback, frozen, start, tolerance, cold)
        return _Attempts(
            progress,
            state.count + 1,
            jnp.where(cold, state.polishing, progress.newtons),
            state.newtons + progress.newtons,
            state.relaxations + progress.relaxations,
        )

    zero = jnp.zeros((), int)
    nothing = Progress(proposal, jnp.full((), jnp.inf, proposal.dtype), jnp.zeros((), bool), zero, zero)
    return jax.lax.while_loop(
        lambda state: ~state.progress.converged & (state.count < 2),
        attempt,
        _Attempts(nothing, zero, zero, zero, zero),
    )


def _try(
    fallback: MongeAmpere, equation: VertexEquation, start: Array, tolerance: Array, cold: Array
) -> Progress:
    return solve_by_newton(
        equation,
        jax.lax.stop_gradient(start),
        tolerance=tolerance,
        switch=jnp.where(cold, fallback.switch, jnp.inf),
        max_relaxations=jnp.where(cold, fallback.max_relaxations, 0),
        max_newtons=fallback.max_newtons,
        rounds=jnp.where(cold, fallback.rounds, 1),
    )
