"""Functions whose every derivative is written by hand, and helpers to measure an order of convergence."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from sciml.pdes import Dirichlet, Neumann, Outflow, Robin


@dataclasses.dataclass(frozen=True)
class Waves:
    """`constant + sum_i a_i prod_axis sin(k_i,axis x_axis + p_i,axis)`.

    **Arguments:**

    - `terms`: one `(a, (k, ...), (p, ...))` per term.
    - `constant`: a number added.
    """

    terms: tuple
    constant: float = 0.0

    def __call__(self, x, orders=None) -> Array:
        """The function, or a derivative of it, at coordinates `x` of shape `(dim, ...)`; shape `(...)`."""
        orders = orders or (0,) * len(x)
        sin = np.sin if isinstance(x[0], np.ndarray | float) else jnp.sin  # NumPy compiles nothing
        total = self.constant * (not any(orders)) + 0.0 * x[0]
        for amplitude, numbers, phases in self.terms:
            factor = amplitude
            for s, k, p, m in zip(x, numbers, phases, orders, strict=True):
                factor = factor * k**m * sin(k * s + p + m * np.pi / 2)
            total = total + factor
        return total

    def gradient(self, x) -> list[Array]:
        """The first derivatives, one `(...)` per axis."""
        return [self(x, unit(len(x), axis)) for axis in range(len(x))]

    def laplacian(self, x) -> Array:
        """The sum of second derivatives, `(...)`."""
        return sum(self(x, unit(len(x), axis, 2)) for axis in range(len(x)))


def unit(dimensions: int, axis: int, order: int = 1) -> tuple[int, ...]:
    """`order` along one axis and 0 along the others."""
    return tuple(order * (a == axis) for a in range(dimensions))


# Of period 2 pi on every axis, no symmetry, positive where a concentration must be.
ONE_AXIS = Waves(((0.4, (1,), (0.3,)), (0.2, (2,), (1.1,))), 0.9)
TWO_AXES = Waves(((0.4, (1, 1), (0.3, 0.8)), (0.2, (2, 1), (1.1, 2.0))), 0.9)
TWO_AXES_TOO = Waves(((0.3, (1, 2), (2.0, 0.1)), (0.3, (1, 1), (0.0, 0.6))), 0.5)
COEFFICIENT = Waves(((0.05, (1, 1), (0.9, 0.2)),), 0.2)


def slope(sizes, errors) -> float:
    """The measured order between the coarsest and the finest of some grids."""
    return float(np.log(errors[0] / errors[-1]) / np.log(sizes[-1] / sizes[0]))


# A wall on which a function of one coordinate takes given values and outward normal derivatives.
WALLS = {
    "dirichlet": lambda value, normal: Dirichlet(value),
    "neumann": lambda value, normal: Neumann(normal),
    "robin": lambda value, normal: Robin(1.5, 0.7, 1.5 * value + 0.7 * normal),
    # Outflow holds no data: it fits the functions with u + D du/dn = 0 on the wall.
    "outflow": lambda value, normal: Outflow(-value / normal),
}
