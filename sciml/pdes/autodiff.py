"""Differentiation of a function of the coordinates, by forward-mode automatic differentiation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .calculus import AbstractCalculus, Field, check_field, check_orders


class Autodiff(AbstractCalculus):
    """The calculus of functions `(dim,) -> (channel,)` at given points: for networks of coordinates, and for checks.

    Values are `(channel, point)`: the space axes of the other calculi are one list of points here.

    **Arguments:**

    - `points`: where the law is evaluated, `(point, dim)`.

    **Raises:** `ValueError` when the points are not `(point, dim)`.
    """

    points: Float[Array, "point dim"]

    def __check_init__(self):
        if jnp.ndim(self.points) != 2:
            raise ValueError(
                f"Autodiff needs points (point, dim); got an array of shape {jnp.shape(self.points)}."
            )

    @property
    def coordinates(self):
        """The points, `(dim, point)`."""
        return self.points.T

    def field(self, u):
        """Wrap a function `(dim,) -> (channel,)`; its values are `(channel, point)`."""
        if not callable(u) or isinstance(u, Field):
            raise ValueError(
                f"Autodiff.field takes a function of one point, (dim,) -> (channel,); got {type(u).__name__}. "
                f"For values on a grid use Spectral or FiniteDifference."
            )
        shape = jax.eval_shape(u, self.points[0]).shape
        if len(shape) != 1:
            raise ValueError(
                f"Autodiff.field takes a function (dim,) -> (channel,); this one returns shape {shape} for one point. "
                f"Return jnp.atleast_1d(...) for a scalar; do not map over points yourself."
            )
        return Field(jax.vmap(u)(self.points).T, u)

    def known(self, values):
        """Wrap a coefficient given as a function `(dim,) -> (channel,)`; values `(channel, point)`."""
        return self.field(values)

    def derivative(self, u, orders):
        """Nested forward mode, exact; see `AbstractCalculus.derivative` for shapes."""
        check_field(u)
        function = u.source
        for axis, order in enumerate(check_orders(orders, self.dimensions)):
            direction = jnp.zeros(self.dimensions, self.points.dtype).at[axis].set(1.0)
            for _ in range(order):
                function = _directional(function, direction)
        return jax.vmap(function)(self.points).T


def _directional(function, direction):
    return lambda x: jax.jvp(function, (x,), (direction,))[1]
