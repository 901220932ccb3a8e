"""The Kuramoto-Sivashinsky equation: chaos in one dimension."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from ._parameters import as_parameter, check_parameter
from .law import AbstractSemilinearPDE


class KuramotoSivashinsky(AbstractSemilinearPDE):
    """A flame front or a falling film, in its conservative form.

        u_t + u u_x + mu u_xx + nu u_xxxx = 0

    Long waves grow, short ones decay; chaotic on periodic boxes longer than about 22 with unit coefficients.

    **Arguments:**

    - `anti_diffusion`: `mu`, shape `()`; length^2 per time.
    - `hyper_diffusion`: `nu > 0`, shape `()`; length^4 per time.

    **Raises:** `ValueError` for non-finite parameters or `nu <= 0`.

    **Reference:** Kuramoto, "Diffusion-Induced Chaos in Reaction Systems", 1978, doi:10.1143/PTPS.64.346.
    """

    anti_diffusion: Float[Array, ""] = eqx.field(converter=as_parameter, default=1.0)
    hyper_diffusion: Float[Array, ""] = eqx.field(converter=as_parameter, default=1.0)
    channels: ClassVar[tuple[str, ...]] = ("u",)
    dimensions: ClassVar[tuple[int, ...]] = (1,)

    def __check_init__(self):
        check_parameter("KuramotoSivashinsky", "anti_diffusion", self.anti_diffusion)
        check_parameter(
            "KuramotoSivashinsky", "hyper_diffusion", self.hyper_diffusion, minimum=0.0, strict=True
        )

    def linear(self, u, calculus):
        """`-mu u_xx - nu u_xxxx`, `(1, space)`."""
        return -self.anti_diffusion * calculus.laplacian(u) - self.hyper_diffusion * calculus.biharmonic(u)

    def nonlinear(self, t, u, calculus):
        """`-u u_x`, `(1, space)`."""
        return -u.value * calculus.partial(u, 0)
