"""The Gray-Scott reaction: spots, stripes and waves from two chemicals."""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ._parameters import as_parameter, check_parameter
from .law import AbstractSemilinearPDE


class GrayScott(AbstractSemilinearPDE):
    """Two chemicals: `v` eats `u` autocatalytically, `u` is fed and `v` removed.

        u_t = D_u lap u - u v^2 + F (1 - u)
        v_t = D_v lap v + u v^2 - (F + k) v

    The reaction is cubic: with `Spectral` take `dealias=1/2`.

    **Arguments:**

    - `diffusivity_u`, `diffusivity_v`: `D_u, D_v >= 0`, shape `()`; length^2 per time.
    - `feed`: `F >= 0`, shape `()`; per time.
    - `kill`: `k >= 0`, shape `()`; per time.

    **Raises:** `ValueError` for a negative or non-finite parameter.

    **Reference:** Pearson, "Complex Patterns in a Simple System", 1993, doi:10.1126/science.261.5118.189.
    """

    diffusivity_u: Float[Array, ""] = eqx.field(converter=as_parameter, default=2e-5)
    diffusivity_v: Float[Array, ""] = eqx.field(converter=as_parameter, default=1e-5)
    feed: Float[Array, ""] = eqx.field(converter=as_parameter, default=0.04)
    kill: Float[Array, ""] = eqx.field(converter=as_parameter, default=0.06)
    channels: ClassVar[tuple[str, ...]] = ("u", "v")

    def __check_init__(self):
        for name in ("diffusivity_u", "diffusivity_v", "feed", "kill"):
            check_parameter("GrayScott", name, getattr(self, name), minimum=0.0)

    def linear(self, u, calculus):
        """Diffusion and linear decay, `(2, *space)`."""
        column = (2,) + (1,) * (u.value.ndim - 1)
        diffusivity = jnp.stack([self.diffusivity_u, self.diffusivity_v]).reshape(column)
        decay = jnp.stack([self.feed, self.feed + self.kill]).reshape(column)
        return diffusivity * calculus.laplacian(u) - decay * u.value

    def nonlinear(self, t, u, calculus):
        """The reaction and the feed, `(2, *space)`."""
        reaction = u.value[0] * u.value[1] ** 2
        return jnp.stack([self.feed - reaction, reaction])
