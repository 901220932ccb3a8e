"""What a mesh is, to a mover and to a certificate: cells, and the mass of a density in each."""

import abc
from collections.abc import Callable

from jaxtyping import Array, Float

from ..pdes import AbstractCalculus

# A density of nodes: positions `(dim, *points)` to positive numbers `(*points,)`.
Density = Callable[[Float[Array, "dim *points"]], Float[Array, "*points"]]


class AbstractMesh(AbstractCalculus):
    """Cells that fill a domain, as a calculus on the points of its unknowns."""

    @property
    @abc.abstractmethod
    def volumes(self) -> Float[Array, "*cell"]:
        """The signed length or area of each cell, `(*cell,)`: negative for a cell that is turned over."""

    @property
    @abc.abstractmethod
    def corner_jacobians(self) -> Float[Array, "corner *cell"]:
        """The Jacobian determinant at each corner of each cell, over that before it was moved, `(corner, *cell)`."""

    @property
    @abc.abstractmethod
    def boundary_error(self) -> Float[Array, ""]:
        """The farthest that a node which belongs on a wall is off it, a scalar; a length."""

    @property
    @abc.abstractmethod
    def domain_volume(self) -> float:
        """What the volumes of all cells should add up to."""

    @abc.abstractmethod
    def masses(self, density: Density, points: int) -> Float[Array, "*cell"]:
        """The integral of a density over each cell.

        **Arguments:**

        - `density`: positions `(dim, *points)` to numbers `(*points,)`.
        - `points`: of Gauss' formula, per direction.

        **Returns:** `(*cell,)`.
        """
