"""The method of lines on a mesh that moves with the solution, without a network: the classical baseline.

At a node that moves by `w`, a solution of `u_t = rate(u)` changes by

    du/dt = rate(u) + w . grad u,

and a cell average with moving faces by what flows and what is swept up through them; see `volumes.py`. How the mesh
moves is said in `motion.py`.

**Reference:** Huang and Russell, "Adaptive Moving Mesh Methods", 2011, doi:10.1007/978-1-4419-7916-2.
"""

from collections.abc import Callable

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..pdes import AbstractCalculus, AbstractPDE, FiniteDifference, Grid
from ._checks import check_positive
from ._moving_checks import check_initial, check_parts, check_solution, check_times
from .certificate import Certificate, certify
from .forms import AbstractForm, ConservativeForm, HeldMotion, PointwiseForm, rate_at_rest
from .lattice import CellLattice
from .monge_ampere import initial_potential
from .monitors import AbstractMonitor, HessianMonitor
from .motion import Motion, StartEquation
from .mover import Moved
from .newton import freeze, solve_by_relaxation
from .structured import StructuredMesh, uniform_mesh
from .transfer import Cubic, interpolate
from .volumes import MeshFiniteVolume

START_TOLERANCE = 0.05  # of the first mesh, relative, in the root mean square; it relaxes further as it moves
START_STEPS = 200  # at most, towards it
FIRST_STEP = 1e-3  # of the whole time
SMALLEST_STEP = 1e-9  # of the whole time: below, a solve has come to a stop


class MovingSolution(eqx.Module):
    """A solution with the meshes that it lives on.

    **Arguments:**

    - `times`: when, `(time,)`.
    - `values`: at the points of the mesh of that time, `(time, channel, *space)`.
    - `potentials`: `phi` of the meshes `(time, *vertex)`.
    - `certificates`: one for each time: `residual` and `variation` say how unevenly vertices and cells share the
        monitor, as the mesh lags behind the solution. `converged`, whether the solve came that far.
    - `motion`: what moved the mesh.
    - `statistics`: scalars by name: `relaxations` of the first mesh, `steps`, the `rejected` ones among them, and
        `evaluations` of the right-hand side, that is stages.
    - `stopped`: the time up to which the solve came, a scalar; the last of the times if it succeeded.
    - `result`: diffrax's.
    """

    times: Float[Array, " time"]
    values: Float[Array, "time channel *space"]
    potentials: Float[Array, "time *vertex"]
    certificates: Certificate
    motion: Motion
    statistics: dict[str, Int[Array, ""]]
    stopped: Float[Array, ""]
    result: diffrax.RESULTS

    def __len__(self) -> int:
        return len(self.times)

    @property
    def grid(self) -> Grid:
        """The grid that was moved."""
        return self.motion.grid

    def mesh(self, index: int) -> StructuredMesh:
        """The mesh at one of the times.

        **Arguments:**

        - `index`: which; -1 is the last.

        **Returns:** the mesh.
        """
        return self.motion.mesh(self.potentials[index])

    def moved(self, index: int) -> Moved:
        """The mesh at one of the times as movers return it, to go on from.

        **Arguments:**

        - `index`: which; -1 is the last.

        **Returns:** mesh, certificate and potential.
        """
        certificate = jax.tree.map(lambda leaf: leaf[index], self.certificates)
        return Moved(self.mesh(index), certificate, self.potentials[index])

    @property
    def vertices(self) -> Float[Array, "time dim *vertex"]:
        """Those of all meshes, `(time, dim, *vertex)`."""
        return jax.vmap(lambda potential: self.motion.mesh(potential).vertices)(self.potentials)

    @property
    def totals(self) -> Float[Array, "time channel"]:
        """The integrals of the channels over the domain, `(time, channel)`."""

        def total(values, potential):
            volumes = MeshFiniteVolume(self.motion.mesh(potential)).volumes
            return jnp.sum(values * volumes, axis=tuple(range(1, values.ndim)))

        return jax.vmap(total)(self.values, self.potentials)


