"""What a mover is: a density in, a mesh with its certificate out."""

import abc

import equinox as eqx
from jaxtyping import Array, Float

from ..pdes import Grid
from .certificate import Certificate
from .mesh import AbstractMesh, Density


class Moved(eqx.Module):
    """A mesh that was moved.

    **Arguments:**

    - `mesh`: the mesh.
    - `certificate`: what was measured on this mesh.
    - `potential`: `phi` of the map `x = xi + grad phi` at the vertices `(*vertex,)`, for a warm start of the next mesh;
        `None` for a mover without a potential.
    """

    mesh: AbstractMesh
    certificate: Certificate
    potential: Float[Array, "*vertex"] | None = None


class AbstractMover(eqx.Module):
    """Moves the vertices of a grid so that its cells share a density evenly."""

    @abc.abstractmethod
    def move(
        self, density: Density, grid: Grid | AbstractMesh, *, start: Moved | None = None, throw: bool = True
    ) -> Moved:
        """Move a mesh.

        **Arguments:**

        - `density`: of the nodes, `density(x)` maps positions `(dim, *points)` to positive numbers `(*points,)`. Only
            its shape matters: a multiple gives the same mesh.
        - `grid`: the regular grid whose vertices are moved; movers of triangles take a triangle mesh.
        - `start`: what this mover made for a density nearby, to start from.
        - `throw`: refuse a mesh that is not valid; else it is returned, and its certificate says so.

        **Returns:** the mesh with its certificate.

        **Raises:** `MeshError` with the cell and the cure; `ValueError` for a density that is not positive and finite.
        """
