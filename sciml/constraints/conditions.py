"""How a field meets its initial and boundary conditions: as weighted rows, through the calculus, or exactly by lifting.

Lifting writes `u = lift + sum_i w_i b_i` where the lift meets the conditions and every `b_i` meets them with zero data,
so that no choice of weights can violate them.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .grids import SpaceTimeGrid


class AbstractStart(eqx.Module):
    """How the initial condition is met."""

    @abc.abstractmethod
    def apply(
        self,
        domain: SpaceTimeGrid,
        basis: Float[Array, "basis time channel *space"],
        start: Float[Array, "channel *space"],
    ) -> tuple[Float[Array, "basis time channel *space"], Float[Array, "time channel *space"]]:
        """Prepare the basis.

        **Arguments:**

        - `domain`: the grid.
        - `basis`: `(basis, time, channel, *space)`.
        - `start`: the initial values `(channel, *space)`.

        **Returns:** the basis `(basis, time, channel, *space)` and the field it is added to, `(time, channel, *space)`.
        """


class LiftedStart(AbstractStart):
    """The initial condition exactly: `u(t) = start + clock(t) sum_i w_i b_i(t)`."""

    def apply(self, domain, basis, start):
        """Shapes as in `AbstractStart.apply`."""
        clock = jnp.asarray(domain.clock(np.asarray(domain.times)), basis.dtype)
        factor = clock.reshape((-1,) + (1,) * start.ndim)
        lift = jnp.broadcast_to(domain.calculus.project(start), basis.shape[1:])
        return basis * factor, lift.astype(basis.dtype)


class WeightedStart(AbstractStart):
    """The initial condition as rows of the least-squares problem, weighted by the scaling."""

    def apply(self, domain, basis, start):
        """Shapes as in `AbstractStart.apply`."""
        return basis, jnp.zeros(basis.shape[1:], basis.dtype)


class AbstractWalls(eqx.Module):
    """How the conditions on walls are met; without walls there is nothing to meet."""

    conditioned: eqx.AbstractClassVar[bool]
    weighted: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def apply(
        self,
        domain: SpaceTimeGrid,
        basis: Float[Array, "basis time channel *space"],
        lift: Float[Array, "time channel *space"],
    ) -> tuple[Float[Array, "basis time channel *space"], Float[Array, "time channel *space"]]:
        """Prepare the basis and what it is added to.

        **Arguments:**

        - `domain`: the grid.
        - `basis`: `(basis, time, channel, *space)`.
        - `lift`: `(time, channel, *space)`.

        **Returns:** both, same shape.
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
        for axis, _ in domain.walls()[::2]:
            profiles = _wall_profiles(domain, axis, lift)
            basis = _subtract(domain, basis, axis, profiles, data=False)
            lift = _subtract(domain, lift[None], axis, profiles, data=True)[0]
        return basis, lift


def check_corners(
    domain: SpaceTimeGrid,
    start: Float[Array, "channel *space"],
    tolerance: float = 1e-3,
) -> Float[Array, "channel *space"]:
    """Refuse a start that contradicts the walls, where both are to be met exactly.

    **Arguments:**

    - `domain`: the grid.
    - `start`: the initial values `(channel, *space)`.
    - `tolerance`: what violation is let through, relative to the largest value.

    **Returns:** the start, `(channel, *space)`; it has to be used for the check to be made.
    """
    largest = jnp.maximum(jnp.max(jnp.abs(start)), 1e-30)
    bad = jnp.zeros((), bool)
    for axis, side in domain.walls():
        at_wall, data = domain.apply_wall(start[None], axis, side)
        bad = bad | (jnp.max(jnp.abs(at_wall - data)) > tolerance * largest)
    return eqx.error_if(
        start,
        bad,
        "The initial condition contradicts a wall: where they meet they ask for different values, so both cannot be "
        "lifted. Take walls=DiscretizedWalls() or WeightedWalls(), or start=WeightedStart().",
    )


def _subtract(domain, fields, axis, profiles, *, data):
    """`fields - sum_side profile_side (B_side fields - g_side)`, so that both sides' conditions hold."""
    total = fields
    for side in (0, 1):
        violation = jnp.stack([_violation(domain, field, axis, side, data) for field in _unstack(fields)])
        total = total - profiles[side] * jnp.expand_dims(violation, 3 + axis)
    return total


def _unstack(fields):
    return [fields[i] for i in range(fields.shape[0])]


def _violation(domain, field, axis, side, data):
    at_wall, given = domain.apply_wall(field, axis, side)
    return at_wall - given if data else at_wall


def _wall_profiles(domain, axis, lift):
    """The quadratics along an axis that violate one wall by 1 and the other by 0, `(side, *ones, points, *ones)`."""
    grid = domain.calculus.grid
    points = (grid.axes[axis] - grid.box.lower[axis]) / grid.box.lengths[axis]
    powers = jnp.asarray(points[None] ** np.arange(3)[:, None], lift.dtype)
    shape = [1] * len(domain.space)
    shape[axis] = len(points)
    fields = powers.reshape(3, 1, 1, *shape)
    rows = []
    for side in (0, 1):
        for number in grid.box.boundaries[axis][side].robin()[:2]:
            if jnp.size(number) != 1:
                raise ValueError(
                    "LiftedWalls needs walls whose `a` and `b` are single numbers; their data `g` may vary. Take "
                    "WeightedWalls() for others."
                )
        wide = jnp.broadcast_to(fields, (3, 1, lift.shape[1], *_spread(domain, axis)))
        rows.append(
            jnp.stack([domain.apply_wall(field, axis, side)[0].ravel()[0] for field in _unstack(wide)])
        )
    coefficients = jnp.linalg.pinv(jnp.stack(rows))  # (3, side)
    return jnp.tensordot(coefficients.T, fields, axes=(1, 0))[:, None]


def _spread(domain, axis):
    return [n if a == axis else domain.space[a] for a, n in enumerate(domain.space)]
