"""Meshes by the Monge-Ampere equation: the map nearest to the identity under which all cells have the same mass.

    x = xi + grad phi,    m(x) det(I + H phi) = theta,    dphi/dn = 0 on walls

`m` is the density, `H` the Hessian, `theta` the constant for which there is a solution. Among all maps that share the
mass evenly this one moves the nodes least, and as `xi^2 / 2 + phi` is convex it cannot fold.

**Reference:** Budd and Williams, "Moving mesh generation using the parabolic Monge-Ampere equation", 2009,
doi:10.1137/080716773; Delzanno et al., "An optimal robust equidistribution method for two-dimensional grid adaptation
based on Monge-Kantorovich optimization", 2008, doi:10.1016/j.jcp.2008.07.020; McRae, Cotter and Budd,
"Optimal-transport-based mesh adaptivity on the plane and sphere using finite elements", 2018, doi:10.1137/16M1109515.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import AbstractCalculus, FiniteDifference, Grid
from ._checks import check_grid, check_positive, check_whole
from .capacity import describe_capacity
from .certificate import Certificate, certify, check_certificate
from .densities import check_density
from .equidistribution import CellEquation, VertexEquation
from .lattice import CellLattice, VertexLattice
from .mesh import Density
from .mover import AbstractMover, Moved
from .newton import Progress, attach_gradient, freeze, solve_by_newton, solve_by_relaxation
from .structured import StructuredMesh, vertex_shape

_CURE = (
    "Take more cells, or smooth the density or lower its weight. A larger max_relaxations helps where the residual was "
    "still falling."
)


class MongeAmpere(AbstractMover):
    """Relaxation until Newton's method converges, then Newton's method to rounding; with finite differences.

    The equation is solved at the vertices. Differences of second order leave the masses of cells somewhat uneven, by
    the square of the cells' size: see the certificate's `variation`, and `CellExactMongeAmpere`.

    In single precision the tolerance is that of the differences, `eps n^2` for `n` cells along an axis.

    **Arguments:**

    - `tolerance`: the largest `|log(m det / theta)|` at any vertex.
    - `switch`: the relative residual at which Newton's method is first tried.
    - `max_relaxations`: at most so many steps of relaxation each time.
    - `max_newtons`: at most so many steps of Newton's method each time.
    - `rounds`: how often at most relaxation and Newton's method take turns, the switch a tenth lower each time.
    - `discretize`: of the mesh that is returned; see `StructuredMesh`.

    **Raises:** `ValueError` for a tolerance that is not positive.
    """

    tolerance: float = 1e-10
    switch: float = 0.05
    max_relaxations: int = eqx.field(static=True, default=1000)
    max_newtons: int = eqx.field(static=True, default=20)
    rounds: int = eqx.field(static=True, default=4)
    discretize: Callable[[Grid], AbstractCalculus] = eqx.field(static=True, default=FiniteDifference)

    def __check_init__(self):
        check_positive(type(self).__name__, "tolerance", self.tolerance)
        check_positive(type(self).__name__, "switch", self.switch)
        for name, least in (("max_relaxations", 0), ("max_newtons", 0), ("rounds", 1)):
            check_whole(type(self).__name__, name, getattr(self, name), least)

    def move(self, density, grid, *, start=None, throw=True):
        """Solve the equation; see `AbstractMover.move`.

        Vertices and potential are differentiable with respect to the density, by the implicit function theorem: one
        linear solve, whatever number of steps it took. Lambdas are compiled anew each time: where that matters, give an
        `equinox.Module` or a named function.
        """
        potential = prepare(type(self).__name__, density, grid, start, throw=throw)
        moved = _move(self, density, grid, potential)
        return finish(moved, density, grid, owner=type(self).__name__, throw=throw)

    def solve(
        self, density: Density, grid: Grid, potential: Float[Array, "*vertex"]
    ) -> tuple[Float[Array, "*vertex"], Progress]:
        """Only the potential, without a mesh or a certificate.

        **Arguments:**

        - `density`: as for `move`, positions `(dim, *points)` to numbers `(*points,)`.
        - `grid`: as for `move`.
        - `potential`: to start from `(*vertex,)`.

        **Returns:** the potential `(*vertex,)`, and how far the solve came.
        """
        lattice = VertexLattice(grid)
        closed = close_density(density, grid.dimensions, lattice.shape, potential.dtype)
        equation = VertexEquation(lattice, closed)
        progress = solve_by_newton(
            freeze(equation),
            jax.lax.stop_gradient(potential),
            tolerance=attainable(self.tolerance, grid, potential.dtype),
            switch=self.switch,
            max_relaxations=self.max_relaxations,
            max_newtons=self.max_newtons,
            rounds=self.rounds,
        )
        return attach_gradient(equation, progress.potential), progress


class ParabolicRelaxation(AbstractMover):
    """The parabolic Monge-Ampere equation alone: robust, slow, and what movers are compared with.

    **Arguments:**

    - `tolerance`: the relative residual in the root mean square, as Movement measures it.
    - `max_relaxations`: at most so many steps.
    - `discretize`: of the mesh that is returned; see `StructuredMesh`.

    **Raises:** `ValueError` for a tolerance that is not positive.
    """

    tolerance: float = 1e-8
    max_relaxations: int = eqx.field(static=True, default=5000)
    discretize: Callable[[Grid], AbstractCalculus] = eqx.field(static=True, default=FiniteDifference)

    def __check_init__(self):
        check_positive(type(self).__name__, "tolerance", self.tolerance)
        check_whole(type(self).__name__, "max_relaxations", self.max_relaxations, 0)

    def move(self, density, grid, *, start=None, throw=True):
        """Step until the residual is small; differentiable as `MongeAmpere`. See `AbstractMover.move`."""
        potential = prepare(type(self).__name__, density, grid, start, throw=throw)
        moved = _move(self, density, grid, potential)
        return finish(moved, density, grid, owner=type(self).__name__, throw=throw)

    def solve(
        self, density: Density, grid: Grid, potential: Float[Array, "*vertex"]
    ) -> tuple[Float[Array, "*vertex"], Progress]:
        """Only the potential; see `MongeAmpere.solve`.

        **Arguments:**

        - `density`: as for `move`, positions `(dim, *points)` to numbers `(*points,)`.
        - `grid`: as for `move`.
        - `potential`: to start from `(*vertex,)`.

        **Returns:** the potential `(*vertex,)`, and how far the solve came.
        """
        lattice = VertexLattice(grid)
        closed = close_density(density, grid.dimensions, lattice.shape, potential.dtype)
        equation = VertexEquation(lattice, closed)
        progress = solve_by_relaxation(
            freeze(equation),
            jax.lax.stop_gradient(potential),
            tolerance=attainable(self.tolerance, grid, potential.dtype),
            max_relaxations=self.max_relaxations,
        )
        return attach_gradient(equation, progress.potential), progress


class CellExactMongeAmpere(AbstractMover):
    """Every cell has the same mass, to rounding: the equation integrated over cells instead of taken at vertices.

    The potential has its values at the cells' centers, and the mass of a cell is integrated by Gauss' formula over the
    quadrilateral between its vertices. Newton's method starts from the mesh of another mover. Cells that the mesh is
    too coarse for may become concave, which the certificate tells and `throw=True` refuses.

    **Arguments:**

    - `first`: makes the mesh to start from.
    - `tolerance`: the largest `|log(mass / mean mass)|` of any cell.
    - `points`: of Gauss' formula in each direction.
    - `max_newtons`: at most so many steps.

    **Raises:** `ValueError` for a tolerance that is not positive.
    """

    first: MongeAmpere = MongeAmpere()
    tolerance: float = 1e-10
    points: int = eqx.field(static=True, default=3)
    max_newtons: int = eqx.field(static=True, default=20)

    def __check_init__(self):
        check_positive(type(self).__name__, "tolerance", self.tolerance)
        check_whole(type(self).__name__, "points", self.points, 1)
        check_whole(type(self).__name__, "max_newtons", self.max_newtons, 0)
        if not isinstance(self.first, MongeAmpere):
            raise ValueError(
                f"CellExactMongeAmpere.first makes the mesh to start from, and is a MongeAmpere; got "
                f"{type(self.first).__name__}."
            )

    @property
    def discretize(self) -> Callable[[Grid], AbstractCalculus]:
        """That of the mover to start from."""
        return self.first.discretize

    def move(self, density, grid, *, start=None, throw=True):
        """Solve at the vertices, then for the cells; differentiable as `MongeAmpere`. See `AbstractMover.move`.

        The potential that comes with the mesh is the one at the vertices it started from, for the next mesh.
        """
        potential = prepare(type(self).__name__, density, grid, start, throw=throw)
        moved = _move_cells(self, density, grid, potential)
        return finish(moved, density, grid, owner=type(self).__name__, throw=throw)


@eqx.filter_jit
def _move(mover: MongeAmpere | ParabolicRelaxation, density, grid, potential) -> Moved:
    potential, progress = mover.solve(density, grid, potential)
    lattice = VertexLattice(grid)
    mesh = StructuredMesh(grid, lattice.reference + lattice.gradient(potential), mover.discretize)
    return Moved(mesh, _certify(mesh, density, progress, 6), potential)


@eqx.filter_jit
def _move_cells(mover: CellExactMongeAmpere, density, grid, potential) -> Moved:
    potential, first = mover.first.solve(density, grid, potential)
    lattice = CellLattice(grid)
    closed = close_density(density, grid.dimensions, lattice.shape, potential.dtype)
    equation = CellEquation(lattice, closed, mover.points)
    progress = solve_by_newton(
        freeze(equation),
        jax.lax.stop_gradient(lattice.from_vertices(potential)),
        tolerance=attainable(mover.tolerance, grid, potential.dtype),
        switch=jnp.inf,
        max_relaxations=0,
        max_newtons=mover.max_newtons,
        rounds=1,
    )
    at_cells = attach_gradient(equation, progress.potential)
    mesh = StructuredMesh(grid, lattice.reference + lattice.gradient(at_cells), mover.discretize)
    progress = eqx.tree_at(
        lambda p: (p.relaxations, p.newtons),
        progress,
        (first.relaxations, first.newtons + progress.newtons),
    )
    # By more points than the solver takes.
    certificate = _certify(mesh, density, progress, max(6, 2 * mover.points))
    return Moved(mesh, certificate, potential)


def _certify(mesh: StructuredMesh, density: Density, progress: Progress, points: int) -> Certificate:
    return certify(
        mesh,
        density,
        residual=progress.residual,
        iterations=progress.relaxations + progress.newtons,
        converged=progress.converged,
        details={"relaxations": progress.relaxations, "newtons": progress.newtons},
        points=points,
    )


def finish(moved: Moved, density: Density, grid: Grid, *, owner: str, throw: bool) -> Moved:
    """Refuse a mesh that is not valid, if that is asked for.

    **Arguments:**

    - `moved`: the mesh with its certificate.
    - `density`: what it was made for; positions `(dim, *points)` to numbers `(*points,)`.
    - `grid`: the grid that was moved.
    - `owner`: the mover, for the message.
    - `throw`: whether to refuse.

    **Returns:** the same.

    **Raises:** `MeshError`, as `check_certificate` does, and what size of mesh could carry the density.
    """
    if not throw:
        return moved
    valid, cure = moved.certificate.valid, _CURE
    if not isinstance(valid, jax.core.Tracer) and not np.all(valid):
        cure = f"{describe_capacity(freeze(density), grid)} {cure}".strip()
    shape = moved.mesh.volumes.shape
    return check_certificate(moved.certificate, shape, owner=owner, cure=cure, guarded=moved)


def prepare(
    owner: str, density: Density, grid: Grid, start: Moved | None, *, throw: bool
) -> Float[Array, "*vertex"]:
    """Check what a mover was given, before anything is compiled.

    **Arguments:**

    - `owner`: the mover, for messages.
    - `density`: positions `(dim, *points)` to numbers `(*points,)`.
    - `grid`: the grid to move.
    - `start`: what a mover returned, or nothing.
    - `throw`: whether to look at the density's values, too, where they are known.

    **Returns:** the potential to start from `(*vertex,)`.

    **Raises:** `ValueError` for anything else.
    """
    check_grid(owner, grid)
    if throw or not callable(density):
        check_density(density, grid)
    return initial_potential(start, grid)


def initial_potential(start: Moved | None, grid: Grid) -> Float[Array, "*vertex"]:
    """The potential to start from: that of another mesh, or zero.

    **Arguments:**

    - `start`: what a mover returned, or nothing.
    - `grid`: the grid to move.

    **Returns:** `(*vertex,)`.

    **Raises:** `ValueError` for the potential of another grid, or a mesh without one.
    """
    shape = vertex_shape(grid)
    if start is None:
        return jnp.zeros(shape)
    if not isinstance(start, Moved) or start.potential is None:
        kind = "one without a potential" if isinstance(start, Moved) else type(start).__name__
        raise ValueError(
            f"start must be what a mover with a potential returned, mesh and certificate and all; got {kind}. Leave it "
            "out to begin from the uniform mesh."
        )
    known = getattr(start.mesh, "grid", None)
    mine, other = (None if g is None else (g.box.lower, g.box.upper, g.box.periodic) for g in (grid, known))
    if jnp.shape(start.potential) != shape or (known is not None and mine != other):
        raise ValueError(
            f"start must have been made on this grid, with a potential {shape} at the vertices of the box from "
            f"{grid.box.lower} to {grid.box.upper}; got {jnp.shape(start.potential)} and {other}. Leave it out to "
            "begin from the uniform mesh."
        )
    return start.potential


def close_density(density: Density, dimensions: int, shape: tuple[int, ...], dtype: jnp.dtype) -> Density:
    """The density as a pytree that holds all it was closed over, so that gradients can be stopped, and be found.

    **Arguments:**

    - `density`: positions `(dim, *points)` to numbers `(*points,)`.
    - `dimensions`: how many axes positions have.
    - `shape`: the shape of the array of points at which it will be asked for.
    - `dtype`: the precision of positions.

    **Returns:** the density, for this many points.

    **Raises:** `ValueError` for a density that does not return one number for each position.
    """
    closed = eqx.filter_closure_convert(density, jax.ShapeDtypeStruct((dimensions, *shape), dtype))
    found = closed.out_struct
    if getattr(found, "shape", None) != shape:
        raise ValueError(
            f"A density returns one number for each position: for positions {(dimensions, *shape)} (dim, *points) an "
            f"array {shape}; got {found}. Index the axes of space as x[0], x[1]."
        )
    return closed


def attainable(tolerance: float, grid: Grid, dtype: jnp.dtype) -> Float[Array, ""]:
    """The tolerance, or what second differences can reach in this precision, if that is more.

    **Arguments:**

    - `tolerance`: what is asked for.
    - `grid`: the grid, which says how many cells there are.
    - `dtype`: the precision.

    **Returns:** a scalar.
    """
    return jnp.maximum(jnp.asarray(tolerance, dtype), float(np.finfo(dtype).eps) * max(grid.shape) ** 2)
