"""Two-dimensional incompressible flow in vorticity form."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._parameters import as_parameter, check_parameter
from .law import AbstractSemilinearPDE


class DiagonalForcing(eqx.Module):
    """The forcing of the Fourier neural operator's Navier-Stokes data.

        f(x, y) = amplitude (sin(2 pi (x + y)) + cos(2 pi (x + y)))

    **Arguments:**

    - `amplitude`: shape `()`; vorticity per time.

    **Reference:** Li et al., "Fourier Neural Operator for Parametric Partial Differential Equations", 2020,
    arXiv 2010.08895.
    """

    amplitude: Float[Array, ""] = eqx.field(converter=as_parameter, default=0.1)

    def __call__(self, coordinates: Float[Array, "2 *space"]) -> Float[Array, "1 *space"]:
        """Evaluate.

        **Arguments:**

        - `coordinates`: `(2, *space)`; a length.

        **Returns:** the forcing `(1, *space)`.
        """
        phase = 2 * jnp.pi * (coordinates[0] + coordinates[1])
        return self.amplitude * (jnp.sin(phase) + jnp.cos(phase))[None]


class NavierStokes(AbstractSemilinearPDE):
    """Two-dimensional Navier-Stokes for the vorticity `w`, on a periodic box.

        w_t + v . grad w = nu lap w + f,    v = (psi_y, -psi_x),    -lap psi = w

    **Arguments:**

    - `viscosity`: `nu >= 0`, shape `()`; length^2 per time.
    - `forcing`: `None`, or a function from coordinates `(2, *space)` to values `(1, *space)`; vorticity per time.

    **Raises:** `ValueError` for a negative or non-finite viscosity.
    """

    viscosity: Float[Array, ""] = eqx.field(converter=as_parameter)
    forcing: Callable | None = None
    channels: ClassVar[tuple[str, ...]] = ("vorticity",)
    dimensions: ClassVar[tuple[int, ...]] = (2,)

    def __check_init__(self):
        check_parameter("NavierStokes", "viscosity", self.viscosity, minimum=0.0)

    def linear(self, u, calculus):
        """`nu lap w`, `(1, *space)`."""
        return self.viscosity * calculus.laplacian(u)

    def nonlinear(self, t, u, calculus):
        """`f - v . grad w`, `(1, *space)`."""
        transport = sum(
            calculus.rotational_velocity(u, axis) * calculus.partial(u, axis) for axis in range(2)
        )
        if self.forcing is None:
            return -transport
        return jnp.asarray(self.forcing(calculus.coordinates), u.value.dtype) - transport
