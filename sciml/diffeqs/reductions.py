"""How one number for each accepted step becomes one number for a solve: a sum, a mean or the largest."""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float


class AbstractReduction(eqx.Module):
    """Takes numbers one by one, in memory that does not grow."""

    @abc.abstractmethod
    def begin(self, dtype: Any) -> tuple[Float[Array, ""], ...]:
        """What is held before the first step.

        **Arguments:**

        - `dtype`: of the numbers to come.

        **Returns:** scalars.
        """

    @abc.abstractmethod
    def take(
        self, held: tuple[Float[Array, ""], ...], number: Float[Array, ""]
    ) -> tuple[Float[Array, ""], ...]:
        """Take the number of one more step.

        **Arguments:**

        - `held`: what `begin` or `take` gave, scalars.
        - `number`: a scalar.

        **Returns:** what to hold from now on, scalars.
        """

    @abc.abstractmethod
    def end(self, held: tuple[Float[Array, ""], ...]) -> Float[Array, ""]:
        """The result, 0 if there was no step.

        **Arguments:**

        - `held`: what `take` gave, scalars.

        **Returns:** a scalar.
        """


class Sum(AbstractReduction):
    """The sum over accepted steps."""

    def begin(self, dtype):
        """Zero."""
        return (jnp.zeros((), dtype),)

    def take(self, held, number):
        """Add."""
        return (held[0] + number,)

    def end(self, held):
        """The sum."""
        return held[0]


class Mean(AbstractReduction):
    """The mean over accepted steps.

    The code released in 2021 divides by one more than the number of steps, as it also counts the start, as a zero.
    """

    def begin(self, dtype):
        """Zero, and no steps."""
        return jnp.zeros((), dtype), jnp.zeros((), dtype)

    def take(self, held, number):
        """Add, and count."""
        return held[0] + number, held[1] + 1

    def end(self, held):
        """The mean."""
        return held[0] / jnp.maximum(held[1], 1)


class Max(AbstractReduction):
    """The largest over accepted steps, whose gradient is that of the step it is at."""

    def begin(self, dtype):
        """Zero, below which no estimate is."""
        return (jnp.zeros((), dtype),)

    def take(self, held, number):
        """Keep the larger."""
        return (jnp.where(number > held[0], number, held[0]),)

    def end(self, held):
        """The largest."""
        return held[0]
