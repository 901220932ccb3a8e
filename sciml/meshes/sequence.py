"""Meshes that follow a density as it changes: each starts from the one before, and may lag behind it.

Under `MMPDE`, Huang, Ren and Russell's name for equations that move a mesh in time, the mesh relaxes to the one that
shares the mass evenly, within a time of its own. Here that is exact: if `phi*` is the potential of the mesh for the
density of the moment,

    tau dphi/dt = phi* - phi,    so over a time dt with phi* held    phi <- phi* + exp(-dt / tau) (phi - phi*).

A mean of convex potentials is convex, so a mesh that lags is no more tangled than those it lags behind.

**Reference:** Huang, Ren and Russell, "Moving mesh partial differential equations (MMPDES) based on the
equidistribution principle", 1994, doi:10.1137/0731038.
"""

import itertools
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..pdes import Grid
from ._checks import check_positive
from .certificate import certify
from .lattice import VertexLattice
from .mesh import Density
from .monge_ampere import MongeAmpere, ParabolicRelaxation, finish
from .mover import Moved
from .structured import StructuredMesh


def follow(
    mover: MongeAmpere | ParabolicRelaxation,
    densities: Sequence[Density],
    grid: Grid,
    times: Sequence[float] | Float[Array, " time"],
    *,
    lag: float = 0.0,
    throw: bool = True,
) -> list[Moved]:
    """Move a mesh from one density to the next.

    **Arguments:**

    - `mover`: a mover whose mesh is the gradient of its potential.
    - `densities`: one for each time, each as for `AbstractMover.move`. Those of one kind, such as equinox modules that
        differ in their arrays, share one compilation.
    - `grid`: the grid whose vertices are moved.
    - `times`: increasing, `(time,)`.
    - `lag`: `tau`, the time in which the mesh comes closer to that of the moment by a factor of `e`; 0: at once. The
        first mesh does not lag. A mesh that lags does not share the mass evenly, as its certificate tells.
    - `throw`: as for `AbstractMover.move`.

    **Returns:** a mesh with its certificate for each time. The potential of each is that of the mesh, lag included.

    **Raises:** `ValueError` for times that do not increase or are not as many as densities, or a negative lag;
    `MeshError` that names the time.
    """
    times = [float(t) for t in times]
    if len(times) != len(densities) or not times:
        raise ValueError(
            f"follow needs one time for each density; got {len(times)} and {len(densities)}. Give as many of both."
        )
    if any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise ValueError(f"follow: times must increase; got {times}. Sort them, densities with them.")
    if not isinstance(mover, (MongeAmpere, ParabolicRelaxation)):
        raise ValueError(
            f"follow needs a mover whose mesh is the gradient of its potential, MongeAmpere or ParabolicRelaxation; "
            f"got {type(mover).__name__}. Others go on by mover.move(..., start=...) where they can."
        )
    if lag != 0.0:
        check_positive("follow", "lag", lag)
    found: list[Moved] = []
    good, potential = None, None
    for index, (time, density) in enumerate(zip(times, densities, strict=True)):
        target = mover.move(density, grid, start=good, throw=False)
        # What failed is not started from.
        good = target if bool(target.certificate.valid) else good
        if lag == 0.0 or potential is None:
            moved = target
        else:
            keep = jnp.exp(-(time - times[index - 1]) / lag)
            moved = _lag(target, potential, keep, density, grid)
        potential = moved.potential if bool(moved.certificate.valid) else potential
        owner = f"{type(mover).__name__} at t = {time:g}"
        found.append(finish(moved, density, grid, owner=owner, throw=throw))
    return found


@eqx.filter_jit
def _lag(
    target: Moved, potential: Float[Array, "*vertex"], keep: Float[Array, ""], density: Density, grid: Grid
) -> Moved:
    potential = target.potential + keep * (potential - target.potential)
    lattice = VertexLattice(grid)
    vertices = lattice.reference.astype(potential.dtype) + lattice.gradient(potential)
    mesh = StructuredMesh(grid, vertices, target.mesh.discretize)
    certificate = certify(
        mesh,
        density,
        residual=target.certificate.residual,
        iterations=target.certificate.iterations,
        converged=target.certificate.converged,
        details=target.certificate.details,
    )
    return Moved(mesh, certificate, potential)
