"""At which points a constraint is enforced; at the others it is checked."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


class AbstractSampling(eqx.Module):
    """A choice of points."""

    @abc.abstractmethod
    def choose(
        self, residual: Float[Array, " point"], key: PRNGKeyArray | None
    ) -> Int[Array, " chosen"] | None:
        """Choose.

        **Arguments:**

        - `residual`: the size of the residual of a first guess at every point, `(point,)`.
        - `key`: a random key.

        **Returns:** indices `(chosen,)`, or `None` for all points.

        **Raises:** `ValueError` for more points than there are, or no key.
        """

    @property
    @abc.abstractmethod
    def needs_guess(self) -> bool:
        """Whether the choice depends on the residual."""


class AllPoints(AbstractSampling):
    """Every point; none is held out."""

    needs_guess = False

    def choose(self, residual, key):
        """`None`; the residual `(point,)` and the key do not matter."""
        return None


class UniformPoints(AbstractSampling):
    """Points at random, all alike, without replacement.

    **Arguments:**

    - `count`: how many, of each expert.
    """

    count: int = eqx.field(static=True)
    needs_guess = False

    def choose(self, residual, key):
        """Indices `(count,)`; see `AbstractSampling.choose`."""
        _check(self, residual, key)
        return jax.random.permutation(key, residual.shape[0])[: self.count]


class ResidualPoints(AbstractSampling):
    """Points at random without replacement, those with a large residual sooner.

    A first solve on a coarse choice of points gives the residual. The probability of a point is proportional to
    `|residual| + floor * mean |residual|`.

    **Arguments:**

    - `count`: how many, of each expert.
    - `floor`: at 0 the points without residual are never chosen; when large, all are alike.
    """

    count: int = eqx.field(static=True)
    floor: float = 0.5
    needs_guess = True

    def choose(self, residual, key):
        """Indices `(count,)`; see `AbstractSampling.choose`."""
        _check(self, residual, key)
        size = jnp.abs(residual)
        share = jnp.log(size + self.floor * jnp.mean(size) + jnp.finfo(size.dtype).tiny)
        return jax.lax.top_k(share + jax.random.gumbel(key, share.shape, share.dtype), self.count)[1]


def _check(sampling, residual, key):
    name = type(sampling).__name__
    if not 1 <= sampling.count <= residual.shape[0]:
        raise ValueError(
            f"{name} chooses from {residual.shape[0]} points (of each expert); count={sampling.count} is not possible."
        )
    if key is None:
        raise ValueError(f"{name} is random and needs a key: constraint(start, key=jax.random.key(0)).")
