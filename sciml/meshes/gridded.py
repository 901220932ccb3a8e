"""A density given by values on a grid."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..pdes import Grid
from .densities import AbstractDensity, check_positive_values
from .splines import Knots, evaluate_spline, find_knots, fit_spline
from .structured import reference_vertices


class GriddedDensity(AbstractDensity):
    """Positive values on a grid, and between them the exponential of a cubic spline through their logarithms.

    So it is positive and has two continuous derivatives, which Newton's method wants, and it is differentiable with
    respect to values and positions. At walls it is continued evenly: its normal derivative is zero there. Positions
    beyond a wall are reflected, those beyond a period wrapped.

    It resolves no more than its grid does. Where neighboring values differ by orders of magnitude the spline
    overshoots, by about a tenth of the difference of their logarithms; monitors smooth before.

    **Arguments:**

    - `values`: positive, `(*space,)` at the points of the grid, or `(*vertex,)` at its vertices.
    - `grid`: the grid.

    **Raises:** `ValueError` for values of another shape, or that are not positive and finite, with their place.
    """

    coefficients: Float[Array, "*padded"]
    knots: tuple[Knots, ...] = eqx.field(static=True)

    def __init__(self, values: Float[Array, "*space"], grid: Grid):
        values = jnp.asarray(values)
        if not jnp.issubdtype(values.dtype, jnp.inexact):
            values = values.astype(float)
        knots = find_knots(grid, values.shape)
        if knots is None:
            raise ValueError(
                f"GriddedDensity takes values {grid.shape} at the points of the grid, or "
                f"{reference_vertices(grid).shape[1:]} at its vertices; got {values.shape}. A density has no channels."
            )
        points = grid.coordinates if values.shape == grid.shape else reference_vertices(grid)
        check_positive_values("GriddedDensity: a value", values, points)
        self.coefficients = fit_spline(jnp.log(values), knots)
        self.knots = knots

    def __call__(self, x):
        """See `AbstractDensity.__call__` for shapes."""
        if jnp.ndim(x) < 1 or len(x) != len(self.knots):
            raise ValueError(
                f"GriddedDensity has {len(self.knots)} axes, and positions (dim, *points) as many coordinates; got "
                f"an array {jnp.shape(x)}."
            )
        return jnp.exp(evaluate_spline(self.coefficients, self.knots, x))
