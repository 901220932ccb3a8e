"""Bistable reaction and diffusion: thin fronts between two states that are stable by themselves."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from ._parameters import as_parameter, check_parameter
from .law import AbstractSemilinearPDE


class Nagumo(AbstractSemilinearPDE):
    """Nagumo's equation: fronts between 0 and 1; with a threshold of a half it is Allen and Cahn's.

        u_t = D lap u + r u (1 - u) (u - a)

    A plane front has the profile `1 / (1 + exp(x / l))` with `l = sqrt(2 D / r)`, and the state 1 advances at the speed
    `sqrt(D r / 2) (1 - 2 a)`. At `a = 1/2` fronts move by their curvature alone: a disc of radius `R` shrinks at the
    rate `D / R`.

    The reaction is cubic: with `Spectral` take `dealias=1/2`.

    **Arguments:**

    - `diffusivity`: `D >= 0`, shape `()`; length^2 per time.
    - `reaction`: `r >= 0`, shape `()`; per time.
    - `threshold`: `a`, between 0 and 1, shape `()`; the unit of `u`.

    **Raises:** `ValueError` for a negative or non-finite parameter.

    **Reference:** J. Nagumo, S. Arimoto, S. Yoshizawa, "An active pulse transmission line simulating nerve axon", 1962,
    doi:10.1109/JRPROC.1962.288235; S. M. Allen, J. W. Cahn, 1979, doi:10.1016/0001-6160(79)90196-2.
    """

    diffusivity: Float[Array, ""] = eqx.field(converter=as_parameter)
    reaction: Float[Array, ""] = eqx.field(converter=as_parameter)
    threshold: Float[Array, ""] = eqx.field(converter=as_parameter, default=0.5)
    channels: ClassVar[tuple[str, ...]] = ("u",)

    def __check_init__(self):
        for name in ("diffusivity", "reaction", "threshold"):
            check_parameter("Nagumo", name, getattr(self, name), minimum=0.0)

    def linear(self, u, calculus):
        """Diffusion, `(1, *space)`."""
        return self.diffusivity * calculus.laplacian(u)

    def nonlinear(self, t, u, calculus):
        """The reaction, `(1, *space)`."""
        return self.reaction * u.value * (1 - u.value) * (u.value - self.threshold)
