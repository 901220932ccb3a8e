"""A triangle mesh that follows a solution around a hole: solution to density, density to mesh."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..pdes import Grid
from .certificate import MeshError
from .gridded import GriddedDensity
from .holes import Graded, HoleGrading
from .monitors import AbstractMonitor, HessianMonitor
from .mover import Moved
from .smoothing import Gaussian
from .triangle_movers import AbstractTriangleMover, Spring
from .triangle_transfer import plan_triangles
from .triangles import TriangleMesh


class TriangleFollower(eqx.Module):
    """Moves a mesh of a rectangle with a hole to where a solution needs it, step by step; all of it runs under `jit`.

    **Arguments:**

    - `mesh`: as `mesh_with_hole` made it.
    - `grading`: how it was graded.
    - `seen`: a grid of the rectangle on which solutions are looked at; in the hole they are what they are at its rim.
    - `monitor`: makes a density of them; by default `HessianMonitor`, smoothed over one and a half cells of `seen`.
    - `mover`: moves the mesh; by default `Spring` to a hundredth of a triangle.

    **Raises:** `MeshError` for a mesh that is moved already.
    """

    mesh: TriangleMesh
    grading: HoleGrading = eqx.field(static=True)
    seen: Grid
    monitor: AbstractMonitor
    mover: AbstractTriangleMover

    def __init__(
        self,
        mesh: TriangleMesh,
        grading: HoleGrading,
        seen: Grid,
        *,
        monitor: AbstractMonitor | None = None,
        mover: AbstractTriangleMover | None = None,
    ):
        if not isinstance(mesh.points, jax.core.Tracer) and bool(jnp.any(mesh.points != mesh.reference)):
            raise MeshError(
                "TriangleFollower takes a mesh as it was made; this one has moved. Write mesh.move_to(mesh.reference)."
            )
        self.mesh, self.grading, self.seen = mesh, grading, seen
        self.monitor = (
            HessianMonitor(0.67, 6.0, smoothing=Gaussian(1.5), cap=0.9) if monitor is None else monitor
        )
        self.mover = Spring(tolerance=1e-2) if mover is None else mover

    def look(self, u: Float[Array, "channel node"], mesh: TriangleMesh) -> Float[Array, "channel x y"]:
        """A solution on a mesh, as the mover sees it.

        **Arguments:**

        - `u`: at the nodes `(channel, node)`.
        - `mesh`: the mesh.

        **Returns:** at the points of `self.seen`, `(channel, x, y)`.
        """
        points = jnp.asarray(self.seen.coordinates, mesh.points.dtype).reshape(2, -1)
        return plan_triangles(mesh, points)(u, mesh).reshape(len(u), *self.seen.shape)

    def measure(self, seen: Float[Array, "channel x y"]) -> Float[Array, "x y"]:
        """The density of nodes that a solution asks for.

        **Arguments:**

        - `seen`: at the points of `self.seen`, `(channel, x, y)`.

        **Returns:** positive numbers with mean one, `(x, y)`.
        """
        return self.monitor.evaluate(seen, self.seen)

    def move(self, density: Float[Array, "x y"], points: Float[Array, "2 node"]) -> Moved:
        """The mesh for a density.

        **Arguments:**

        - `density`: of the nodes, over what the mesh has as it was made, `(x, y)` at the points of `self.seen`.
        - `points`: where the nodes are to start from, `(2, node)`.

        **Returns:** the mesh with its certificate, valid or not.
        """
        given = Graded(GriddedDensity(density, self.seen), self.grading)
        start = Moved(self.mesh.move_to(points), None)
        return self.mover.move(given, self.mesh, start=start, throw=False)

    def keep(
        self, moved: Moved, points: Float[Array, "2 node"]
    ) -> tuple[Float[Array, "2 node"], Bool[Array, ""]]:
        """What to go on with: the mesh that was moved if it is valid, else the one before.

        **Arguments:**

        - `moved`: what `move` made.
        - `points`: the nodes of the mesh before, `(2, node)`.

        **Returns:** the nodes `(2, node)`, and whether the new ones are valid.
        """
        valid = moved.certificate.converged & moved.certificate.untangled
        return jnp.where(valid, moved.mesh.points, points), valid
