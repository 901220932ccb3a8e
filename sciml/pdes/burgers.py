"""Burgers' equation: the smallest model of a flow that steepens into shocks."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from ._parameters import as_parameter, check_parameter
from .law import AbstractSemilinearPDE


class Burgers(AbstractSemilinearPDE):
    """The scalar viscous Burgers equation, in one or more dimensions.

        u_t + u (u_x + u_y + ...) = nu lap u

    Written with the flux `u^2 / 2` along every axis, so that `FiniteVolume` captures shocks when `nu` is small or 0.

    **Arguments:**

    - `viscosity`: `nu >= 0`, shape `()` or `(*space,)`; length^2 per time.

    **Raises:** `ValueError` for a negative or non-finite viscosity.

    **Reference:** Burgers, "A Mathematical Model Illustrating the Theory of Turbulence", 1948,
    doi:10.1016/S0065-2156(08)70100-5.
    """

    viscosity: Float[Array, "*space"] = eqx.field(converter=as_parameter)
    channels: ClassVar[tuple[str, ...]] = ("u",)

    def __check_init__(self):
        check_parameter("Burgers", "viscosity", self.viscosity, minimum=0.0)

    def flux(self, value: Float[Array, "1 *space"], axis: int) -> Float[Array, "1 *space"]:
        """`u^2 / 2` along every axis.

        **Arguments:**

        - `value`: `u`, shape `(1, *space)`.
        - `axis`: the space axis; all are alike.

        **Returns:** the flux, `(1, *space)`.
        """
        return 0.5 * value**2

    def linear(self, u, calculus):
        """`nu lap u`, `(1, *space)`."""
        return self.viscosity * calculus.laplacian(u)

    def nonlinear(self, t, u, calculus):
        """Minus the divergence of the flux, `(1, *space)`."""
        return -calculus.flux_divergence(u, self.flux)


class VectorBurgers(AbstractSemilinearPDE):
    """The vector Burgers equation: a velocity that carries itself, one channel per axis.

        u_t + (u . grad) u = nu lap u

    **Arguments:**

    - `viscosity`: `nu >= 0`, shape `()` or `(*space,)`; length^2 per time.

    **Raises:** `ValueError` for a negative or non-finite viscosity.
    """

    viscosity: Float[Array, "*space"] = eqx.field(converter=as_parameter)
    channels: ClassVar[tuple[str, ...]] = ("u", "v", "w")
    one_channel_per_axis: ClassVar[bool] = True

    def __check_init__(self):
        check_parameter("VectorBurgers", "viscosity", self.viscosity, minimum=0.0)

    def linear(self, u, calculus):
        """`nu lap u`, `(dim, *space)`."""
        return self.viscosity * calculus.laplacian(u)

    def nonlinear(self, t, u, calculus):
        """`-(u . grad) u`, `(dim, *space)`."""
        return -sum(u.value[axis] * calculus.partial(u, axis) for axis in range(calculus.dimensions))
