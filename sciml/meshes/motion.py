"""How a mesh moves with a solution: along the parabolic Monge-Ampere equation, at a velocity held for a step of time.

The mesh relaxes to the one that shares the solution's monitor `m` evenly, within a time `tau`,

    tau dphi/dt = (-Lap)^-1 2 (sqrt(m det(I + H phi) / theta) - 1),        x = xi + grad phi.

Once per step of time this equation is integrated over the step, with the solution as it is at its start, and the nodes
move to where it ends along straight lines. So

- the monitor is wanted near the nodes only, where the solution is: nothing is interpolated, and no equation is solved
  but a Laplacian on the regular grid;
- it costs as much as one or two stages of a step;
- the volume of a cell is a polynomial in time, which Runge-Kutta methods integrate exactly: a constant stays constant
  and mass is conserved to rounding;
- it never limits the step: it is integrated by a Runge-Kutta-Chebyshev method, whose stability grows with the square of
  its stages, and `tau` is raised where that is not enough.

**Reference:** Budd and Williams, "Moving mesh generation using the parabolic Monge-Ampere equation", 2009,
doi:10.1137/080716773; Verwer, Hundsdorfer and Sommeijer, "Convergence properties of the Runge-Kutta-Chebyshev method",
1990, doi:10.1007/BF01386405.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..pdes import AbstractCalculus, Grid
from .equidistribution import AbstractEquation, Look, VertexEquation
from .lattice import VertexLattice
from .monitors import AbstractMonitor
from .structured import StructuredMesh

STAGES = 4  # of the Runge-Kutta-Chebyshev method
DAMPING = 0.05
FARTHEST = 1.0  # how much the logarithm of the monitor may change where a node goes in one step


class Motion(eqx.Module):
    """What moves the mesh.

    **Arguments:**

    - `grid`: the regular grid that is moved.
    - `monitor`: where a solution wants its nodes.
    - `time`: `tau`, in which the mesh follows; a scalar.
    - `discretize`: of the meshes; see `StructuredMesh`.
    """

    grid: Grid
    monitor: AbstractMonitor
    time: Float[Array, ""]
    discretize: Callable[[Grid], AbstractCalculus] = eqx.field(static=True)

    @property
    def lattice(self) -> VertexLattice:
        """That of the vertices."""
        return VertexLattice(self.grid)

    def mesh(self, potential: Float[Array, "*vertex"]) -> StructuredMesh:
        """The mesh of a potential.

        **Arguments:**

        - `potential`: `(*vertex,)`.

        **Returns:** the mesh.
        """
        reference = self.lattice.reference.astype(potential.dtype)
        return StructuredMesh(self.grid, reference + self.lattice.gradient(potential), self.discretize)

    def look(self, u: Float[Array, "channel *space"], potential: Float[Array, "*vertex"]) -> Look:
        """The Monge-Ampere equation for the monitor of a solution on a mesh.

        **Arguments:**

        - `u`: the solution at the points of the mesh `(channel, *space)`.
        - `potential`: of the mesh `(*vertex,)`.

        **Returns:** its residual, and how fast an explicit step would have to be at the most.
        """
        density = self.to_vertices(self.monitor.evaluate(u, self.mesh(potential)))
        return VertexEquation(self.lattice, lambda _: density).look(potential)

    def velocity(
        self, u: Float[Array, "channel *space"], potential: Float[Array, "*vertex"], step: Float[Array, ""]
    ) -> Float[Array, "*vertex"]:
        """The rate of change of the potential, to be held for a step of time.

        **Arguments:**

        - `u`: the solution at the points of the mesh, at the start of the step `(channel, *space)`.
        - `potential`: of the mesh, then `(*vertex,)`.
        - `step`: of time, a scalar.

        **Returns:** per time, `(*vertex,)`.
        """
        equation = VertexEquation(self.lattice, self._density(u, potential))
        longest = (
            0.5 * (2 - 4 * DAMPING / 3) * STAGES**2
        )  # for a rate of one; half of it as the rate is an estimate
        shortest = step * equation.look(potential).rate / longest
        length = (step / jnp.maximum(self.time, shortest)).astype(potential.dtype)

        def change(potential):
            excess = self.lattice.project(2 * (jnp.sqrt(equation.look(potential).share) - 1))
            return length * self.lattice.invert_laplacian(excess)

        def advance(pair, weights):
            before, now = pair
            return (now, weights[0] * now + weights[1] * before + weights[2] * change(now)), None

        weights = jnp.asarray(_chebyshev_weights(STAGES, DAMPING), potential.dtype)
        (_, end), _ = jax.lax.scan(advance, (potential, potential), weights)
        return ((end - potential) / step).astype(potential.dtype)

    def to_points(self, values: Float[Array, "dim *vertex"]) -> Float[Array, "dim *space"]:
        """From the vertices to the points of the unknowns: means along axes with walls.

        **Arguments:**

        - `values`: `(dim, *vertex)`.

        **Returns:** `(dim, *space)`.
        """
        for axis, periodic in enumerate(self.grid.box.periodic, start=1):
            if not periodic:
                values = _means(values, axis)
        return values

    def to_vertices(self, values: Float[Array, "*space"]) -> Float[Array, "*vertex"]:
        """From the points of the unknowns to the vertices: means along axes with walls.

        **Arguments:**

        - `values`: `(*space,)`.

        **Returns:** `(*vertex,)`.
        """
        for axis, periodic in enumerate(self.grid.box.periodic):
            if not periodic:
                widths = [(1, 1) if a == axis else (0, 0) for a in range(values.ndim)]
                values = _means(jnp.pad(values, widths, mode="edge"), axis)
        return values

    def _density(self, u: Array, potential: Array) -> Callable[[Array], Array]:
        """The monitor near the vertices: each has a logarithm of it and its slope there."""
        mesh = self.mesh(potential)
        points = jnp.log(self.monitor.evaluate(u, mesh))
        slopes = mesh.gradient(mesh.known(points[None]))[0]
        logarithm, slope = self.to_vertices(points), jnp.stack([self.to_vertices(s) for s in slopes])

        def density(x):
            ahead = jnp.sum(slope * (x - mesh.vertices), axis=0)
            return jnp.exp(logarithm + jnp.clip(ahead, -FARTHEST, FARTHEST))

        return density


class StartEquation(AbstractEquation):
    """The equation of the first mesh: the solution is a function, known wherever the nodes go.

    **Arguments:**

    - `motion`: what moves the mesh.
    - `initial`: positions `(dim, *space)` to values `(channel, *space)`.
    """

    motion: Motion
    initial: Callable[[Float[Array, "dim *space"]], Float[Array, "channel *space"]]

    @property
    def lattice(self) -> VertexLattice:
        """That of the vertices."""
        return self.motion.lattice

    def look(self, potential):
        """See `AbstractEquation.look`."""
        return self.motion.look(self.initial(self.motion.mesh(potential).coordinates), potential)

    def linearize(self, potential):
        """See `AbstractEquation.linearize`."""
        _, apply = jax.linearize(lambda p: self.look(p).residual, potential)
        return lambda change: self.lattice.project(apply(change))


def _chebyshev_weights(stages: int, damping: float) -> np.ndarray:
    """For each stage the weights of the stage before, of the one before that, and of the rate there."""
    at = 1 + damping / stages**2
    basis = np.polynomial.chebyshev.Chebyshev.basis
    values = [float(basis(j)(at)) for j in range(stages + 1)]
    scale = values[-1] / float(basis(stages).deriv()(at))
    rest = [
        (2 * at * low / high, -lower / high, 2 * scale * low / high)
        for lower, low, high in zip(values, values[1:], values[2:])
    ]
    return np.array([(1.0, 0.0, scale / at), *rest])


def _means(values: Array, axis: int) -> Array:
    n = values.shape[axis]
    low = jax.lax.slice_in_dim(values, 0, n - 1, axis=axis)
    return 0.5 * (low + jax.lax.slice_in_dim(values, 1, n, axis=axis))
