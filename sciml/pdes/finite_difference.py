"""Central finite differences of second or fourth order on a regular grid, with walls.

On a wall the stencil reaches for values outside the domain. They come from the polynomial `p` that passes through the
nearest `q` cell centers and satisfies the wall's condition `a p + b dp/dn = g` *on the wall* (half a cell away from
the first center). With `q = order + derivative - 1` the formula at the wall has the same order as inside.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .boundaries import AbstractWall
from .calculus import AbstractCalculus, Field, check_field, check_orders, check_values
from .domain import Grid


class FiniteDifference(AbstractCalculus):
    """The finite-difference calculus of a grid.

    **Arguments:**

    - `grid`: a `Grid`, periodic or with walls.
    - `order`: 2 or 4.

    **Raises:** `ValueError` for another order.
    """

    grid: Grid
    order: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        if self.order not in (2, 4):
            raise ValueError(f"FiniteDifference has order 2 or 4; got {self.order}. For more, use Spectral.")

    @property
    def coordinates(self):
        """The grid's points, `(dim, *space)`."""
        return self.grid.coordinates

    @property
    def dimensions(self) -> int:
        """The number of space axes."""
        return self.grid.dimensions

    def field(self, u):
        """Wrap values `(channel, *space)`, which obey the grid's boundary conditions."""
        return Field(check_values("FiniteDifference.field", u, self.grid.shape), self.grid.box.boundaries)

    def known(self, values):
        """Wrap a coefficient `(channel, *space)`; at walls it is extrapolated, without a condition."""
        return Field(check_values("FiniteDifference.known", values, self.grid.shape), None)

    def derivative(self, u, orders):
        """One stencil per axis; see `AbstractCalculus.derivative` for shapes."""
        check_field(u)
        values, conditioned = u.value, u.source is not None
        for axis, order in enumerate(check_orders(orders, self.dimensions)):
            if order > 0:
                values = self._differentiate(values, axis, order, conditioned)
                # A wall's condition is on u, not on a derivative of u along the wall.
                conditioned = False
        return values

    def rotational_velocity(self, vorticity, axis):
        """A discrete Poisson solve by FFT on a periodic grid; see `AbstractCalculus.rotational_velocity` for shapes."""
        check_field(vorticity)
        if self.dimensions != 2 or axis not in (0, 1) or not all(self.grid.box.periodic):
            raise ValueError(
                f"rotational_velocity needs a grid periodic on both of two axes; got axis {axis}, "
                f"periodic={self.grid.box.periodic}."
            )
        symbol = sum(self._second_symbol(a) for a in range(2))
        inverse = np.where(symbol == 0.0, 0.0, -1.0 / np.where(symbol == 0.0, 1.0, symbol))
        modes = jnp.fft.rfftn(vorticity.value, axes=(-2, -1))
        modes = modes * jnp.asarray(inverse, modes.real.dtype)
        stream = jnp.fft.irfftn(modes, s=self.grid.shape, axes=(-2, -1))
        sign, other = (1.0, 1) if axis == 0 else (-1.0, 0)
        return sign * self._differentiate(stream, other, 1, True)

    def _second_symbol(self, axis: int) -> np.ndarray:
        n, h = self.grid.shape[axis], self.grid.spacing[axis]
        k = np.fft.rfftfreq(n) if axis == 1 else np.fft.fftfreq(n)
        weights = central_weights(2, self.order)
        radius = len(weights) // 2
        symbol = sum(w * np.cos(2 * np.pi * k * (j - radius)) for j, w in enumerate(weights)) / h**2
        return symbol.reshape((1, -1) if axis == 1 else (-1, 1))

    def _differentiate(self, values: Array, axis: int, order: int, conditioned: bool) -> Array:
        weights = central_weights(order, self.order)
        radius = len(weights) // 2
        n, h = self.grid.shape[axis], self.grid.spacing[axis]
        needed = max(2 * radius + 1, order + self.order)
        if n < needed:
            raise ValueError(
                f"A derivative of order {order} to accuracy {self.order} needs at least {needed} points; axis {axis} "
                f"has {n}. Refine the grid."
            )
        moved = jnp.moveaxis(values, axis + 1, -1)
        left, right = self.grid.box.boundaries[axis]
        if left.is_periodic:
            padded = jnp.concatenate([moved[..., -radius:], moved, moved[..., :radius]], axis=-1)
        else:
            nodes = self.order + order - 1
            low = ghost_values(moved, left, radius, nodes, h, conditioned)
            high = ghost_values(moved[..., ::-1], right, radius, nodes, h, conditioned)
            padded = jnp.concatenate([low[..., ::-1], moved, high], axis=-1)
        # Python floats: a NumPy float64 would raise the precision of float32 values.
        total = sum(w * padded[..., j : j + n] for j, w in enumerate(weights.tolist()) if w != 0.0)
        return jnp.moveaxis(total / h**order, -1, axis + 1)


