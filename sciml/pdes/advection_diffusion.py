"""Advection and diffusion of a passive scalar."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._parameters import as_parameter, check_parameter
from .law import AbstractSemilinearPDE


class AdvectionDiffusion(AbstractSemilinearPDE):
    """A scalar carried by a given velocity and spread by diffusion.

        u_t + c . grad u = kappa lap u

    **Arguments:**

    - `velocity`: `c`, shape `(dim,)` or `(dim, *space)`, or `()` in one dimension; length per time.
    - `diffusivity`: `kappa >= 0`, shape `()` or `(*space,)`; length^2 per time.

    **Raises:** `ValueError` for a negative diffusivity, non-finite parameters, or a velocity of the wrong dimension.
    """

    velocity: Float[Array, "dim *space"] = eqx.field(converter=as_parameter)
    diffusivity: Float[Array, "*space"] = eqx.field(converter=as_parameter)
    channels: ClassVar[tuple[str, ...]] = ("u",)

    def __check_init__(self):
        check_parameter("AdvectionDiffusion", "velocity", self.velocity)
        check_parameter("AdvectionDiffusion", "diffusivity", self.diffusivity, minimum=0.0)

    def linear(self, u, calculus):
        """The whole right-hand side, `(1, *space)`."""
        velocity = self.velocity if jnp.ndim(self.velocity) else self.velocity[None]
        if velocity.shape[0] != calculus.dimensions:
            raise ValueError(
                f"AdvectionDiffusion.velocity has {velocity.shape[0]} components, shape {jnp.shape(self.velocity)}; "
                f"the calculus has {calculus.dimensions} axes. Give one component per axis."
            )
        if jnp.ndim(velocity) == 1:
            # A uniform velocity conserves what it carries: finite volumes carry it upwind.
            transport = calculus.flux_divergence(u, lambda value, axis: velocity[axis] * value)
        else:
            transport = sum(velocity[axis] * calculus.partial(u, axis) for axis in range(calculus.dimensions))
        return calculus.diffusion(u, self.diffusivity) - transport

    def nonlinear(self, t, u, calculus):
        """Nothing, `(1, *space)`."""
        return jnp.zeros_like(u.value)
