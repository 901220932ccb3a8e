"""How a field meets its initial and boundary conditions: as weighted rows, through the calculus, or exactly by lifting.

Lifting writes `u = lift + sum_i w_i b_i` where the lift meets the conditions and every `b_i` meets them with zero data,
so that no choice of weights can violate them.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .domains import AbstractDomain


class AbstractStart(eqx.Module):
    """How the initial condition is met."""

    @abc.abstractmethod
    def apply(self, domain: AbstractDomain, basis: PyTree, start: PyTree) -> tuple[PyTree, PyTree]:
        """Prepare the basis.

        **Arguments:**

        - `domain`: where the constraint holds.
        - `basis`: the domain's, `(basis, time, channel, *space)` on a grid.
        - `start`: the initial condition, `(channel, *space)` on a grid.

        **Returns:** the basis and the field it is added to, of the same kinds.
        """


class LiftedStart(AbstractStart):
    """The initial condition exactly: `u(t) = start + clock(t) sum_i w_i b_i(t)`."""

    def apply(self, domain, basis, start):
        """Shapes as in `AbstractStart.apply`."""
        return domain.grow(basis), domain.hold(start, basis)


class WeightedStart(AbstractStart):
    """The initial condition as rows of the least-squares problem, weighted by the scaling."""

    def apply(self, domain, basis, start):
        """Shapes as in `AbstractStart.apply`."""
        return basis, domain.hold(start, basis, 0.0)


class AbstractWalls(eqx.Module):
    """How the conditions on walls are met; without walls there is nothing to meet."""

    conditioned: eqx.AbstractClassVar[bool]
    weighted: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def apply(self, domain: AbstractDomain, basis: PyTree, lift: PyTree) -> tuple[PyTree, PyTree]:
        """Prepare the basis and what it is added to.

        **Arguments:**

        - `domain`: where the constraint holds.
        - `basis`: the domain's, `(basis, time, channel, *space)` on a grid.
        - `lift`: what it is added to, `(time, channel, *space)` on a grid.

        **Returns:** both, of the same kinds.
        """


class DiscretizedWalls(AbstractWalls):
    """The walls as the calculus discretizes them, by values outside the domain: part of the equation's own rows.

    This is what a solver on the same grid does. A start that contradicts a wall is no trouble, as no unknown sits on a
    wall.
    """

    conditioned = True
    weighted = False

    def apply(self, domain, basis, lift):
        """Nothing to do; shapes as in `AbstractWalls.apply`."""
        return basis, lift


class WeightedWalls(AbstractWalls):
    """The walls as rows of the least-squares problem, weighted by the scaling."""

    conditioned = False
    weighted = True

    def apply(self, domain, basis, lift):
        """Nothing to do; shapes as in `AbstractWalls.apply`."""
        return basis, lift


class LiftedWalls(AbstractWalls):
    """The walls exactly: from every field is subtracted the quadratic across the box that has its violation.

    A start that contradicts the walls (as PDEBench's of diffusion-sorption does at both) cannot be lifted together with
    them, and is refused.
    """

    conditioned = False
    weighted = False

    def apply(self, domain, basis, lift):
        """Shapes as in `AbstractWalls.apply`."""
        return domain.lift_walls(basis, lift)


def check_corners(
    domain: AbstractDomain,
    start: PyTree,
    values: Float[Array, "channel *space"],
    tolerance: float = 1e-3,
) -> Float[Array, "channel *space"]:
    """Refuse a start that contradicts the walls, where both are to be met exactly.

    **Arguments:**

    - `domain`: where the constraint holds.
    - `start`: the initial condition.
    - `values`: the same as numbers, `(channel, *space)`.
    - `tolerance`: what violation is let through, relative to the largest value.

    **Returns:** the values, `(channel, *space)`; they have to be used for the check to be made.
    """
    largest = jnp.maximum(jnp.max(jnp.abs(values)), 1e-30)
    bad = jnp.zeros((), bool)
    for at_wall, data in domain.miss_walls(start):
        bad = bad | (jnp.max(jnp.abs(at_wall - data)) > tolerance * largest)
    return eqx.error_if(
        values,
        bad,
        "The initial condition contradicts a wall: where they meet they ask for different values, so both cannot be "
        "lifted. Take walls=DiscretizedWalls() or WeightedWalls(), or start=WeightedStart().",
    )
