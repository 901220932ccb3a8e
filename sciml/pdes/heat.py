"""The heat equation."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._parameters import as_parameter, check_parameter
from .law import AbstractSemilinearPDE


class Heat(AbstractSemilinearPDE):
    """Heat conduction, with a conductivity that may vary in space and a source.

        u_t = div(kappa grad u) + s(x)

    **Arguments:**

    - `diffusivity`: `kappa >= 0`, shape `()` or `(*space,)`; length^2 per time.
    - `source`: `None`, or a function from coordinates `(dim, *space)` to values `(1, *space)`; unit of `u` per time.

    **Raises:** `ValueError` for a negative or non-finite diffusivity.
    """

    diffusivity: Float[Array, "*space"] = eqx.field(converter=as_parameter)
    source: Callable | None = None
    channels: ClassVar[tuple[str, ...]] = ("u",)

    def __check_init__(self):
        check_parameter("Heat", "diffusivity", self.diffusivity, minimum=0.0)

    def linear(self, u, calculus):
        """`div(kappa grad u)`, `(1, *space)`."""
        return calculus.diffusion(u, self.diffusivity)

    def nonlinear(self, t, u, calculus):
        """The source, `(1, *space)`."""
        if self.source is None:
            return jnp.zeros_like(u.value)
        return jnp.asarray(self.source(calculus.coordinates), u.value.dtype)