def evolve_moving(
    law: AbstractPDE,
    grid: Grid,
    initial: Float[Array, "channel *space"] | Callable,
    times: Float[Array, " time"],
    *,
    monitor: AbstractMonitor | None = None,
    relaxation_time: float | Float[Array, ""] | None = None,
    conservative: bool = False,
    start: Moved | None = None,
    solver: diffrax.AbstractSolver | None = None,
    controller: diffrax.AbstractStepSizeController | None = None,
    dt0: float | None = None,
    max_steps: int = 16**4,
    adjoint: diffrax.AbstractAdjoint | None = None,
    discretize: Callable[[Grid], AbstractCalculus] = FiniteDifference,
    throw: bool = True,
) -> MovingSolution:
    """Solve a law on a mesh that moves with the solution.

    Compiled once for each law, grid and shape of times. It can be differentiated and mapped by `jax.vmap`; there, the
    first mesh is a constant.

    **Arguments:**

    - `law`: the equation.
    - `grid`: the regular grid that is moved, in one or two dimensions.
    - `initial`: a function of positions `(dim, *space)` to values `(channel, *space)`, which is best, as it is asked at
        the points where the nodes went, brought back into a periodic box; or values `(channel, *space)` at the points
        of the grid, which are interpolated between; with `start`, values at the points of that mesh.
    - `times`: when the solution is wanted, strictly increasing, the first is the start, `(time,)`.
    - `monitor`: where the solution wants its nodes, `HessianMonitor()` by default.
    - `relaxation_time`: in which the mesh follows, in the unit of the times; a scalar. By default a hundredth of the
        whole time. What moves by less than the width of a fine part of the mesh in this time is followed well; a
        shorter one costs more steps.
    - `conservative`: for averages over cells, by limited fluxes through their faces, instead of values at nodes by
        central differences. Mass is conserved to rounding if the law is a conservation law; and where a front is too
        steep for the mesh the solution does not oscillate.
    - `start`: a mesh to start from, as `MovingSolution.moved(-1)`; made for the initial values by default.
    - `solver`, `dt0`, `max_steps`, `adjoint`: as for `diffrax.diffeqsolve`; `diffrax.Tsit5()` by default.
    - `controller`: by default `diffrax.PIDController` with `rtol = atol = 1e-5`. It is made to step on `times`.
    - `discretize`: of the meshes; see `StructuredMesh`.
    - `throw`: raise an error where the solve came to a stop or a mesh is not valid; else all is returned up to there,
        marked by `stopped`, `result` and the certificates.

    **Returns:** the solution at `times` with its meshes.

    **Raises:** `ValueError` for shapes, times and laws that do not fit together, for a law with an operator that a
    moved mesh does not have, or parameters given at points; `MeshError` for a mesh that is tangled, and
    `FloatingPointError` for a solution that blows up, both with the time; `RuntimeError` after `max_steps`.
    """
    monitor = HessianMonitor() if monitor is None else monitor
    times = check_times(times)
    check_parts(law, grid, monitor)
    if relaxation_time is None:
        relaxation_time = 0.01 * (times[-1] - times[0])
    check_positive("evolve_moving", "relaxation_time", relaxation_time)
    potential = None if start is None else initial_potential(start, grid)
    mesh = uniform_mesh(grid, discretize=discretize) if start is None else start.mesh
    initial = check_initial(law, initial, mesh, times[0])
    if callable(initial):
        initial = _Within(initial, grid)
    elif start is None:
        initial = _Between(initial, grid)
    # diffrax makes the state as precise as the times are.
    values = jax.eval_shape(initial, mesh.coordinates) if callable(initial) else initial
    times = times.astype(values.dtype)
    motion = Motion(grid, monitor, jnp.asarray(relaxation_time, times.dtype), discretize)
    form = ConservativeForm(law, motion) if conservative else PointwiseForm(law, motion)
    solver = diffrax.Tsit5() if solver is None else solver
    span = times[-1] - times[0]
    if controller is None:
        controller = diffrax.PIDController(
            rtol=1e-5, atol=1e-5, pcoeff=0.3, icoeff=0.3, dtmin=SMALLEST_STEP * span, force_dtmin=False
        )
    if dt0 is None:
        if isinstance(controller, diffrax.ConstantStepSize):
            raise ValueError("ConstantStepSize needs dt0, the step to take; got dt0=None.")
        dt0 = None if isinstance(controller, diffrax.StepTo) else FIRST_STEP * span
    if isinstance(controller, diffrax.PIDController):
        controller = diffrax.ClipStepSizeController(controller, step_ts=times)
    adjoint = diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint
    # Three programs, as the first and the last serve other laws, forms and solvers, too.
    if start is None:
        u, potential, relaxations = _first_mesh(motion, initial)
    else:
        u = initial(mesh.coordinates) if callable(initial) else initial
        relaxations = jnp.zeros((), int)
    values, potentials, stopped, result, steps, rejected = _solve(
        form, u, potential, times, solver, controller, dt0, max_steps, adjoint
    )
    certificates = _certify(motion, values, potentials, relaxations, times <= stopped)
    solution = MovingSolution(
        times=times,
        values=values,
        potentials=potentials,
        certificates=certificates,
        motion=motion,
        statistics={
            "relaxations": relaxations,
            "steps": steps,
            "rejected": rejected,
            "evaluations": steps * getattr(getattr(solver, "tableau", None), "num_stages", 1),
        },
        stopped=stopped,
        result=result,
    )
    return check_solution(solution, max_steps) if throw else solution


