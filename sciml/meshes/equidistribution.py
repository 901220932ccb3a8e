"""The Monge-Ampere equation on a lattice: its residual and its linearization, at vertices or integrated over cells."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .lattice import AbstractLattice, CellLattice, VertexLattice
from .mesh import Density
from .structured import StructuredMesh


class Look(eqx.Module):
    """The equation at one potential.

    **Arguments:**

    - `residual`: `log(m det)` or `log(mass)`, projected, `(*lattice,)`.
    - `convex`: whether the map can be continued from here: no determinant or mass is negative, a scalar.
    - `share`: `m det / theta` or `mass / mean mass`, not negative, `(*lattice,)`.
    - `rate`: how fast an explicit relaxation step of length one would have to be at the most, a scalar.
    """

    residual: Float[Array, "*lattice"]
    convex: Bool[Array, ""]
    share: Float[Array, "*lattice"]
    rate: Float[Array, ""]


class AbstractEquation(eqx.Module):
    """One residual for each value of the potential."""

    lattice: eqx.AbstractVar[AbstractLattice]

    @abc.abstractmethod
    def look(self, potential: Float[Array, "*lattice"]) -> Look:
        """The equation at a potential.

        **Arguments:**

        - `potential`: `(*lattice,)`.

        **Returns:** its residual, and what a solver wants to know.
        """

    @abc.abstractmethod
    def linearize(self, potential: Float[Array, "*lattice"]) -> Callable[[Array], Array]:
        """The derivative of the residual.

        **Arguments:**

        - `potential`: `(*lattice,)`.

        **Returns:** a linear map of a change of the potential to one of the residual, both `(*lattice,)`.
        """


class VertexEquation(AbstractEquation):
    """`log m(x) + log det(I + H) = log theta` at every vertex.

    **Arguments:**

    - `lattice`: the lattice of vertices.
    - `density`: positions `(dim, *points)` to numbers `(*points,)`.
    """

    lattice: VertexLattice
    density: Density

    def look(self, potential):
        """See `AbstractEquation.look`."""
        determinant, least = self._determinant(self.lattice.hessian(potential))
        density = self.density(self._positions(potential))
        mass = density * jnp.maximum(determinant, 0)
        share = mass / self.lattice.mean(mass)
        residual = self.lattice.project(
            jnp.log(density) + jnp.log(jnp.where(determinant > 0, determinant, 1))
        )
        rate = jnp.max(jnp.sqrt(share) / jnp.maximum(least, 1e-3))
        return Look(residual, jnp.all(least > 0), share, rate)

    def linearize(self, potential):
        """See `AbstractEquation.linearize`: coefficients once, then a stencil of nine points."""
        positions = self._positions(potential)
        logarithm, pull = jax.vjp(lambda x: jnp.log(self.density(x)), positions)
        (slope,) = pull(jnp.ones_like(logarithm))
        second = self.lattice.hessian(potential)
        if len(second) == 1:
            weights = (1 / (1 + second[0]),)
        else:
            a, b, c = 1 + second[0], 1 + second[1], second[2]
            determinant = a * b - c**2
            weights = (b / determinant, a / determinant, -2 * c / determinant)

        def apply(change):
            along = jnp.sum(slope * self.lattice.gradient(change), axis=0)
            bends = zip(weights, self.lattice.hessian(change), strict=True)
            return self.lattice.project(along + sum(weight * bend for weight, bend in bends))

        return apply

    def _positions(self, potential):
        return self.lattice.reference.astype(potential.dtype) + self.lattice.gradient(potential)

    @staticmethod
    def _determinant(second):
        """The determinant of `I + H`, and its smaller eigenvalue."""
        if len(second) == 1:
            return 1 + second[0], 1 + second[0]
        a, b, c = 1 + second[0], 1 + second[1], second[2]
        half, radius = (a + b) / 2, jnp.sqrt((a - b) ** 2 / 4 + c**2)
        return a * b - c**2, half - radius


class CellEquation(AbstractEquation):
    """Every cell has the mean mass.

    **Arguments:**

    - `lattice`: the lattice of the cells' centers.
    - `density`: positions `(dim, *points)` to numbers `(*points,)`.
    - `points`: of Gauss' formula in each direction.
    """

    lattice: CellLattice
    density: Density
    points: int = eqx.field(static=True)

    def look(self, potential):
        """See `AbstractEquation.look`."""
        mass = self._masses(potential)
        share = jnp.maximum(mass, 0) / jnp.mean(mass)
        residual = self.lattice.project(jnp.log(jnp.where(mass > 0, mass, 1)))
        return Look(residual, jnp.all(mass > 0), share, jnp.ones((), mass.dtype))

    def linearize(self, potential):
        """See `AbstractEquation.linearize`: traced once, and then a linear program."""
        _, apply = jax.linearize(lambda p: jnp.log(self._masses(p)), potential)
        return lambda change: self.lattice.project(apply(change))

    def _masses(self, potential):
        vertices = self.lattice.reference.astype(potential.dtype) + self.lattice.gradient(potential)
        return StructuredMesh(self.lattice.grid, vertices).masses(self.density, self.points)
