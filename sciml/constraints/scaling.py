"""How rows of different kinds are weighed against each other, which decides what a "hard" constraint gives.

A constraint with fewer weights than rows is a least-squares fit, so the units of its rows matter: in diffusion-sorption
time runs to 500, so that the equation's rows in their own unit are 500 times smaller than those of the conditions.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .domains import AbstractDomain


class RowScales(eqx.Module):
    """What each row is multiplied by.

    **Arguments:**

    - `equation`: at every point, `(point,)`.
    - `start`: for every row of the initial condition, `(row,)`.
    - `walls`, `jumps`, `slopes`: for a row of a wall, a jump in value, a jump in slope over an interface; scalars
      without the number of such rows, by the root of which they are still divided where `mean` is true.
    - `field`: the largest value the field is expected to have, a scalar.
    - `mean`: whether rows of a kind are averaged, or summed as they are.
    """

    equation: Float[Array, " point"]
    start: Float[Array, " row"]
    walls: Float[Array, ""]
    jumps: Float[Array, ""]
    slopes: Float[Array, ""]
    field: Float[Array, ""]
    mean: bool = eqx.field(static=True)

    def share(self, count: int) -> float:
        """What a row is divided by, to average over rows of its kind.

        **Arguments:**

        - `count`: how many rows.

        **Returns:** a number.
        """
        return max(count, 1) ** 0.5 if self.mean else 1.0

    def reduce(self, misses: list[Float[Array, "..."]]) -> Float[Array, ""]:
        """One loss from the weighted rows of every kind.

        **Arguments:**

        - `misses`: arrays of any shape, one per kind.

        **Returns:** the sum of all squares; where rows are not averaged, the square of the sum of the norms, whose root
        is the published loss. A scalar.
        """
        squares = [jnp.sum(miss**2) for miss in misses]
        if self.mean:
            return sum(squares)
        tiny = jnp.finfo(squares[0].dtype).tiny
        return sum(jnp.sqrt(square + tiny) for square in squares) ** 2


class AbstractScaling(eqx.Module):
    """How rows are weighed."""

    @abc.abstractmethod
    def __call__(self, domain: AbstractDomain, start: Float[Array, "channel *space"]) -> RowScales:
        """Compute the scales.

        **Arguments:**

        - `domain`: where the constraint holds.
        - `start`: the initial values, `(channel, *space)`.

        **Returns:** the scales.
        """


class NonDimensional(AbstractScaling):
    """Every kind of row without units and averaged over its number.

    The equation's rows are multiplied by `duration / size`, those of values by `1 / size`, where `size` is the largest
    absolute value of the start and the walls' data.

    **Arguments:**

    - `start`, `walls`, `jumps`, `slopes`: further weights of the rows of the initial condition, the walls, and the
      jumps in value and in slope where experts meet.
    - `elapsed`: multiply the equation's rows by the time since the start in place of the whole duration. A start that
      contradicts a wall has a `u_t` whose square has no finite integral; times `t` it has one.
    - `size`: the largest value of the field, if it is not to be found, the unit of the field.
    """

    start: float = 1.0
    walls: float = 1.0
    jumps: float = 1.0
    slopes: float = 1.0
    elapsed: bool = False
    size: float | None = None

    def __call__(self, domain, start):
        """Compute the scales; see `AbstractScaling.__call__`."""
        size = jnp.asarray(_largest(domain, start) if self.size is None else self.size, start.dtype)
        points = domain.elapsed.shape[0]
        elapsed = domain.elapsed if self.elapsed else jnp.ones(points)
        return RowScales(
            equation=(domain.duration * elapsed).astype(start.dtype) / size / points**0.5,
            start=jnp.full(start.size, self.start / start.size**0.5, start.dtype) / size,
            walls=self.walls / size,
            jumps=self.jumps / size,
            slopes=self.slopes / size,
            field=size,
            mean=True,
        )


class PublishedRows(AbstractScaling):
    """The rows of the published code: summed, in the units of the law, the initial condition relative to its value.

    Wherever time or the field is not of order one, this decides what is fitted and what is not. It is here to be
    compared with.

    **Reference:** Chalapathi, Du, Krishnapriyan, "Scaling physics-informed hard constraints with mixture-of-experts",
    2024, arXiv 2402.13412.
    """

    def __call__(self, domain, start):
        """Compute the scales; see `AbstractScaling.__call__`."""
        one = jnp.ones((), start.dtype)
        return RowScales(
            equation=jnp.ones(domain.elapsed.shape[0], start.dtype),
            start=1 / jnp.maximum(jnp.abs(start.ravel()), 1e-3 * _largest(domain, start)),
            walls=one,
            jumps=one,
            slopes=one,
            field=_largest(domain, start),
            mean=False,
        )


def _largest(domain: AbstractDomain, start: Array) -> Array:
    walls = [domain.box.boundaries[axis][side].robin()[2] for axis, side in domain.walls()]
    values = [jnp.max(jnp.abs(given)).astype(start.dtype) for given in (start, *walls)]
    largest = jnp.max(jnp.stack(values))
    return jax.lax.stop_gradient(jnp.where(largest > 0, largest, 1.0))