@eqx.filter_jit
def _first_mesh(motion: Motion, initial: Callable) -> tuple[Array, Array, Array]:
    """A function at the points of its mesh, the potential of this, and how many relaxations it took."""
    points = motion.mesh(jnp.zeros(motion.lattice.shape)).coordinates
    dtype = jax.eval_shape(initial, points).dtype
    progress = solve_by_relaxation(
        freeze(StartEquation(motion, initial)),
        jnp.zeros(motion.lattice.shape, dtype),
        tolerance=jnp.asarray(START_TOLERANCE, dtype),
        max_relaxations=START_STEPS,
    )
    potential = jax.lax.stop_gradient(progress.potential)
    return initial(motion.mesh(potential).coordinates), potential, progress.relaxations


@eqx.filter_jit
def _solve(form: AbstractForm, u, potential, times, solver, controller, dt0, max_steps, adjoint):
    """Values and potentials at all times, when it stopped and why, and how many steps it took and rejected."""
    start = form.open(u, potential)
    found = diffrax.diffeqsolve(
        diffrax.ODETerm(rate_at_rest),
        HeldMotion(solver),
        times[0],
        times[-1],
        dt0,
        start,
        form,
        saveat=diffrax.SaveAt(subs=[diffrax.SubSaveAt(ts=times), diffrax.SubSaveAt(t1=True)]),
        stepsize_controller=controller,
        max_steps=max_steps,
        adjoint=adjoint,
        throw=False,
    )
    (_, (stopped,)), (states, last) = found.ts, found.ys
    reached = times <= stopped

    def keep(saved, first, last):
        # Where the solve did not come, the last state it reached stands.
        saved = jnp.where(reached.reshape((-1,) + (1,) * (saved.ndim - 1)), saved, last)
        return saved.at[0].set(first)

    states = jax.tree.map(keep, states, start, last)
    steps, rejected = found.stats["num_steps"], found.stats["num_rejected_steps"]
    return jax.vmap(form.solution)(states), states["potential"], stopped, found.result, steps, rejected


@eqx.filter_jit
def _certify(
    motion: Motion, values: Array, potentials: Array, relaxations: Array, reached: Array
) -> Certificate:
    """One certificate for each time."""

    def measure(u, potential):
        mesh, look = motion.mesh(potential), motion.look(u, potential)
        density = motion.monitor.evaluate(u, mesh)
        at_cells = CellLattice(motion.grid).from_vertices(motion.to_vertices(density))
        residual = jnp.sqrt(motion.lattice.mean((look.share - 1) ** 2))
        # With one point for each cell, the density is asked for once, at all of them.
        return certify(mesh, lambda _: at_cells, residual=residual, iterations=relaxations, points=1)

    return eqx.tree_at(lambda c: c.converged, jax.vmap(measure)(values, potentials), reached)


class _Within(eqx.Module):
    """A function of positions, asked inside the box only: nodes may have left it through a periodic side."""

    function: Callable
    grid: Grid

    def __call__(self, x):
        box, inside = self.grid.box, []
        for along, low, high, periodic in zip(x, box.lower, box.upper, box.periodic):
            if periodic:
                # What is below by less than rounding is wrapped to the upper end, which is not inside.
                wrapped = low + jnp.mod(along - low, high - low)
                along = jnp.where(wrapped < high, wrapped, low)
            inside.append(along)
        return self.function(jnp.stack(inside))


class _Between(eqx.Module):
    """The function that takes given values at the points of a grid."""

    values: Float[Array, "channel *space"]
    grid: Grid

    def __call__(self, x):
        return interpolate(self.values, self.grid, x, Cubic())
