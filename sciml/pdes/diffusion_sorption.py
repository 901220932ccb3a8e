"""Diffusion of a solute that sorbs to the soil it passes through."""

from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from ._parameters import as_parameter, check_parameter
from .boundaries import Dirichlet, Outflow
from .domain import Box
from .law import AbstractPDE


class DiffusionSorption(AbstractPDE):
    """Diffusion retarded by Freundlich sorption, as in PDEBench.

        u_t = D / R(u) u_xx,    R(u) = 1 + (1 - phi) / phi rho_s k n_f u^(n_f - 1)

    on `x` in (0, 1), `t` in [0, 500], with the inlet `u(0) = 1` and the outflow of
    [`Outflow`][sciml.pdes.Outflow] at `x = 1`.

    As `n_f < 1`, the retardation is infinite at `u = 0` and undefined below. It is evaluated at
    `sqrt(u^2 + smoothing^2)`, which changes it by less than `1e-6` relative where `u > 1e-3` and is smooth everywhere.

    **Arguments:**

    - `diffusivity`: `D > 0`, shape `()`; m^2 per s.
    - `porosity`: `phi` in (0, 1), shape `()`.
    - `density`: `rho_s`, bulk density of the solid, shape `()`; kg per m^3.
    - `freundlich`: `k`, shape `()`.
    - `exponent`: `n_f`, shape `()`.
    - `smoothing`: where the power law is rounded off, shape `()`; the unit of `u`.

    **Raises:** `ValueError` for a parameter that is not positive and finite, or a porosity of 1 and more.

    **Reference:** Takamoto et al., "PDEBench: An Extensive Benchmark for Scientific Machine Learning", 2022,
    arXiv 2210.07182.
    """

    diffusivity: Float[Array, ""] = eqx.field(converter=as_parameter, default=5e-4)
    porosity: Float[Array, ""] = eqx.field(converter=as_parameter, default=0.29)
    density: Float[Array, ""] = eqx.field(converter=as_parameter, default=2880.0)
    freundlich: Float[Array, ""] = eqx.field(converter=as_parameter, default=3.5e-4)
    exponent: Float[Array, ""] = eqx.field(converter=as_parameter, default=0.874)
    smoothing: Float[Array, ""] = eqx.field(converter=as_parameter, default=1e-6)
    channels: ClassVar[tuple[str, ...]] = ("u",)
    dimensions: ClassVar[tuple[int, ...]] = (1,)

    def __check_init__(self):
        for name in ("diffusivity", "porosity", "density", "freundlich", "exponent", "smoothing"):
            below = 1.0 if name == "porosity" else None  # beyond, the solid is less than nothing
            check_parameter(
                "DiffusionSorption", name, getattr(self, name), minimum=0.0, strict=True, below=below
            )

    def retardation(self, value: Float[Array, "1 space"]) -> Float[Array, "1 space"]:
        """`R(u)`, how many times slower than without sorption.

        **Arguments:**

        - `value`: `u`, shape `(1, space)`.

        **Returns:** `R >= 1`, the same shape.
        """
        solid = (1 - self.porosity) / self.porosity * self.density * self.freundlich * self.exponent
        return 1 + solid * (value**2 + self.smoothing**2) ** ((self.exponent - 1) / 2)

    def rate(self, t, u, calculus):
        """`D / R(u) u_xx`, `(1, space)`."""
        return self.diffusivity / self.retardation(u.value) * calculus.laplacian(u)

    def domain(self):
        """The unit interval with the inlet on the left and the outflow on the right."""
        return Box(0.0, 1.0, [(Dirichlet(1.0), Outflow(self.diffusivity))])
