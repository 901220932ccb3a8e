"""What a mesh is worth, measured on the mesh itself: a mover returns no mesh without it.

The residual of an equation says little about the mesh: at 64 x 64 cells a discrete Monge-Ampere equation solved to
1e-13 leaves the masses of the cells uneven by 4 to 11 %. So the masses are integrated here, cell by cell and by a finer
formula than a solver uses, and a cell counts as tangled as soon as one of its corners is turned over.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from .mesh import AbstractMesh, Density


class MeshError(ValueError):
    """A mesh that is tangled, leaves its domain or is not what was asked for, refused."""


class Certificate(eqx.Module):
    """What is known of a mesh.

    **Arguments:**

    - `residual`: of the mover's equation, relative, a scalar; 0 where there is no equation.
    - `iterations`: of the mover, all kinds added up, a scalar.
    - `converged`: whether the mover reached its tolerance, a scalar.
    - `variation`: standard deviation over mean of the cells' masses, a scalar; 0 is perfectly even.
    - `volume_ratio`: the largest cell over the smallest, a scalar; infinite or negative for a mesh that is turned over.
    - `smallest_corner`: the least Jacobian at any corner of any cell, over that before the move, a scalar.
    - `tangled`: how many cells have a corner that is not positive, a scalar.
    - `boundary_error`: the farthest that a node is off the wall it belongs on, over the size of the domain, a scalar.
    - `area_error`: by how much the volumes of the cells do not add up to the domain's, relative, a scalar.
    - `worst_cell`: the flat index of the cell with the smallest corner, a scalar.
    - `details`: what the mover counted, by name, scalars.
    """

    residual: Float[Array, ""]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]
    variation: Float[Array, ""]
    volume_ratio: Float[Array, ""]
    smallest_corner: Float[Array, ""]
    tangled: Int[Array, ""]
    boundary_error: Float[Array, ""]
    area_error: Float[Array, ""]
    worst_cell: Int[Array, ""]
    details: dict[str, Shaped[Array, ""]]

    @property
    def untangled(self) -> Bool[Array, ""]:
        """Whether no cell is tangled and no number is NaN, whatever the mover says, a scalar."""
        return (self.tangled == 0) & (self.smallest_corner > 0) & jnp.isfinite(self.variation)

    @property
    def inside(self) -> Bool[Array, ""]:
        """Whether the nodes stay in the domain and the cells fill it, to rounding, a scalar."""
        small = 1e3 * jnp.finfo(self.boundary_error.dtype).eps
        return (self.boundary_error <= small) & (self.area_error <= small)

    @property
    def valid(self) -> Bool[Array, ""]:
        """Whether the mover converged, no cell is tangled, and the mesh fills its domain, a scalar."""
        return self.converged & self.untangled & self.inside


def certify(
    mesh: AbstractMesh,
    density: Density,
    *,
    residual: Float[Array, ""] | float = 0.0,
    iterations: Int[Array, ""] | int = 0,
    converged: Bool[Array, ""] | bool = True,
    details: dict[str, Shaped[Array, ""]] | None = None,
    points: int = 6,
) -> Certificate:
    """Measure a mesh.

    **Arguments:**

    - `mesh`: the mesh.
    - `density`: what its cells should share evenly; positions `(dim, *points)` to numbers `(*points,)`.
    - `residual`, `iterations`, `converged`: what the mover says of itself, scalars.
    - `details`: more of that, by name, scalars.
    - `points`: of Gauss' formula in each direction of a cell.

    **Returns:** the certificate. It is a constant to differentiation.

    **Raises:** `ValueError` for anything but a mesh, such as a grid.
    """
    if not isinstance(mesh, AbstractMesh):
        raise ValueError(
            f"certify measures a mesh; got {type(mesh).__name__}. A Grid becomes one by uniform_mesh(grid)."
        )
    mesh = jax.lax.stop_gradient(mesh)
    masses = jax.lax.stop_gradient(mesh.masses(density, points))
    corners, volumes = mesh.corner_jacobians, mesh.volumes
    smallest = jnp.min(corners, axis=0)
    size = mesh.domain_volume ** (1 / mesh.dimensions)
    # Written so that NaN counts as tangled.
    tangled = jnp.sum(~(smallest > 0))
    dtype = volumes.dtype
    return Certificate(
        residual=jax.lax.stop_gradient(jnp.asarray(residual, dtype)),
        iterations=jnp.asarray(iterations),
        converged=jnp.asarray(converged),
        variation=jnp.std(masses) / jnp.mean(masses),
        volume_ratio=jnp.max(volumes) / jnp.min(volumes),
        smallest_corner=jnp.min(smallest),
        tangled=tangled,
        boundary_error=mesh.boundary_error / size,
        area_error=jnp.abs(jnp.sum(volumes) / mesh.domain_volume - 1),
        worst_cell=jnp.argmin(smallest),
        details=jax.lax.stop_gradient(dict(details or {})),
    )


def check_certificate(
    certificate: Certificate, cells: tuple[int, ...], *, owner: str, cure: str, guarded: PyTree = None
) -> PyTree:
    """Refuse a mesh that is not valid.

    **Arguments:**

    - `certificate`: of the mesh.
    - `cells`: the shape of the array of cells.
    - `owner`: the mover, for the message.
    - `cure`: what a user can do, for the message.
    - `guarded`: what may not be used without the check, such as the mesh with its certificate; by default the
        certificate.

    **Returns:** what is guarded. Under `jit` or `vmap` its arrays hold the check, which happens when the program runs;
    use it, as XLA drops checks on what is not used.

    **Raises:** `MeshError` naming the cell and the cure; under `jit` and `vmap` equinox's runtime error, which cannot
    name the cell.
    """
    guarded = certificate if guarded is None else guarded
    if isinstance(certificate.valid, jax.core.Tracer):
        fault = f"{owner}: the mesh is tangled, leaves its domain, or did not converge."
        return eqx.error_if(guarded, ~certificate.valid, f"{fault} {cure} throw=False returns it, marked.")
    if np.all(certificate.valid):
        return guarded
    raise MeshError(f"{owner}: {_explain(certificate, cells)} {cure} throw=False returns the mesh, marked.")


def _explain(certificate: Certificate, cells: tuple[int, ...]) -> str:
    if not bool(certificate.untangled):
        index = tuple(int(i) for i in np.unravel_index(int(certificate.worst_cell), cells))
        return (
            f"{int(certificate.tangled)} of {int(np.prod(cells))} cells are tangled; the worst is {index}, where the "
            f"Jacobian at a corner is {float(certificate.smallest_corner):.3g} of what it was, and must be positive."
        )
    if not bool(certificate.converged):
        return (
            f"not converged after {int(certificate.iterations)} iterations; the residual is "
            f"{float(certificate.residual):.3g}."
        )
    return (
        f"nodes are off their wall by {float(certificate.boundary_error):.3g} of the domain's size, and the areas of "
        f"the cells are off its area by {float(certificate.area_error):.3g}."
    )
