"""The data-free mesh mover: an operator from a solution to a mesh, trained on the Monge-Ampere equation alone.

Nothing it is trained on was made by a mover. Solutions are enough: a monitor makes densities of them, and the loss is
the residual of

    m(xi + grad phi) det(I + H phi) = theta.

What it returns is a proposal. The certificate, measured on the mesh, says what it is worth; `Certified` lets Newton's
method finish it.

A trained mover is a pytree: `sciml.training.save_model` and `load_model` store all of it, the family included.

**Reference:** P. Hu, Y. Wang, Z.-M. Ma, "Better Neural PDE Solvers Through Data-Free Mesh Movers", ICLR 2024,
arXiv:2312.05583.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..pdes import AbstractCalculus, FiniteDifference, Grid
from ._checks import check_positive
from .certificate import Certificate, MeshError, certify, check_certificate
from .densities import check_density
from .family import Family
from .mesh import Density
from .monitors import AbstractMonitor, HessianMonitor
from .mover import AbstractMover, Moved
from .potentials import AbstractPotential, Derivatives, Lattice
from .sensors import AbstractSensors, PointCloud, Solution
from .structured import StructuredMesh, reference_vertices, vertex_shape

_CURE = "Certified(mover) lets Newton's method repair the mesh; or train longer."


class DataFreeMover(AbstractMover):
    """A network that proposes a mesh for a solution.

    It moves to a solution as other movers do to a density. Where its sensors look at the density alone, it takes a
    density, too.

    **Arguments:**

    - `potential`: the network.
    - `sensors`: what it sees.
    - `family`: what it was trained on.
    - `monitor`: makes the density of a solution.
    - `farthest`: the largest distance to the family at which a proposal counts as converged; one is as far as a member
        may be.
    - `discretize`: of the mesh that is returned; see `StructuredMesh`.

    **Raises:** `ValueError` for a family that was seen by other sensors, or a potential on another box.
    """

    potential: AbstractPotential
    sensors: AbstractSensors
    family: Family
    monitor: AbstractMonitor = HessianMonitor()
    farthest: float = eqx.field(static=True, default=3.0)
    discretize: Callable[[Grid], AbstractCalculus] = eqx.field(static=True, default=FiniteDifference)

    def __check_init__(self):
        if jnp.shape(self.family.mean) != self.sensors.shape:
            raise ValueError(
                f"The family was seen by sensors of shape {jnp.shape(self.family.mean)}; the mover's have "
                f"{self.sensors.shape} (channel, *sensor). Describe it with these."
            )
        check_positive("DataFreeMover", "farthest", self.farthest)
        self.check_box(self.sensors.grid, "The sensors are in")

    def move(self, density, grid, *, start=None, throw=True):
        """Propose a mesh, and measure it; see `AbstractMover.move`.

        **Arguments:**

        - `density`: a solution, `(channel, *space)` or a `PointCloud` as the mover was trained on; with
            `DensitySensors` also a density, positions `(dim, *points)` to numbers `(*points,)`.
        - `grid`: whose vertices are moved; any in the mover's box.
        - `start`: is not looked at.
        - `throw`: as for all movers. A solution far outside the family is refused, too.

        **Returns:** the mesh. Its certificate's `details` hold the `family_distance`.

        **Raises:** `ValueError` for a solution of another shape; `MeshError`.
        """
        return self.move_for(density, None, grid, throw=throw)

    def move_for(
        self, u: Solution | Density, density: Density | None, grid: Grid, *, throw: bool = True
    ) -> Moved:
        """Propose a mesh for a solution whose density is known, and not to be made by the monitor.

        **Arguments:**

        - `u`: as for `move`, `(channel, *space)` or a `PointCloud`, or a density.
        - `density`: positions `(dim, *points)` to numbers `(*points,)`; `None` to ask the monitor.
        - `grid`, `throw`: as for `move`.

        **Returns:** the mesh, certified for that density.

        **Raises:** as `move`.
        """
        u, density = self.resolve(u, density)
        self.check_box(grid, "The grid is in")
        moved = _move(self, u, density, grid)
        if not throw:
            return moved
        return refuse(moved, density, grid, farthest=self.farthest)

    def resolve(
        self, u: Solution | Density, density: Density | None = None
    ) -> tuple[Solution | None, Density]:
        """What was given, as a solution and its density.

        **Arguments:**

        - `u`: a solution `(channel, *space)`, a `PointCloud`, or a density.
        - `density`: positions `(dim, *points)` to numbers `(*points,)`, or `None`.

        **Returns:** the solution `(channel, *space)` or point cloud, `None` where a density was given; and the density.

        **Raises:** `ValueError` for a density where the sensors look at solutions.
        """
        if callable(u) and not isinstance(u, PointCloud):
            if self.sensors.needs_solution:
                raise ValueError(
                    f"This mover was trained on solutions, {self.sensors.shape} at its sensors; got a density. Give "
                    "the solution, or train a mover with DensitySensors."
                )
            return None, u
        if density is not None:
            return u, density
        return u, make_density(u, self.sensors, self.monitor)

    def propose(self, u: Solution | None, density: Density | None, grid: Grid) -> Derivatives:
        """Only the potential at the vertices, without a mesh or a certificate.

        **Arguments:**

        - `u`: the solution `(channel, *space)`, a `PointCloud`, or `None`.
        - `density`: positions `(dim, *points)` to numbers `(*points,)`; `None` where sensors do not look at it.
        - `grid`: whose vertices are moved.

        **Returns:** the potential and its derivatives at the vertices; the gradient is their displacement.
        """
        seen = self.family.normalize(self.sensors.see(u, density))
        return self.potential.evaluate(seen.astype(float), vertex_lattice(grid))

    def trainable(self) -> PyTree:
        """Which leaves to train, as `sciml.training.fit` takes it: those of the potential.

        **Returns:** the mover with booleans for leaves.
        """
        nothing = jax.tree.map(lambda _: False, self)
        return eqx.tree_at(lambda m: m.potential, nothing, jax.tree.map(eqx.is_inexact_array, self.potential))

    def check_box(self, grid: Grid, where: str) -> None:
        """Refuse a grid in another box.

        **Arguments:**

        - `grid`: the grid.
        - `where`: how the message begins.

        **Raises:** `ValueError`.
        """
        extent, box = self.potential.extent, grid.box
        mine = (extent.lower, extent.lengths, extent.periodic)
        if (box.lower, box.lengths, box.periodic) != mine:
            raise ValueError(
                f"{where} the box from {box.lower} with sides {box.lengths}, periodic={box.periodic}; the mover's "
                f"potential was made for {extent.lower}, {extent.lengths}, {extent.periodic}. Use a grid in that box."
            )


def make_density(u: Solution, sensors: AbstractSensors, monitor: AbstractMonitor) -> Density:
    """The density of a solution by a monitor; of a point cloud by what the sensors see of it.

    **Arguments:**

    - `u`: the solution, `(channel, *space)` or a `PointCloud`.
    - `sensors`: of the mover.
    - `monitor`: of the mover.

    **Returns:** the density.

    **Raises:** `ValueError` for a solution of another shape than the sensors are for.
    """
    if isinstance(u, PointCloud) and not sensors.needs_solution:
        raise ValueError(
            "This mover looks at the density, and its monitor makes one of a solution on a grid; got a PointCloud. "
            "Interpolate it to a grid, or give its density."
        )
    seen = sensors.see(u, None) if sensors.needs_solution else None  # refuses another shape
    if isinstance(u, PointCloud):
        return monitor.density(seen, sensors.grid)
    u = jnp.asarray(u)
    return monitor.density(u, Grid(sensors.grid.box, u.shape[1:]))


def vertex_lattice(grid: Grid) -> Lattice:
    """The vertices of a grid as fractions of its box.

    **Arguments:**

    - `grid`: the grid.

    **Returns:** the lattice.
    """
    return Lattice(
        tuple(
            jnp.asarray(np.arange(count) / n, float)
            for count, n in zip(vertex_shape(grid), grid.shape, strict=True)
        )
    )


def determine(hessian: tuple[Float[Array, "*points"], ...]) -> tuple[Array, Array]:
    """The determinant of `I + H`, and its smaller eigenvalue.

    **Arguments:**

    - `hessian`: as in `Derivatives`, `(*points,)` each.

    **Returns:** both, `(*points,)`.
    """
    if len(hessian) == 1:
        return 1 + hessian[0], 1 + hessian[0]
    a, b, c = 1 + hessian[0], 1 + hessian[1], hessian[2]
    # Not at the kink of the root, whose derivative is NaN.
    radius = jnp.sqrt((a - b) ** 2 / 4 + c**2 + 1e-12)
    return a * b - c**2, (a + b) / 2 - radius


def measure_residual(
    density: Density, vertices: Float[Array, "dim *vertex"], found: Derivatives
) -> Float[Array, ""]:
    """How far a potential is from a solution of the Monge-Ampere equation.

    **Arguments:**

    - `density`: positions `(dim, *points)` to numbers `(*points,)`.
    - `vertices`: where the potential puts them `(dim, *vertex)`.
    - `found`: its derivatives at the vertices.

    **Returns:** the largest `|log m det(I + H)|`, up to a constant, where the determinant is positive; a scalar.
    """
    determinant, _ = determine(found.hessian)
    mass = density(vertices) * determinant
    positive = jnp.where(mass > 0, mass, jnp.nan)
    return jnp.max(abs(jnp.log(positive) - jnp.log(jnp.nanmean(positive))))


@eqx.filter_jit
def _move(mover: DataFreeMover, u: Solution | None, density: Density, grid: Grid) -> Moved:
    found = mover.propose(u, density, grid)
    vertices = reference_vertices(grid) + found.gradient
    mesh = StructuredMesh(grid, vertices, mover.discretize)
    residual = measure_residual(density, vertices, found)
    distance = mover.family.measure_distance(mover.sensors.see(u, density))
    certificate = certify(
        mesh,
        density,
        residual=residual,
        converged=distance <= mover.farthest,
        details={"family_distance": distance},
    )
    return Moved(mesh, certificate, found.value)


def refuse(moved: Moved, density: Density, grid: Grid, *, farthest: float) -> Moved:
    """Refuse a proposal that is not valid.

    **Arguments:**

    - `moved`: the proposal.
    - `density`: what it was made for, positions `(dim, *points)` to numbers `(*points,)`.
    - `grid`: the grid that was moved.
    - `farthest`: from the family.

    **Returns:** the same.

    **Raises:** `ValueError` for a density that is not positive and finite; `MeshError` that names the distance to the
    family, or the cell.
    """
    certificate: Certificate = moved.certificate
    if not isinstance(certificate.valid, jax.core.Tracer) and not np.all(certificate.valid):
        check_density(density, grid)
        distance = float(np.max(certificate.details["family_distance"]))
        if not distance <= farthest:
            raise MeshError(
                f"DataFreeMover: this solution is at a distance of {distance:.3g} from the family that the mover was "
                f"trained on, where members are at about 1 at most and {farthest:g} is allowed. Certified(mover) "
                "makes a mesh all the same; or train on solutions like this one. throw=False returns the mesh, marked."
            )
    return check_certificate(
        certificate, moved.mesh.volumes.shape, owner="DataFreeMover", cure=_CURE, guarded=moved
    )
