"""A mesh that follows a solution: solution to density, density to mesh, warm-started from the mesh before."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ..pdes import Grid
from .data_free import DataFreeMover
from .lattice import VertexLattice
from .monge_ampere import MongeAmpere
from .monitors import AbstractMonitor, HessianMonitor
from .mover import Moved
from .smoothing import Gaussian
from .structured import StructuredMesh, uniform_mesh
from .transfer import Cubic, interpolate


class Followed(NamedTuple):
    """Meshes along a solution.

    **Arguments:**

    - `vertices`: `(time, dim, *vertex)`, lengths.
    - `potentials`: `(time, *vertex)`, for warm starts.
    - `valid`: whether the mover converged to an untangled mesh, `(time,)`; where not, the mesh before is kept.
    """

    vertices: Float[Array, "time dim *vertex"]
    potentials: Float[Array, "time *vertex"]
    valid: Bool[Array, " time"]


class Follower(eqx.Module):
    """Moves a mesh to where a solution needs it, step by step; all of it runs under `jit`.

    **Arguments:**

    - `grid`: the grid whose vertices are moved.
    - `refinement`: the solution is looked at on a grid so many times finer, for features narrower than a cell.
    - `monitor`: makes a density of it; by default `HessianMonitor`, smoothed over one cell of `grid`.
    - `mover`: a mover that can start from a potential, or a `DataFreeMover` that looks at densities.

    **Raises:** `ValueError` for a refinement that is not a positive whole number.
    """

    grid: Grid
    monitor: AbstractMonitor
    mover: MongeAmpere | DataFreeMover
    refinement: int = eqx.field(static=True)

    def __init__(
        self,
        grid: Grid,
        *,
        refinement: int = 2,
        monitor: AbstractMonitor | None = None,
        mover: MongeAmpere | DataFreeMover | None = None,
    ):
        if isinstance(refinement, bool) or not isinstance(refinement, int) or refinement < 1:
            raise ValueError(f"Follower.refinement is a whole number, 1 or more; got {refinement!r}.")
        self.grid, self.refinement = grid, refinement
        self.monitor = HessianMonitor(smoothing=Gaussian(float(refinement))) if monitor is None else monitor
        self.mover = MongeAmpere(tolerance=1e-6) if mover is None else mover

    @property
    def seen(self) -> Grid:
        """The grid on which the solution is looked at."""
        return Grid(self.grid.box, tuple(self.refinement * n for n in self.grid.shape))

    @property
    def rest(self) -> Float[Array, "*vertex"]:
        """The potential of the mesh that has not moved, `(*vertex,)`."""
        return jnp.zeros(VertexLattice(self.grid).shape)

    def move(self, seen: Float[Array, "channel *fine"], potential: Float[Array, "*vertex"]) -> Moved:
        """The mesh for a solution.

        **Arguments:**

        - `seen`: the solution at the points of `self.seen`, `(channel, *fine)`.
        - `potential`: of the mesh to start from, `(*vertex,)`.

        **Returns:** the mesh with its certificate, valid or not.

        **Raises:** `ValueError` for values on another grid.
        """
        density = self.monitor.density(seen, self.seen)
        start = Moved(uniform_mesh(self.grid), None, potential)
        return self.mover.move(density, self.grid, start=start, throw=False)

    def look(
        self, u: Float[Array, "channel *space"], mesh: Grid | StructuredMesh
    ) -> Float[Array, "channel *fine"]:
        """A solution on a mesh, as the mover sees it: reconstructed by cubic interpolation.

        **Arguments:**

        - `u`: at the points of the mesh `(channel, *space)`.
        - `mesh`: the mesh.

        **Returns:** at the points of `self.seen`, `(channel, *fine)`.
        """
        return interpolate(u, mesh, self.seen.coordinates, Cubic())

    def follow(self, frames: Float[Array, "time channel *fine"]) -> Followed:
        """The meshes along known frames, each started from the one before.

        **Arguments:**

        - `frames`: a solution on `self.seen`, `(time, channel, *fine)`.

        **Returns:** a mesh per frame.
        """

        def advance(carry, seen):
            found = self.keep(self.move(seen, carry[1]), *carry)
            return found[:2], found

        rest = self.rest
        start = (uniform_mesh(self.grid).vertices.astype(rest.dtype), rest)
        return Followed(*jax.lax.scan(advance, start, frames)[1])

    def begin(
        self, seen: Float[Array, "channel *fine"]
    ) -> tuple[Float[Array, "dim *vertex"], Float[Array, "*vertex"], Bool[Array, ""]]:
        """The first mesh, from the one that has not moved.

        **Arguments:**

        - `seen`: the solution on `self.seen`, `(channel, *fine)`.

        **Returns:** vertices `(dim, *vertex)`, potential `(*vertex,)` and whether the mesh is valid; see `keep`.
        """
        rest = uniform_mesh(self.grid).vertices.astype(self.rest.dtype)
        return self.keep(self.move(seen, self.rest), rest, self.rest)

    def advance(
        self,
        u: Float[Array, "channel *space"],
        mesh: Grid | StructuredMesh,
        vertices: Float[Array, "dim *vertex"],
        potential: Float[Array, "*vertex"],
    ) -> tuple[Float[Array, "dim *vertex"], Float[Array, "*vertex"], Bool[Array, ""]]:
        """The next mesh, for a solution on a mesh.

        **Arguments:**

        - `u`: the solution `(channel, *space)`.
        - `mesh`: where it is.
        - `vertices`, `potential`: the mesh to start from and to fall back on, `(dim, *vertex)` and `(*vertex,)`.

        **Returns:** vertices `(dim, *vertex)`, potential `(*vertex,)` and whether the mesh is valid; see `keep`.
        """
        return self.keep(self.move(self.look(u, mesh), potential), vertices, potential)

    def keep(
        self,
        moved: Moved,
        vertices: Float[Array, "dim *vertex"],
        potential: Float[Array, "*vertex"],
    ) -> tuple[Float[Array, "dim *vertex"], Float[Array, "*vertex"], Bool[Array, ""]]:
        """What to go on with: the mesh that was moved if it is valid, else the one before.

        **Arguments:**

        - `moved`: what `move` made.
        - `vertices`, `potential`: the mesh before, `(dim, *vertex)` and `(*vertex,)`.

        **Returns:** vertices `(dim, *vertex)`, potential `(*vertex,)`, and whether the new one is valid.
        """
        valid = moved.certificate.converged & moved.certificate.untangled
        return (
            jnp.where(valid, moved.mesh.vertices, vertices),
            jnp.where(valid, moved.potential, potential),
            valid,
        )