def ghost_values(
    inward: Array, wall: AbstractWall, count: int, nodes: int, h: float, conditioned: bool = True
) -> Array:
    """Values at the first cell centers outside a wall, nearest first.

    **Arguments:**

    - `inward`: values with the axis last and counted from the wall, `(channel, *others, points)`.
    - `wall`: the wall's condition.
    - `count`: how many ghost values are wanted.
    - `nodes`: how many interior values the polynomial passes through.
    - `h`: the grid spacing, a length.
    - `conditioned`: whether the wall's condition applies; otherwise one more interior value is used.

    **Returns:** `(channel, *others, count)`.

    **Raises:** `ValueError` for data of the wall that do not broadcast to `(channel, *others)`.
    """
    centers = np.arange(nodes + (not conditioned)) + 0.5
    ghosts = -(np.arange(count) + 0.5)
    near = inward[..., : len(centers)]
    extrapolated = _combine(near, _lagrange(centers, ghosts).T)
    if not conditioned:
        return extrapolated
    a, b, g = _wall_data(wall, near)
    b = b / h
    # p = I + gamma * omega: I interpolates the interior, omega vanishes there, gamma meets the condition. The outward
    # normal points to negative s, hence the sign of the derivatives.
    value_at_wall = _combine(near, _lagrange(centers, np.zeros(1))[0])
    slope_at_wall = _combine(near, _lagrange_slope(centers))
    omega = float(np.prod(-centers))
    omega_slope = omega * float(np.sum(-1.0 / centers))
    gamma = (g - a * value_at_wall + b * slope_at_wall) / (a * omega - b * omega_slope)
    omega_at_ghosts = np.prod(ghosts[:, None] - centers[None], axis=1)
    return extrapolated + gamma[..., None] * jnp.asarray(omega_at_ghosts, near.dtype)


def _combine(values: Array, weights: np.ndarray) -> Array:
    """Contract the last axis. Explicit precision: by default GPUs round float32 factors to about 3 digits."""
    return jnp.matmul(values, jnp.asarray(weights, values.dtype), precision=jax.lax.Precision.HIGHEST)


def _wall_data(wall: AbstractWall, near: Array) -> tuple[Array, ...]:
    """The wall's `(a, b, g)` in the precision of the values, each of a shape that fits them."""
    target = near.shape[:-1]
    data = tuple(jnp.asarray(datum, near.dtype) for datum in wall.robin())
    for datum in data:
        fits = datum.ndim <= len(target) and all(
            have in (1, want) for have, want in zip(datum.shape[::-1], target[::-1], strict=False)
        )
        if not fits:
            raise ValueError(
                f"{type(wall).__name__} holds data of shape {datum.shape}; the wall's values are (channel, *wall) = "
                f"{target}. Give one number or an array that broadcasts to that, (channel,{' 1,' * (len(target) - 1)}) "
                f"for one value per channel."
            )
    return data


def central_weights(derivative: int, order: int) -> np.ndarray:
    """The weights of the narrowest central stencil on unit spacing.

    **Arguments:**

    - `derivative`: the order of the derivative.
    - `order`: the even order of accuracy.

    **Returns:** weights `(2 radius + 1,)`.
    """
    radius = (derivative + 1) // 2 + order // 2 - 1
    offsets = np.arange(-radius, radius + 1)
    vandermonde = offsets[None].astype(float) ** np.arange(2 * radius + 1)[:, None]
    moments = np.zeros(2 * radius + 1)
    moments[derivative] = math.factorial(derivative)
    weights = np.linalg.solve(vandermonde, moments)
    weights[np.abs(weights) < 1e-12] = 0.0
    return weights


def _lagrange(nodes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The matrix `(points, nodes)` that evaluates the interpolating polynomial."""
    matrix = np.ones((len(points), len(nodes)))
    for i, x in enumerate(nodes):
        for j, other in enumerate(nodes):
            if i != j:
                matrix[:, i] *= (points - other) / (x - other)
    return matrix


def _lagrange_slope(nodes: np.ndarray) -> np.ndarray:
    """The weights `(nodes,)` that give the interpolating polynomial's derivative at zero."""
    vandermonde = nodes[None] ** np.arange(len(nodes))[:, None]
    moments = np.zeros(len(nodes))
    moments[1:2] = 1.0  # a single node: a constant, without slope
    return np.linalg.solve(vandermonde, moments)
